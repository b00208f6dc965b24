r"""TF-MxNE: working sets of locations, proved on all of them.

A round solves for the locations that are active or whose gradients are farthest beyond what the
norm takes at zero, in Gram form, and looks at all others: one pass over the gain, and the Gabor
coefficients of those gradients alone whose plain norm is above the weight, which bounds the dual
norm. The coefficients of other locations are never formed. Sets grow in few sizes, each compiled
once.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from esijax._ops.epsilon import block_sizes, excess, largest_dual_norm, moduli, tree_value
from esijax._ops.gabor import Frame
from esijax._ops.prox import block_norms
from esijax._types import Scalar, Sources
from esijax.inference.sparse.base.gap import Certificate, Limits, duality_gap, goes_on
from esijax.inference.sparse.gabor.blocks import (
    PROX_STEPS,
    GaborBlocks,
    GaborCoefs,
    block_distances,
    minimise_blocks,
)
from esijax.models.penalties.least_squares import LeastSquares

SMALLEST_SET = 32  # locations of a first working set
GROWTH = 8
LOOP_COLUMNS = 2048  # of the largest set within a transformation
SCREENED_AT_ONCE = 128  # locations whose coefficients are in memory
STALLED_ROUNDS = 4


class GaborSet(NamedTuple):
    """A working set with its coefficients, and what is known of all locations."""

    index: Int[Array, " w"]
    c: GaborCoefs
    beyond: Float[Array, " locations"]  # of gradients, over the weight
    proof: Certificate
    ratio: Scalar  # largest dual norm of a gradient over its weight, 1 where it is below
    rounds: Int[Array, ""]
    steps: Int[Array, ""]
    wanted: Int[Array, ""]
    stalled: Int[Array, ""]


class GaborFit(eqx.Module):
    """One problem: data and weights of locations; the share of entries, and the frame."""

    fit: LeastSquares
    share: Scalar  # l1_ratio
    frame: Frame = eqx.field(static=True)

    def weights(self, weight: Float[Array, " w"]):
        """Mu and lambda of some locations."""
        roots = jnp.asarray(self.frame.roots(), dtype=weight.dtype)
        return weight[:, None] * self.share * roots[None], weight * (1.0 - self.share)

    def blocks(self, index: Int[Array, " w"]) -> GaborBlocks:
        """The problem of some locations."""
        columns = self.fit.columns(index)
        linear = (columns.T @ self.fit.data).reshape(len(index), self.fit.scale.shape[1], -1)
        return GaborBlocks(
            columns.T @ columns, linear, *self.weights(self.fit.weight[index]), self.frame
        )


def gabor_sizes(
    n_locations: int, n_orients: int, limit: int | None = LOOP_COLUMNS
) -> tuple[int, ...]:
    """Sizes of working sets, of at most `limit` columns."""
    largest = n_locations if limit is None else min(n_locations, max(limit // n_orients, 1))
    out, size = [], SMALLEST_SET
    while 2 * size < largest:
        out.append(size)
        size *= GROWTH if size * GROWTH * n_orients <= LOOP_COLUMNS else 2
    return (*out, largest)


def screen_dual_norms(
    gabor: GaborFit, gradient, largest
) -> tuple[Float[Array, " locations"], Scalar]:
    """Excess of every gradient over its weight, and the largest dual norm, `largest` at least.

    Norms in time come first: where they are below the weight, both are known.
    """
    fit, frame = gabor.fit, gabor.frame
    plain = block_norms(gradient) / fit.weight
    size = min(SCREENED_AT_ONCE, len(plain))
    ordered, order = jax.lax.top_k(plain, len(plain))

    def body(carry):
        begin, beyond, nu = carry
        index = jax.lax.dynamic_slice(order, (begin,), (size,))
        weight = fit.weight[index]
        mu, lam = gabor.weights(jnp.ones_like(weight))
        entries = moduli(frame.analysis(gradient[index] / weight[:, None, None]))
        over = jnp.maximum(excess(entries, mu, lam), 0.0)
        nu = largest_dual_norm(entries, mu, lam, nu)
        return begin + size, beyond.at[index].set(over), nu

    def go(carry):
        begin = carry[0]
        return (begin < len(plain)) & (ordered[jnp.minimum(begin, len(plain) - 1)] > 1.0)

    zero = jnp.zeros((), dtype=order.dtype)
    _, beyond, nu = jax.lax.while_loop(go, body, (zero, jnp.zeros_like(plain), largest))
    # what was not looked at has a dual norm of 1 at most, where zero is feasible as it is
    return beyond, jnp.maximum(nu, jnp.minimum(ordered[0], 1.0))


def gabor_set_at(gabor: GaborFit, start: Sources) -> GaborSet:
    """At zero, or at an earlier answer; one that is not sparse only ranks the locations."""
    fit = gabor.fit
    strength = block_norms(start)
    few = (4 * jnp.sum(strength > 0) <= len(strength) + 3) & jnp.any(strength > 0)
    size = gabor_sizes(*fit.scale.shape)[0]
    few = few & (jnp.sum(strength > 0) <= size)
    _, index = jax.lax.top_k(strength, size)
    c = jnp.where(few, gabor.frame.analysis(start[index]), 0.0)
    now = _certify_coefs(gabor, index, c)
    rank = jnp.where(few, 0.0, strength / jnp.maximum(jnp.max(strength), 1e-300))
    return now._replace(beyond=now.beyond * (1.0 + rank))


def _certify_coefs(gabor: GaborFit, index, c) -> GaborSet:
    """Certificate of coefficients on all locations."""
    fit, zero = gabor.fit, jnp.zeros((), dtype=int)
    x = gabor.frame.synthesis(c)
    residual = fit.data - fit.columns(index) @ x.reshape(-1, x.shape[-1])
    gradient = fit.adjoint(residual)
    weight = fit.weight[index]
    mu, lam = gabor.weights(weight)
    own = gabor.frame.analysis(gradient[index])
    inside = block_distances(-own, c, mu, lam) / weight
    ratio = largest_dual_norm(moduli(own), mu, lam, jnp.zeros((), dtype=c.dtype))
    beyond, ratio = screen_dual_norms(gabor, gradient, ratio)
    beyond = beyond.at[index].set(jnp.where(block_sizes(c) > 0, 0.0, beyond[index]))
    kkt = jnp.maximum(jnp.max(inside), jnp.max(beyond))
    value = jnp.sum(tree_value(c, mu, lam))
    proof = duality_gap(residual, value, jnp.sum(x * gradient[index]), ratio, kkt)
    count, missing = jnp.sum(block_sizes(c) > 0), jnp.sum(beyond > 0)
    wanted = count + jnp.minimum(missing, jnp.maximum(count, SMALLEST_SET // 2))
    return GaborSet(index, c, beyond, proof, ratio, zero, zero, wanted, zero)


def gabor_finished(now: GaborSet, limits: Limits):
    """Converged, out of steps, or at the end of what the number type can tell."""
    return ~goes_on(now.proof, now.steps, limits) | (now.stalled >= STALLED_ROUNDS)


def steps_within(size: int) -> int:
    """Steps of a round: about a second's."""
    return (PROX_STEPS + 1) * max(2048 // size, 4)


def gabor_round(size: int, gabor: GaborFit, now: GaborSet, limits: Limits) -> GaborSet:
    """Solve on the `size` most promising locations, look at all."""
    norms = block_sizes(now.c)
    rank = now.beyond.at[now.index].max(jnp.where(norms > 0, jnp.inf, 0.0))
    _, index = jax.lax.top_k(rank, size)
    place = jnp.zeros(len(rank), dtype=int).at[index].set(jnp.arange(size))
    slot = jnp.where(norms > 0, place[now.index], size)  # out of range: dropped
    c = jnp.zeros((size, *now.c.shape[1:]), dtype=now.c.dtype)
    c = c.at[slot].set(now.c, mode="drop")
    target = jnp.clip(0.1 * now.proof.kkt, 3 * limits.tol, 0.1) * 0.01**now.stalled
    weight = gabor.fit.weight[index]
    left = jnp.minimum(limits.max_iter - now.steps, steps_within(size))
    c, count = minimise_blocks(gabor.blocks(index), c, weight, target, left)
    new = _certify_coefs(gabor, index, c)
    idle = (count == 0) & (new.proof.kkt >= 0.5 * now.proof.kkt)
    return new._replace(
        rounds=now.rounds + 1,
        steps=now.steps + jnp.maximum(count, 1),
        stalled=jnp.where(idle, now.stalled + 1, 0),
    )


def widen(now: GaborSet, size: int) -> GaborSet:
    """More slots; the new ones are empty."""
    more = size - len(now.index)
    index = jnp.concatenate([now.index, jnp.full(more, now.index[0])])
    empty = jnp.zeros((more, *now.c.shape[1:]), dtype=now.c.dtype)
    return now._replace(index=index, c=jnp.concatenate([now.c, empty]))
