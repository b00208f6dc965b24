"""Methods that the command line offers, by name; nothing heavy is imported until one is made."""

from collections.abc import Callable
from typing import Any


def _linear(prior: str, noise_norm: str | None) -> Callable[[Any], tuple]:
    def make(lambda2):
        from esijax import inference, models

        return getattr(models, prior)(lambda2=lambda2), inference.Linear(noise_norm)

    return make


def _lcmv(pick_ori: str | None) -> Callable[[Any], tuple]:
    def make(_lambda2):
        from esijax import inference

        return None, inference.LCMV(pick_ori=pick_ori, weight_norm="unit-noise-gain-invariant")

    return make


METHODS: dict[str, Callable[[Any], tuple]] = {
    "MNE": _linear("MinimumNorm", None),
    "dSPM": _linear("MinimumNorm", "dSPM"),
    "sLORETA": _linear("MinimumNorm", "sLORETA"),
    "eLORETA": _linear("ELORETA", None),
    "LORETA": _linear("LORETA", None),
    "LCMV": _lcmv(None),
    "LCMV-max-power": _lcmv("max-power"),
}
