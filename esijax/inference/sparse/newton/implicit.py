r"""The minimiser as a function: its derivative solves one linear system on the support.

At the minimum :math:`-G_l^\top R + \lambda_l \hat X_l = 0` on the support S, so that

.. math:: H_S \, dX_S = G_S^\top (dY - dG\, X) + dG_S^\top R - d\lambda_S \hat X_S

with H the Hessian of `block_newton`; elsewhere dX = 0, away from changes of the support.
"""

import functools

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap, sequential_vmap
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float

from esijax._ops.prox import block_norms
from esijax._types import Data
from esijax.inference.sparse.base.answer import pack_info
from esijax.inference.sparse.base.gap import Limits
from esijax.inference.sparse.base.sizes import branch_of, loop_sizes
from esijax.inference.sparse.newton.block_newton import norm_gradient
from esijax.inference.sparse.newton.gradients import GainProducts, gain_products
from esijax.inference.sparse.newton.support import inverse_hessian
from esijax.inference.sparse.newton.working_set import (
    BLOCK_SOLVERS,
    WorkingSet,
    at_answer,
    at_zero,
    scatter_rows,
    working_set_step,
)
from esijax.models.penalties.least_squares import LeastSquares


def rotate_in_time(
    data: Data,
) -> tuple[Float[Array, "rank columns"], Float[Array, "times columns"] | None]:
    r"""Data in as few columns as they have rows, and the orthonormal rows they are made of.

    With :math:`Y = B V^\top`, V orthonormal, :math:`X V` has the norms of X, and nothing else
    enters. The basis is None where the data are not longer than their rank.
    """
    if data.shape[1] <= data.shape[0]:
        return data, None
    basis, triangle = jnp.linalg.qr(data.T)
    return triangle.T, basis


def _minimise_norms(inner: str, gain, scale, data, weight, start, tol, max_iter):
    """Minimiser on all locations, and what `INFO` names."""
    short, basis = rotate_in_time(data)
    fit, limits = LeastSquares(gain, scale, short, weight), Limits(tol, max_iter)
    start, products = start if basis is None else start @ basis, gain_products(fit)
    room = loop_sizes(*scale.shape)[-1]
    first = jax.lax.cond(
        jnp.any(start != 0),
        lambda: at_answer(fit, products, start).resized(room),
        lambda: at_zero(fit, products).resized(room),
    )
    end = _all_steps(fit, products, first, limits, inner)
    x = end.x if basis is None else end.x @ basis.T
    x = scatter_rows(x, end.index, len(scale))
    return x, pack_info(end.proof, end.alpha_max, end.rounds, end.steps, data.dtype)


def _all_steps(
    fit: LeastSquares, products: GainProducts, first: WorkingSet, limits: Limits, inner: str
) -> WorkingSet:
    """All steps within one compiled loop."""
    sizes = loop_sizes(*fit.scale.shape)
    room = sizes[-1]
    branches = [
        lambda at, n=n: working_set_step(n, fit, products, at, limits, inner).resized(room)
        for n in sizes
    ]

    def body(at: WorkingSet) -> WorkingSet:
        return jax.lax.switch(branch_of(sizes, at.wanted), branches, at)

    return jax.lax.while_loop(lambda at: ~at.finished(limits), body, first)


# under vmap one problem after the other: a batch would run until its slowest has ended
_one_by_one = {
    name: sequential_vmap(functools.partial(_minimise_norms, name)) for name in BLOCK_SOLVERS
}


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def minimise_norms(
    inner: str,
    gain: Float[Array, "rank locations orients"],
    scale: Float[Array, "locations orients"],
    data: Float[Array, "rank times"],
    weight: Float[Array, " locations"],
    start: Float[Array, "locations orients times"],
    tol: Float[Array, ""],
    max_iter,
):
    """Minimiser (locations, orients, times), and what `INFO` names; zero `start`: none.

    `inner`: the solver of the working sets.
    """
    return _one_by_one[inner](gain, scale, data, weight, start, tol, max_iter)


def _is_nonzero(tangent) -> bool:
    """Tell whether a tangent is not a symbolic zero."""
    return not isinstance(tangent, SymbolicZero)


def _minimise_norms_jvp(inner: str, primals, tangents):
    x, info = minimise_norms(inner, *primals)
    return (x, info), (implicit_tangent(primals[:4], tangents[:4], x, 1.0), jnp.zeros_like(info))


minimise_norms.defjvp(_minimise_norms_jvp, symbolic_zeros=True)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def stationary_point(q: float, gain, scale, data, weight, x):  # noqa: ARG001
    """Give `x`, stationary for powers q of the norms, its derivative."""
    return x


def _stationary_jvp(q: float, primals, tangents):
    x = stationary_point(q, *primals)
    norms = block_norms(x)
    on = norms > 0
    derivative = jnp.where(on, q * jnp.where(on, norms, 1.0) ** (q - 1.0), 0.0)
    gain, scale, data, weight = primals[:4]
    *others, dweight = tangents[:4]
    dweight = dweight * derivative if _is_nonzero(dweight) else dweight
    majoriser = (gain, scale, data, jnp.where(on, weight * derivative, 1.0))
    return x, implicit_tangent(majoriser, (*others, dweight), x, 2.0 - q)


stationary_point.defjvp(_stationary_jvp, symbolic_zeros=True)


def implicit_tangent(primals, tangents, x, bend: float):
    """Derivative of the minimiser along (gain, scale, data, weight)."""
    fit = LeastSquares(*primals)
    gain, scale, data, _ = primals
    dgain, dscale, ddata, dweight = tangents
    change = jnp.zeros_like(data) + (ddata if _is_nonzero(ddata) else 0.0)
    right = jnp.zeros_like(x)
    if _is_nonzero(dgain) or _is_nonzero(dscale):
        moved = jnp.zeros_like(gain)
        moved = moved + dgain * scale[None] if _is_nonzero(dgain) else moved
        moved = moved + gain * dscale[None] if _is_nonzero(dscale) else moved
        change = change - jnp.tensordot(moved, x, axes=2)
        residual = data - jnp.tensordot(gain, x * scale[..., None], axes=2)
        right = right + jnp.tensordot(moved, residual, axes=(0, 0))
    right = right + fit.adjoint(change)
    if _is_nonzero(dweight):
        right = right - norm_gradient(x, dweight)
    on = (block_norms(x) > 0)[:, None, None]
    return jax.lax.custom_linear_solve(
        lambda v: _hessian_product(fit, x, v, bend),
        jnp.where(on, right, 0.0),
        lambda _, b: _inverse_hessian(jnp.asarray(bend), *primals, x, b),
        symmetric=True,
    )


def _hessian_product(fit: LeastSquares, x, v, bend: float):
    """Hessian on the support times v; elsewhere v itself."""
    norms = block_norms(x)
    on = norms > 0
    safe = jnp.where(on, norms, 1.0)[:, None, None]
    inside = jnp.where(on[:, None, None], v, 0.0)
    smooth = fit.adjoint(jnp.tensordot(fit.gain, inside * fit.scale[..., None], axes=2))
    unit = x / safe
    across = inside - bend * unit * jnp.sum(unit * inside, axis=(1, 2))[:, None, None]
    bent = smooth + across * fit.weight[:, None, None] / safe
    return jnp.where(on[:, None, None], bent, v)


@custom_vmap
def _inverse_hessian(bend, gain, scale, data, weight, x, right):
    fit = LeastSquares(gain, scale, data, weight)
    return inverse_hessian(fit, x, right, jnp.asarray(bend))


@_inverse_hessian.def_vmap
def _inverse_hessian_batch(axis_size, batched, *args):  # noqa: ARG001
    """Right-hand sides of one Hessian together; Hessians one after the other."""
    if not any(batched[:-1]):
        return jax.vmap(_inverse_hessian_plain, (None,) * 6 + (0,))(*args), True
    fixed = [None if b else a for a, b in zip(args, batched, strict=True)]
    moving = [a if b else None for a, b in zip(args, batched, strict=True)]

    def one(some):
        both = [m if f is None else f for f, m in zip(fixed, some, strict=True)]
        return _inverse_hessian(*both)

    return jax.lax.map(one, moving), True


def _inverse_hessian_plain(bend, gain, scale, data, weight, x, right):
    fit = LeastSquares(gain, scale, data, weight)
    return inverse_hessian(fit, x, right, jnp.asarray(bend))
