r"""Certificates: duality gap and distance to the subdifferential, on the full problem.

.. math::
   \min_X \tfrac12 \lVert Y - G X \rVert^2 + \sum_l \lambda_l \lVert X_l \rVert \;\ge\;
   \langle Y, \theta \rangle - \tfrac12 \lVert \theta \rVert^2
   \quad \text{for} \quad \lVert G_l^\top \theta \rVert \le \lambda_l

With :math:`\theta = s R`, R the residual, the gap is a sum of terms none of which is negative

.. math:: \tfrac12 (1 - s)^2 \lVert R \rVert^2
   + \sum_l \lambda_l \lVert X_l \rVert - s \langle X_l, G_l^\top R \rangle

so that it keeps its digits where primal and dual agree in all of theirs. Here too stands the one
rule that tells from a certificate whether a minimum is reached.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from esijax._ops.safe import divisor
from esijax._types import Scalar

KKT_SHARE = 100  # how much larger than the tolerance of the gap the KKT distance may be
OBJECTIVE_ROUNDING = 4e-15  # of the terms of an objective: a smaller rise is rounding


class Limits(NamedTuple):
    """When to stop: tolerance of the gap relative to the objective, and the number of steps."""

    tol: Scalar
    max_iter: Array

    def times(self, factor: int) -> "Limits":
        """Allow more steps, for solvers whose steps are cheaper."""
        return self._replace(max_iter=factor * self.max_iter)


class Certificate(NamedTuple):
    """What proves a minimum: objective, duality gap (NaN: unknown), KKT distance."""

    primal: Scalar
    gap: Scalar
    kkt: Scalar  # largest distance of zero to the subdifferential, over the weight


def duality_gap(
    residual: Float[Array, "rank times"],
    penalty: Scalar,
    agreement: Scalar,
    ratio: Scalar,
    kkt: Scalar,
) -> Certificate:
    r"""Certify sources under a norm, with the dual point that is a multiple of the residual.

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
        Distance that is handed on.
    """
    square = jnp.sum(residual**2)
    bound = 1.0 / jnp.maximum(ratio, jnp.finfo(residual.dtype).tiny)
    best = (square + agreement) / divisor(square)  # unconstrained in s
    s = jnp.clip(best, -bound, bound)
    gap = 0.5 * (1.0 - s) ** 2 * square + penalty - s * agreement
    return Certificate(0.5 * square + penalty, gap, kkt)


def within_tolerance(proof: Certificate, tol: Scalar) -> Bool[Array, "..."]:
    """Gap and KKT distance are within tolerance; an unknown (NaN) gap passes."""
    tight = jnp.isnan(proof.gap) | (proof.gap <= tol * proof.primal)
    return tight & (proof.kkt <= KKT_SHARE * tol)


def goes_on(proof: Certificate, steps: Array, limits: Limits) -> Bool[Array, ""]:
    """Not within tolerance, steps are left, and the objective is a number."""
    more = (steps < limits.max_iter) & jnp.isfinite(proof.primal)
    return more & ~within_tolerance(proof, limits.tol)
