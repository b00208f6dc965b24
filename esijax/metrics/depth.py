"""Whether sources are drawn towards the sensors."""

import equinox as eqx
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Float

from esijax._types import Scalar


class DepthBias(eqx.Module):
    """What `depth_bias` found.

    Parameters
    ----------
    mean : ()
        Mean of estimated minus true depth, in their unit: negative where peaks come out too
        superficial; 0 is best.
    slope : ()
        Slope of estimated on true depth: 1 is best, 0 where the estimate knows nothing of depth.
    """

    mean: Scalar
    slope: Scalar


def depth_error(
    amplitude: Float[ArrayLike, " locations"],
    depth: Float[ArrayLike, " locations"],
    true_depth: Float[ArrayLike, ""],
) -> Scalar:
    r"""Depth of the peak minus that of the true source.

    Parameters
    ----------
    amplitude : (locations,)
        Not negative.
    depth : (locations,)
        Depth of each location, e.g. `distance_to` (positions, sensors).
    true_depth : ()
        Depth of the true source, m.

    Returns
    -------
    difference : ()
        In the unit of `depth`; 0 is best, negative where the peak is too superficial.

    References
    ----------
    Lin et al. 2006, doi:10.1016/j.neuroimage.2005.11.054.

    Examples
    --------
    >>> import jax.numpy as jnp, esijax as ej
    >>> depth = jnp.array([0.01, 0.05])
    >>> float(ej.metrics.depth_error(jnp.array([2.0, 1.0]), depth, depth[1]))
    -0.04
    """
    return jnp.asarray(depth)[jnp.argmax(amplitude)] - true_depth


def depth_bias(
    estimated: Float[ArrayLike, " sources"], truth: Float[ArrayLike, " sources"]
) -> DepthBias:
    r"""Mean difference and slope of estimated on true depth, over many sources.

    .. math:: \bar{e} - \bar{d}, \qquad
              \sum_i (d_i - \bar d)(e_i - \bar e) \big/ \sum_i (d_i - \bar d)^2

    Parameters
    ----------
    estimated, truth : (sources,)
        Depth of the peaks and of the true sources, in the same unit.

    Returns
    -------
    bias : DepthBias
        The slope is NaN where all true sources are equally deep.

    References
    ----------
    Lin et al. 2006, doi:10.1016/j.neuroimage.2005.11.054.

    Examples
    --------
    >>> import jax.numpy as jnp, esijax as ej
    >>> float(ej.metrics.depth_bias(jnp.array([1.0, 2, 3]), jnp.array([2.0, 4, 6])).slope)
    0.5
    """
    estimated, truth = jnp.asarray(estimated), jnp.asarray(truth)
    centred = truth - jnp.mean(truth)
    slope = jnp.sum(centred * estimated) / jnp.sum(centred**2)
    return DepthBias(jnp.mean(estimated - truth), slope)
