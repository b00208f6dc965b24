"""The methods that users call by name, each entered once.

An entry here is a `--method` of `esijax localize`, a row of `esijax benchmark`, of the demo where
it says so, and of the table in docs/choosing.md (`python -m esijax.registry` prints it). Nothing
heavy is imported until a method is made.
"""

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


def _beamformer(pick_ori: str | None) -> Callable[[Any], Recipe]:
    def make(_lambda2):
        from esijax import inference

        how = inference.LCMV(pick_ori=pick_ori, weight_norm="unit-noise-gain-invariant")
        return Recipe(None, how)

    return make


def _learned_variances(prior: str) -> Callable[[Any], Recipe]:
    def make(_lambda2):
        from esijax import inference, models

        return Recipe(getattr(models, prior)(), inference.EM("mm"))

    return make


def _unrolled(_lambda2) -> Recipe:
    from esijax import inference, models

    return Recipe(models.ARD(), inference.Unrolled())


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


def _patches_in_time(_lambda2) -> Recipe:
    from esijax import inference, models

    patches = models.Components(components=models.components.Patches(200))
    # activity that no patch makes is as smooth as theirs: a remainder with the noise's covariance
    # in time cannot take it
    both = models.Sum(patches, models.Components(components=["iid"]))
    model = models.Kronecker(both, models.time.SquaredExponential())
    return Recipe(model, inference.EM())


def _penalty(name: str, method: str) -> Callable[[Any], Recipe]:
    def make(_lambda2):
        from esijax import inference, models

        return Recipe(getattr(models, name)(models.relative(0.4)), getattr(inference, method)())

    return make


def _robust_mixed_norm(_lambda2) -> Recipe:
    from esijax import inference, models

    return Recipe(models.L21(models.relative(0.4)), inference.MAP(), models.noise.Huber())


def _extended(name: str, share: float) -> Callable[[Any], Recipe]:
    def make(_lambda2):
        from esijax import inference, models

        return Recipe(getattr(models, name)(models.relative(share)), inference.MAP(tol=1e-3))

    return make


LAMBDA2 = 1 / 9  # where nothing else is said


class Entry(NamedTuple):
    """One method, as it is known by name.

    Parameters
    ----------
    name : str
    when : str
        One sentence: when to choose it.
    make : callable
        From lambda2 (which some methods have no use for) to a `Recipe`.
    slow : bool
        Minutes a map: a benchmark runs it only where it is named.
    compared : tuple
        Each lambda2 that a benchmark compares: a number, or "evidence".
    in_demo : tuple
        Each lambda2 with which the demo has it; empty: not in the demo.
    """

    name: str
    when: str
    make: Callable[[Any], Recipe]
    slow: bool = False
    compared: tuple[float | str, ...] = (LAMBDA2,)
    in_demo: tuple[float | str, ...] = ()

    def variant(self, lambda2: float | str) -> str:
        """Name where several lambda2 stand side by side: "MNE, evidence"."""
        return f"{self.name}, {lambda2}" if isinstance(lambda2, str) else self.name


_BOTH = (LAMBDA2, "evidence")
_ENTRIES = (
    Entry(
        "MNE",
        "how strong the activity is, in A m, with its uncertainty (with `--lambda2 evidence`)",
        _linear("MinimumNorm", None),
        compared=_BOTH,
        in_demo=_BOTH,
    ),
    Entry(
        "dSPM",
        "where activity stands out from the noise",
        _linear("MinimumNorm", "dSPM"),
        in_demo=(LAMBDA2,),
    ),
    Entry(
        "sLORETA",
        "where the strongest activity is: no localisation error for one dipole, fixed orientation",
        _linear("MinimumNorm", "sLORETA"),
        in_demo=(LAMBDA2,),
    ),
    Entry(
        "eLORETA",
        "the same for a dipole of any orientation",
        _linear("ELORETA", None),
        in_demo=(LAMBDA2,),
    ),
    Entry(
        "LORETA",
        "an extended, smooth source; needs a mesh or neighbours",
        _linear("LORETA", None),
        compared=_BOTH,
        in_demo=("evidence",),
    ),
    Entry(
        "LCMV",
        "oscillations and long recordings; cancels sources that are correlated",
        _beamformer(None),
        in_demo=(LAMBDA2,),
    ),
    Entry(
        "LCMV-max-power",
        "the same along the orientation of most power; needs free orientations",
        _beamformer("max-power"),
    ),
    Entry(
        "Champagne",
        "few sources with a posterior, their variances known no better than at their mode",
        _learned_variances("ARD"),
    ),
    Entry(
        "StudentT",
        "the same, less sparse: a few strong sources over weak ones",
        _learned_variances("StudentT"),
    ),
    Entry(
        "unrolled",
        "where, and how sure, in everyday cases: six learned updates of the same variances",
        _unrolled,
        in_demo=(LAMBDA2,),
    ),
    Entry(
        "MxNE",
        "few locations, each with one course over the window",
        _penalty("L21", "MAP"),
    ),
    Entry(
        "MxNE-Huber",
        "the same where there are artefacts or the noise covariance is in doubt",
        _robust_mixed_norm,
    ),
    Entry(
        "irMxNE",
        "fewer locations than MxNE, amplitudes less shrunk",
        _penalty("L21", "Reweighted"),
    ),
    Entry(
        "MCE",
        "each sample by itself: minimum current estimate",
        _penalty("L1", "MAP"),
    ),
    Entry(
        "TF-MxNE",
        "bursts, sources that come and go",
        _penalty("TimeFrequency", "MAP"),
    ),
    Entry(
        "irTF-MxNE",
        "the same with fewer sources, amplitudes less shrunk",
        _penalty("TimeFrequency", "Reweighted"),
    ),
    Entry(
        "SISSY",
        "patches with sharp borders, silence between them",
        _extended("SISSY", 0.003),
    ),
    Entry(
        "TV",
        "patches with sharp borders, activity everywhere",
        _extended("TV", 0.01),
    ),
    Entry(
        "patches",
        "patches of cortex with a posterior, and a noise level learned for each sensor type",
        _patches(sampled=False),
    ),
    Entry(
        "patches-in-time",
        "evoked courses: patches that are smooth in time, in noise that is coloured, both learned",
        _patches_in_time,
    ),
    Entry(
        "patches-NUTS",
        "the same with draws of the variances too, and a verdict on them",
        _patches(sampled=True),
        slow=True,
    ),
)
METHODS: dict[str, Entry] = {entry.name: entry for entry in _ENTRIES}


def method_table() -> str:
    """Markdown table of all entries, as docs/choosing.md has it."""
    rows = [f"| `{e.name}` | {e.when} | {'minutes' if e.slow else ''} |" for e in _ENTRIES]
    return "\n".join(["| `--method` | for | a map takes |", "|---|---|---|", *rows])


if __name__ == "__main__":
    print(method_table())
