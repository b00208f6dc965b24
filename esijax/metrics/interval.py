"""Scores of stated uncertainty."""

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Bool, Float

from esijax._types import Scalar


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
    truth = jnp.asarray(truth)
    hit = (lower <= truth) & (truth <= upper)
    counts = jnp.broadcast_to(True if where is None else where, hit.shape)
    return jnp.sum(hit & counts) / jnp.sum(counts)
