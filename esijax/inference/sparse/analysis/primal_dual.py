r"""Least squares with norms of linear maps: iterations of sources and dual variables.

.. math:: \min_Z f(Z) + \sum_i g_i(M_i Z), \qquad f(Z) = \tfrac12 \lVert Y - K Z \rVert^2

"primal-dual" (Chambolle and Pock 2011, doi:10.1007/s10851-010-0251-1): the data fit enters by its
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
(https://arxiv.org/abs/2106.04756), and what ends them is the gap (`proof`).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.sparse.linalg import cg
from jaxtyping import Array, Float, Int

from esijax._ops.prox import block_norms, tree_norm
from esijax._ops.safe import divisor
from esijax._types import Scalar, Sources
from esijax.inference.sparse.analysis.proof import dual_certificate
from esijax.inference.sparse.base.gap import Certificate
from esijax.models.penalties import Analysis
from esijax.models.penalties.least_squares import LeastSquares

STEPS_PER_ROUND = {"primal-dual": 200, "condat-vu": 200, "admm": 20}
RELAXATION = {"primal-dual": 1.8, "condat-vu": 1.4, "admm": 1.0}
ADMM_CG_STEPS = 10
BALANCED_ROUNDS = 10  # after which the balance is kept


class GainSpectrum(NamedTuple):
    """What is worked out once: K K' diagonalised, the norm of all maps."""

    vectors: Float[Array, "rank rank"]
    values: Float[Array, " rank"]
    size: Scalar


class PrimalDualState(NamedTuple):
    """Sources, dual variables, balance of the steps, proof."""

    z: Sources
    u: tuple[Array, ...]
    balance: Scalar
    proof: Certificate
    steps: Int[Array, ""]


def spectrum_of(fit: LeastSquares, penalty: Analysis) -> GainSpectrum:
    """Diagonalise the gain, measure the maps."""
    columns = (fit.gain * fit.scale[None]).reshape(len(fit.gain), -1)
    values, vectors = jnp.linalg.eigh(columns @ columns.T)
    shape = (*fit.scale.shape, fit.data.shape[1])
    return GainSpectrum(vectors, jnp.maximum(values, 0.0), _maps_norm(penalty, shape))


def _maps_norm(penalty: Analysis, shape) -> Scalar:
    """Norm of all maps: power iteration from noise, with a margin."""

    def body(_, v):
        v = penalty.transposed(penalty.images(v), shape)
        return v / jnp.linalg.norm(v)

    start = jax.random.normal(jax.random.key(0), shape)
    v = jax.lax.fori_loop(0, 60, body, start / jnp.linalg.norm(start))
    return 1.02 * jnp.sqrt(jnp.linalg.norm(penalty.transposed(penalty.images(v), shape)))


def data_prox(fit: LeastSquares, spectrum: GainSpectrum, z: Sources, step: Scalar) -> Sources:
    """Proximal map of the data term."""
    left = spectrum.vectors.T @ (fit.data - fit.predict(z))
    return z + fit.adjoint(spectrum.vectors @ (left / (1.0 / step + spectrum.values)[:, None]))


def _dual_steps(penalty: Analysis, u: tuple, ahead: tuple, step: Scalar) -> tuple:
    """Proximal maps of the conjugates, map by map."""
    return tuple(
        t.dual_step(v + step * a, penalty.alpha, step)
        for t, v, a in zip(penalty.terms, u, ahead, strict=True)
    )


def _primal_dual(fit, penalty: Analysis, spectrum: GainSpectrum, z: Sources, u: tuple, balance):
    tau, sigma = balance / spectrum.size, 1.0 / (balance * spectrum.size)
    new = data_prox(fit, spectrum, z - tau * penalty.transposed(u, z.shape), tau)
    return new, _dual_steps(penalty, u, penalty.images(2 * new - z), sigma)


def _condat_vu(fit, penalty: Analysis, spectrum: GainSpectrum, z: Sources, u: tuple, balance):
    sigma = 1.0 / (balance * spectrum.size)
    tau = 1.0 / (1.0001 * jnp.max(spectrum.values) + sigma * spectrum.size**2)
    new = z - tau * (fit.gradient(z) + penalty.transposed(u, z.shape))
    return new, _dual_steps(penalty, u, penalty.images(2 * new - z), sigma)


def _admm(fit, penalty: Analysis, spectrum: GainSpectrum, z: Sources, u: tuple, balance):
    sigma = 1.0 / (balance * spectrum.size)
    tau, still = balance / spectrum.size, fit._replace(data=jnp.zeros_like(fit.data))
    seen = penalty.images(z)
    other = _dual_steps(penalty, u, seen, sigma)
    # sigma V - U+ = sigma M Z + U - 2 U+
    target = jax.tree.map(lambda m, v, w: sigma * m + v - 2 * w, seen, u, other)

    def normal(x):
        bent = penalty.transposed(penalty.images(x), z.shape)
        return still.gradient(x) + sigma * bent

    right = fit.adjoint(fit.data) + penalty.transposed(target, z.shape)
    new, _ = cg(
        normal,
        right,
        z,
        tol=0.0,
        maxiter=ADMM_CG_STEPS,
        M=lambda x: tau * data_prox(still, spectrum, x, tau),
    )
    return new, other


ITERATIONS = {"primal-dual": _primal_dual, "condat-vu": _condat_vu, "admm": _admm}


def primal_dual_start(
    fit: LeastSquares, penalty: Analysis, spectrum: GainSpectrum
) -> PrimalDualState:
    """Begin from what no map sees."""
    shape = (*fit.scale.shape, fit.data.shape[1])
    z = penalty.unseen_fit(fit, fit.data)
    correlation = fit.adjoint(fit.data - fit.predict(z))
    u = penalty.restore(penalty.images(jnp.zeros(shape)), correlation)
    proof = dual_certificate(fit, penalty, z, u)
    amplitude = jnp.max(block_norms(correlation)) / jnp.maximum(jnp.max(spectrum.values), 1e-30)
    balance = divisor(amplitude) / penalty.alpha
    zero = jnp.zeros(())
    u = tuple(t.dual_step(v, penalty.alpha, zero) for t, v in zip(penalty.terms, u, strict=True))
    return PrimalDualState(z, u, balance, proof, jnp.zeros((), dtype=int))


def primal_dual_round(
    fit: LeastSquares,
    penalty: Analysis,
    spectrum: GainSpectrum,
    state: PrimalDualState,
    iteration: str,
) -> PrimalDualState:
    """Some steps, a new balance between primal and dual ones, a certificate."""
    relaxed = RELAXATION[iteration]

    def once(carry, _):
        z, u = carry
        new, other = ITERATIONS[iteration](fit, penalty, spectrum, z, u, state.balance)
        z = z + relaxed * (new - z)
        return (z, jax.tree.map(lambda v, w: v + relaxed * (w - v), u, other)), None

    steps = STEPS_PER_ROUND[iteration]
    (z, u), _ = jax.lax.scan(once, (state.z, state.u), None, length=steps)
    moved = tree_norm(z - state.z)
    dual_moved = tree_norm(jax.tree.map(jnp.subtract, u, state.u))
    ratio = jnp.where((moved > 0) & (dual_moved > 0), moved / dual_moved, state.balance)
    ratio = jnp.clip(ratio, state.balance / 4, state.balance * 4)
    early = state.steps < BALANCED_ROUNDS * steps
    balance = jnp.where(early, jnp.sqrt(state.balance * ratio), state.balance)
    proof = dual_certificate(fit, penalty, z, u)
    return PrimalDualState(z, u, balance, proof, state.steps + steps)
