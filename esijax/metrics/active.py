"""Scores of Pr(active)."""

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from esijax._types import Scalar
from esijax.metrics.interval import coverage


class Reliability(eqx.Module):
    """Stated probability against observed frequency, bin by bin.

    Parameters
    ----------
    stated : (bins,)
        Mean stated probability in the bin, between 0 and 1; NaN where it is empty.
    observed : (bins,)
        Share that was active, between 0 and 1; NaN where the bin is empty.
    count : (bins,)
        How many fell into the bin.
    """

    stated: Float[Array, " bins"]
    observed: Float[Array, " bins"]
    count: Float[Array, " bins"]


@partial(jax.jit, static_argnames="bins")
def reliability(
    probability: Float[ArrayLike, "..."], active: Bool[ArrayLike, "..."], bins: int = 10
) -> Reliability:
    """Reliability curve of Pr(active), in bins of equal width.

    Parameters
    ----------
    probability : (...)
        Pr(active), between 0 and 1.
    active : bool, (...)
        Which locations are truly active.
    bins : int
        The last holds 1 as well.

    Returns
    -------
    curve : Reliability
        On the diagonal for a calibrated method when the truth comes from its prior.

    References
    ----------
    DeGroot and Fienberg 1983, doi:10.2307/2987588.

    Examples
    --------
    >>> import jax.numpy as jnp, esijax as ej
    >>> p, active = jnp.array([0.25, 0.25, 0.75, 0.75]), jnp.array([False, False, True, False])
    >>> ej.metrics.reliability(p, active, bins=2).observed.tolist()
    [0.0, 0.5]
    """
    p, active = jnp.ravel(jnp.asarray(probability)), jnp.ravel(jnp.asarray(active))
    which = jnp.clip(jnp.floor(p * bins).astype(int), 0, bins - 1)
    empty = jnp.zeros(bins, p.dtype)
    count = empty.at[which].add(1.0)
    stated, observed = empty.at[which].add(p), empty.at[which].add(active.astype(p.dtype))
    return Reliability(stated / count, observed / count, count)


def calibration_error(
    probability: Float[ArrayLike, "..."], active: Bool[ArrayLike, "..."], bins: int = 10
) -> Scalar:
    r"""Expected calibration error: mean gap between stated probability and observed frequency.

    .. math:: \sum_b \frac{n_b}{n} | \bar p_b - \bar z_b |

    Parameters
    ----------
    probability : (...)
        Pr(active), between 0 and 1.
    active : bool, (...)
        Which locations are truly active.
    bins : int
        Of equal width.

    Returns
    -------
    error : ()
        Between 0 (best) and 1; biased upwards where bins hold few.

    References
    ----------
    Naeini, Cooper and Hauskrecht 2015, doi:10.1609/aaai.v29i1.9602.

    Examples
    --------
    >>> import jax.numpy as jnp, esijax as ej
    >>> float(ej.metrics.calibration_error(jnp.array([0.75, 0.75]), jnp.array([True, False])))
    0.25
    """
    curve = reliability(probability, active, bins)
    gap = jnp.where(curve.count > 0, jnp.abs(curve.stated - curve.observed), 0.0)
    return jnp.sum(gap * curve.count) / jnp.sum(curve.count)


def brier(probability: Float[ArrayLike, "..."], active: Bool[ArrayLike, "..."]) -> Scalar:
    r"""Brier score: mean square of stated probability minus truth, :math:`\overline{(p - z)^2}`.

    Parameters
    ----------
    probability : (...)
        Pr(active), between 0 and 1.
    active : bool, (...)
        Which locations are truly active.

    Returns
    -------
    score : ()
        Between 0 (best) and 1. Few sources are active: compare with the score of their share.

    References
    ----------
    Brier 1950, doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2.

    Examples
    --------
    >>> import jax.numpy as jnp, esijax as ej
    >>> float(ej.metrics.brier(jnp.array([0.5, 1.0]), jnp.array([False, True])))
    0.125
    """
    return jnp.mean((jnp.asarray(probability) - jnp.asarray(active)) ** 2)


def reported_coverage(
    lower: Float[ArrayLike, "locations ..."],
    upper: Float[ArrayLike, "locations ..."],
    truth: Float[ArrayLike, "locations ..."],
    probability: Float[ArrayLike, " locations"],
    threshold: Any = 0.5,
) -> Scalar:
    """Share of intervals that hold the truth among the sources that the method itself reports.

    The group is chosen from the data, so that it is nominal for a calibrated method when the
    truth comes from its prior.

    Parameters
    ----------
    lower, upper, truth : (locations, ...)
        Ends of the intervals, and what is true.
    probability : (locations,)
        Pr(active).
    threshold : float
        A location is reported where Pr(active) exceeds it.

    Returns
    -------
    share : ()
        Between 0 and 1; NaN where nothing is reported.

    References
    ----------
    Dawid 1982, doi:10.1080/01621459.1982.10477856 (calibration within groups chosen beforehand).

    Examples
    --------
    >>> import jax.numpy as jnp, esijax as ej
    >>> low, p = jnp.zeros(3), jnp.array([0.9, 0.8, 0.1])
    >>> float(ej.metrics.reported_coverage(low, low + 1, jnp.array([0.5, 2.0, 2.0]), p))
    0.5
    """
    lower = jnp.asarray(lower)
    reported = jnp.asarray(probability) > threshold
    return coverage(lower, upper, truth, reported.reshape(-1, *[1] * (lower.ndim - 1)))
