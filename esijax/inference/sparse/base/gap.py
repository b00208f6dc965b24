r"""Certificates: duality gap and distance to the subdifferential, on the full problem.

.. math::
   \min_X \tfrac12 \lVert Y - G X \rVert^2 + \sum_l \lambda_l \lVert X_l \rVert \;\ge\;
   \langle Y, \theta \rangle - \tfrac12 \lVert \theta \rVert^2
   \quad \text{for} \quad \lVert G_l^\top \theta \rVert \le \lambda_l

With :math:`\theta = s R`, R the residual, the gap is a sum of terms none of which is negative

.. math:: \tfrac12 (1 - s)^2 \lVert R \rVert^2
   + \sum_l \lambda_l \lVert X_l \rVert - s \langle X_l, G_l^\top R \rangle

so that it keeps its digits where primal and dual agree in all of theirs.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from esijax._ops.safe import divisor
from esijax._types import Scalar


class Certificate(NamedTuple):
    """What proves an answer."""

    primal: Scalar
    gap: Scalar
    kkt: Scalar  # largest distance to the subdifferential, over the weight


def certificate(
    residual: Float[Array, "rank times"],
    penalty: Scalar,
    agreement: Scalar,
    ratio: Scalar,
    kkt: Scalar,
) -> Certificate:
    r"""Put the parts together.

    Parameters
    ----------
    residual : (rank, times)
    penalty : ()
        :math:`\sum \lambda_l \lVert X_l \rVert`.
    agreement : ()
        :math:`\langle X, G^\top R \rangle`.
    ratio : ()
        Largest :math:`\lVert G_l^\top R \rVert / \lambda_l`.
    kkt : ()
    """
    square = jnp.sum(residual**2)
    bound = 1.0 / jnp.maximum(ratio, jnp.finfo(residual.dtype).tiny)
    best = (square + agreement) / divisor(square)  # unconstrained in s
    s = jnp.clip(best, -bound, bound)
    gap = 0.5 * (1.0 - s) ** 2 * square + penalty - s * agreement
    return Certificate(0.5 * square + penalty, gap, kkt)
