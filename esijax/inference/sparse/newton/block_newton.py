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

Block = Float[Array, "w orients times"]
Square = Float[Array, "n n"]
DAMPING = 1e-10  # of the largest eigenvalue: more active sources than sensors
SLACK = 4e-15  # rounding of the objective
SPLIT = 128  # blocks of a working set that is solved for a half of it, where that is enough
PATIENCE = 4  # steps without progress


class Quadratic(NamedTuple):
    """Gram matrix A (w orients x w orients), B, and the weight of each block's norm."""

    gram: Square
    linear: Block
    weight: Float[Array, " w"]

    def apply(self, x: Block) -> Block:
        """A X."""
        return (self.gram @ x.reshape(len(self.gram), -1)).reshape(x.shape)


class Curvature(NamedTuple):
    """What solves with the Hessian need: scaled, factorised."""

    scale: Float[Array, " n"]  # d^-1/2, zero outside the support
    chol: Square  # of I + B_d
    filtered: Square  # (I + B_d)^-1 B_d
    unit: Block  # X / |X|
    inner: Square  # Cholesky factor of the Jacobi-scaled S
    jacobi: Float[Array, " w"]
    bend: Scalar | float


def curvature(
    quad: Quadratic, x: Block, damping: Scalar | float = 0.0, bend: Scalar | float = 1.0
) -> Curvature:
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
    small = bend * between(filtered, unit) + (1.0 - bend) * jnp.eye(len(x))
    diagonal = jnp.diagonal(small)
    positive = on & (diagonal > 0)
    jacobi = jnp.where(positive, 1.0 / jnp.sqrt(jnp.where(positive, diagonal, 1.0)), 0.0)
    small = small * jacobi[:, None] * jacobi[None, :]
    small = jnp.where(jnp.eye(len(x), dtype=bool), 1.0 + 1e-14, small)
    return Curvature(scale, chol, filtered, unit, jnp.linalg.cholesky(small), jacobi, bend)


def between(matrix: Square, unit: Block) -> Float[Array, "w w"]:
    """Entries <unit_l, matrix_lm unit_m>, symmetric."""
    w, n_orients = unit.shape[:2]
    flat = unit.reshape(w * n_orients, -1)
    out = (matrix * (flat @ flat.T)).reshape(w, n_orients, w, n_orients).sum(axis=(1, 3))
    return (out + out.T) / 2


def solved(curve: Curvature, right: Block) -> Block:
    """Solve H D = right on the support; zero elsewhere."""
    flat = right.reshape(len(curve.scale), -1) * curve.scale[:, None]
    first = jsl.cho_solve((curve.chol, True), flat)
    along = jnp.sum(curve.unit * first.reshape(right.shape), axis=(1, 2)) * curve.jacobi
    along = jsl.cho_solve((curve.inner, True), along) * curve.jacobi * curve.bend
    more = (curve.unit * along[:, None, None]).reshape(flat.shape)
    out = first + jsl.cho_solve((curve.chol, True), more)
    return (out * curve.scale[:, None]).reshape(right.shape)


def degrees(curve: Curvature, n_times: int) -> Scalar:
    r"""Trace of :math:`(G \otimes I) H^{-1} (G^\top \otimes I)` over `n_times` columns.

    With :math:`F = (I + B_d)^{-1} B_d` it is :math:`T \operatorname{tr} F + \operatorname{tr}
    S^{-1} K`, where :math:`K_{lm} = \langle \hat X_l, [F - F^2]_{lm} \hat X_m \rangle`.
    """
    f = curve.filtered
    inner = between(f - f @ f, curve.unit) * curve.jacobi[:, None] * curve.jacobi[None, :]
    return n_times * jnp.trace(f) + curve.bend * jnp.trace(
        jsl.cho_solve((curve.inner, True), inner)
    )


def pull(x: Block, weight: Float[Array, " w"]) -> Block:
    """Gradient of the weighted norms; zero where a block is zero."""
    norms = block_norms(x)
    on = norms > 0
    return x * jnp.where(on, weight / jnp.where(on, norms, 1.0), 0.0)[:, None, None]


def block_kkt(slope: Block, x: Block, weight: Float[Array, " w"]) -> Float[Array, " w"]:
    """Distance of zero to the subdifferential, block by block, over the weight."""
    distance = block_norms(slope + pull(x, weight))
    off = jnp.maximum(distance - weight, 0.0)
    return jnp.where(block_norms(x) > 0, distance, off) / weight


class Walk(NamedTuple):
    """A point on the way."""

    x: Block
    slope: Block  # A X - B
    kkt: Scalar
    count: Int[Array, ""]
    idle: Int[Array, ""]  # steps without progress


def walked(
    once: Callable[[Walk], Walk], quad: Quadratic, x: Block, tol: Scalar, max_iter: Int[Array, ""]
) -> Walk:
    """Repeat `once` until the distance to the subdifferential is below `tol`.

    Parameters
    ----------
    once : callable
        Adds what it takes to `count`, and tells `idle`.
    quad : Quadratic
    x : (w, orients, times)
        Start.
    tol : ()
        Largest distance to the subdifferential, relative to the weights.
    max_iter : ()
        Largest count.
    """

    def go(walk: Walk):
        moving = (walk.idle < PATIENCE) & jnp.isfinite(walk.kkt)
        return (walk.kkt > tol) & (walk.count < max_iter) & moving

    slope = quad.apply(x) - quad.linear
    kkt = jnp.max(block_kkt(slope, x, quad.weight))
    zero = jnp.zeros((), dtype=int)
    return jax.lax.while_loop(go, once, Walk(x, slope, kkt, zero, zero))


def minimise(quad: Quadratic, x: Block, tol: Scalar, max_iter: Int[Array, ""]) -> Walk:
    """Alternate a proximal gradient step, which finds the support, and a Newton step on it."""
    lipschitz = _largest_eigenvalue(quad.gram)

    def iterated(walk: Walk) -> Walk:
        x = block_soft_threshold(walk.x - walk.slope / lipschitz, quad.weight / lipschitz)
        slope = quad.apply(x) - quad.linear
        value = _value(quad, x, slope)
        move = -_on_support(quad, x, slope + pull(x, quad.weight), DAMPING * lipschitz)
        x, slope = _searched(quad, x, slope, value, move)
        kkt = jnp.max(block_kkt(slope, x, quad.weight))
        better = kkt < 0.9 * walk.kkt
        idle = jnp.where(better | (kkt > 1e-7), 0, walk.idle + 1)
        return Walk(x, slope, kkt, walk.count + 1, idle)

    return walked(iterated, quad, x, tol, max_iter)


def _on_support(quad: Quadratic, x: Block, right: Block, damping: Scalar) -> Block:
    """Solve with the Hessian, for as few blocks as are not zero: their cost is cubic."""
    norms, w, n_orients = block_norms(x), *x.shape[:2]

    def of(n: int) -> Block:
        _, at = jax.lax.top_k(norms, n)
        rows = (at[:, None] * n_orients + jnp.arange(n_orients)).ravel()
        some = Quadratic(quad.gram[rows[:, None], rows], quad.linear[at], quad.weight[at])
        found = solved(curvature(some, x[at], damping), right[at])
        return jnp.zeros_like(x).at[at].set(found)

    def whole() -> Block:
        return solved(curvature(quad, x, damping), right)

    counts = [w // 2, 3 * w // 4] if w >= SPLIT else []
    if not counts:
        return whole()
    ways = [*(lambda n=n: of(n) for n in counts), whole]
    return jax.lax.switch(jnp.searchsorted(jnp.asarray(counts), jnp.sum(norms > 0)), ways)


def _value(quad: Quadratic, x: Block, slope: Block) -> Scalar:
    return 0.5 * jnp.sum(x * (slope - quad.linear)) + jnp.sum(quad.weight * block_norms(x))


def _searched(quad: Quadratic, x: Block, slope: Block, value: Scalar, move: Block):
    """Backtrack; blocks that would point the other way round become zero."""
    square = jnp.sum(x**2, axis=(1, 2))
    along = jnp.sum(x * move, axis=(1, 2))
    limit = value + SLACK * jnp.abs(jnp.sum(x * quad.linear))

    def trial(t):
        new = jnp.where((square + t * along > 0)[:, None, None], x + t * move, 0.0)
        after = quad.apply(new) - quad.linear
        return new, after, _value(quad, new, after)

    def worse(carry):
        t, _, _, reached = carry
        return ~(reached <= limit) & (t > 1e-4)

    def shorter(carry):
        t = carry[0] / 4
        return (t, *trial(t))

    t = jnp.ones((), dtype=x.dtype)
    t, new, after, reached = jax.lax.while_loop(worse, shorter, (t, *trial(t)))
    better = reached <= limit
    return jnp.where(better, new, x), jnp.where(better, after, slope)


def _largest_eigenvalue(gram: Square) -> Scalar:
    """A little above the largest eigenvalue: power iteration from the row sums."""
    tiny = jnp.finfo(gram.dtype).tiny

    def body(_, v):
        v = gram @ v
        return v / (jnp.linalg.norm(v) + tiny)

    start = jnp.sum(jnp.abs(gram), axis=1)
    v = jax.lax.fori_loop(0, 20, body, start / (jnp.linalg.norm(start) + tiny))
    return 1.05 * jnp.linalg.norm(gram @ v) + tiny
