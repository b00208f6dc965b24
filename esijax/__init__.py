"""esijax: differentiable probabilistic E/MEG source imaging in JAX and NumPyro."""

from importlib import import_module
from typing import TYPE_CHECKING

from esijax import inference, models
from esijax._types import EsijaxWarning, InputError
from esijax.arrays import from_arrays
from esijax.estimate import Estimate
from esijax.inference import solve
from esijax.problem import Geometry, Problem, Whitener

if TYPE_CHECKING:
    from esijax.io import from_mne, load, save, to_arviz, to_mne
    from esijax.report import report

__version__ = "0.1.0"
__all__ = [
    "EsijaxWarning",
    "Estimate",
    "Geometry",
    "InputError",
    "Problem",
    "Whitener",
    "from_arrays",
    "from_mne",
    "inference",
    "load",
    "models",
    "report",
    "save",
    "solve",
    "to_arviz",
    "to_mne",
]

# these need mne, arviz or matplotlib and are loaded on first use
_LAZY = {name: "esijax.io" for name in ("from_mne", "to_mne", "to_arviz", "save", "load")}
_LAZY["report"] = "esijax.report"


def __getattr__(name: str):
    if name == "io":
        return import_module("esijax.io")
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'esijax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "io"])
