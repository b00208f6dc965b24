r"""Gradients of all locations: bounds from cheap products, exact only where it matters.

The certificate needs to know that no location outside of the working set wants to join. An upper
bound of its gradient tells, if that is low enough. Where the residual R has moved little since an
earlier gradient was known (safe screening: El Ghaoui, Viallon and Rabbani 2012,
https://arxiv.org/abs/1009.4219):

.. math:: \lVert G_l^\top R' \rVert_F \le \lVert G_l^\top R \rVert_F
   + \lVert G_l \rVert_F \lVert R' - R \rVert, \qquad
   \lVert D \rVert^4 \le \lVert D^\top D \rVert_F^2

and where it has not, products in single precision, of which the error is known: with u the unit
roundoff, n the length of the sums (Higham 2002, doi:10.1137/1.9780898718027, section 3.5)

.. math:: \lVert \mathrm{fl}(G_l^\top R) - G_l^\top R \rVert_F
   \lesssim n u \lVert G_l \rVert_F \lVert R \rVert_F

G'Y is computed once: where few locations are active, G'R is G'Y less their columns of G'G. Problems
keep gain and data far from the ends of the range of single precision by their units.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from esijax._ops.prox import block_norms
from esijax._types import Data, Gain
from esijax.models.penalties.least_squares import LeastSquares, LocationWeights

SINGLE = jnp.float32
ULP = float(jnp.finfo(SINGLE).eps)  # twice the unit roundoff: room for terms of second order
MIN_ACTIVE = 4  # active locations for which columns of G'G are tried
MIN_LOCATIONS = 1024  # with fewer, bounds take longer to compile than they save
SHARES = (64, 16, 4)  # subsets whose gradients are exact: n / 64, n / 16, n / 4 locations
SAFE = 0.98  # ratios below it cannot join


class GainProducts(NamedTuple):
    """What is the same at all weights and scales."""

    adjoint: Float[Array, "times locations orients"]  # G' Y, in single precision
    squares: Float[Array, "locations orients"]  # of the norms of columns

    def column_norms(self, fit: LeastSquares) -> LocationWeights:
        """Frobenius norms of the scaled columns of each location."""
        return jnp.sqrt(jnp.sum(self.squares * fit.scale**2, axis=-1))


def gain_products(fit: LeastSquares) -> GainProducts:
    """Gradients at zero and norms of columns, not scaled."""
    return GainProducts(_single_adjoint(fit.data, fit.gain), jnp.sum(fit.gain**2, axis=0))


def ratios_at_zero(fit: LeastSquares, products: GainProducts) -> LocationWeights:
    """Gradient norms over weights at X = 0; the largest is exact, the others are upper bounds."""
    if not _subset_sizes(fit.scale.shape[0]):
        return block_norms(fit.adjoint(fit.data)) / fit.weight
    found = _scaled_norms(fit, products.adjoint) / fit.weight
    rank, n_times = fit.data.shape
    loss = (rank + 8) * jnp.linalg.norm(fit.data) * products.column_norms(fit) / fit.weight
    margin = ULP * (loss + fit.scale.shape[1] * n_times * found)
    return _exact_above(fit, fit.data, found + margin, jnp.max(found - margin))


def gradient_ratios(
    fit: LeastSquares,
    products: GainProducts,
    before: tuple[LocationWeights, Data] | None,
    index: Int[Array, " w"],
    x: Float[Array, "w orients times"],
    residual: Data,
    own: Float[Array, " w"],
) -> LocationWeights:
    """Gradient norms over weights, or upper bounds of them that are below `SAFE`.

    `before` holds those at an earlier residual, and that one; `own` those of `index`. The
    certificate holds with bounds: the largest ratio is none.
    """
    counts = _subset_sizes(fit.scale.shape[0])
    if not counts:
        return (block_norms(fit.adjoint(residual)) / fit.weight).at[index].set(own)

    def of_products() -> LocationWeights:
        found, margin = single_precision_ratios(fit, products, index, x, residual)
        return (found + margin).at[index].set(0.0)

    def of_drift(ratio: LocationWeights, earlier: Data) -> LocationWeights:
        drift = residual - earlier
        size = jnp.sqrt(jnp.linalg.norm(drift.T @ drift))
        bound = ratio + products.column_norms(fit) * size / fit.weight
        bound = bound.at[index].set(0.0)
        near = jnp.sum(bound >= SAFE)
        return jax.lax.cond(near > counts[-2], of_products, lambda: bound)

    bound = of_products() if before is None else of_drift(*before)
    return _exact_above(fit, residual, bound, SAFE).at[index].set(own)


def single_precision_ratios(
    fit: LeastSquares,
    products: GainProducts,
    index: Int[Array, " w"],
    x: Float[Array, "w orients times"],
    residual: Data,
) -> tuple[LocationWeights, LocationWeights]:
    """Ratios in single precision, and how wrong they may be.

    With k active columns, columns of G'G cost k (rank + times) for each location; where that is
    more than half of the rank times of a product with `residual`, that one is computed.
    """
    norms, (rank, n_times), n_orients = block_norms(x), residual.shape, x.shape[1]
    few = rank * n_times // (2 * (rank + n_times) * n_orients)
    counts = [n for n in (few // 4, few // 2, few) if MIN_ACTIVE <= n < len(index)]

    def by_columns(n: int) -> tuple[LocationWeights, Array]:
        _, at = jax.lax.top_k(norms, n)
        columns, some = fit.columns(index[at]), x[at].reshape(-1, n_times)
        off = _contract(some.astype(SINGLE), _single_adjoint(columns, fit.gain))
        terms = jnp.linalg.norm(columns, axis=0) @ jnp.linalg.norm(some, axis=1)
        loss = (rank + n * n_orients + 8) * (jnp.linalg.norm(fit.data) + terms)
        return _scaled_norms(fit, products.adjoint - off), loss

    def by_residual() -> tuple[LocationWeights, Array]:
        gradient = _single_adjoint(residual, fit.gain)
        return _scaled_norms(fit, gradient), (rank + 8) * jnp.linalg.norm(residual)

    branches = [*(lambda n=n: by_columns(n) for n in counts), by_residual]
    which = jnp.searchsorted(jnp.asarray([*counts, len(index)]), jnp.sum(norms > 0))
    found, loss = jax.lax.switch(which, branches)
    margin = ULP * (loss * products.column_norms(fit) + n_orients * n_times * found)
    return found / fit.weight, margin / fit.weight


def _exact_above(
    fit: LeastSquares, residual: Data, bound: LocationWeights, safe: Array | float
) -> LocationWeights:
    """Ratios themselves, where the bounds are above what is safe."""
    counts = _subset_sizes(len(bound))

    def on_subset(n: int) -> LocationWeights:
        near = jnp.nonzero(bound >= safe, size=n, fill_value=len(bound))[0]
        gradient = (fit.columns(near).T @ residual).reshape(n, -1, residual.shape[1])
        return bound.at[near].set(block_norms(gradient) / fit.weight[near], mode="drop")

    def on_all() -> LocationWeights:
        return block_norms(fit.adjoint(residual)) / fit.weight

    branches = [*(lambda n=n: on_subset(n) for n in counts), on_all]
    which = jnp.searchsorted(jnp.asarray([*counts, len(bound)]), jnp.sum(bound >= safe))
    return jax.lax.switch(which, branches)


def _subset_sizes(n_locations: int) -> list[int]:
    """Sizes of subsets whose gradients are computed by themselves; none where there are few."""
    return [n_locations // share for share in SHARES] if n_locations >= MIN_LOCATIONS else []


def _scaled_norms(
    fit: LeastSquares, gradient: Float[Array, "times locations orients"]
) -> LocationWeights:
    """Norms of gradients in single precision, scaled."""
    squares = jnp.sum(gradient**2, axis=0).astype(fit.data.dtype)
    return jnp.sqrt(jnp.sum(squares * fit.scale**2, axis=-1))


def _single_adjoint(
    right: Float[Array, "rank n"], gain: Gain
) -> Float[Array, "n locations orients"]:
    """Something times G, in single precision; in this order it is a third faster."""
    return _contract(right.astype(SINGLE), gain.astype(SINGLE))


def _contract(left, right):
    return jnp.tensordot(left, right, axes=(0, 0), precision=jax.lax.Precision.HIGHEST)
