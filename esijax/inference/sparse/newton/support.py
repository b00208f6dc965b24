"""The Hessian on the support of a minimum, for derivatives and degrees of freedom."""

import jax
import jax.numpy as jnp

from esijax._ops.prox import block_norms
from esijax._types import Scalar, Sources
from esijax.inference.sparse.base.sizes import branch_of, loop_sizes
from esijax.inference.sparse.newton.block_newton import (
    HessianFactors,
    Quadratic,
    factorise_hessian,
    hessian_trace,
    solve_hessian,
)
from esijax.models.penalties.least_squares import LeastSquares


def inverse_hessian(
    fit: LeastSquares, x: Sources, right: Sources, bend: Scalar | float = 1.0
) -> Sources:
    """Solve with the Hessian on the support of `x`; zero elsewhere."""

    def use(index, quad, some):
        out = solve_hessian(_factors(quad, some, bend), right[index])
        return jnp.zeros_like(right).at[index].set(out)

    return _on_support(fit, x, use)


def norm_degrees(fit: LeastSquares, x: Sources, n_times: int) -> Scalar:
    """Trace of the derivative of the fitted data with respect to the data, for sums of norms."""
    return _on_support(fit, x, lambda _, quad, some: hessian_trace(_factors(quad, some), n_times))


def _on_support(fit: LeastSquares, x: Sources, use):
    """Call `use(index, quad, x[index])` on a working set that holds the support."""
    norms = block_norms(x)
    sizes = loop_sizes(*x.shape[:2])

    def branch(size: int):
        _, index = jax.lax.top_k(norms, size)
        columns = fit.columns(index)
        linear = jnp.zeros_like(x[index])
        quad = Quadratic(columns.T @ columns, linear, fit.weight[index])
        return use(index, quad, x[index])

    count = jnp.sum(norms > 0)
    out = jax.lax.switch(branch_of(sizes, count), [lambda n=n: branch(n) for n in sizes])
    return jnp.where(count <= sizes[-1], out, jnp.nan)  # NaN rather than half a derivative


def _factors(quad: Quadratic, x: Sources, bend: Scalar | float = 1.0) -> HessianFactors:
    """Factors of the Hessian, damped as far as rounding asks for it."""
    return factorise_hessian(quad, x, 1e-14 * jnp.trace(quad.gram) / len(quad.gram), bend)
