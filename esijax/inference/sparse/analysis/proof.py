r"""What proves an answer of norms of linear maps: a feasible dual point and its gap.

.. math:: \min_Z \tfrac12 \lVert Y - K Z \rVert^2 + \sum_i g_i(M_i Z) \;\ge\;
   \langle Y, \theta \rangle - \tfrac12 \lVert \theta \rVert^2 - \sum_i g_i^*(U_i)
   \quad \text{where} \quad K^\top \theta = \sum_i M_i^\top U_i

A feasible point is made of the current one: :math:`\theta` without what no map sees (constants,
for differences), U plus the least change that restores the equation, both scaled into the dual
balls.
"""

import jax.numpy as jnp

from esijax._ops.prox import block_norms, tree_norm
from esijax._ops.safe import divisor
from esijax._types import Scalar, Sources
from esijax.inference.sparse.base.gap import Certificate
from esijax.models.penalties import Analysis
from esijax.models.penalties.least_squares import LeastSquares


def dual_certificate(fit: LeastSquares, penalty: Analysis, z: Sources, u: tuple) -> Certificate:
    """Gap, and the distance of the pair to the optimality conditions over alpha."""
    alpha = penalty.alpha
    residual = fit.data - fit.predict(z)
    correlation = fit.adjoint(residual)
    seen, amplitude = penalty.images(z), jnp.maximum(jnp.max(block_norms(z)), _negligible(fit))
    inside = tuple(
        t.dual_step(v, alpha, jnp.zeros(())) for t, v in zip(penalty.terms, u, strict=True)
    )
    kkt = jnp.max(block_norms(correlation - penalty.transposed(inside, z.shape))) / alpha
    for t, v, m in zip(penalty.terms, inside, seen, strict=True):
        if t.norm == "squares":
            off = jnp.abs(v - alpha * t.share * m) / (alpha * t.share)
        else:
            step = alpha * t.share / divisor(amplitude)
            off = jnp.abs(v - t.dual_step(v + step * m, alpha, step)) / (alpha * t.share)
        kkt = jnp.maximum(kkt, jnp.max(off))
    primal = 0.5 * jnp.sum(residual**2) + penalty.value(z)
    return Certificate(primal, primal - _dual_value(fit, penalty, residual, inside), kkt)


def _negligible(fit: LeastSquares) -> Scalar:
    """An amplitude below which sources are rounding: 1e-8 of what the data ask for."""
    correlation = tree_norm(fit.adjoint(fit.data))
    return 1e-8 * jnp.sum(fit.data**2) / divisor(correlation)


def _dual_value(fit: LeastSquares, penalty: Analysis, residual, u: tuple) -> Scalar:
    """Value of a feasible dual point; NaN where the equation cannot be restored."""
    theta = residual - fit.predict(penalty.unseen_fit(fit, residual))
    correlation = fit.adjoint(theta)
    u = penalty.restore(u, correlation)
    left = tree_norm(correlation - penalty.transposed(u, correlation.shape))
    ok = left <= 1e-9 * jnp.maximum(tree_norm(correlation), penalty.alpha)
    largest, square = jnp.zeros(()), jnp.sum(theta**2)
    for t, v in zip(penalty.terms, u, strict=True):
        if t.norm == "squares":
            square = square + jnp.sum(v**2) / (penalty.alpha * t.share)
        else:
            bound = penalty.alpha * t.share
            largest = jnp.maximum(largest, jnp.max(t.sizes(v)) / bound)
    linear = jnp.sum(fit.data * theta)
    best = linear / divisor(square)
    s = jnp.minimum(best, 1.0 / jnp.maximum(largest, 1e-300))
    return jnp.where(ok, s * linear - 0.5 * s**2 * square, jnp.nan)
