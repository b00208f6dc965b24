"""Scores of stated intervals: how often they hold the truth, and how wide they are."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import ndtri
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from esijax._types import Scalar

LEVELS = (0.5, 0.8, 0.9, 0.95, 0.99)


def coverage(
    lower: Float[ArrayLike, "..."],
    upper: Float[ArrayLike, "..."],
    truth: Float[ArrayLike, "..."],
    where: Bool[ArrayLike, "..."] | None = None,
) -> Scalar:
    r"""Share of intervals that hold the truth.

    Report it for truly active and inactive sources apart: nearly all sources are inactive, so
    that the pooled share says nothing.

    Parameters
    ----------
    lower, upper : (...)
        Limits of the intervals.
    truth : broadcastable to them
        What is true.
    where : bool, broadcastable to them, optional
        Which intervals count.

    Returns
    -------
    share : ()
        Between 0 and 1; NaN where none counts.

    References
    ----------
    Gneiting, Balabdaoui and Raftery 2007, doi:10.1111/j.1467-9868.2007.00587.x.

    Examples
    --------
    >>> import jax.numpy as jnp, esijax as ej
    >>> float(ej.metrics.coverage(jnp.zeros(4), jnp.ones(4), jnp.array([0.5, 2.0, 0.1, -1.0])))
    0.5
    """
    lower, upper, truth = map(jnp.asarray, (lower, upper, truth))
    return _masked_mean((lower <= truth) & (truth <= upper), where)


def mean_width(
    lower: Float[ArrayLike, "..."],
    upper: Float[ArrayLike, "..."],
    where: Bool[ArrayLike, "..."] | None = None,
) -> Scalar:
    """Mean width of intervals: of two methods that both cover, the sharper is better.

    Parameters
    ----------
    lower, upper : (...)
        Limits of the intervals.
    where : bool, broadcastable to them, optional
        Which intervals count.

    Returns
    -------
    width : ()
        In their unit, not negative; NaN where none counts.

    References
    ----------
    Gneiting, Balabdaoui and Raftery 2007, doi:10.1111/j.1467-9868.2007.00587.x (sharpness).

    Examples
    --------
    >>> import jax.numpy as jnp, esijax as ej
    >>> float(ej.metrics.mean_width(jnp.zeros(2), jnp.array([1.0, 3.0])))
    2.0
    """
    return _masked_mean(jnp.asarray(upper) - jnp.asarray(lower), where)


def interval_score(
    lower: Float[ArrayLike, "..."],
    upper: Float[ArrayLike, "..."],
    truth: Float[ArrayLike, "..."],
    level: Any,
) -> Float[Array, "..."]:
    r"""Width of a central interval and a penalty where it misses: a proper score.

    .. math:: (u - l) + \tfrac{2}{\alpha} (l - q)_+ + \tfrac{2}{\alpha} (q - u)_+,
              \qquad \alpha = 1 - \text{level}

    Parameters
    ----------
    lower, upper : (...)
        Limits of the intervals.
    truth : broadcastable to them
        What is true.
    level : float
        Probability that the interval was to hold, in (0, 1).

    Returns
    -------
    score : (...)
        In the unit of the truth, not negative; smaller is better.

    References
    ----------
    Gneiting and Raftery 2007, doi:10.1198/016214506000001437.

    Examples
    --------
    >>> import jax.numpy as jnp, esijax as ej
    >>> float(ej.metrics.interval_score(jnp.array(0.0), jnp.array(1.0), jnp.array(2.0), 0.5))
    5.0
    """
    lower, upper, truth = map(jnp.asarray, (lower, upper, truth))
    miss = jnp.maximum(lower - truth, 0.0) + jnp.maximum(truth - upper, 0.0)
    return upper - lower + 2 / (1 - level) * miss


def gaussian_interval(
    mean: Float[ArrayLike, "..."], std: Float[ArrayLike, "..."], level: Any
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """Central interval of a normal distribution.

    Parameters
    ----------
    mean, std : (...)
        Mean and standard deviation of the posterior.
    level : float
        Probability that it holds, in (0, 1).

    Returns
    -------
    lower, upper : (...)

    Examples
    --------
    >>> import jax.numpy as jnp, esijax as ej
    >>> lower, upper = ej.metrics.gaussian_interval(jnp.zeros(1), jnp.ones(1), 0.95)
    >>> round(float(upper[0]), 2)
    1.96
    """
    mean, reach = jnp.asarray(mean), ndtri(0.5 + jnp.asarray(level) / 2) * jnp.asarray(std)
    return mean - reach, mean + reach


class IntervalCard(eqx.Module):
    """Coverage and mean width of central intervals, at several levels and over several groups.

    Parameters
    ----------
    levels : (levels,)
        What the intervals state.
    coverage : (groups, levels)
        Share that hold the truth, between 0 and 1; NaN for an empty group.
    width : (groups, levels)
        Mean width in the unit of the truth.
    """

    levels: Float[Array, " levels"]
    coverage: Float[Array, "groups levels"]
    width: Float[Array, "groups levels"]


@jax.jit
def interval_card(
    mean: Float[ArrayLike, "*shape"],
    std: Float[ArrayLike, "..."],
    truth: Float[ArrayLike, "*shape"],
    groups: Bool[ArrayLike, "groups ..."],
    levels: Any = LEVELS,
) -> IntervalCard:
    """Coverage and width of a normal posterior's intervals, over each of several groups.

    An exact posterior is nominal over all sources and over every group chosen from the data
    (`largest`), when the truth is drawn from its prior; never over groups chosen by the truth.

    Parameters
    ----------
    mean : (...)
        Posterior mean.
    std : broadcastable to it
        Posterior standard deviation.
    truth : (...)
        What is true.
    groups : bool, (groups, ...), each broadcastable to the mean
        Which sources count: all, chosen from the data, truly active, truly inactive.
    levels : sequence of float
        In (0, 1).

    Returns
    -------
    card : IntervalCard

    References
    ----------
    Gneiting, Balabdaoui and Raftery 2007, doi:10.1111/j.1467-9868.2007.00587.x.

    Examples
    --------
    >>> import jax.numpy as jnp, esijax as ej
    >>> everything, truth = jnp.ones((1, 3), bool), jnp.array([0.0, 1.0, 3.0])
    >>> card = ej.metrics.interval_card(jnp.zeros(3), jnp.ones(3), truth, everything)
    >>> card.coverage[0].round(2).tolist()
    [0.33, 0.67, 0.67, 0.67, 0.67]
    """
    mean, truth, groups = jnp.asarray(mean), jnp.asarray(truth), jnp.asarray(groups)
    levels = jnp.asarray(levels)
    reach = ndtri(0.5 + levels / 2)
    std = jnp.broadcast_to(jnp.asarray(std), mean.shape)
    member = jnp.broadcast_to(groups, (groups.shape[0], *mean.shape))
    member = member.reshape(groups.shape[0], -1).astype(mean.dtype)
    holds = jnp.abs(truth - mean).ravel() <= reach[:, None] * std.ravel()
    count = jnp.sum(member, axis=1, keepdims=True)
    share = member @ holds.T.astype(mean.dtype) / count  # as products: faster than masked sums
    return IntervalCard(levels, share, 2 * reach * (member @ std.reshape(-1, 1) / count))


@jax.jit
def largest(
    amplitude: Float[ArrayLike, " locations"], share: Any = 0.01
) -> Bool[Array, " locations"]:
    """Mark the locations where a map is largest: a group chosen from the data.

    Parameters
    ----------
    amplitude : (locations,)
        Size of the posterior mean, or Pr(active), not negative; never the truth.
    share : float
        Of all locations, in (0, 1]; at least one is marked, ties with the last as well.

    Returns
    -------
    chosen : bool, (locations,)

    Examples
    --------
    >>> import jax.numpy as jnp, esijax as ej
    >>> ej.metrics.largest(jnp.array([1.0, 3.0, 2.0, 0.0]), 0.5).tolist()
    [False, True, True, False]
    """
    amplitude = jnp.asarray(amplitude)
    n = amplitude.shape[0]
    count = jnp.clip(jnp.ceil(jnp.asarray(share) * n).astype(int), 1, n)
    return amplitude >= _nth_largest(amplitude, count)


@jax.jit
def _nth_largest(values: Array, n: Array) -> Scalar:
    """Exact n-th largest value, by bisection of bit patterns: they rise with non-negative numbers.

    XLA's sort on a processor takes ten times as long.
    """
    width = values.dtype.itemsize * 8
    kind = jnp.int64 if width == 64 else jnp.int32
    bits = jax.lax.bitcast_convert_type(values + 0.0, kind)  # + 0.0: there is a negative zero

    def halve(_, limits):
        low, high = limits  # at least n values reach low, fewer reach high
        middle = low + (high - low) // 2
        enough = jnp.sum(bits >= middle) >= n
        return jnp.where(enough, middle, low), jnp.where(enough, high, middle)

    low, _ = jax.lax.fori_loop(0, width - 1, halve, (jnp.zeros((), kind), jnp.max(bits) + 1))
    return jax.lax.bitcast_convert_type(low, values.dtype)


def _masked_mean(values: Array, where: Any) -> Scalar:
    counts = jnp.broadcast_to(True if where is None else where, values.shape)
    return jnp.sum(jnp.where(counts, values, 0)) / jnp.sum(counts)
