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

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from esijax._ops.prox import block_norms
from esijax.inference.sparse.base.task import ROUGH, Data, Known, Task, Weights, _product, _rough

FEWEST = 4  # active locations for which columns of G'G are tried
MANY = 1024  # locations: with less, bounds take longer to compile than they save
SHARES = (64, 16, 4)  # of all locations: so few are looked at by themselves
SAFE = 0.98  # ratios below it cannot join
ULP = float(jnp.finfo(ROUGH).eps)  # twice the unit roundoff: room for terms of second order


def _reach(task: Task, known: Known) -> Weights:
    """Norms of the columns of a location."""
    return jnp.sqrt(jnp.sum(known.squares * task.scale**2, axis=-1))


def _norms(task: Task, slope: Float[Array, "times locations orients"]) -> Weights:
    """Norms of rough gradients, scaled."""
    squares = jnp.sum(slope**2, axis=0).astype(task.data.dtype)
    return jnp.sqrt(jnp.sum(squares * task.scale**2, axis=-1))


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
        off = _product(some.astype(ROUGH), _rough(columns, task.gain))
        terms = jnp.linalg.norm(columns, axis=0) @ jnp.linalg.norm(some, axis=1)
        loss = (rank + n * n_orients + 8) * (jnp.linalg.norm(task.data) + terms)
        return _norms(task, known.pulled - off), loss

    def whole() -> tuple[Weights, Array]:
        slope = _rough(residual, task.gain)
        return _norms(task, slope), (rank + 8) * jnp.linalg.norm(residual)

    ways = [*(lambda n=n: by_columns(n) for n in counts), whole]
    which = jnp.searchsorted(jnp.asarray([*counts, len(index)]), jnp.sum(norms > 0))
    found, loss = jax.lax.switch(which, ways)
    margin = ULP * (loss * _reach(task, known) + n_orients * n_times * found)
    return found / task.weight, margin / task.weight


def first_ratios(task: Task, known: Known) -> Weights:
    """Of zero; the largest is exact."""
    if not _counts(task.scale.shape[0]):
        return block_norms(task.slope(task.data)) / task.weight
    found = _norms(task, known.pulled) / task.weight
    rank, n_times = task.data.shape
    loss = (rank + 8) * jnp.linalg.norm(task.data) * _reach(task, known) / task.weight
    margin = ULP * (loss + task.scale.shape[1] * n_times * found)
    return _exact(task, task.data, found + margin, jnp.max(found - margin))


def ratios(
    task: Task,
    known: Known,
    before: tuple[Weights, Data] | None,
    index: Int[Array, " w"],
    x: Float[Array, "w orients times"],
    residual: Data,
    own: Float[Array, " w"],
) -> Weights:
    """Gradient norms over weights, or upper bounds of them that are below `SAFE`.

    `before` holds those at an earlier residual, and that one; `own` those of `index`. The
    certificate holds with bounds: the largest ratio is none.
    """
    n_locations = task.scale.shape[0]
    counts = _counts(n_locations)
    if not counts:
        return (block_norms(task.slope(residual)) / task.weight).at[index].set(own)

    def of_products() -> Weights:
        found, margin = rough(task, known, index, x, residual)
        return (found + margin).at[index].set(0.0)

    def of_drift(ratio: Weights, earlier: Data) -> Weights:
        drift = residual - earlier
        size = jnp.sqrt(jnp.linalg.norm(drift.T @ drift))
        bound = (ratio + _reach(task, known) * size / task.weight).at[index].set(0.0)
        near = jnp.sum(bound >= SAFE)
        return jax.lax.cond(near > counts[-2], of_products, lambda: bound)

    bound = of_products() if before is None else of_drift(*before)
    return _exact(task, residual, bound, SAFE).at[index].set(own)


def _counts(n_locations: int) -> list[int]:
    return [n_locations // share for share in SHARES] if n_locations >= MANY else []


def _exact(task: Task, residual: Data, bound: Weights, safe: Array | float) -> Weights:
    """Ratios themselves, where the bounds are above what is safe."""
    counts = _counts(len(bound))

    def some(n: int) -> Weights:
        near = jnp.nonzero(bound >= safe, size=n, fill_value=len(bound))[0]
        slope = (task.columns(near).T @ residual).reshape(n, -1, residual.shape[1])
        return bound.at[near].set(block_norms(slope) / task.weight[near], mode="drop")

    def whole() -> Weights:
        return block_norms(task.slope(residual)) / task.weight

    ways = [*(lambda n=n: some(n) for n in counts), whole]
    which = jnp.searchsorted(jnp.asarray([*counts, len(bound)]), jnp.sum(bound >= safe))
    return jax.lax.switch(which, ways)
