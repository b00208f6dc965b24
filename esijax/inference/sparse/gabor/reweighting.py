r"""One more turn of irTF-MxNE on the support of the last one, and the derivative of a turn."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from esijax._ops.epsilon import block_sizes, largest_dual_norm, moduli
from esijax._ops.stop_gradient import stop_gradient
from esijax.inference.sparse.base.gap import Certificate, Limits, duality_gap, within_tolerance
from esijax.inference.sparse.gabor.blocks import (
    GaborBlocks,
    GaborCoefs,
    block_distances,
    gabor_hessian,
    inverse_gabor_hessian,
    minimise_blocks,
)
from esijax.inference.sparse.gabor.rounds import GaborFit

MOST_TRIES = 6
DERIVATIVE_CG_STEPS = 3000


class GaborTurn(NamedTuple):
    """Coefficients of the working set, and what is known of them."""

    c: GaborCoefs
    proof: Certificate
    steps: Int[Array, ""]


def minimise_coefs_again(
    gabor: GaborFit, blocks: GaborBlocks, columns, weight, turn: GaborTurn, limits: Limits
) -> GaborTurn:
    """The majoriser at the last answer, on its support."""
    entries, norm = moduli(turn.c), block_sizes(turn.c)
    on, some = entries > 0, norm > 0
    roots = jnp.asarray(gabor.frame.roots(), dtype=entries.dtype)[None]
    bent = 1.0 / (2.0 * jnp.sqrt(jnp.where(on, entries / roots, 1.0)))
    less = jnp.where(some, 1.0 / (2.0 * jnp.sqrt(jnp.where(some, norm, 1.0))), 1.0)
    mu, lam = jnp.where(on, blocks.mu * bent, jnp.inf), blocks.lam * less
    new = GaborBlocks(blocks.gram, blocks.linear, mu, lam, blocks.frame)
    fixed = stop_gradient((new, columns, gabor.fit.data, weight * less, turn.c))
    c, proof, steps = minimise_coefs(*fixed, limits)
    c = minimiser_of_coefs(new, stop_gradient(c))
    return GaborTurn(c, stop_gradient(proof), turn.steps + steps)


def minimise_coefs(blocks: GaborBlocks, columns, data, weight, c: GaborCoefs, limits: Limits):
    """Minimise on what is not zero, ever more exactly until the certificate is good."""

    def certify(c) -> Certificate:
        x = blocks.frame.synthesis(c)
        residual = data - columns @ x.reshape(-1, x.shape[-1])
        correlation = (columns.T @ residual).reshape(x.shape)
        own = blocks.frame.analysis(correlation)
        kkt = jnp.max(block_distances(-own, c, blocks.mu, blocks.lam) / weight)
        tiny = jnp.full((), jnp.finfo(c.dtype).tiny)
        ratio = largest_dual_norm(moduli(own), blocks.mu, blocks.lam, tiny)
        return duality_gap(residual, blocks.penalty(c), jnp.sum(x * correlation), ratio, kkt)

    def body(carry):
        c, _, steps, tries = carry
        target = jnp.maximum(limits.tol, 1e-16) * 0.1**tries
        c, count = minimise_blocks(blocks, c, weight, target, limits.max_iter)
        return c, certify(c), steps + count, tries + 1

    def go(carry):
        _, proof, _, tries = carry
        return (tries < MOST_TRIES) & ~within_tolerance(proof, limits.tol)

    zero = jnp.zeros((), dtype=int)
    return jax.lax.while_loop(go, body, (c, certify(c), zero, zero))[:3]


@jax.custom_jvp
def minimiser_of_coefs(blocks: GaborBlocks, c: GaborCoefs) -> GaborCoefs:  # noqa: ARG001
    """Give `c`, the minimum of the blocks, the derivative of the implicit function theorem."""
    return c


@minimiser_of_coefs.defjvp
def _minimiser_of_coefs_jvp(primals, tangents):
    blocks, c = primals
    on = (moduli(c) > 0)[:, None, None]

    def gradient(blocks):
        return jnp.where(on, jax.grad(blocks.value)(c), 0.0)

    _, right = jax.jvp(gradient, (blocks,), (tangents[0],))
    fixed, at = stop_gradient((blocks, c))
    bound = fixed.curvatures()

    def solve(_, b):
        return inverse_gabor_hessian(fixed, bound, at, b, 1e-14, DERIVATIVE_CG_STEPS)

    dc = jax.lax.custom_linear_solve(
        lambda v: gabor_hessian(blocks, c, v), -right, solve=solve, symmetric=True
    )
    return c, dc
