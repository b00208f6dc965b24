r"""Derivative of the minimiser of norms of linear maps, by its optimality conditions.

.. math:: K^\top (K Z - Y) + M^\top U = 0, \qquad
   U = \operatorname{prox}_{\sigma g^*}(U + \sigma M Z)

differentiated where the prox is smooth: rows of :math:`M Z` that are zero stay so. U need not be
unique (flows around a cycle of edges cost nothing), so that the linear system is singular but
consistent: GMRES, preconditioned by the proximal map of the data fit, gives the one answer for Z.
"""

import jax
import jax.numpy as jnp
from jax.scipy.sparse.linalg import gmres

from esijax._ops.prox import tree_norm
from esijax._types import Sources
from esijax.inference.sparse.analysis.primal_dual import GainSpectrum, PrimalDualState, data_prox
from esijax.models.penalties import Analysis
from esijax.models.penalties.least_squares import LeastSquares

MOST_RESIDUAL = 1e-7  # relative residual above which there is no derivative


@jax.custom_jvp
def primal_dual_minimiser(
    fit: LeastSquares,  # noqa: ARG001
    penalty: Analysis,  # noqa: ARG001
    spectrum: GainSpectrum,  # noqa: ARG001
    state: PrimalDualState,
) -> Sources:
    """Give the sources of `state`, the minimum of `fit` and `penalty`."""
    return state.z


@primal_dual_minimiser.defjvp
def _primal_dual_minimiser_jvp(primals, tangents):
    fit, penalty, spectrum, state = primals
    tau, sigma = state.balance / spectrum.size, 1.0 / (state.balance * spectrum.size)
    still = fit._replace(data=jnp.zeros_like(fit.data))

    def conditions(fit, penalty, z, u):
        first = fit.gradient(z) + penalty.transposed(u, z.shape)
        second = tuple(
            v - t.dual_step(v + sigma * m, penalty.alpha, sigma)
            for t, v, m in zip(penalty.terms, u, penalty.images(z), strict=True)
        )
        return tau * data_prox(still, spectrum, first, tau), second

    at = state.z, state.u
    _, right = jax.jvp(lambda t, p: conditions(t, p, *at), (fit, penalty), tangents[:2])
    # JAX transposes a linear solve only if every part of its right-hand side follows a tangent
    nothing = 0.0 * sum(jnp.sum(part) for part in jax.tree.leaves(right))
    right = jax.tree.map(lambda part: part + nothing, right)
    _, linear = jax.linearize(lambda z, u: conditions(fit, penalty, z, u), *at)
    move = jax.lax.custom_linear_solve(
        lambda v: linear(*v),
        jax.tree.map(jnp.negative, right),
        solve=_solve_or_nan,
        transpose_solve=_solve_or_nan,
    )
    return state.z, move[0]


def _solve_or_nan(matvec, right):
    """Solve by GMRES; NaN where it does not get there, rather than a wrong derivative."""
    found, _ = gmres(matvec, right, tol=1e-13, atol=0.0, restart=80, maxiter=40)
    left = tree_norm(jax.tree.map(jnp.subtract, right, matvec(found)))
    good = left <= MOST_RESIDUAL * tree_norm(right)
    return jax.tree.map(lambda x: jnp.where(good, x, jnp.nan), found)
