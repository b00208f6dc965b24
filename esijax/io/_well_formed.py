"""Whether the parts of an estimate are what its classes say, and fit each other.

A file of ours has a checksum, which tells of accidents; one made by another hand may hold anything.
"""

import dataclasses
import types
from typing import Any, Union, get_args, get_origin

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import AbstractArray, Array, Float, jaxtyped

from esijax._types import Gain, InputError
from esijax.at_samples import AtSamples
from esijax.estimate import Estimate
from esijax.forward import BEMModel, Sensors, SphereModel
from esijax.models.source_cov import SourceCov
from esijax.noise_time import NoiseTime
from esijax.posterior import Posterior
from esijax.problem import Geometry, Labels, Problem, Whitener

KINDS = {"surface", "volume", "discrete"}
_BINDING: tuple[Any, ...] = (Gain, Float[Array, "*trials channels times"])
# whose numbers must be finite, and whose whole numbers are those of locations
_SOUND = (Problem, Whitener, Geometry, NoiseTime, Posterior, SourceCov)


def check_well_formed(estimate: Estimate) -> None:
    """Refuse parts of another type or shape than declared, and numbers that are not finite.

    Raises
    ------
    InputError
        Naming the part.
    """
    problem = estimate.problem
    if not isinstance(problem, Problem):
        raise InputError(f"Estimate.problem is {_described(problem)}, not a Problem.")
    _walk(estimate, (problem.gain, problem.recording))
    if estimate.norm is not None and not np.isfinite(estimate.norm).all():
        raise InputError("Estimate.norm holds NaN or Inf.")
    if not isinstance(problem.head, SphereModel | BEMModel | None):
        raise InputError(f"Problem.head is {_described(problem.head)}, no head model.")
    if not isinstance(problem.sensors, Sensors | None):
        raise InputError(f"Problem.sensors is {_described(problem.sensors)}, no Sensors.")
    _check_labels(problem)


def check_answers(estimate: Estimate) -> None:
    """Refuse a posterior that cannot answer for this problem; no number is computed."""
    problem, posterior = estimate.problem, estimate.posterior
    lead = problem.data.shape[:-2]

    def questions(posterior):
        out = [posterior.mean(), posterior.fitted()]
        if posterior.spread:
            first, weights = jnp.zeros(1, dtype=int), jnp.ones((1, *out[0].shape[-3:-1]))
            out += [posterior.variance(), posterior.combine(weights)]
            out += [posterior.draw(jax.random.key(0), 1, first, first)]
        return out

    try:
        mean, fitted, *_ = eqx.filter_eval_shape(questions, posterior)
    except Exception as error:  # whatever shapes that do not fit lead to
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        raise InputError(f"the parts of the posterior do not fit together ({what:.80}).") from error
    kept = (*mean.shape[:-3], mean.shape[-3], mean.shape[-1])
    if kept != (*lead, problem.n_locations, problem.n_times) or mean.shape[-2] not in (1, 2, 3):
        raise InputError(f"the posterior has the mean {mean.shape}, which is not of the problem.")
    if fitted is not None and fitted.shape != problem.data.shape:
        raise InputError(f"the posterior predicts {fitted.shape}, the data are another shape.")


def _walk(value: Any, known: tuple) -> None:
    """Look at every dataclass below; `known` are gain and recording, which bind the dimensions."""
    if isinstance(value, tuple | list):
        for v in value:
            _walk(v, known)
    elif isinstance(value, dict):
        _walk(tuple(value.values()), known)
    elif dataclasses.is_dataclass(value):
        if isinstance(value, Problem) and value.basis is not None and known:
            known = value.gain, value.recording  # of the coefficients
        parts = {f.name: (getattr(value, f.name), f.type) for f in dataclasses.fields(value)}
        _check_parts(value, parts, known)
        for name, (part, _) in parts.items():
            # sensors may have more channels than the problem, a temporal basis fewer columns
            whole = not (isinstance(value, AtSamples) or name == "basis")
            _walk(part, () if name in ("head", "sensors") else known if whole else known[:1])


def _check_parts(value: Any, parts: dict[str, tuple[Any, Any]], known: tuple) -> None:
    """Types and shapes of the fields of one object; a name in a shape stands for one size."""
    with jaxtyped("context"):  # not in another function: each may have sizes of its own
        for array, shape in zip(known, _BINDING, strict=False):
            isinstance(array, shape)  # binds the names of sizes
        for name, (part, hint) in parts.items():
            shapes, array = _shapes(hint), _numeric_array(part)
            if shapes and array is not None:
                fits = any(isinstance(array, shape) for shape in shapes)
            else:
                fits = _fits(part, hint)
            if not fits:
                where = f"{type(value).__name__}.{name}"
                raise InputError(f"{where} is {_described(part)}, not {_told(hint)}.")
    if isinstance(value, _SOUND):
        n_locations = known[0].shape[1] if known else 0
        for name, (part, _) in parts.items():
            if isinstance(part, jax.Array | np.ndarray):
                _check_numbers(f"{type(value).__name__}.{name}", np.asarray(part), n_locations)


def _check_numbers(name: str, array: np.ndarray, n_locations: int) -> None:
    if array.dtype.kind in "iu":
        if array.size and not (0 <= array.min() and array.max() < n_locations):
            raise InputError(f"{name} names locations that are not among the {n_locations}.")
    elif not np.isfinite(array).all():
        raise InputError(f"{name} holds NaN or Inf.")


def _numeric_array(value: Any) -> Array | None:
    """The array as JAX has it, if it holds numbers (NumPy arrays too); else None."""
    if isinstance(value, jax.Array | np.ndarray) and value.dtype.kind in "biuf":
        return jnp.asarray(value)
    return None


def _shapes(hint: Any) -> list[Any]:
    """The array types among the alternatives of an annotation."""
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    return [o for o in options if isinstance(o, type) and issubclass(o, AbstractArray)]


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of its annotated type, shapes aside."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_fits(value, a) for a in args)
    if origin is tuple:
        each = [args[0]] * len(value) if isinstance(value, tuple) and args[1:] == (...,) else args
        return isinstance(value, tuple) and len(value) == len(each) and all(map(_fits, value, each))
    if origin is dict:
        return isinstance(value, dict) and all(_fits(v, args[1]) for v in value.values())
    if hint is Any or not isinstance(hint, type):
        return True  # a name, a function
    if hint is Array:
        return _numeric_array(value) is not None
    return isinstance(value, (int, float) if hint is float else hint)


def _check_labels(problem: Problem) -> None:
    """Refuse names, vertices and times that do not match the arrays."""
    labels: Labels = problem.labels
    n_channels = problem.whitener.matrix.shape[1]
    for name in ("ch_names", "ch_types"):
        if len(getattr(labels, name)) not in (0, n_channels):
            raise InputError(
                f"Labels.{name} has {len(getattr(labels, name))} for {n_channels} channels."
            )
    if len(labels.kinds) != len(labels.vertices) or set(labels.kinds) - KINDS:
        raise InputError(
            f"Labels.kinds is {labels.kinds!r:.60} for {len(labels.vertices)} source spaces."
        )
    if any(v.ndim != 1 or v.dtype.kind not in "iu" for v in labels.vertices):
        raise InputError("Labels.vertices must be rows of whole numbers.")
    n_vertices = sum(len(v) for v in labels.vertices)
    if labels.vertices and n_vertices != problem.n_locations:
        raise InputError(f"Labels.vertices has {n_vertices} for {problem.n_locations} locations.")
    if not (np.isfinite(labels.tmin) and np.isfinite(labels.sfreq) and labels.sfreq > 0):
        raise InputError(f"Labels has tmin {labels.tmin} and sfreq {labels.sfreq}.")


def _described(value: Any) -> str:
    is_array = isinstance(value, jax.Array | np.ndarray)
    return f"{value.dtype}{list(value.shape)}" if is_array else f"{value!r:.40}"


def _told(hint: Any) -> str:
    return getattr(hint, "__name__", str(hint))
