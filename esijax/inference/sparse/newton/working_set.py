r"""Least squares with a sum of location norms: Newton on a working set, proved on all locations.

.. math:: \min_X \; \tfrac12 \lVert Y - G X \rVert_F^2 + \sum_l \lambda_l \lVert X_l \rVert_F

A round solves the problem of the w locations whose gradients are largest relative to their
weights (the active ones first) in Gram form, and looks at all others (`_gradients`). w doubles
when the set overflows, so that few programs are ever compiled. Data that are longer than the rank
are rotated first: with :math:`Y = B V^\top`, V orthonormal, :math:`X V` has the norms of X, and
nothing else enters.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from esijax._ops.prox import block_norms
from esijax._types import Scalar
from esijax.inference.sparse.base.task import Data, Known, Sources, Task
from esijax.inference.sparse.newton import block_coordinates as _block_coordinates
from esijax.inference.sparse.newton import block_newton as _block_newton
from esijax.inference.sparse.newton.block_newton import (
    Curvature,
    Quadratic,
    curvature,
    degrees,
    solved,
)
from esijax.inference.sparse.newton.points import (
    FIRST,
    Point,
    Some,
    looked,
    norms_of,
    resized,
    taken,
)

LARGEST = 2048  # columns of a working set within a transformation
INNER = {"newton": _block_newton.minimise, "bcd": _block_coordinates.minimise}
STALLED = 4  # each time the working set is solved a hundred times more exactly


def sizes(n_locations: int) -> tuple[int, ...]:
    """Working sets that are compiled."""
    out = [FIRST]
    while out[-1] < n_locations:
        out.append(2 * out[-1])
    return (*out[:-1], n_locations)


def rotation(
    data: Data,
) -> tuple[Float[Array, "rank columns"], Float[Array, "times columns"] | None]:
    """Data in as few columns as they have rows, and the orthonormal rows they are made of."""
    if data.shape[1] <= data.shape[0]:
        return data, None
    basis, triangle = jnp.linalg.qr(data.T)
    return triangle.T, basis


def converged(point: Point, tol: Scalar):
    """Gap and distance to the subdifferential are both small; zero is proved at once."""
    return (point.proof.gap <= tol * point.proof.primal) & (point.proof.kkt <= 100 * tol)


def round_of(
    size: int,
    task: Task,
    known: Known,
    point: Point,
    tol: Scalar,
    max_iter: Int[Array, ""],
    inner: str = "newton",
) -> Point:
    """Solve on the `size` most promising locations, look at all."""
    active = norms_of(point) > 0
    _, index = jax.lax.top_k(jnp.where(active, jnp.inf, point.ratio), size)
    columns = task.columns(index)
    linear, start, basis = _shortened(
        (columns.T @ task.data).reshape(size, task.scale.shape[1], -1), taken(point, index)
    )
    quad = Quadratic(columns.T @ columns, linear, task.weight[index])
    inside = jnp.minimum(10 * tol, 0.1) * 0.01**point.stalled
    walk = INNER[inner](quad, start, inside, max_iter - point.steps)
    x = walk.x if basis is None else walk.x @ basis.T
    flat = x.reshape(columns.shape[1], -1)
    residual = task.data - columns @ flat
    before = point.ratio, task.data - point.fitted
    look = looked(task, known, before, index, columns, x, residual)
    count = jnp.sum(block_norms(x) > 0)
    missing = jnp.sum(look.outside > 10 * tol)
    wanted = count + jnp.minimum(missing, jnp.maximum(count, FIRST // 2))
    idle = (walk.count <= 1) & (jnp.max(look.outside) <= 100 * tol)
    return Point(
        index,
        x,
        task.data - residual,
        look.ratio,
        look.proof,
        point.alpha_max,
        point.rounds + 1,
        point.steps + walk.count,
        jnp.maximum(wanted, jnp.minimum(size, wanted + FIRST)),
        jnp.where(idle, point.stalled + 1, 0),
    )


def _shortened(linear: Some, start: Some):
    """B and a start in as many columns as B has rows: the minimiser lies in their span."""
    n_rows = linear.shape[0] * linear.shape[1]
    if n_rows >= linear.shape[2]:
        return linear, start, None
    basis, triangle = jnp.linalg.qr(linear.reshape(n_rows, -1).T)
    return triangle.T.reshape(*linear.shape[:2], -1), start @ basis, basis


def stopped(point: Point, tol: Scalar, max_iter):
    """Converged, out of steps, or at the end of what the number type can tell."""
    lost = ~jnp.isfinite(point.proof.primal)
    return converged(point, tol) | (point.steps >= max_iter) | (point.stalled >= STALLED) | lost


def rungs(n_locations: int, n_orients: int) -> tuple[int, ...]:
    """The few sizes that are branches of one compiled loop; all their memory is taken at once."""
    largest = min(n_locations, LARGEST // n_orients)
    return (*(n for n in (FIRST, 8 * FIRST) if n < largest), largest)


def rounds(
    task: Task,
    known: Known,
    point: Point,
    tol: Scalar,
    max_iter: Int[Array, ""],
    inner: str = "newton",
) -> Point:
    """All rounds within one compiled loop."""
    ladder = rungs(*task.scale.shape)
    room = ladder[-1]
    branches = [
        lambda p, n=n: resized(room, round_of(n, task, known, p, tol, max_iter, inner))
        for n in ladder
    ]

    def body(point: Point) -> Point:
        return jax.lax.switch(_rung(ladder, point.wanted), branches, point)

    start = resized(room, point)
    return jax.lax.while_loop(lambda p: ~stopped(p, tol, max_iter), body, start)


def _rung(ladder: tuple[int, ...], wanted: Int[Array, ""]) -> Int[Array, ""]:
    return jnp.searchsorted(jnp.asarray(ladder), jnp.minimum(wanted, ladder[-1]))


def on_support(task: Task, x: Sources, use):
    """Call `use(index, quad, x[index])` on a working set that holds the support."""
    norms = block_norms(x)
    ladder = rungs(*x.shape[:2])

    def branch(size: int):
        _, index = jax.lax.top_k(norms, size)
        columns = task.columns(index)
        linear = jnp.zeros_like(x[index])
        quad = Quadratic(columns.T @ columns, linear, task.weight[index])
        return use(index, quad, x[index])

    count = jnp.sum(norms > 0)
    out = jax.lax.switch(_rung(ladder, count), [lambda n=n: branch(n) for n in ladder])
    return jnp.where(count <= ladder[-1], out, jnp.nan)  # rather none than half a derivative


def inverse_hessian(task: Task, x: Sources, right: Sources, bend: Scalar | float = 1.0) -> Sources:
    """Solve with the Hessian on the support of `x`; zero elsewhere."""

    def use(index, quad, some):
        out = solved(_curve(quad, some, bend), right[index])
        return jnp.zeros_like(right).at[index].set(out)

    return on_support(task, x, use)


def degrees_of_freedom(task: Task, x: Sources, n_times: int) -> Scalar:
    """Trace of the derivative of the fitted data with respect to the data."""
    return on_support(task, x, lambda _, quad, some: degrees(_curve(quad, some), n_times))


def _curve(quad: Quadratic, x: Sources, bend: Scalar | float = 1.0) -> Curvature:
    return curvature(quad, x, 1e-14 * jnp.trace(quad.gram) / len(quad.gram), bend)
