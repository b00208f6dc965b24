r"""Resolution where the data are: how a non-linear answer moves with them.

.. math:: J = \frac{\partial \hat X}{\partial B} \Big|_B

For a linear method J is its kernel; for any other differentiable one it is the kernel of small
changes, and changes from recording to recording. `point_spread` and `cross_talk` are columns and
rows of J L; `leverage` is the diagonal of L J.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from esijax._types import InputError, is_traced
from esijax.at_samples import at_samples
from esijax.inference._resolve import resolved
from esijax.inference.method import Method
from esijax.inference.sensitivity.leverage import leverage
from esijax.inference.solve import solve
from esijax.problem import Problem

__all__ = ["cross_talk", "leverage", "point_spread"]


def point_spread(
    problem: Problem,
    model: Any,
    method: Method,
    location: int,
    *,
    orient: int = -1,
    course: Any = None,
    noise: Any = None,
) -> Float[Array, "locations orients times"]:
    r"""How the map changes with a little more of one source.

    .. math:: \frac{\partial \hat X}{\partial s}, \qquad B + s\, L_{l o}\, c^\top

    Parameters
    ----------
    problem : Problem
        The recording at which the derivative is taken.
    model, method : Prior | Penalty, Method
        As for `solve`. A share of alpha_max is replaced by its number first. The method solved to
        a small `tol`: a derivative is as exact as the minimum.
    location : int
        Where the source is.
    orient : int
        Axis of the moment; the last is the normal.
    course : (times,), optional
        Time course c of the source; all ones by default.
    noise : Noise, optional
        As for `solve`.

    Returns
    -------
    change : (locations, orients, times)
        Per unit of the source: dimensionless. Without shrinkage it is c at the source itself.

    Raises
    ------
    InputError
        For a method that has no derivative, a location, orient or course out of range, single
        trials, a call under jit.

    References
    ----------
    Hauk, Stenroos and Treder 2022, doi:10.1016/j.neuroimage.2022.119177 (linear methods);
    Deledalle et al. 2014, doi:10.1137/140968045 (derivatives of sparse ones).

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> gain = np.random.default_rng(0).standard_normal((8, 12))
    >>> problem = ej.from_arrays(gain, 5 * gain[:, [3]], noise_cov=1.0)
    >>> method, model = ej.inference.MAP(tol=1e-10), ej.models.L21(ej.relative(0.5))
    >>> change = ej.inference.local.point_spread(problem, model, method, 3)
    >>> [int(i) for i in np.flatnonzero(abs(change[:, 0, 0]) > 1e-6)]
    [3]
    """
    course = _check_course(problem, method, location, orient, course)
    model = resolved(problem, model)
    topography = problem.whitener.colorer @ problem.gain[:, location, orient]
    move = topography[:, None] * course[None]
    return _along_recording(problem, model, method, noise, move)


def cross_talk(
    problem: Problem,
    model: Any,
    method: Method,
    location: int,
    *,
    orient: int = -1,
    course: Any = None,
    noise: Any = None,
) -> Float[Array, "locations orients"]:
    r"""What a little more of each source adds to the estimate at one location.

    .. math:: \frac{\partial}{\partial s_{m p}} \frac{\langle c, \hat X_{l o} \rangle}
       {\langle c, c \rangle}, \qquad B + s_{m p}\, L_{m p}\, c^\top

    Parameters
    ----------
    problem, model, method, location, orient, course, noise : as of `point_spread`
        As for `point_spread`.

    Returns
    -------
    leakage : (locations, orients)
        Dimensionless; 1 at the location itself without shrinkage, 0 elsewhere without leakage.

    Raises
    ------
    InputError
        As `point_spread`.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> gain = np.random.default_rng(0).standard_normal((8, 12))
    >>> problem = ej.from_arrays(gain, 5 * gain[:, [3]], noise_cov=1.0)
    >>> model = ej.models.MinimumNorm()
    >>> leakage = ej.inference.local.cross_talk(problem, model, ej.inference.Linear(), 3)
    >>> int(abs(leakage[:, 0]).argmax())
    3
    """
    course = _check_course(problem, method, location, orient, course)
    model = resolved(problem, model)
    index = jnp.asarray([location, orient % problem.n_orients])
    return _leakage(problem, model, method, noise, index, course)


def _mean_of(problem: Problem, model, method, noise, recording):
    """Sources of another recording."""
    moved = problem.with_data(recording)
    found = solve(moved, model, method, noise=noise).posterior
    return at_samples(found, moved.noise_time).mean()


@eqx.filter_jit
def _along_recording(problem: Problem, model, method, noise, move):
    """Derivative of the sources along a change of the recording."""

    def mean(recording):
        return _mean_of(problem, model, method, noise, recording)

    return jax.jvp(mean, (problem.recording,), (move,))[1]


@eqx.filter_jit
def _leakage(problem: Problem, model, method, noise, index, course):
    """Derivative of one location's amplitude along all sources."""

    def amplitude(recording):
        mean = _mean_of(problem, model, method, noise, recording)
        return jnp.sum(mean[index[0], index[1]] * course) / jnp.sum(course**2)

    gradient = jax.grad(amplitude)(problem.recording)  # channels x times
    back = problem.whitener.colorer.T @ (gradient @ course)
    return jnp.tensordot(problem.gain, back, axes=(0, 0))


def _check_course(problem: Problem, method: Method, location: int, orient: int, course) -> Array:
    """Time course of a source; InputError for what the functions of this file cannot take."""
    if is_traced(problem):
        raise InputError("call it outside jit, vmap and grad: it takes derivatives itself.")
    if not method.differentiable:
        raise InputError(f"{type(method).__name__} has no derivative.")
    if problem.data.ndim == 3:
        raise InputError("local maps are of one recording: take an average, or one trial.")
    for value, n, name in (
        (location, problem.n_locations, "location"),
        (orient, problem.n_orients, "orient"),
    ):
        integer = isinstance(value, int | np.integer)
        if not (integer and (0 <= value < n or (name == "orient" and value == -1))):
            raise InputError(f"{name} must be an integer from 0 to {n - 1}, got {value!r}.")
    if course is None:
        return jnp.ones(problem.n_times)
    course = np.asarray(course, dtype=float)
    if course.shape != (problem.n_times,) or not np.isfinite(course).all() or not course.any():
        raise InputError(
            f"course must be {problem.n_times} finite numbers, not all zero, got {course.shape}."
        )
    return jnp.asarray(course)
