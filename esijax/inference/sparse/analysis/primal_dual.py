r"""Least squares with norms of linear maps: iterations of sources and dual variables.

.. math:: \min_Z f(Z) + \sum_i g_i(M_i Z), \qquad f(Z) = \tfrac12 \lVert Y - K Z \rVert^2

"primal-dual" (Chambolle and Pock 2011, doi:10.1007/s10851-010-0251-1): the data term enters by its
proximal map, in sensor space (:math:`K K^\top` is diagonalised once), so that the step depends on
the maps alone,

.. math:: Z^+ = \operatorname{prox}_{\tau f}(Z - \tau M^\top U), \qquad
   U^+ = \operatorname{prox}_{\sigma g^*}(U + \sigma M (2 Z^+ - Z)), \qquad
   \tau \sigma \lVert M \rVert^2 \le 1

"condat-vu" (Condat 2013, doi:10.1007/s10957-012-0245-9; Vũ 2013, doi:10.1007/s10444-011-9254-8):
by its gradient instead, :math:`1 / \tau = L + \sigma \lVert M \rVert^2`. Both are over-relaxed.

"admm" (Boyd et al. 2011, doi:10.1561/2200000016): by the solution of

.. math:: (K^\top K + \sigma M^\top M) Z^+ = K^\top Y - M^\top U^+ + \sigma M^\top V, \qquad
   U^+ = \operatorname{prox}_{\sigma g^*}(U + \sigma M Z), \quad V = M Z + (U - U^+) / \sigma

with conjugate gradients from Z. :math:`\tau / \sigma` is balanced as in Applegate et al. 2021
(https://arxiv.org/abs/2106.04756), and what ends them is the gap (`_analysis_proof`).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.sparse.linalg import cg
from jaxtyping import Array, Float, Int

from esijax._ops.prox import block_norms
from esijax._ops.safe import divisor
from esijax._types import Scalar, Sources
from esijax.inference.sparse.analysis.proof import certificate, converged
from esijax.inference.sparse.base.gap import Certificate
from esijax.models.penalties import Analysis
from esijax.models.penalties._data_term import DataTerm
from esijax.models.penalties.alpha_max import gathered, images, restored, size_of, unseen_fit

CHUNK = {"primal-dual": 200, "condat-vu": 200, "admm": 20}  # steps between two looks at the gap
RELAXED = {"primal-dual": 1.8, "condat-vu": 1.4, "admm": 1.0}
INNER = 10  # steps of conjugate gradients
BALANCED = 10  # chunks after which the balance is kept


class Split(NamedTuple):
    """What is worked out once: K K' diagonalised, the norm of all maps."""

    vectors: Float[Array, "rank rank"]
    values: Float[Array, " rank"]
    size: Scalar


class Pair(NamedTuple):
    """Sources, dual variables, balance of the steps, proof."""

    z: Sources
    u: tuple[Array, ...]
    balance: Scalar
    proof: Certificate
    steps: Int[Array, ""]


def split_of(term: DataTerm, penalty: Analysis) -> Split:
    """Diagonalise the gain, measure the maps."""
    columns = (term.gain * term.scale[None]).reshape(len(term.gain), -1)
    values, vectors = jnp.linalg.eigh(columns @ columns.T)
    shape = (*term.scale.shape, term.data.shape[1])
    return Split(vectors, jnp.maximum(values, 0.0), _norm(penalty, shape))


def _norm(penalty: Analysis, shape) -> Scalar:
    """Norm of all maps: power iteration from noise, with a margin."""

    def body(_, v):
        v = gathered(penalty, images(penalty, v), shape)
        return v / jnp.linalg.norm(v)

    start = jax.random.normal(jax.random.key(0), shape)
    v = jax.lax.fori_loop(0, 60, body, start / jnp.linalg.norm(start))
    return 1.02 * jnp.sqrt(jnp.linalg.norm(gathered(penalty, images(penalty, v), shape)))


def data_prox(term: DataTerm, split: Split, z: Sources, step: Scalar) -> Sources:
    """Proximal map of the data term."""
    left = split.vectors.T @ (term.data - term.fitted(z))
    return z + term.pulled(split.vectors @ (left / (1.0 / step + split.values)[:, None]))


def _dual_steps(penalty: Analysis, u: tuple, ahead: tuple, step: Scalar) -> tuple:
    return tuple(
        t.dual_step(v + step * a, penalty.alpha, step)
        for t, v, a in zip(penalty.terms, u, ahead, strict=True)
    )


def _primal_dual(term, penalty: Analysis, split: Split, z: Sources, u: tuple, balance):
    tau, sigma = balance / split.size, 1.0 / (balance * split.size)
    new = data_prox(term, split, z - tau * gathered(penalty, u, z.shape), tau)
    return new, _dual_steps(penalty, u, images(penalty, 2 * new - z), sigma)


def _condat_vu(term, penalty: Analysis, split: Split, z: Sources, u: tuple, balance):
    sigma = 1.0 / (balance * split.size)
    tau = 1.0 / (1.0001 * jnp.max(split.values) + sigma * split.size**2)
    new = z - tau * (term.slope(z) + gathered(penalty, u, z.shape))
    return new, _dual_steps(penalty, u, images(penalty, 2 * new - z), sigma)


def _admm(term, penalty: Analysis, split: Split, z: Sources, u: tuple, balance):
    sigma = 1.0 / (balance * split.size)
    tau, still = balance / split.size, term._replace(data=jnp.zeros_like(term.data))
    seen = images(penalty, z)
    other = _dual_steps(penalty, u, seen, sigma)
    # sigma V - U+ = sigma M Z + U - 2 U+
    target = jax.tree.map(lambda m, v, w: sigma * m + v - 2 * w, seen, u, other)

    def normal(x):
        bent = gathered(penalty, images(penalty, x), z.shape)
        return still.slope(x) + sigma * bent

    right = term.pulled(term.data) + gathered(penalty, target, z.shape)
    new, _ = cg(
        normal, right, z, tol=0.0, maxiter=INNER, M=lambda x: tau * data_prox(still, split, x, tau)
    )
    return new, other


WAYS = {"primal-dual": _primal_dual, "condat-vu": _condat_vu, "admm": _admm}


def first_pair(term: DataTerm, penalty: Analysis, split: Split) -> Pair:
    """Begin from what no map sees."""
    shape = (*term.scale.shape, term.data.shape[1])
    z = unseen_fit(term, penalty, term.data)
    slope = term.pulled(term.data - term.fitted(z))
    u = restored(penalty, images(penalty, jnp.zeros(shape)), slope)
    proof = certificate(term, penalty, z, u)
    amplitude = jnp.max(block_norms(slope)) / jnp.maximum(jnp.max(split.values), 1e-30)
    balance = divisor(amplitude) / penalty.alpha
    zero = jnp.zeros(())
    u = tuple(t.dual_step(v, penalty.alpha, zero) for t, v in zip(penalty.terms, u, strict=True))
    return Pair(z, u, balance, proof, jnp.zeros((), dtype=int))


def chunk_of(term: DataTerm, penalty: Analysis, split: Split, pair: Pair, way: str) -> Pair:
    """Some steps, a new balance, a proof."""
    relaxed = RELAXED[way]

    def once(carry, _):
        z, u = carry
        new, other = WAYS[way](term, penalty, split, z, u, pair.balance)
        z = z + relaxed * (new - z)
        return (z, jax.tree.map(lambda v, w: v + relaxed * (w - v), u, other)), None

    (z, u), _ = jax.lax.scan(once, (pair.z, pair.u), None, length=CHUNK[way])
    moved, pulled = size_of(z - pair.z), size_of(jax.tree.map(jnp.subtract, u, pair.u))
    ratio = jnp.where((moved > 0) & (pulled > 0), moved / pulled, pair.balance)
    ratio = jnp.clip(ratio, pair.balance / 4, pair.balance * 4)
    early = pair.steps < BALANCED * CHUNK[way]
    balance = jnp.where(early, jnp.sqrt(pair.balance * ratio), pair.balance)
    return Pair(z, u, balance, certificate(term, penalty, z, u), pair.steps + CHUNK[way])


def unsettled(pair: Pair, tol: Scalar, max_iter):
    """Tell whether another chunk is needed."""
    more = (pair.steps < max_iter) & jnp.isfinite(pair.proof.primal)
    return more & ~converged(pair.proof, tol)
