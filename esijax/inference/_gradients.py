r"""Gradients of all locations, by as few products with the gain as the certificate allows.

G'Y is computed once. Where few locations are active, G'R is G'Y less their columns of G'G; where R
has moved little, a location whose old gradient and norm say that it cannot join is not looked at:

.. math:: \lVert G_l^\top R' \rVert_F \le \lVert G_l^\top R \rVert_F
   + \lVert G_l \rVert_F \lVert R' - R \rVert, \qquad
   \lVert D \rVert^4 \le \lVert D^\top D \rVert_F^2

(safe screening: El Ghaoui, Viallon and Rabbani 2012, https://arxiv.org/abs/1009.4219).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from esijax._ops.prox import block_norms

FEWEST = 4  # locations for which columns of G'G are tried
SHARES = (64, 8)  # of all locations: so few are looked at by themselves
SAFE = 0.98  # ratios below it cannot join
Gain = Float[Array, "rank locations orients"]
Data = Float[Array, "rank times"]
Sources = Float[Array, "locations orients times"]
Weights = Float[Array, " locations"]


class Known(NamedTuple):
    """What is the same at all weights and scales."""

    pulled: Sources  # G' Y
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
        """Gradients and norms, not scaled."""
        pulled = jnp.tensordot(self.gain, self.data, axes=(0, 0))
        return Known(pulled, jnp.sum(self.gain**2, axis=0))

    def slope(self, residual: Data) -> Sources:
        """G' R."""
        return jnp.tensordot(self.gain, residual, axes=(0, 0)) * self.scale[..., None]


def slope_at(
    task: Task,
    known: Known,
    index: Int[Array, " w"],
    x: Float[Array, "w orients times"],
    residual: Data,
) -> Sources:
    """G'R, by the columns of G'G of those locations of `index` that are not zero.

    With k columns that costs k (rank + times) for each location; where it is more than half of the
    rank times of the product with `residual`, that one is computed.
    """
    norms, (rank, n_times), n_orients = block_norms(x), residual.shape, x.shape[1]
    few = rank * n_times // (2 * (rank + n_times) * n_orients)
    counts = [n for n in (few // 2, few) if FEWEST <= n < len(index)]

    def by_columns(n: int) -> Sources:
        _, at = jax.lax.top_k(norms, n)
        cross = jnp.tensordot(task.gain, task.columns(index[at]), axes=(0, 0))
        off = jnp.tensordot(cross, x[at].reshape(-1, n_times), axes=1)
        return (known.pulled - off) * task.scale[..., None]

    ways = [*(lambda n=n: by_columns(n) for n in counts), lambda: task.slope(residual)]
    which = jnp.searchsorted(jnp.asarray([*counts, len(index)]), jnp.sum(norms > 0))
    return jax.lax.switch(which, ways)


def ratios(
    task: Task,
    known: Known,
    before: tuple[Weights, Data],
    index: Int[Array, " w"],
    x: Float[Array, "w orients times"],
    residual: Data,
) -> Weights:
    """Gradient norms over weights, or upper bounds of them that are below `SAFE`.

    `before` holds those at an earlier residual, and that one. The certificate holds with bounds:
    the largest ratio is none.
    """
    ratio, earlier = before
    drift = residual - earlier
    size = jnp.sqrt(jnp.linalg.norm(drift.T @ drift))
    reach = jnp.sqrt(jnp.sum(known.squares * task.scale**2, axis=-1))
    bound = (ratio + reach * size / task.weight).at[index].set(jnp.inf)
    counts = [n for n in (len(ratio) // share for share in SHARES) if n > len(index)]

    def some(n: int) -> Weights:
        _, near = jax.lax.top_k(bound, n)
        slope = (task.columns(near).T @ residual).reshape(n, -1, residual.shape[1])
        return bound.at[near].set(block_norms(slope) / task.weight[near])

    def whole() -> Weights:
        return block_norms(slope_at(task, known, index, x, residual)) / task.weight

    ways = [*(lambda n=n: some(n) for n in counts), whole]
    which = jnp.searchsorted(jnp.asarray([*counts, len(ratio)]), jnp.sum(bound > SAFE))
    return jax.lax.switch(which, ways)
