"""Scores of where a single map is: its peak, its spread, its width."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from esijax._types import Scalar
from esijax.metrics.grid import distance_to, distance_to_active


def peak_error(
    amplitude: Float[ArrayLike, " locations"],
    positions: Float[ArrayLike, "locations 3"],
    truth: Float[ArrayLike, "sources 3"],
) -> Scalar:
    r"""Distance from the largest amplitude to the nearest true source.

    .. math:: \min_k \lVert r_{\arg\max_l a_l} - q_k \rVert

    Parameters
    ----------
    amplitude : (locations,)
        Not negative.
    positions : (locations, 3)
        Where the locations are, m.
    truth : (sources, 3)
        Where the true sources are, m.

    Returns
    -------
    distance : ()
        In the unit of the positions; 0 is best, NaN where the map is zero or not finite.

    References
    ----------
    Molins et al. 2008, doi:10.1016/j.neuroimage.2008.05.064 (dipole localisation error).

    Examples
    --------
    >>> import jax.numpy as jnp, esijax as ej
    >>> line = jnp.array([[0.0, 0, 0], [1.0, 0, 0], [2.0, 0, 0]])
    >>> float(ej.metrics.peak_error(jnp.array([0.0, 1, 3]), line, line[:1]))
    2.0
    """
    peak = jnp.asarray(positions)[jnp.argmax(amplitude)]
    error = jnp.min(jnp.linalg.norm(jnp.asarray(truth) - peak, axis=1))
    return jnp.where(has_peak(jnp.asarray(amplitude)), error, jnp.nan)


def has_peak(amplitude: Array) -> Array:
    """Whether a map is finite and not zero everywhere: else its largest entry is an accident."""
    top = jnp.max(amplitude)
    return jnp.isfinite(top) & (top > 0)


def spatial_dispersion(
    amplitude: Float[ArrayLike, " locations"],
    positions: Float[ArrayLike, "locations 3"],
    truth: Float[ArrayLike, "sources 3"],
) -> Scalar:
    r"""Spread of the squared amplitude around the true sources.

    .. math:: \sqrt{ \sum_l d_l^2 a_l^2 \big/ \sum_l a_l^2 }, \qquad
              d_l = \min_k \lVert r_l - q_k \rVert

    Parameters
    ----------
    amplitude : (locations,)
        Amplitude of each location.
    positions : (locations, 3)
        Where the locations are, m.
    truth : (sources, 3)
        Where the true sources are, m.

    Returns
    -------
    dispersion : ()
        In the unit of the positions; 0 is best, NaN where the map is zero.

    References
    ----------
    Molins et al. 2008, doi:10.1016/j.neuroimage.2008.05.064.

    Examples
    --------
    >>> import jax.numpy as jnp, esijax as ej
    >>> line = jnp.array([[0.0, 0, 0], [3.0, 0, 0]])
    >>> round(float(ej.metrics.spatial_dispersion(jnp.array([1.0, 1]), line, line[:1])), 3)
    2.121
    """
    return dispersion_by_distance(jnp.asarray(amplitude), distance_to(positions, truth))


def dispersion_by_distance(amplitude: Array, distance: Array) -> Scalar:
    """Spatial dispersion, the distance of each location to the truth given."""
    power = amplitude**2
    return jnp.sqrt(jnp.sum(distance**2 * power) / jnp.sum(power))


def blur(
    amplitude: Float[ArrayLike, " locations"], areas: Float[ArrayLike, " locations"]
) -> Scalar:
    r"""Full width at half maximum: diameter of a disc as large as the cortex above half the peak.

    .. math:: 2 \sqrt{A / \pi}, \qquad A = \sum_{l : a_l \ge \max a / 2} s_l

    It speaks of the map alone, wherever the peak is.

    Parameters
    ----------
    amplitude : (locations,)
        Not negative.
    areas : (locations,)
        m2.

    Returns
    -------
    width : ()
        m; small where the map is focal.

    References
    ----------
    Hauk, Stenroos and Treder 2022, doi:10.1016/j.neuroimage.2022.119177 (measures of extent).

    Examples
    --------
    >>> import jax.numpy as jnp, esijax as ej
    >>> round(float(ej.metrics.blur(jnp.array([1.0, 0.6, 0.4]), jnp.full(3, jnp.pi / 8))), 3)
    1.0
    """
    amplitude = jnp.asarray(amplitude)
    high = amplitude >= jnp.max(amplitude) / 2
    return 2 * jnp.sqrt(jnp.sum(jnp.where(high, areas, 0.0)) / jnp.pi)


def half_radius(
    amplitude: Float[ArrayLike, " locations"],
    positions: Float[ArrayLike, "locations 3"],
    truth: Float[ArrayLike, "sources 3"],
) -> Scalar:
    """Largest distance from a true source at which the map still exceeds half its peak.

    Parameters
    ----------
    amplitude : (locations,)
        Not negative.
    positions : (locations, 3)
        Where the locations are, m.
    truth : (sources, 3)
        Where the true sources are, m.

    Returns
    -------
    radius : ()
        In the unit of the positions; 0 is best.

    References
    ----------
    Hauk, Stenroos and Treder 2022, doi:10.1016/j.neuroimage.2022.119177 (MNE-Python 1.13 means
    the same by ``maxrad_ext``, but adds up the squares over locations, not coordinates).

    Examples
    --------
    >>> import jax.numpy as jnp, esijax as ej
    >>> line = jnp.array([[0.0, 0, 0], [1.0, 0, 0], [2.0, 0, 0]])
    >>> float(ej.metrics.half_radius(jnp.array([4.0, 3, 1]), line, line[:1]))
    1.0
    """
    return half_radius_by_distance(jnp.asarray(amplitude), distance_to(positions, truth))


def half_radius_by_distance(amplitude: Array, distance: Array) -> Scalar:
    """Half radius, the distance of each location to the truth given."""
    radius = jnp.max(jnp.where(amplitude > jnp.max(amplitude) / 2, distance, 0.0))
    return jnp.where(has_peak(amplitude), radius, jnp.nan)


@jax.jit
def region_error(
    found: Bool[ArrayLike, " locations"],
    active: Bool[ArrayLike, " locations"],
    positions: Float[ArrayLike, "locations 3"],
) -> Scalar:
    r"""Mean distance between two sets of locations, to the nearest of the other, both ways.

    .. math:: \frac{1}{2|A|} \sum_{k \in A} \min_{l \in F} \lVert r_k - r_l \rVert
              + \frac{1}{2|F|} \sum_{l \in F} \min_{k \in A} \lVert r_k - r_l \rVert

    Parameters
    ----------
    found : bool, (locations,)
        What the map reports, e.g. `above`.
    active : bool, (locations,)
        What is truly active.
    positions : (locations, 3)
        Where the locations are, m.

    Returns
    -------
    distance : ()
        In the unit of the positions; 0 is best, infinite where one of the sets is empty.

    References
    ----------
    Yao and Dewald 2005, doi:10.1016/j.neuroimage.2004.11.036 (error distance).

    Examples
    --------
    >>> import jax.numpy as jnp, esijax as ej
    >>> line = jnp.array([[0.0, 0, 0], [1.0, 0, 0], [2.0, 0, 0]])
    >>> found, active = jnp.array([True, True, False]), jnp.array([True, False, False])
    >>> float(ej.metrics.region_error(found, active, line))
    0.25
    """
    found, active = jnp.asarray(found), jnp.asarray(active)
    there = jnp.sum(jnp.where(active, distance_to_active(positions, found), 0.0))
    back = jnp.sum(jnp.where(found, distance_to_active(positions, active), 0.0))
    value = (there / jnp.sum(active) + back / jnp.sum(found)) / 2
    return jnp.where(jnp.any(found) & jnp.any(active), value, jnp.inf)
