r"""Least squares with a sum of location norms: a working set of locations, proved on all of them.

.. math:: \min_X \; \tfrac12 \lVert Y - G X \rVert_F^2 + \sum_l \lambda_l \lVert X_l \rVert_F

A step solves the problem of the w locations whose gradients are largest relative to their weights
(the active ones first) in Gram form, and screens all others (`gradients`). w doubles when the set
overflows, so that few programs are ever compiled. Courses are kept for the working set alone: an
array of all locations and times takes longer to fetch from the system than the arithmetic of a
step.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from esijax._ops.prox import block_norms
from esijax._ops.safe import divisor
from esijax._types import Data, Scalar, Sources
from esijax.inference.sparse.base.gap import Certificate, Limits, duality_gap, goes_on
from esijax.inference.sparse.base.sizes import FIRST_SIZE
from esijax.inference.sparse.newton.block_coordinates import coordinate_descent
from esijax.inference.sparse.newton.block_newton import (
    BlockSources,
    Quadratic,
    block_kkt,
    newton_minimise,
)
from esijax.inference.sparse.newton.gradients import (
    GainProducts,
    gradient_ratios,
    ratios_at_zero,
)
from esijax.models.penalties.least_squares import LeastSquares, LocationWeights

MOST_ACTIVE = 512  # active locations of a start that are looked at by themselves
MOST_STALLED = 4  # each time the working set is solved a hundred times more exactly
BLOCK_SOLVERS = {"newton": newton_minimise, "bcd": coordinate_descent}


class WorkingSet(NamedTuple):
    """Courses of a few locations, and what is known of all."""

    index: Int[Array, " w"]  # beyond the last location: nobody
    x: BlockSources
    fitted: Data
    ratio: LocationWeights  # gradient norms over weights, or bounds of them
    proof: Certificate
    alpha_max: Scalar  # largest ratio at zero
    rounds: Int[Array, ""]
    steps: Int[Array, ""]
    wanted: Int[Array, ""]  # size of the next working set
    stalled: Int[Array, ""]  # rounds that neither moved nor had anybody to add

    def finished(self, limits: Limits) -> Bool[Array, ""]:
        """Converged, out of steps, or at the end of what the number type can tell."""
        return ~goes_on(self.proof, self.steps, limits) | (self.stalled >= MOST_STALLED)

    def resized(self, size: int) -> "WorkingSet":
        """Room for more locations, or for the strongest only."""
        width = len(self.index)
        if size < width:
            _, strongest = jax.lax.top_k(block_norms(self.x), size)
            return self._replace(index=self.index[strongest], x=self.x[strongest])
        nobody = jnp.full(size - width, len(self.ratio), dtype=self.index.dtype)
        more = jnp.zeros((size - width, *self.x.shape[1:]), dtype=self.x.dtype)
        return self._replace(
            index=jnp.concatenate([self.index, nobody]), x=jnp.concatenate([self.x, more])
        )

    def courses_of(self, index: Int[Array, " w"]) -> BlockSources:
        """Courses of other locations; zero where there are none."""
        width = len(self.index)
        place = jnp.full(len(self.ratio), width)
        place = place.at[self.index].set(jnp.arange(width), mode="drop")
        return self.x.at[place[index]].get(mode="fill", fill_value=0.0)


def scatter_rows(x: BlockSources, index: Int[Array, " w"], n_locations: int) -> Sources:
    """Courses of all locations, zero outside of the working set."""
    return jnp.zeros((n_locations, *x.shape[1:]), x.dtype).at[index].set(x, mode="drop")


# ---------------------------------------------------------------------- one step
def working_set_step(
    size: int,
    fit: LeastSquares,
    products: GainProducts,
    now: WorkingSet,
    limits: Limits,
    inner: str = "newton",
) -> WorkingSet:
    """Solve on the `size` most promising locations, screen all others."""
    norms = jnp.zeros_like(now.ratio).at[now.index].set(block_norms(now.x), mode="drop")
    _, index = jax.lax.top_k(jnp.where(norms > 0, jnp.inf, now.ratio), size)
    columns = fit.columns(index)
    linear, start, basis = _rotate(
        (columns.T @ fit.data).reshape(size, fit.scale.shape[1], -1), now.courses_of(index)
    )
    quad = Quadratic(columns.T @ columns, linear, fit.weight[index])
    target = jnp.minimum(10 * limits.tol, 0.1) * 0.01**now.stalled
    end = BLOCK_SOLVERS[inner](quad, start, target, limits.max_iter - now.steps)
    x = end.x if basis is None else end.x @ basis.T
    residual = fit.data - columns @ x.reshape(columns.shape[1], -1)
    before = now.ratio, fit.data - now.fitted
    ratio, outside, proof = _screen(fit, products, before, index, columns, x, residual)
    count = jnp.sum(block_norms(x) > 0)
    missing = jnp.sum(outside > 10 * limits.tol)
    wanted = count + jnp.minimum(missing, jnp.maximum(count, FIRST_SIZE // 2))
    idle = (end.count <= 1) & (jnp.max(outside) <= 100 * limits.tol)
    return WorkingSet(
        index,
        x,
        fit.data - residual,
        ratio,
        proof,
        now.alpha_max,
        now.rounds + 1,
        now.steps + end.count,
        jnp.maximum(wanted, jnp.minimum(size, wanted + FIRST_SIZE)),
        jnp.where(idle, now.stalled + 1, 0),
    )


def _rotate(linear: BlockSources, start: BlockSources):
    """B and a start in as many columns as B has rows: the minimiser lies in their span."""
    n_rows = linear.shape[0] * linear.shape[1]
    if n_rows >= linear.shape[2]:
        return linear, start, None
    basis, triangle = jnp.linalg.qr(linear.reshape(n_rows, -1).T)
    return triangle.T.reshape(*linear.shape[:2], -1), start @ basis, basis


def _screen(
    fit: LeastSquares, products: GainProducts, before, index, columns, x, residual: Data
) -> tuple[LocationWeights, LocationWeights, Certificate]:
    """Ratios of all locations, excess of those outside of `index`, certificate.

    Active are some of `index` only; `before` as in `gradient_ratios`.
    """
    gradient = (columns.T @ residual).reshape(x.shape)
    weight = fit.weight[index]
    own = block_norms(gradient) / weight
    ratio = gradient_ratios(fit, products, before, index, x, residual, own)
    outside = jnp.maximum(ratio - 1.0, 0.0).at[index].set(0.0)
    return ratio, outside, _certify(weight, x, gradient, residual, ratio, jnp.max(outside))


def _certify(weight, x, gradient, residual: Data, ratio, outside: Scalar) -> Certificate:
    """Certificate of locations `x`; `gradient` is G'R, `outside` the excess of all others."""
    kkt = jnp.maximum(jnp.max(block_kkt(-gradient, x, weight)), outside)
    penalty = jnp.sum(weight * block_norms(x))
    return duality_gap(residual, penalty, jnp.sum(x * gradient), jnp.max(ratio), kkt)


# ---------------------------------------------------------------------- where to begin
def at_zero(fit: LeastSquares, products: GainProducts) -> WorkingSet:
    """No location is active: the gradient shows whom to begin with."""
    ratio = ratios_at_zero(fit, products)
    largest = jnp.max(ratio)
    none, zero = jnp.zeros_like(largest), jnp.zeros((), dtype=int)
    index = jnp.arange(min(FIRST_SIZE, len(ratio)), dtype=jnp.int32)  # as top_k gives them
    x = jnp.zeros((len(index), fit.scale.shape[1], fit.data.shape[1]), dtype=fit.data.dtype)
    proof = duality_gap(fit.data, none, none, largest, jnp.maximum(largest - 1, 0))
    fitted, wanted = jnp.zeros_like(fit.data), zero + FIRST_SIZE
    return WorkingSet(index, x, fitted, ratio, proof, largest, zero, zero, wanted, zero)


def at_answer(fit: LeastSquares, products: GainProducts, x: Sources) -> WorkingSet:
    """An earlier answer; one that is not sparse only ranks the locations."""
    room = min(len(x), max(FIRST_SIZE, (len(x) + 3) // 4))
    zero = at_zero(fit, products).resized(room)
    strength = block_norms(x)
    count = jnp.sum(strength > 0)
    top = jnp.max(strength)
    ranked = zero.ratio + strength * (zero.alpha_max / divisor(top))
    fitted, ratio, proof = certify_sources(fit, products, x)
    _, index = jax.lax.top_k(strength, room)
    there = zero._replace(
        index=index,
        x=x[index],
        fitted=fitted,
        ratio=ratio,
        proof=proof,
        wanted=_first_wanted(count, ratio),
    )
    better = (4 * count <= len(x) + 3) & (proof.primal <= zero.proof.primal)
    return jax.tree.map(lambda a, b: jnp.where(better, a, b), there, zero._replace(ratio=ranked))


def certify_sources(
    fit: LeastSquares, products: GainProducts, x: Sources
) -> tuple[Data, LocationWeights, Certificate]:
    """What any sources explain, the ratios of all locations, the certificate."""
    n = min(len(x), MOST_ACTIVE)

    def few():
        _, index = jax.lax.top_k(block_norms(x), n)
        columns = fit.columns(index)
        fitted = columns @ x[index].reshape(columns.shape[1], -1)
        residual = fit.data - fitted
        ratio, _, proof = _screen(fit, products, None, index, columns, x[index], residual)
        return fitted, ratio, proof

    def many():
        fitted = fit.predict(x)
        residual = fit.data - fitted
        gradient = fit.adjoint(residual)
        ratio = block_norms(gradient) / fit.weight
        none = jnp.zeros_like(fit.data[0, 0])
        return fitted, ratio, _certify(fit.weight, x, gradient, residual, ratio, none)

    return few() if n == len(x) else jax.lax.cond(jnp.sum(block_norms(x) > 0) <= n, few, many)


def at_other_alpha(fit: LeastSquares, now: WorkingSet, share: Scalar) -> WorkingSet:
    """From the minimum for other weights, of which those of `fit` are `share`.

    No pass over the gain: zero is proved there and then, of any other place the next step tells.
    """
    ratio, norms = now.ratio / share, block_norms(now.x)
    residual, count = fit.data - now.fitted, jnp.sum(norms > 0)
    largest = jnp.max(ratio)
    kkt = jnp.where(count > 0, jnp.inf, jnp.maximum(largest - 1, 0))
    agreement = jnp.sum(residual * now.fitted)
    weight = fit.weight.at[now.index].get(mode="fill", fill_value=0.0)
    proof = duality_gap(residual, jnp.sum(weight * norms), agreement, largest, kkt)
    none = jnp.zeros((), dtype=int)
    return now._replace(
        ratio=ratio,
        proof=proof,
        alpha_max=now.alpha_max / share,
        rounds=none,
        steps=none,
        wanted=_first_wanted(count, ratio),
        stalled=none,
    )


def _first_wanted(count: Int[Array, ""], ratio: LocationWeights) -> Int[Array, ""]:
    """Size of the first working set: who is active, and some whose gradient is beyond 1."""
    return jnp.maximum(count + jnp.minimum(jnp.sum(ratio > 1), FIRST_SIZE // 2), FIRST_SIZE)
