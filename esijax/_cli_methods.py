"""Methods that the command line offers, by name; nothing heavy is imported until one is made."""

from collections.abc import Callable
from typing import Any, NamedTuple


class Recipe(NamedTuple):
    """What `solve` is to do."""

    model: Any
    method: Any
    noise: Any = None


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


def _patches(method: str) -> Callable[[Any], Recipe]:
    def make(_lambda2):
        from esijax import inference, models

        prior = models.Components(components=models.components.Patches(200))
        return Recipe(prior, getattr(inference, method)(), models.noise.PerType())

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
    "patches": _patches("EM"),
    "patches-NUTS": _patches("NUTS"),
}
# minutes per map: a benchmark runs them only where they are named
SAMPLERS = ("patches-NUTS",)
