r"""Least squares with a sum of location norms: Newton on a working set, proved on all locations.

.. math:: \min_X \; \tfrac12 \lVert Y - G X \rVert_F^2 + \sum_l \lambda_l \lVert X_l \rVert_F

A round solves the problem of the w locations whose gradients are largest relative to their
weights (the active ones first) in Gram form, and looks at all others (`_gradients`). w doubles
when the set overflows, so that few programs are ever compiled. Data that are longer than the rank
are rotated first: with :math:`Y = B V^\top`, V orthonormal, :math:`X V` has the norms of X, and
nothing else enters.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from esijax._ops.prox import block_norms
from esijax._types import Scalar
from esijax.inference import _block_coordinates, _block_newton
from esijax.inference._block_newton import (
    Curvature,
    Quadratic,
    block_kkt,
    curvature,
    degrees,
    solved,
)
from esijax.inference._gap import Certificate, certificate
from esijax.inference._gradients import (
    Data,
    Known,
    Sources,
    Task,
    Weights,
    first_ratios,
    ratios,
)

FIRST = 64
MANY = 512  # active locations of a start that are looked at by themselves
LARGEST = 2048  # columns of a working set within a transformation
INNER = {"newton": _block_newton.minimise, "bcd": _block_coordinates.minimise}
STALLED = 4  # each time the working set is solved a hundred times more exactly


class Point(NamedTuple):
    """Where the rounds are."""

    x: Sources
    fitted: Data
    ratio: Weights  # gradient norms over weights
    proof: Certificate
    alpha_max: Scalar  # largest ratio at zero
    rounds: Int[Array, ""]
    steps: Int[Array, ""]
    wanted: Int[Array, ""]  # size of the next working set
    stalled: Int[Array, ""]  # rounds that neither moved nor had anybody to add


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


def first_point(task: Task, known: Known) -> Point:
    """At zero: the gradient shows whom to begin with."""
    ratio = first_ratios(task, known)
    largest = jnp.max(ratio)
    none, zero = jnp.zeros_like(largest), jnp.zeros((), dtype=int)
    x = jnp.zeros((*task.scale.shape, task.data.shape[1]), dtype=task.data.dtype)
    proof = certificate(task.data, none, none, largest, jnp.maximum(largest - 1, 0))
    wanted = zero + FIRST
    return Point(x, jnp.zeros_like(task.data), ratio, proof, largest, zero, zero, wanted, zero)


def point_at(task: Task, known: Known, x: Sources) -> Point:
    """At an earlier answer; one that is not sparse only ranks the locations."""
    zero = first_point(task, known)
    strength = block_norms(x)
    count = jnp.sum(strength > 0)
    few = 4 * count <= len(strength) + 3
    top = jnp.max(strength)
    ranked = zero.ratio + strength * (zero.alpha_max / jnp.where(top > 0, top, 1.0))
    n_few = min(len(x), MANY)
    fitted, ratio, proof = jax.lax.cond(
        count <= n_few, lambda: _few(n_few, task, known, x), lambda: _many(task, x)
    )
    wanted = _at_first(count, ratio)
    there = zero._replace(x=x, fitted=fitted, ratio=ratio, proof=proof, wanted=wanted)
    better = few & (proof.primal <= zero.proof.primal)
    return jax.tree.map(lambda a, b: jnp.where(better, a, b), there, zero._replace(ratio=ranked))


def _few(n: int, task: Task, known: Known, x: Sources) -> tuple[Data, Weights, Certificate]:
    """What `n` locations explain, and the proof."""
    _, index = jax.lax.top_k(block_norms(x), n)
    columns = task.columns(index)
    fitted = columns @ x[index].reshape(columns.shape[1], -1)
    look = _looked(task, known, None, index, columns, x[index], task.data - fitted)
    return fitted, look.ratio, look.proof


def _many(task: Task, x: Sources) -> tuple[Data, Weights, Certificate]:
    """The same of all."""
    fitted = jnp.tensordot(task.gain, x * task.scale[..., None], axes=2)
    residual = task.data - fitted
    slope = task.slope(residual)
    ratio = block_norms(slope) / task.weight
    penalty = jnp.sum(task.weight * block_norms(x))
    kkt = jnp.max(block_kkt(-slope, x, task.weight))
    return fitted, ratio, certificate(residual, penalty, jnp.sum(x * slope), jnp.max(ratio), kkt)


class _Look(NamedTuple):
    """All locations, seen from the few that are active."""

    ratio: Weights
    outside: Weights  # excess of the ratios, zero where looked from
    proof: Certificate


def _looked(task: Task, known: Known, before, index, columns, x, residual: Data) -> _Look:
    ratio = ratios(task, known, before, index, x, residual)
    slope = (columns.T @ residual).reshape(x.shape)
    inside = block_kkt(-slope, x, task.weight[index])
    outside = jnp.maximum(ratio - 1.0, 0.0).at[index].set(0.0)
    penalty = jnp.sum(task.weight[index] * block_norms(x))
    kkt = jnp.maximum(jnp.max(inside), jnp.max(outside))
    proof = certificate(residual, penalty, jnp.sum(x * slope), jnp.max(ratio), kkt)
    return _Look(ratio, outside, proof)


def reweighed(task: Task, point: Point, share: Scalar) -> Point:
    """From the minimum for other weights, of which the task's are `share`: no pass over the gain.

    Zero is proved there and then, of any other place the next round will tell.
    """
    ratio, norms = point.ratio / share, block_norms(point.x)
    residual, count = task.data - point.fitted, jnp.sum(norms > 0)
    largest = jnp.max(ratio)
    kkt = jnp.where(count > 0, jnp.inf, jnp.maximum(largest - 1, 0))
    agreement = jnp.sum(residual * point.fitted)
    proof = certificate(residual, jnp.sum(task.weight * norms), agreement, largest, kkt)
    none, wanted = jnp.zeros((), dtype=int), _at_first(count, ratio)
    alpha_max = point.alpha_max / share
    return Point(point.x, point.fitted, ratio, proof, alpha_max, none, none, wanted, none)


def _at_first(count: Int[Array, ""], ratio: Weights) -> Int[Array, ""]:
    """Size of the first working set: who is active, and some who pull."""
    return jnp.maximum(count + jnp.minimum(jnp.sum(ratio > 1), FIRST // 2), FIRST)


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
    active = block_norms(point.x) > 0
    _, index = jax.lax.top_k(jnp.where(active, jnp.inf, point.ratio), size)
    columns = task.columns(index)
    quad = Quadratic(
        columns.T @ columns,
        (columns.T @ task.data).reshape(size, task.scale.shape[1], -1),
        task.weight[index],
    )
    inside = jnp.minimum(10 * tol, 0.1) * 0.01**point.stalled
    walk = INNER[inner](quad, point.x[index], inside, max_iter - point.steps)
    flat = walk.x.reshape(columns.shape[1], -1)
    residual = task.data - columns @ flat
    before = point.ratio, task.data - point.fitted
    look = _looked(task, known, before, index, columns, walk.x, residual)
    count = jnp.sum(block_norms(walk.x) > 0)
    missing = jnp.sum(look.outside > 10 * tol)
    wanted = count + jnp.minimum(missing, jnp.maximum(count, FIRST // 2))
    idle = (walk.count <= 1) & (jnp.max(look.outside) <= 100 * tol)
    x = jnp.zeros_like(point.x).at[index].set(walk.x)
    return Point(
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
    branches = [lambda p, n=n: round_of(n, task, known, p, tol, max_iter, inner) for n in ladder]

    def body(point: Point) -> Point:
        return jax.lax.switch(_rung(ladder, point.wanted), branches, point)

    return jax.lax.while_loop(lambda p: ~stopped(p, tol, max_iter), body, point)


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
