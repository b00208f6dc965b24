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

from esijax._ops.epsilon import excess, largest_dual_norm, moduli, sizes, tree_value
from esijax._ops.gabor import Frame
from esijax._ops.prox import block_norms
from esijax._types import Scalar
from esijax.inference.sparse.base.gap import Certificate, certificate
from esijax.inference.sparse.base.task import Task
from esijax.inference.sparse.gabor.blocks import PROX_STEPS, Blocks, Coefs, descend, distances

FIRST = 32
GROWTH = 8
COLUMNS = 2048  # of the largest set within a transformation
CHUNK = 128  # locations whose coefficients are in memory at once
STALLED = 4


class Course(NamedTuple):
    """Where the rounds are: some locations with coefficients, all with an excess."""

    index: Int[Array, " w"]
    c: Coefs
    beyond: Float[Array, " locations"]  # of gradients, over the weight
    proof: Certificate
    ratio: Scalar  # largest dual norm of a gradient over its weight, 1 where it is below
    rounds: Int[Array, ""]
    steps: Int[Array, ""]
    wanted: Int[Array, ""]
    stalled: Int[Array, ""]


class Gabor(eqx.Module):
    """One problem: data and weights of locations; the share of entries, and the frame."""

    task: Task
    share: Scalar  # l1_ratio
    frame: Frame = eqx.field(static=True)

    def weights(self, weight: Float[Array, " w"]):
        """Mu and lambda of some locations."""
        roots = jnp.asarray(self.frame.roots(), dtype=weight.dtype)
        return weight[:, None] * self.share * roots[None], weight * (1.0 - self.share)

    def blocks(self, index: Int[Array, " w"]) -> Blocks:
        """The problem of some locations."""
        columns = self.task.columns(index)
        linear = (columns.T @ self.task.data).reshape(len(index), self.task.scale.shape[1], -1)
        return Blocks(
            columns.T @ columns, linear, *self.weights(self.task.weight[index]), self.frame
        )


def rungs(n_locations: int, n_orients: int, limit: int | None = COLUMNS) -> tuple[int, ...]:
    """Sizes of working sets, of at most `limit` columns."""
    largest = n_locations if limit is None else min(n_locations, max(limit // n_orients, 1))
    out, size = [], FIRST
    while 2 * size < largest:
        out.append(size)
        size *= GROWTH if size * GROWTH * n_orients <= COLUMNS else 2
    return (*out, largest)


def looked(gabor: Gabor, slope, largest) -> tuple[Float[Array, " locations"], Scalar]:
    """Excess of every gradient over its weight, and the largest dual norm, `largest` at least.

    Norms in time come first: where they are below the weight, both are known.
    """
    task, frame = gabor.task, gabor.frame
    plain = block_norms(slope) / task.weight
    size = min(CHUNK, len(plain))
    ordered, order = jax.lax.top_k(plain, len(plain))

    def body(carry):
        begin, beyond, nu = carry
        index = jax.lax.dynamic_slice(order, (begin,), (size,))
        weight = task.weight[index]
        mu, lam = gabor.weights(jnp.ones_like(weight))
        entries = moduli(frame.analysis(slope[index] / weight[:, None, None]))
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


def first_course(gabor: Gabor, start: Float[Array, "locations orients times"]) -> Course:
    """At zero, or at an earlier answer; one that is not sparse only ranks the locations."""
    task = gabor.task
    strength = block_norms(start)
    few = (4 * jnp.sum(strength > 0) <= len(strength) + 3) & jnp.any(strength > 0)
    size = rungs(*task.scale.shape)[0]
    few = few & (jnp.sum(strength > 0) <= size)
    _, index = jax.lax.top_k(strength, size)
    c = jnp.where(few, gabor.frame.analysis(start[index]), 0.0)
    course = _judged(gabor, index, c)
    rank = jnp.where(few, 0.0, strength / jnp.maximum(jnp.max(strength), 1e-300))
    return course._replace(beyond=course.beyond * (1.0 + rank))


def _judged(gabor: Gabor, index, c) -> Course:
    """Certificate of coefficients on all locations."""
    task, zero = gabor.task, jnp.zeros((), dtype=int)
    x = gabor.frame.synthesis(c)
    residual = task.data - task.columns(index) @ x.reshape(-1, x.shape[-1])
    slope = task.slope(residual)
    weight = task.weight[index]
    mu, lam = gabor.weights(weight)
    own = gabor.frame.analysis(slope[index])
    inside = distances(-own, c, mu, lam) / weight
    ratio = largest_dual_norm(moduli(own), mu, lam, jnp.zeros((), dtype=c.dtype))
    beyond, ratio = looked(gabor, slope, ratio)
    beyond = beyond.at[index].set(jnp.where(sizes(c) > 0, 0.0, beyond[index]))
    kkt = jnp.maximum(jnp.max(inside), jnp.max(beyond))
    value = jnp.sum(tree_value(c, mu, lam))
    proof = certificate(residual, value, jnp.sum(x * slope[index]), ratio, kkt)
    count, missing = jnp.sum(sizes(c) > 0), jnp.sum(beyond > 0)
    wanted = count + jnp.minimum(missing, jnp.maximum(count, FIRST // 2))
    return Course(index, c, beyond, proof, ratio, zero, zero, wanted, zero)


def stopped(course: Course, tol: Scalar, max_iter):
    """Converged, out of steps, or at the end of what the number type can tell."""
    proof = course.proof
    good = (proof.gap <= tol * proof.primal) & (proof.kkt <= 100 * tol)
    lost = ~jnp.isfinite(proof.primal)
    return good | (course.steps >= max_iter) | (course.stalled >= STALLED) | lost


def within(size: int) -> int:
    """Steps of a round: about a second's."""
    return (PROX_STEPS + 1) * max(2048 // size, 4)


def round_of(size: int, gabor: Gabor, course: Course, tol: Scalar, max_iter) -> Course:
    """Solve on the `size` most promising locations, look at all."""
    norms = sizes(course.c)
    rank = course.beyond.at[course.index].max(jnp.where(norms > 0, jnp.inf, 0.0))
    _, index = jax.lax.top_k(rank, size)
    place = jnp.zeros(len(rank), dtype=int).at[index].set(jnp.arange(size))
    slot = jnp.where(norms > 0, place[course.index], size)  # out of range: dropped
    c = jnp.zeros((size, *course.c.shape[1:]), dtype=course.c.dtype)
    c = c.at[slot].set(course.c, mode="drop")
    target = jnp.clip(0.1 * course.proof.kkt, 3 * tol, 0.1) * 0.01**course.stalled
    weight = gabor.task.weight[index]
    left = jnp.minimum(max_iter - course.steps, within(size))
    c, count = descend(gabor.blocks(index), c, weight, target, left)
    new = _judged(gabor, index, c)
    idle = (count == 0) & (new.proof.kkt >= 0.5 * course.proof.kkt)
    return new._replace(
        rounds=course.rounds + 1,
        steps=course.steps + jnp.maximum(count, 1),
        stalled=jnp.where(idle, course.stalled + 1, 0),
    )


def padded(course: Course, size: int) -> Course:
    """More slots; the new ones are empty."""
    more = size - len(course.index)
    index = jnp.concatenate([course.index, jnp.full(more, course.index[0])])
    empty = jnp.zeros((more, *course.c.shape[1:]), dtype=course.c.dtype)
    return course._replace(index=index, c=jnp.concatenate([course.c, empty]))
