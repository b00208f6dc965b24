r"""Where the solution of a mixed norm is: few locations with their courses, and a look at all.

.. math:: \min_X \; \tfrac12 \lVert Y - G X \rVert_F^2 + \sum_l \lambda_l \lVert X_l \rVert_F

Courses are kept for the working set alone: an array of all locations and times takes longer to
fetch from the system than the arithmetic of a round.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from esijax._ops.prox import block_norms
from esijax._ops.safe import divisor
from esijax._types import Scalar
from esijax.inference.sparse.base.gap import Certificate, certificate
from esijax.inference.sparse.base.task import Data, Known, Sources, Task, Weights
from esijax.inference.sparse.newton.block_newton import block_kkt
from esijax.inference.sparse.newton.gradients import first_ratios, ratios

FIRST = 64  # locations of a first working set
MANY = 512  # active locations of a start that are looked at by themselves
Some = Float[Array, "w orients times"]
Index = Int[Array, " w"]


class Point(NamedTuple):
    """Where the rounds are."""

    index: Index  # of the working set; beyond the last location: nobody
    x: Some
    fitted: Data
    ratio: Weights  # gradient norms over weights, or bounds of them
    proof: Certificate
    alpha_max: Scalar  # largest ratio at zero
    rounds: Int[Array, ""]
    steps: Int[Array, ""]
    wanted: Int[Array, ""]  # size of the next working set
    stalled: Int[Array, ""]  # rounds that neither moved nor had anybody to add


class Look(NamedTuple):
    """All locations, seen from the few that are active."""

    ratio: Weights
    outside: Weights  # excess of the ratios, zero where looked from
    proof: Certificate


# ---------------------------------------------------------------------- between few and all
def spread(x: Some, index: Index, n_locations: int) -> Sources:
    """All locations."""
    return jnp.zeros((n_locations, *x.shape[1:]), x.dtype).at[index].set(x, mode="drop")


def norms_of(point: Point) -> Weights:
    """Of all locations."""
    return jnp.zeros_like(point.ratio).at[point.index].set(block_norms(point.x), mode="drop")


def taken(point: Point, index: Index) -> Some:
    """Courses of other locations; zero where there are none."""
    width = len(point.index)
    place = jnp.full(len(point.ratio), width)
    place = place.at[point.index].set(jnp.arange(width), mode="drop")
    return point.x.at[place[index]].get(mode="fill", fill_value=0.0)


def resized(size: int, point: Point) -> Point:
    """Room for more, or for the strongest only."""
    width = len(point.index)
    if size < width:
        _, strongest = jax.lax.top_k(block_norms(point.x), size)
        return point._replace(index=point.index[strongest], x=point.x[strongest])
    nobody = jnp.full(size - width, len(point.ratio), dtype=point.index.dtype)
    more = jnp.zeros((size - width, *point.x.shape[1:]), dtype=point.x.dtype)
    return point._replace(
        index=jnp.concatenate([point.index, nobody]), x=jnp.concatenate([point.x, more])
    )


# ---------------------------------------------------------------------- proofs
def looked(task: Task, known: Known, before, index: Index, columns, x, residual: Data) -> Look:
    """Certificate of what is active at `index` only; `before` as in `ratios`."""
    slope = (columns.T @ residual).reshape(x.shape)
    own = block_norms(slope) / task.weight[index]
    ratio = ratios(task, known, before, index, x, residual, own)
    inside = block_kkt(-slope, x, task.weight[index])
    outside = jnp.maximum(ratio - 1.0, 0.0).at[index].set(0.0)
    penalty = jnp.sum(task.weight[index] * block_norms(x))
    kkt = jnp.maximum(jnp.max(inside), jnp.max(outside))
    proof = certificate(residual, penalty, jnp.sum(x * slope), jnp.max(ratio), kkt)
    return Look(ratio, outside, proof)


def proof_at(task: Task, known: Known, x: Sources) -> tuple[Data, Weights, Certificate]:
    """What any sources explain, the ratios of all locations, the certificate."""
    n = min(len(x), MANY)

    def few():
        _, index = jax.lax.top_k(block_norms(x), n)
        columns = task.columns(index)
        fitted = columns @ x[index].reshape(columns.shape[1], -1)
        look = looked(task, known, None, index, columns, x[index], task.data - fitted)
        return fitted, look.ratio, look.proof

    def many():
        fitted = jnp.tensordot(task.gain, x * task.scale[..., None], axes=2)
        residual = task.data - fitted
        slope = task.slope(residual)
        ratio = block_norms(slope) / task.weight
        penalty = jnp.sum(task.weight * block_norms(x))
        kkt = jnp.max(block_kkt(-slope, x, task.weight))
        proof = certificate(residual, penalty, jnp.sum(x * slope), jnp.max(ratio), kkt)
        return fitted, ratio, proof

    return few() if n == len(x) else jax.lax.cond(jnp.sum(block_norms(x) > 0) <= n, few, many)


# ---------------------------------------------------------------------- where to begin
def first_point(task: Task, known: Known) -> Point:
    """At zero: the gradient shows whom to begin with."""
    ratio = first_ratios(task, known)
    largest = jnp.max(ratio)
    none, zero = jnp.zeros_like(largest), jnp.zeros((), dtype=int)
    index = jnp.arange(min(FIRST, len(ratio)), dtype=jnp.int32)  # as top_k gives them
    x = jnp.zeros((len(index), task.scale.shape[1], task.data.shape[1]), dtype=task.data.dtype)
    proof = certificate(task.data, none, none, largest, jnp.maximum(largest - 1, 0))
    fitted, wanted = jnp.zeros_like(task.data), zero + FIRST
    return Point(index, x, fitted, ratio, proof, largest, zero, zero, wanted, zero)


def point_at(task: Task, known: Known, x: Sources) -> Point:
    """At an earlier answer; one that is not sparse only ranks the locations."""
    room = min(len(x), max(FIRST, (len(x) + 3) // 4))
    zero = resized(room, first_point(task, known))
    strength = block_norms(x)
    count = jnp.sum(strength > 0)
    top = jnp.max(strength)
    ranked = zero.ratio + strength * (zero.alpha_max / divisor(top))
    fitted, ratio, proof = proof_at(task, known, x)
    _, index = jax.lax.top_k(strength, room)
    there = zero._replace(
        index=index,
        x=x[index],
        fitted=fitted,
        ratio=ratio,
        proof=proof,
        wanted=at_first(count, ratio),
    )
    better = (4 * count <= len(x) + 3) & (proof.primal <= zero.proof.primal)
    return jax.tree.map(lambda a, b: jnp.where(better, a, b), there, zero._replace(ratio=ranked))


def reweighed(task: Task, point: Point, share: Scalar) -> Point:
    """From the minimum for other weights, of which the task's are `share`: no pass over the gain.

    Zero is proved there and then, of any other place the next round will tell.
    """
    ratio, norms = point.ratio / share, block_norms(point.x)
    residual, count = task.data - point.fitted, jnp.sum(norms > 0)
    largest = jnp.max(ratio)
    kkt = jnp.where(count > 0, jnp.inf, jnp.maximum(largest - 1, 0))
    agreement = jnp.sum(residual * point.fitted)
    weight = task.weight.at[point.index].get(mode="fill", fill_value=0.0)
    proof = certificate(residual, jnp.sum(weight * norms), agreement, largest, kkt)
    none = jnp.zeros((), dtype=int)
    return point._replace(
        ratio=ratio,
        proof=proof,
        alpha_max=point.alpha_max / share,
        rounds=none,
        steps=none,
        wanted=at_first(count, ratio),
        stalled=none,
    )


def at_first(count: Int[Array, ""], ratio: Weights) -> Int[Array, ""]:
    """Size of the first working set: who is active, and some who pull."""
    return jnp.maximum(count + jnp.minimum(jnp.sum(ratio > 1), FIRST // 2), FIRST)
