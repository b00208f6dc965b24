r"""Least squares with norms of linear maps: a primal-dual iteration with a duality gap.

.. math:: \min_Z \tfrac12 \lVert Y - K Z \rVert^2 + \sum_i g_i(M_i Z) \;\ge\;
   \langle Y, \theta \rangle - \tfrac12 \lVert \theta \rVert^2 - \sum_i g_i^*(U_i)
   \quad \text{where} \quad K^\top \theta = \sum_i M_i^\top U_i

The data term enters by its proximal map, in sensor space (:math:`K K^\top` is diagonalised once),
so that the step depends on the maps alone:

.. math:: Z^+ = \operatorname{prox}_{\tau f}(Z - \tau M^\top U), \qquad
   U^+ = \operatorname{prox}_{\sigma g^*}(U + \sigma M (2 Z^+ - Z)), \qquad
   \tau \sigma \lVert M \rVert^2 \le 1

over-relaxed, with :math:`\tau / \sigma` balanced as in Applegate et al. 2021
(https://arxiv.org/abs/2106.04756). Chambolle and Pock 2011, doi:10.1007/s10851-010-0251-1.

A feasible point is made of the current one: :math:`\theta` without what no map sees (constants,
for differences), U plus the least change that restores the equation, both scaled into the dual
balls.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.sparse.linalg import cg
from jaxtyping import Array, Float, Int

from esijax._ops.prox import block_norms
from esijax._types import Scalar
from esijax.inference._data_term import DataTerm
from esijax.inference._gap import Certificate
from esijax.models.penalties import Analysis

CHUNK = 200
RELAXED = 1.8
BALANCED = 2000  # steps after which the balance is kept
Sources = Float[Array, "locations orients times"]


class Pair(NamedTuple):
    """Sources, dual variables, balance of the steps, proof."""

    z: Sources
    u: tuple[Array, ...]
    balance: Scalar
    proof: Certificate
    steps: Int[Array, ""]


class _Split(NamedTuple):
    """What is worked out once."""

    vectors: Float[Array, "rank rank"]
    values: Float[Array, " rank"]
    size: Scalar  # norm of all maps


def images(penalty: Analysis, z: Sources) -> tuple[Array, ...]:
    """M Z."""
    return tuple(term.operator(z) for term in penalty.terms)


def gathered(penalty: Analysis, u: tuple[Array, ...], shape) -> Sources:
    """M' U."""
    parts = (t.operator.transpose(v, shape) for t, v in zip(penalty.terms, u, strict=True))
    return sum(parts, jnp.zeros(shape))


def _norm(penalty: Analysis, shape) -> Scalar:
    """Norm of all maps: power iteration from noise, with a margin."""

    def body(_, v):
        v = gathered(penalty, images(penalty, v), shape)
        return v / jnp.linalg.norm(v)

    start = jax.random.normal(jax.random.key(0), shape)
    v = jax.lax.fori_loop(0, 60, body, start / jnp.linalg.norm(start))
    return 1.02 * jnp.sqrt(jnp.linalg.norm(gathered(penalty, images(penalty, v), shape)))


def _data_prox(term: DataTerm, split: _Split, z: Sources, step: Scalar) -> Sources:
    left = split.vectors.T @ (term.data - term.fitted(z))
    return z + term.pulled(split.vectors @ (left / (1.0 / step + split.values)[:, None]))


def settle(term: DataTerm, penalty: Analysis, tol: Scalar, max_iter) -> Pair:
    """Iterate from what no map sees until the gap is closed."""
    rank, shape = len(term.data), (*term.scale.shape, term.data.shape[1])
    columns = (term.gain * term.scale[None]).reshape(rank, -1)
    values, vectors = jnp.linalg.eigh(columns @ columns.T)
    split = _Split(vectors, jnp.maximum(values, 0.0), _norm(penalty, shape))

    def once(carry, _):
        z, u, balance = carry
        tau, sigma = balance / split.size, 1.0 / (balance * split.size)
        new = _data_prox(term, split, z - tau * gathered(penalty, u, shape), tau)
        ahead = images(penalty, 2 * new - z)
        other = tuple(
            t.dual_step(v + sigma * a, penalty.alpha, sigma)
            for t, v, a in zip(penalty.terms, u, ahead, strict=True)
        )
        z = z + RELAXED * (new - z)
        u = jax.tree.map(lambda v, w: v + RELAXED * (w - v), u, other)
        return (z, u, balance), None

    def chunk(pair: Pair) -> Pair:
        (z, u, _), _ = jax.lax.scan(once, (pair.z, pair.u, pair.balance), None, length=CHUNK)
        moved, pulled = _size(z - pair.z), _size(jax.tree.map(jnp.subtract, u, pair.u))
        ratio = jnp.where((moved > 0) & (pulled > 0), moved / pulled, pair.balance)
        ratio = jnp.clip(ratio, pair.balance / 4, pair.balance * 4)
        early = pair.steps < BALANCED
        balance = jnp.where(early, jnp.sqrt(pair.balance * ratio), pair.balance)
        proof = certificate(term, penalty, z, u)
        return Pair(z, u, balance, proof, pair.steps + CHUNK)

    def go(pair: Pair):
        more = (pair.steps < max_iter) & jnp.isfinite(pair.proof.primal)
        return more & ~converged(pair.proof, tol)

    z = unseen_fit(term, penalty, term.data)
    slope = term.pulled(term.data - term.fitted(z))
    u = restored(penalty, images(penalty, jnp.zeros(shape)), slope)
    proof = certificate(term, penalty, z, u)
    amplitude = jnp.max(block_norms(slope)) / jnp.maximum(jnp.max(split.values), 1e-30)
    balance = jnp.where(amplitude > 0, amplitude, 1.0) / penalty.alpha
    u = tuple(
        t.dual_step(v, penalty.alpha, jnp.zeros(())) for t, v in zip(penalty.terms, u, strict=True)
    )
    return jax.lax.while_loop(go, chunk, Pair(z, u, balance, proof, jnp.zeros((), dtype=int)))


def _size(tree) -> Scalar:
    return jnp.sqrt(sum(jnp.sum(x**2) for x in jax.tree.leaves(tree)))


def converged(proof: Certificate, tol: Scalar):
    """Both; a gap that cannot be had is none."""
    tight = jnp.isnan(proof.gap) | (proof.gap <= tol * proof.primal)
    return tight & (proof.kkt <= 100 * tol)


def certificate(term: DataTerm, penalty: Analysis, z: Sources, u: tuple) -> Certificate:
    """Gap, and the distance of the pair to the optimality conditions over alpha."""
    alpha = penalty.alpha
    residual = term.data - term.fitted(z)
    slope = term.pulled(residual)
    seen, amplitude = images(penalty, z), jnp.max(block_norms(z))
    inside = tuple(
        t.dual_step(v, alpha, jnp.zeros(())) for t, v in zip(penalty.terms, u, strict=True)
    )
    kkt = jnp.max(block_norms(slope - gathered(penalty, inside, z.shape))) / alpha
    for t, v, m in zip(penalty.terms, inside, seen, strict=True):
        if t.norm == "squares":
            off = jnp.abs(v - alpha * t.share * m) / (alpha * t.share)
        else:
            step = alpha * t.share / jnp.where(amplitude > 0, amplitude, 1.0)
            off = jnp.abs(v - t.dual_step(v + step * m, alpha, step)) / (alpha * t.share)
        kkt = jnp.maximum(kkt, jnp.max(off))
    primal = 0.5 * jnp.sum(residual**2) + penalty.value(z)
    return Certificate(primal, primal - _dual(term, penalty, residual, inside), kkt)


def _dual(term: DataTerm, penalty: Analysis, residual, u: tuple) -> Scalar:
    """Value of a feasible dual point; NaN where the equation cannot be restored."""
    theta = residual - term.fitted(unseen_fit(term, penalty, residual))
    slope = term.pulled(theta)
    u = restored(penalty, u, slope)
    left = _size(slope - gathered(penalty, u, slope.shape))
    ok = left <= 1e-9 * jnp.maximum(_size(slope), penalty.alpha)
    largest, square = jnp.zeros(()), jnp.sum(theta**2)
    for t, v in zip(penalty.terms, u, strict=True):
        if t.norm == "squares":
            square = square + jnp.sum(v**2) / (penalty.alpha * t.share)
        else:
            bound = penalty.alpha * t.share
            largest = jnp.maximum(largest, jnp.max(t.sizes(v)) / bound)
    linear = jnp.sum(term.data * theta)
    best = linear / jnp.where(square > 0, square, 1.0)
    s = jnp.minimum(best, 1.0 / jnp.maximum(largest, 1e-300))
    return jnp.where(ok, s * linear - 0.5 * s**2 * square, jnp.nan)


def restored(penalty: Analysis, u: tuple, slope: Sources) -> tuple:
    r"""Least change of U with :math:`M^\top U` = slope."""
    shape = slope.shape

    def normal(v):
        return gathered(penalty, images(penalty, v), shape)

    lack = slope - gathered(penalty, u, shape)
    lack = lack - penalty.unseen(lack)
    enough = 1e-13 * jnp.linalg.norm(slope)  # below it, rounding in what no map sees
    v, _ = cg(normal, lack, tol=0.0, atol=enough, maxiter=2000)
    return jax.tree.map(jnp.add, u, images(penalty, v))


def unseen_fit(term: DataTerm, penalty: Analysis, data) -> Sources:
    """Least squares fit of sources that no map sees; in passes, or it would chase rounding."""

    def normal(z):
        return penalty.unseen(term.pulled(term.fitted(penalty.unseen(z))))

    z = jnp.zeros((*term.scale.shape, data.shape[1]))
    for _ in range(3):
        right = penalty.unseen(term.pulled(data - term.fitted(z)))
        more, _ = cg(normal, right, tol=1e-6, maxiter=20)
        z = z + penalty.unseen(more)
    return z


def alpha_bound(term: DataTerm, penalty: Analysis) -> Scalar:
    """Alpha from which on the maps surely see nothing; infinite where there is none.

    The least U with the equation is within the balls. A true alpha_max may be lower.
    """
    shape = (*term.scale.shape, term.data.shape[1])
    residual = term.data - term.fitted(unseen_fit(term, penalty, term.data))
    slope = term.pulled(residual)
    least = restored(penalty, images(penalty, jnp.zeros(shape)), slope)
    largest = jnp.zeros(())
    for t, v in zip(penalty.terms, least, strict=True):
        if t.norm == "squares":
            largest = largest + jnp.where(jnp.any(v != 0), jnp.inf, 0.0)
        else:
            largest = jnp.maximum(largest, jnp.max(t.sizes(v)) / t.share)
    left = _size(slope - gathered(penalty, least, shape))
    return jnp.where(left <= 1e-9 * jnp.maximum(_size(slope), 1e-300), largest, jnp.inf)
