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

G'Y is computed once: where few locations are active, G'R is G'Y less their columns of G'G.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from esijax._ops.prox import block_norms

FEWEST = 4  # locations for which columns of G'G are tried
SHARES = (64, 8, 2)  # of all locations: so few are looked at by themselves
SAFE = 0.98  # ratios below it cannot join
ROUGH = jnp.float32
ULP = float(jnp.finfo(ROUGH).eps)  # twice the unit roundoff: room for terms of second order
Gain = Float[Array, "rank locations orients"]
Data = Float[Array, "rank times"]
Sources = Float[Array, "locations orients times"]
Weights = Float[Array, " locations"]


class Known(NamedTuple):
    """What is the same at all weights and scales."""

    pulled: Sources  # G' Y, in single precision
    squares: Float[Array, "locations orients"]  # of the norms of columns


class Task(NamedTuple):
    """One problem: the gain is ``gain * scale``."""

    gain: Gain
    scale: Float[Array, "locations orients"]
    data: Data
    weight: Weights

    def columns(self, index: Int[Array, " w"]) -> Float[Array, "rank columns"]:
        """Scaled columns of some locations."""
        some = self.gain[:, index] * self.scale[None, index]
        return some.reshape(len(some), -1)

    def known(self) -> Known:
        """Gradients at zero and norms, not scaled."""
        return Known(_rough(self.gain, self.data), jnp.sum(self.gain**2, axis=0))

    def slope(self, residual: Data) -> Sources:
        """G' R."""
        return jnp.tensordot(self.gain, residual, axes=(0, 0)) * self.scale[..., None]


def _rough(gain: Gain, right: Float[Array, "rank n"]) -> Float[Array, "locations orients n"]:
    """G' times something, in single precision."""
    low, right = gain.astype(ROUGH), right.astype(ROUGH)
    return jnp.tensordot(low, right, axes=(0, 0), precision=jax.lax.Precision.HIGHEST)


def _reach(task: Task, known: Known) -> Weights:
    """Norms of the columns of a location."""
    return jnp.sqrt(jnp.sum(known.squares * task.scale**2, axis=-1))


def _norms(task: Task, slope: Sources) -> Weights:
    """Norms of rough gradients, scaled."""
    scaled = slope * task.scale.astype(ROUGH)[..., None]
    return block_norms(scaled).astype(task.data.dtype)


def rough(
    task: Task,
    known: Known,
    index: Int[Array, " w"],
    x: Float[Array, "w orients times"],
    residual: Data,
) -> tuple[Weights, Weights]:
    """Ratios in single precision, and how wrong they may be.

    With k active columns, columns of G'G cost k (rank + times) for each location; where that is
    more than half of the rank times of a product with `residual`, that one is computed.
    """
    norms, (rank, n_times), n_orients = block_norms(x), residual.shape, x.shape[1]
    few = rank * n_times // (2 * (rank + n_times) * n_orients)
    counts = [n for n in (few // 4, few // 2, few) if FEWEST <= n < len(index)]

    def by_columns(n: int) -> tuple[Weights, Array]:
        _, at = jax.lax.top_k(norms, n)
        columns, some = task.columns(index[at]), x[at].reshape(-1, n_times)
        cross = _rough(task.gain, columns)
        off = jnp.tensordot(cross, some.astype(ROUGH), axes=1, precision=jax.lax.Precision.HIGHEST)
        terms = jnp.linalg.norm(columns, axis=0) @ jnp.linalg.norm(some, axis=1)
        loss = (rank + n * n_orients + 8) * (jnp.linalg.norm(task.data) + terms)
        return _norms(task, known.pulled - off), loss

    def whole() -> tuple[Weights, Array]:
        slope = _rough(task.gain, residual)
        return _norms(task, slope), (rank + 8) * jnp.linalg.norm(residual)

    ways = [*(lambda n=n: by_columns(n) for n in counts), whole]
    which = jnp.searchsorted(jnp.asarray([*counts, len(index)]), jnp.sum(norms > 0))
    found, loss = jax.lax.switch(which, ways)
    margin = ULP * (loss * _reach(task, known) + n_orients * n_times * found)
    return found / task.weight, margin / task.weight


def first_ratios(task: Task, known: Known) -> Weights:
    """Of zero; the largest is exact."""
    found = _norms(task, known.pulled) / task.weight
    rank, n_times = task.data.shape
    loss = (rank + 8) * jnp.linalg.norm(task.data) * _reach(task, known) / task.weight
    margin = ULP * (loss + task.scale.shape[1] * n_times * found)
    return _exact(task, task.data, found + margin, jnp.max(found - margin), 0)


def ratios(
    task: Task,
    known: Known,
    before: tuple[Weights, Data] | None,
    index: Int[Array, " w"],
    x: Float[Array, "w orients times"],
    residual: Data,
) -> Weights:
    """Gradient norms over weights, or upper bounds of them that are below `SAFE`.

    `before` holds those at an earlier residual, and that one. The certificate holds with bounds:
    the largest ratio is none.
    """

    def of_products() -> Weights:
        found, margin = rough(task, known, index, x, residual)
        return (found + margin).at[index].set(jnp.inf)

    if not _counts(task.scale.shape[0], len(index)):
        return block_norms(task.slope(residual)) / task.weight
    if before is None:
        bound = of_products()
    else:
        ratio, earlier = before
        drift = residual - earlier
        size = jnp.sqrt(jnp.linalg.norm(drift.T @ drift))
        bound = (ratio + _reach(task, known) * size / task.weight).at[index].set(jnp.inf)
        near = jnp.sum(bound > SAFE)
        most = max([0, *_counts(len(ratio), len(index))][:-1])
        bound = jax.lax.cond(near > most, of_products, lambda: bound)
    return _exact(task, residual, bound, jnp.asarray(SAFE), len(index))


def _counts(n_locations: int, least: int) -> list[int]:
    return [n for n in (n_locations // share for share in SHARES) if n > least]


def _exact(task: Task, residual: Data, bound: Weights, safe: Array, least: int) -> Weights:
    """Ratios themselves, where the bounds are above what is safe; `least` of them are."""
    counts = _counts(len(bound), least)

    def some(n: int) -> Weights:
        _, near = jax.lax.top_k(bound, n)
        slope = (task.columns(near).T @ residual).reshape(n, -1, residual.shape[1])
        return bound.at[near].set(block_norms(slope) / task.weight[near])

    def whole() -> Weights:
        return block_norms(task.slope(residual)) / task.weight

    ways = [*(lambda n=n: some(n) for n in counts), whole]
    which = jnp.searchsorted(jnp.asarray([*counts, len(bound)]), jnp.sum(bound >= safe))
    return jax.lax.switch(which, ways)
