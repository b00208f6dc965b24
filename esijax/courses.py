"""What is asked of the course of a region: its band, its mean over a window, when it peaks."""

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from esijax._ops.normals import mixture_quantile
from esijax._types import InputError, is_number, is_traced
from esijax.posterior import Courses, Posterior, scaled_combined

NEAR = 1e-9  # s, by which a sample may miss the end of a window
NO_LATENCY = (
    "the time of its peak has no posterior. Take a prior that integrates (GroupLaplace, ARD, "
    "Components) with EM, Laplace or NUTS."
)


@dataclass(frozen=True)
class Course:
    """A time course with its credible band, in the units of the estimate.

    Parameters
    ----------
    mean, std : ndarray, (..., times)
    lower, upper : ndarray, (..., times)
        Limits of the central interval.
    times : ndarray, (times,)
        s.
    level : float
        Probability that the interval holds.
    """

    mean: np.ndarray
    std: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    times: np.ndarray
    level: float


@dataclass(frozen=True)
class WindowMean:
    """The mean of a course over a window with its credible interval, in the estimate's units.

    Parameters
    ----------
    mean, std : ndarray, (...)
        One number for each trial; without trials one number.
    lower, upper : ndarray, (...)
        Limits of the central interval.
    window : tuple
        First and last sample that it is the mean of, s.
    level : float
        Probability that the interval holds.
    """

    mean: np.ndarray
    std: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    window: tuple[float, float]
    level: float


@dataclass(frozen=True)
class Latency:
    """When a course is farthest from zero within a window: the posterior of that time, s.

    Parameters
    ----------
    mean, median, std : ndarray, (...)
        One number for each trial; without trials one number.
    lower, upper : ndarray, (...)
        Limits of the central interval.
    probability : ndarray, (..., times)
        That the peak is at each sample of the window.
    times : ndarray, (times,)
        Those samples, s.
    level : float
        Probability that the interval holds.
    """

    mean: np.ndarray
    median: np.ndarray
    std: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    probability: np.ndarray
    times: np.ndarray
    level: float


def samples_within(times: np.ndarray, window: Any) -> np.ndarray:
    """Indices of the samples of a window, both ends included.

    Raises
    ------
    InputError
        For what is no pair of times, and a window without samples.
    """
    pair = isinstance(window, tuple | list) and len(window) == 2
    if not (pair and all(is_number(end) for end in window)):
        raise InputError(f"window must be (tmin, tmax) in seconds, got {window!r:.60}.")
    inside = np.flatnonzero((times >= window[0] - NEAR) & (times <= window[1] + NEAR))
    if inside.size == 0:
        raise InputError(
            f"the data go from {times[0]:.3f} to {times[-1]:.3f} s: no sample lies between "
            f"{window[0]} and {window[1]} s."
        )
    return inside


def n_draws(n: Any) -> int:
    """A number of draws."""
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise InputError(f"n must be at least 1 and a whole number, got {n!r}.")
    return int(n)


def tails_of(level: Any) -> tuple[Any, Any]:
    """Probabilities below the ends of a central interval."""
    if is_traced(level):
        return (1 - level) / 2, (1 + level) / 2
    if not (is_number(level) and 0 < level < 1):
        raise InputError(f"the level of an interval must lie between 0 and 1, got {level!r}.")
    return (1 - float(level)) / 2, (1 + float(level)) / 2


def course_of(
    posterior: Posterior, weights: Float[Array, "1 _ _"], times: np.ndarray, level: Any, tails: Any
) -> Course:
    """A combination of the sources at each time, with its band."""
    members, variance = scaled_combined(posterior, weights)
    moments = _mixture_moments(members[..., 0, :], variance[:, 0], tails)
    return Course(*moments, times, level)


def window_mean(
    posterior: Posterior,
    weights: Float[Array, "1 _ _"],
    times: np.ndarray,
    window: Any,
    level: Any,
    tails: Any,
) -> WindowMean:
    r"""Mean of a combination over a window.

    .. math:: \bar x = \tfrac1n \sum_{t \in w} x_t, \qquad
              \operatorname{Var} \bar x = \sum_m v_m \Big( \tfrac1n \sum_{t \in w} U_{tm} \Big)^2

    in each member of a mixture, its quantiles exact.
    """
    part = samples_within(times, window)
    mean, variance = _over_window(posterior, weights, jnp.asarray(part))
    moments = (x[..., 0] for x in _mixture_moments(mean, variance, tails))
    return WindowMean(*moments, (float(times[part][0]), float(times[part][-1])), level)


def latency_of(
    posterior: Posterior,
    weights: Float[Array, "1 _ _"],
    times: np.ndarray,
    window: Any,
    n: int,
    key: PRNGKeyArray,
    level: Any,
    tails: Any,
) -> Latency:
    """Draw courses over a window, each from a member taken at random, and count their peaks."""
    part = samples_within(times, window)
    peaks = np.asarray(_peaks(posterior, weights, jnp.asarray(part), n, key))
    inside = times[part]
    found = inside[peaks]
    counts = np.stack([np.mean(peaks == i, axis=0) for i in range(len(inside))], axis=-1)
    lower, median, upper = np.quantile(found, [float(tails[0]), 0.5, float(tails[1])], axis=0)
    numbers = found.mean(axis=0), median, found.std(axis=0), lower, upper
    return Latency(*(np.asarray(x) for x in numbers), counts, inside, level)


def _mixture_moments(members: Array, variance: Array, tails: Any) -> tuple[np.ndarray, ...]:
    """Mean, deviation and quantiles from members (members, ..., times), (members, times or 1)."""
    spread = jnp.sqrt(variance)
    spread = spread.reshape(len(spread), *[1] * (members.ndim - 2), -1)
    lower, upper = (mixture_quantile(members, spread, p) for p in tails)
    mean = jnp.mean(members, axis=0)
    std = jnp.sqrt(jnp.mean(spread**2 + (members - mean) ** 2, axis=0))
    return tuple(np.asarray(x) for x in (mean, std, lower, upper))


def _within(found: Courses, part: Array) -> tuple[Array, Array, Array]:
    """Means (members, ..., times), variances (members, modes), roots (members, times, modes)."""
    mean, variance = found.mean[..., 0, part], found.variance[:, 0]
    n = mean.shape[-1]
    if found.root is not None:
        return mean, variance, found.root[:, part]
    steady = variance.shape[-1] == 1
    variance = jnp.broadcast_to(variance, (len(variance), n)) if steady else variance[:, part]
    return mean, variance, jnp.broadcast_to(jnp.eye(n), (len(variance), n, n))


@eqx.filter_jit
def _over_window(posterior: Posterior, weights: Array, part: Array) -> tuple[Array, Array]:
    """Mean (members, ..., 1) and variance (members, 1) of the mean over some samples."""
    mean, variance, root = _within(posterior.courses(weights), part)
    power = jnp.sum(variance * jnp.mean(root, axis=1) ** 2, axis=1)
    return jnp.mean(mean, axis=-1, keepdims=True), power[:, None]


@eqx.filter_jit
def _peaks(posterior: Posterior, weights: Array, part: Array, n: int, key: PRNGKeyArray) -> Array:
    """Sample of the largest absolute value in each of n draws, (n, ...)."""
    mean, variance, root = _within(posterior.courses(weights), part)
    size = jnp.sqrt(jnp.maximum(variance, 0.0))

    def draw(key: PRNGKeyArray) -> Array:
        k_member, k_white = jax.random.split(key)
        i = jax.random.randint(k_member, (), 0, len(mean))
        white = jax.random.normal(k_white, (*mean.shape[1:-1], size.shape[1]), mean.dtype)
        scaled = white * jnp.broadcast_to(size[i], white.shape)
        return jnp.argmax(jnp.abs(mean[i] + scaled @ root[i].T), axis=-1)

    return jax.lax.map(draw, jax.random.split(key, n))
