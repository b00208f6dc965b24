r"""Block coordinate descent for least squares with a sum of block norms.

.. math:: X_l \leftarrow \operatorname{prox}_{\lambda_l \lVert \cdot \rVert / L_l}
   \big(X_l - (A X - B)_l / L_l\big), \qquad L_l = \lVert A_{ll} \rVert

one location after the other, with the same problem and the same end as `block_newton`. A sweep
costs one product with A; a location that stays costs nothing. Where columns are alike it takes
many sweeps, where Newton's method takes few steps.

Strohmeier et al. 2016, doi:10.1109/TMI.2016.2553445.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from esijax._ops.prox import block_soft_threshold
from esijax._ops.safe import divisor
from esijax._types import Scalar
from esijax.inference.sparse.newton.block_newton import (
    BlockIterate,
    BlockSources,
    Quadratic,
    block_kkt,
    iterate_blocks,
)

SWEEPS = 10  # between two measurements of the KKT distance


def coordinate_descent(
    quad: Quadratic, x: BlockSources, tol: Scalar, max_iter: Int[Array, ""]
) -> BlockIterate:
    """Minimise one location after the other, in at most `max_iter` sweeps."""
    w, n_orients, _ = x.shape
    rows = quad.gram.reshape(w, n_orients, w, n_orients)
    own = jnp.einsum("ijil->ijl", rows)
    steep = own[:, 0, 0] if n_orients == 1 else jnp.linalg.eigvalsh(own)[:, -1]
    steep = divisor(steep)

    def update(i, carry):
        x, gradient = carry
        there = x[i] - gradient[i] / steep[i]
        new = block_soft_threshold(there[None], quad.weight[i, None] / steep[i, None])[0]
        move = new - x[i]

        def moved():
            return x.at[i].set(new), gradient + jnp.einsum("jkl,jt->klt", rows[i], move)

        return jax.lax.cond(jnp.any(move != 0), moved, lambda: carry)

    def sweeps(at: BlockIterate) -> BlockIterate:
        def sweep(_, carry):
            return jax.lax.fori_loop(0, w, update, carry)

        x, _ = jax.lax.fori_loop(0, SWEEPS, sweep, (at.x, at.gradient))
        gradient = quad.apply(x) - quad.linear  # afresh: sums of many moves round
        kkt = jnp.max(block_kkt(gradient, x, quad.weight))
        idle = jnp.where((kkt < at.kkt) | (kkt > 1e-7), 0, at.idle + 1)
        return BlockIterate(x, gradient, kkt, at.count + SWEEPS, idle)

    return iterate_blocks(sweeps, quad, x, tol, max_iter)
