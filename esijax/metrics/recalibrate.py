"""Recalibration by isotonic regression: what a method states, corrected on other data."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtri
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from esijax._types import InputError


class Recalibration(eqx.Module):
    """A monotone map of probabilities, linear between its knots; runs in jit.

    Parameters
    ----------
    stated, corrected : (knots,)
        Both between 0 and 1, neither falls; constant outside the first and the last knot.
    """

    stated: Float[Array, " knots"]
    corrected: Float[Array, " knots"]

    def __call__(self, probability: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
        """Give the corrected probability, (...) between 0 and 1."""
        return jnp.interp(jnp.asarray(probability), self.stated, self.corrected)

    def inverse(self, probability: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
        """Give what must be stated for a corrected probability, (...) between 0 and 1."""
        return jnp.interp(jnp.asarray(probability), self.corrected, self.stated)


def recalibrate_levels(pit: Float[ArrayLike, "..."]) -> Recalibration:
    r"""Fit the map from stated to observed levels of quantiles; on the host.

    .. math:: R(p) = \Pr(\text{PIT} \le p)

    Parameters
    ----------
    pit : (...)
        Probability integral transforms of other data than those to be corrected, at least two;
        `pit_gaussian`, `pit_sample`.

    Returns
    -------
    map : Recalibration
        `map(pit)` is uniform where calibration was off in the same way.

    Raises
    ------
    InputError
        If there are fewer than two values, or any outside 0 ... 1.

    References
    ----------
    Kuleshov, Fenner and Ermon 2018, arXiv:1807.00263.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> squeezed = 0.25 + np.linspace(0, 1, 101) / 2
    >>> round(float(ej.metrics.recalibrate_levels(squeezed)(np.array(0.375))), 2)
    0.25
    """
    pit = np.sort(_probabilities(pit, "pit"))
    return _fit(pit, (np.arange(len(pit)) + 0.5) / len(pit), ends=True)


def recalibrate_probability(
    probability: Float[ArrayLike, "..."], active: Bool[ArrayLike, "..."]
) -> Recalibration:
    """Fit the map from stated Pr(active) to observed frequency; on the host.

    Parameters
    ----------
    probability : (...)
        Pr(active) on other data than those to be corrected.
    active : bool, (...)
        Which locations are truly active.

    Returns
    -------
    map : Recalibration

    Raises
    ------
    InputError
        If there are fewer than two values, any outside 0 ... 1, or the shapes differ.

    References
    ----------
    Zadrozny and Elkan 2002, doi:10.1145/775047.775151.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> stated, active = np.array([0.2, 0.2, 0.8, 0.8]), np.array([False, False, True, False])
    >>> float(ej.metrics.recalibrate_probability(stated, active)(np.array(0.8)))
    0.5
    """
    active = np.asarray(active, dtype=float).ravel()
    probability = _probabilities(probability, "probability")
    if len(probability) != len(active):
        raise InputError(
            f"{len(probability)} probabilities for {len(active)} sources: give one for each."
        )
    return _fit(probability, active, ends=False)


def recalibrated_interval(
    mean: Float[ArrayLike, "..."],
    std: Float[ArrayLike, "..."],
    level: Any,
    correction: Recalibration,
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    r"""Central interval of a normal posterior after recalibration.

    .. math:: m + \sigma\, \Phi^{-1}(R^{-1}(\tfrac{1 \pm \text{level}}{2}))

    Parameters
    ----------
    mean, std : (...)
        Mean and standard deviation of the posterior.
    level : float
        Probability that the interval is to hold, in (0, 1).
    correction : Recalibration
        From `recalibrate_levels`.

    Returns
    -------
    lower, upper : (...)
        Infinite where the fit has seen too few data for so high a level.

    References
    ----------
    Kuleshov, Fenner and Ermon 2018, arXiv:1807.00263.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> unchanged = ej.metrics.recalibrate_levels(np.linspace(0, 1, 1001))
    >>> zero, one = np.zeros(1), np.ones(1)
    >>> lower, upper = ej.metrics.recalibrated_interval(zero, one, 0.9, unchanged)
    >>> round(float(upper[0]), 1)
    1.6
    """
    tails = (1 + jnp.array([-1.0, 1.0]) * jnp.asarray(level)) / 2
    low, high = ndtri(correction.inverse(tails))
    mean, std = jnp.asarray(mean), jnp.asarray(std)
    return mean + low * std, mean + high * std


def _probabilities(values: Any, name: str) -> np.ndarray:
    values = np.asarray(values, dtype=float).ravel()
    if len(values) < 2:
        raise InputError(f"{name} has {len(values)} value(s): a fit needs two at least.")
    if not (np.all(values >= 0) and np.all(values <= 1)):
        raise InputError(
            f"{name} must lie between 0 and 1, got {values.min():g} to {values.max():g}: "
            "give probabilities."
        )
    return values


def _fit(stated: np.ndarray, observed: np.ndarray, ends: bool) -> Recalibration:
    from sklearn.isotonic import IsotonicRegression

    fit = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(stated, observed)
    x, y = fit.X_thresholds_, fit.y_thresholds_
    if ends:  # a distribution function passes through (0, 0) and (1, 1)
        x, y = np.r_[0.0, x, 1.0], np.r_[0.0, y, 1.0]
    return Recalibration(jnp.asarray(x), jnp.asarray(y))
