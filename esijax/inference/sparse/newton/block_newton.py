r"""Newton's method for least squares with a sum of block norms, on the blocks that are not zero.

.. math:: \min_X \; \tfrac12 \langle X, A X \rangle - \langle B, X \rangle
   + \sum_l \lambda_l \lVert X_l \rVert_F

With :math:`\hat X_l = X_l / \lVert X_l \rVert` and :math:`d_l = \lambda_l / \lVert X_l \rVert` the
Hessian on the support is

.. math:: H = (A + \operatorname{diag} d) \otimes I_T - U U^\top, \qquad
   U_l = \sqrt{d_l}\, \operatorname{vec} \hat X_l

one matrix of the size of the support for all times, less one direction per block, so that a solve
costs what a sweep of coordinate descent costs (Woodbury). Scaled by :math:`d^{-1/2}`, with
:math:`B_d = d^{-1/2} A d^{-1/2}`, nothing cancels where a block is small:

.. math:: (I + B_d) \otimes I - \hat U \hat U^\top, \qquad
   S_{lm} = \big\langle \hat X_l, [(I + B_d)^{-1} B_d]_{lm} \hat X_m \big\rangle
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
from jaxtyping import Array, Float, Int

from esijax._ops.prox import block_norms, block_soft_threshold
from esijax._types import Scalar
from esijax.inference.sparse.base.gap import OBJECTIVE_ROUNDING

BlockSources = Float[Array, "w orients times"]
SquareMatrix = Float[Array, "n n"]
DAMPING = 1e-10  # of the largest eigenvalue: more active sources than sensors
SPLIT = 128  # blocks of a working set that is solved for a half of it, where that is enough
IDLE_STEPS = 4  # steps without progress


class Quadratic(NamedTuple):
    """Gram matrix A (w orients x w orients), B, and the weight of each block's norm."""

    gram: SquareMatrix
    linear: BlockSources
    weight: Float[Array, " w"]

    def apply(self, x: BlockSources) -> BlockSources:
        """A X."""
        return (self.gram @ x.reshape(len(self.gram), -1)).reshape(x.shape)


class HessianFactors(NamedTuple):
    """The Hessian on the support, scaled and factorised, as solves with it need it."""

    scale: Float[Array, " n"]  # d^-1/2, zero outside the support
    chol: SquareMatrix  # of I + B_d
    filtered: SquareMatrix  # (I + B_d)^-1 B_d
    unit: BlockSources  # X / |X|
    inner: SquareMatrix  # Cholesky factor of the Jacobi-scaled S
    jacobi: Float[Array, " w"]
    bend: Scalar | float


def factorise_hessian(
    quad: Quadratic, x: BlockSources, damping: Scalar | float = 0.0, bend: Scalar | float = 1.0
) -> HessianFactors:
    r"""Factorise the Hessian on the support of `x`.

    `bend` is 1 for norms and 2 - q for powers q of them: the Hessian of :math:`\lambda_l \lVert
    X_l \rVert^q / (q \lVert X_l \rVert^{q-1})` is :math:`d_l (I - (2 - q) \hat X_l
    \hat X_l^\top)`.
    """
    n_orients, n = x.shape[1], len(quad.gram)
    norms = block_norms(x)
    on = norms > 0
    safe = jnp.where(on, norms, 1.0)
    unit = x / safe[:, None, None]
    scale = jnp.repeat(jnp.where(on, jnp.sqrt(safe / quad.weight), 0.0), n_orients)
    scaled = quad.gram * scale[:, None] * scale[None, :] + jnp.diag(damping * scale**2)
    chol = jnp.linalg.cholesky(scaled + jnp.eye(n))
    filtered = jsl.cho_solve((chol, True), scaled)
    small = bend * block_products(filtered, unit) + (1.0 - bend) * jnp.eye(len(x))
    diagonal = jnp.diagonal(small)
    positive = on & (diagonal > 0)
    jacobi = jnp.where(positive, 1.0 / jnp.sqrt(jnp.where(positive, diagonal, 1.0)), 0.0)
    small = small * jacobi[:, None] * jacobi[None, :]
    small = jnp.where(jnp.eye(len(x), dtype=bool), 1.0 + 1e-14, small)
    return HessianFactors(scale, chol, filtered, unit, jnp.linalg.cholesky(small), jacobi, bend)


def block_products(matrix: SquareMatrix, unit: BlockSources) -> Float[Array, "w w"]:
    """Entries <unit_l, matrix_lm unit_m>, symmetric."""
    w, n_orients = unit.shape[:2]
    flat = unit.reshape(w * n_orients, -1)
    out = (matrix * (flat @ flat.T)).reshape(w, n_orients, w, n_orients).sum(axis=(1, 3))
    return (out + out.T) / 2


def solve_hessian(factors: HessianFactors, right: BlockSources) -> BlockSources:
    """Solve H D = right on the support; zero elsewhere."""
    flat = right.reshape(len(factors.scale), -1) * factors.scale[:, None]
    first = jsl.cho_solve((factors.chol, True), flat)
    along = jnp.sum(factors.unit * first.reshape(right.shape), axis=(1, 2)) * factors.jacobi
    along = jsl.cho_solve((factors.inner, True), along) * factors.jacobi * factors.bend
    more = (factors.unit * along[:, None, None]).reshape(flat.shape)
    out = first + jsl.cho_solve((factors.chol, True), more)
    return (out * factors.scale[:, None]).reshape(right.shape)


def hessian_trace(factors: HessianFactors, n_times: int) -> Scalar:
    r"""Trace of :math:`(G \otimes I) H^{-1} (G^\top \otimes I)` over `n_times` columns.

    With :math:`F = (I + B_d)^{-1} B_d` it is :math:`T \operatorname{tr} F + \operatorname{tr}
    S^{-1} K`, where :math:`K_{lm} = \langle \hat X_l, [F - F^2]_{lm} \hat X_m \rangle`.
    """
    f = factors.filtered
    inner = (
        block_products(f - f @ f, factors.unit) * factors.jacobi[:, None] * factors.jacobi[None, :]
    )
    return n_times * jnp.trace(f) + factors.bend * jnp.trace(
        jsl.cho_solve((factors.inner, True), inner)
    )


def norm_gradient(x: BlockSources, weight: Float[Array, " w"]) -> BlockSources:
    """Gradient of the weighted norms; zero where a block is zero."""
    norms = block_norms(x)
    on = norms > 0
    return x * jnp.where(on, weight / jnp.where(on, norms, 1.0), 0.0)[:, None, None]


def block_kkt(
    gradient: BlockSources, x: BlockSources, weight: Float[Array, " w"]
) -> Float[Array, " w"]:
    """Distance of zero to the subdifferential, block by block, over the weight."""
    distance = block_norms(gradient + norm_gradient(x, weight))
    off = jnp.maximum(distance - weight, 0.0)
    return jnp.where(block_norms(x) > 0, distance, off) / weight


class BlockIterate(NamedTuple):
    """Sources of a working set between two steps."""

    x: BlockSources
    gradient: BlockSources  # A X - B
    kkt: Scalar
    count: Int[Array, ""]
    idle: Int[Array, ""]  # steps without progress


def iterate_blocks(
    step: Callable[[BlockIterate], BlockIterate],
    quad: Quadratic,
    x: BlockSources,
    tol: Scalar,
    max_iter: Int[Array, ""],
) -> BlockIterate:
    """Repeat `step` until the distance to the subdifferential is below `tol`.

    Parameters
    ----------
    step : callable
        Adds what it takes to `count`, and tells `idle`.
    quad : Quadratic
    x : (w, orients, times)
        Start.
    tol : ()
        Largest distance to the subdifferential, relative to the weights.
    max_iter : ()
        Largest count.
    """

    def go(at: BlockIterate):
        moving = (at.idle < IDLE_STEPS) & jnp.isfinite(at.kkt)
        return (at.kkt > tol) & (at.count < max_iter) & moving

    gradient = quad.apply(x) - quad.linear
    kkt = jnp.max(block_kkt(gradient, x, quad.weight))
    zero = jnp.zeros((), dtype=int)
    return jax.lax.while_loop(go, step, BlockIterate(x, gradient, kkt, zero, zero))


def newton_minimise(
    quad: Quadratic, x: BlockSources, tol: Scalar, max_iter: Int[Array, ""]
) -> BlockIterate:
    """Alternate a proximal gradient step, which finds the support, and a Newton step on it."""
    lipschitz = _largest_eigenvalue(quad.gram)

    def newton_step(at: BlockIterate) -> BlockIterate:
        x = block_soft_threshold(at.x - at.gradient / lipschitz, quad.weight / lipschitz)
        gradient = quad.apply(x) - quad.linear
        value = _objective(quad, x, gradient)
        move = -_newton_direction(
            quad, x, gradient + norm_gradient(x, quad.weight), DAMPING * lipschitz
        )
        x, gradient = _backtrack(quad, x, gradient, value, move)
        kkt = jnp.max(block_kkt(gradient, x, quad.weight))
        better = kkt < 0.9 * at.kkt
        idle = jnp.where(better | (kkt > 1e-7), 0, at.idle + 1)
        return BlockIterate(x, gradient, kkt, at.count + 1, idle)

    return iterate_blocks(newton_step, quad, x, tol, max_iter)


def _newton_direction(
    quad: Quadratic, x: BlockSources, right: BlockSources, damping: Scalar
) -> BlockSources:
    """Solve with the Hessian, for as few blocks as are not zero: their cost is cubic."""
    norms, w, n_orients = block_norms(x), *x.shape[:2]

    def on_strongest(n: int) -> BlockSources:
        _, at = jax.lax.top_k(norms, n)
        rows = (at[:, None] * n_orients + jnp.arange(n_orients)).ravel()
        some = Quadratic(quad.gram[rows[:, None], rows], quad.linear[at], quad.weight[at])
        found = solve_hessian(factorise_hessian(some, x[at], damping), right[at])
        return jnp.zeros_like(x).at[at].set(found)

    def on_all() -> BlockSources:
        return solve_hessian(factorise_hessian(quad, x, damping), right)

    counts = [w // 2, 3 * w // 4] if w >= SPLIT else []
    if not counts:
        return on_all()
    branches = [*(lambda n=n: on_strongest(n) for n in counts), on_all]
    return jax.lax.switch(jnp.searchsorted(jnp.asarray(counts), jnp.sum(norms > 0)), branches)


def _objective(quad: Quadratic, x: BlockSources, gradient: BlockSources) -> Scalar:
    """Objective less the energy of the data, from the gradient A X - B."""
    return 0.5 * jnp.sum(x * (gradient - quad.linear)) + jnp.sum(quad.weight * block_norms(x))


def _backtrack(
    quad: Quadratic, x: BlockSources, gradient: BlockSources, value: Scalar, move: BlockSources
):
    """Shorten `move` until the objective falls; blocks that would change sides become zero."""
    square = jnp.sum(x**2, axis=(1, 2))
    along = jnp.sum(x * move, axis=(1, 2))
    limit = value + OBJECTIVE_ROUNDING * jnp.abs(jnp.sum(x * quad.linear))

    def trial(t):
        new = jnp.where((square + t * along > 0)[:, None, None], x + t * move, 0.0)
        after = quad.apply(new) - quad.linear
        return new, after, _objective(quad, new, after)

    def worse(carry):
        t, _, _, reached = carry
        return ~(reached <= limit) & (t > 1e-4)

    def shorter(carry):
        t = carry[0] / 4
        return (t, *trial(t))

    t = jnp.ones((), dtype=x.dtype)
    t, new, after, reached = jax.lax.while_loop(worse, shorter, (t, *trial(t)))
    better = reached <= limit
    return jnp.where(better, new, x), jnp.where(better, after, gradient)


def _largest_eigenvalue(gram: SquareMatrix) -> Scalar:
    """A little above the largest eigenvalue: power iteration from the row sums."""
    tiny = jnp.finfo(gram.dtype).tiny

    def body(_, v):
        v = gram @ v
        return v / (jnp.linalg.norm(v) + tiny)

    start = jnp.sum(jnp.abs(gram), axis=1)
    v = jax.lax.fori_loop(0, 20, body, start / (jnp.linalg.norm(start) + tiny))
    return 1.05 * jnp.linalg.norm(gram @ v) + tiny
