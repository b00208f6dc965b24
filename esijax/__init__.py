"""esijax: differentiable probabilistic E/MEG source imaging in JAX and NumPyro.

Names are loaded on first use, so that ``import esijax`` costs nothing and needs neither MNE nor
ArviZ nor a plotting library.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from esijax import forward, inference, io, metrics, models, plot, simulate, testing
    from esijax._types import EsijaxWarning, InputError
    from esijax.arrays import from_arrays
    from esijax.estimate import Estimate
    from esijax.inference import compare, solve
    from esijax.io import from_mne, load, save, to_arviz, to_mne
    from esijax.models.penalties import relative
    from esijax.problem import Geometry, Problem, Whitener
    from esijax.tables.places import places
    from esijax.viz.report import report

__version__ = "0.1.0"
__all__ = [
    "EsijaxWarning",
    "Estimate",
    "Geometry",
    "InputError",
    "Problem",
    "Whitener",
    "compare",
    "forward",
    "from_arrays",
    "from_mne",
    "inference",
    "io",
    "learn",
    "load",
    "metrics",
    "models",
    "places",
    "plot",
    "relative",
    "report",
    "save",
    "simulate",
    "solve",
    "testing",
    "to_arviz",
    "to_mne",
]

_HOME = {
    "EsijaxWarning": "esijax._types",
    "Estimate": "esijax.estimate",
    "Geometry": "esijax.problem",
    "InputError": "esijax._types",
    "Problem": "esijax.problem",
    "Whitener": "esijax.problem",
    "compare": "esijax.inference",
    "from_arrays": "esijax.arrays",
    "from_mne": "esijax.io",
    "load": "esijax.io",
    "places": "esijax.tables.places",
    "relative": "esijax.models.penalties",
    "report": "esijax.viz.report",
    "save": "esijax.io",
    "solve": "esijax.inference",
    "to_arviz": "esijax.io",
    "to_mne": "esijax.io",
}
_ROOMS = ("forward", "inference", "io", "learn", "metrics", "models", "plot", "simulate", "testing")


def __getattr__(name: str):
    if name in _ROOMS:
        return import_module(f"esijax.{name}")
    if name in _HOME:
        value = getattr(import_module(_HOME[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'esijax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
