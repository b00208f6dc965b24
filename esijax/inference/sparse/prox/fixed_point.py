r"""Derivatives of minimisers that a proximal gradient step leaves where they are.

.. math:: X = \operatorname{prox}_{\Omega / L}(X - \nabla f(X) / L)

differentiated on both sides: one linear system, solved by GMRES.
"""

from typing import Any

import jax
from jax.scipy.sparse.linalg import gmres
from jaxtyping import Array

from esijax._types import InputError, Scalar, Sources
from esijax.inference.sparse.prox.fista import prox_step
from esijax.models.penalties import Penalty
from esijax.models.penalties.least_squares import LeastSquares


@jax.custom_jvp
def fixed_point(term: Any, penalty: Penalty, bound: Scalar, x: Sources) -> Sources:  # noqa: ARG001
    """Give `x`, fixed by a proximal step, the derivative of the implicit function theorem.

    `term` is a data term with a `gradient`.
    """
    return x


@fixed_point.defjvp
def _fixed_point_jvp(primals, tangents):
    term, penalty, bound, x = primals

    def step(term, penalty, x):
        return prox_step(term, penalty, x, bound)

    _, right = jax.jvp(lambda t, p: step(t, p, x), (term, penalty), tangents[:2])
    _, linear = jax.linearize(lambda x: step(term, penalty, x), x)

    def solve(matvec, b):
        return gmres(matvec, b, tol=1e-13, atol=0.0, restart=60, maxiter=30)[0]

    dx = jax.lax.custom_linear_solve(
        lambda v: v - linear(v), right, solve=solve, transpose_solve=solve
    )
    return x, dx


@jax.custom_jvp
def refuse_derivative(z: Array, fit: LeastSquares, penalty: Penalty) -> Array:  # noqa: ARG001
    """Give `z`, and say so where its derivative is asked for."""
    return z


@refuse_derivative.defjvp
def _refuse_derivative_jvp(primals, tangents):  # noqa: ARG001
    raise InputError(
        "the stationary point of Lrq with q < 1 and r = 1, or weights of entries, has no "
        "derivative rule here: take inference.Reweighted(n), whose n convex problems have one."
    )
