"""Methods that the command line offers, by name; nothing heavy is imported until one is made."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple


class Recipe(NamedTuple):
    """What `solve` is to do; `start` is the method whose answer the other one starts from."""

    model: Any
    method: Any
    noise: Any = None
    start: Any = None

    def solve(self, problem, progress: bool = False, checkpoint: Path | None = None):
        """Solve it, with the same random numbers each time.

        Iterative methods go on from `checkpoint`; what they start from has a file beside it. Where
        the start is interrupted its answer is what there is.
        """
        import jax

        from esijax import inference
        from esijax._types import EsijaxWarning
        from esijax.estimate import RESULT

        first, second = jax.random.split(jax.random.key(0))
        rest: dict[str, Any] = {"noise": self.noise, "progress": progress}
        init = None
        if self.start is not None:
            beside = None if checkpoint is None else checkpoint.with_suffix(".start.ckpt")
            with warnings.catch_warnings():  # a start need not be a good answer
                warnings.simplefilter("ignore", EsijaxWarning)
                init = inference.solve(
                    problem, self.model, self.start, key=first, checkpoint=beside, **rest
                )
            if init.result == RESULT.interrupted:
                return init
        return inference.solve(
            problem, self.model, self.method, init=init, key=second, checkpoint=checkpoint, **rest
        )


def _linear(prior: str, noise_norm: str | None) -> Callable[[Any], Recipe]:
    def make(lambda2):
        from esijax import inference, models

        return Recipe(getattr(models, prior)(lambda2=lambda2), inference.Linear(noise_norm))

    return make


def _lcmv(pick_ori: str | None) -> Callable[[Any], Recipe]:
    def make(_lambda2):
        from esijax import inference

        how = inference.LCMV(pick_ori=pick_ori, weight_norm="unit-noise-gain-invariant")
        return Recipe(None, how)

    return make


def _sparse(prior: str) -> Callable[[Any], Recipe]:
    def make(_lambda2):
        from esijax import inference, models

        return Recipe(getattr(models, prior)(), inference.EM("mm"))

    return make


def _patches(sampled: bool) -> Callable[[Any], Recipe]:
    def make(_lambda2):
        from esijax import inference, models

        prior = models.Components(components=models.components.Patches(200))
        noise = models.noise.PerType()
        if not sampled:
            return Recipe(prior, inference.EM(), noise)
        start = inference.Laplace(num_maps=1)
        return Recipe(prior, inference.NUTS(num_warmup=200), noise, start)

    return make


def _penalty(name: str, method: str) -> Callable[[Any], Recipe]:
    def make(_lambda2):
        from esijax import inference, models

        return Recipe(getattr(models, name)(models.relative(0.4)), getattr(inference, method)())

    return make


def _robust(_lambda2) -> Recipe:
    from esijax import inference, models

    return Recipe(models.L21(models.relative(0.4)), inference.MAP(), models.noise.Huber())


def _patchy(name: str, share: float) -> Callable[[Any], Recipe]:
    def make(_lambda2):
        from esijax import inference, models

        return Recipe(getattr(models, name)(models.relative(share)), inference.MAP(tol=1e-3))

    return make


METHODS: dict[str, Callable[[Any], Recipe]] = {
    "MNE": _linear("MinimumNorm", None),
    "dSPM": _linear("MinimumNorm", "dSPM"),
    "sLORETA": _linear("MinimumNorm", "sLORETA"),
    "eLORETA": _linear("ELORETA", None),
    "LORETA": _linear("LORETA", None),
    "LCMV": _lcmv(None),
    "LCMV-max-power": _lcmv("max-power"),
    "Champagne": _sparse("ARD"),
    "StudentT": _sparse("StudentT"),
    "MxNE": _penalty("L21", "MAP"),
    "MxNE-Huber": _robust,
    "irMxNE": _penalty("L21", "Reweighted"),
    "MCE": _penalty("L1", "MAP"),
    "TF-MxNE": _penalty("TimeFrequency", "MAP"),
    "irTF-MxNE": _penalty("TimeFrequency", "Reweighted"),
    "SISSY": _patchy("SISSY", 0.003),
    "TV": _patchy("TV", 0.01),
    "patches": _patches(sampled=False),
    "patches-NUTS": _patches(sampled=True),
}
# minutes per map: a benchmark runs them only where they are named
SAMPLERS = ("patches-NUTS",)
