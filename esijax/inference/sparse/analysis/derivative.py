r"""Derivative of the minimiser of norms of linear maps, by its optimality conditions.

.. math:: K^\top (K Z - Y) + M^\top U = 0, \qquad
   U = \operatorname{prox}_{\sigma g^*}(U + \sigma M Z)

differentiated where the prox is smooth: rows of :math:`M Z` that are zero stay so. U need not be
unique (flows around a cycle of edges cost nothing), so that the linear system is singular but
consistent: GMRES, preconditioned by the proximal map of the data term, gives the one answer for Z.
"""

import jax
import jax.numpy as jnp
from jax.scipy.sparse.linalg import gmres

from esijax.inference.sparse.analysis.primal_dual import Pair, Sources, Split, data_prox
from esijax.models.penalties import Analysis
from esijax.models.penalties._data_term import DataTerm
from esijax.models.penalties.alpha_max import gathered, images, size_of

ENOUGH = 1e-7  # relative residual above which there is no derivative


@jax.custom_jvp
def settled(term: DataTerm, penalty: Analysis, split: Split, pair: Pair) -> Sources:  # noqa: ARG001
    """Give the sources of `pair`, the minimum of `term` and `penalty`."""
    return pair.z


@settled.defjvp
def _settled_jvp(primals, tangents):
    term, penalty, split, pair = primals
    tau, sigma = pair.balance / split.size, 1.0 / (pair.balance * split.size)
    still = term._replace(data=jnp.zeros_like(term.data))

    def conditions(term, penalty, z, u):
        first = term.slope(z) + gathered(penalty, u, z.shape)
        second = tuple(
            v - t.dual_step(v + sigma * m, penalty.alpha, sigma)
            for t, v, m in zip(penalty.terms, u, images(penalty, z), strict=True)
        )
        return tau * data_prox(still, split, first, tau), second

    at = pair.z, pair.u
    _, right = jax.jvp(lambda t, p: conditions(t, p, *at), (term, penalty), tangents[:2])
    _, linear = jax.linearize(lambda z, u: conditions(term, penalty, z, u), *at)
    move = jax.lax.custom_linear_solve(
        lambda v: linear(*v),
        jax.tree.map(jnp.negative, right),
        solve=_solve,
        transpose_solve=_solve,
    )
    return pair.z, move[0]


def _solve(matvec, right):
    """Solve by GMRES; NaN where it does not get there, rather than a wrong derivative."""
    found, _ = gmres(matvec, right, tol=1e-13, atol=0.0, restart=80, maxiter=40)
    good = size_of(jax.tree.map(jnp.subtract, right, matvec(found))) <= ENOUGH * size_of(right)
    return jax.tree.map(lambda x: jnp.where(good, x, jnp.nan), found)
