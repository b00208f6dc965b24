"""Scores of where activity is."""

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Float

from esijax._types import Scalar


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
    truth : (sources, 3)

    Returns
    -------
    distance : ()
        In the unit of the positions; 0 is best.

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
    return jnp.min(jnp.linalg.norm(jnp.asarray(truth) - peak, axis=1))


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
    positions : (locations, 3)
    truth : (sources, 3)

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
    apart = jnp.asarray(positions)[:, None] - jnp.asarray(truth)[None]
    nearest = jnp.min(jnp.linalg.norm(apart, axis=-1), axis=1)
    power = jnp.asarray(amplitude) ** 2
    return jnp.sqrt(jnp.sum(nearest**2 * power) / jnp.sum(power))
