"""Sums of outer products of columns, group by group."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

BLOCK_WIDTH = 128
LARGE_GROUP = 16  # columns per group from which a matrix is the cheaper form
ROOM_FOR_MATRICES = 5e8  # bytes that the matrices may take


def few_and_large(rank: int, columns: int, n: int) -> bool:
    """Whether n groups of columns are cheaper as matrices (rank, rank), and these have room."""
    return columns >= LARGE_GROUP * n and 8 * n * rank**2 <= ROOM_FOR_MATRICES


def grams(
    factor: Float[Array, "rank columns"], group: Int[Array, " columns"], n: int
) -> Float[Array, "n rank rank"]:
    r"""Give :math:`C_k = \sum_{c \in k} f_c f_c^\top` of n groups, products of blocks throughout.

    Columns are put in the order of their groups; blocks of up to 128 of one group are multiplied
    one after the other, at most columns / 128 + n of them.
    """
    rank, columns = factor.shape
    width = min(columns, BLOCK_WIDTH)
    order = jnp.argsort(group, stable=True)
    factor, group = factor[:, order], group[order]
    count = jnp.zeros(n, int).at[group].add(1, mode="drop")
    first = jnp.cumsum(count) - count  # where each group starts
    blocks = -(-count // width)
    last_block = jnp.cumsum(blocks)

    def add(out, i):
        owner = jnp.searchsorted(last_block, i, side="right")
        inside = i - (last_block - blocks)[jnp.minimum(owner, n - 1)]
        start = first[jnp.minimum(owner, n - 1)] + inside * width
        begin = jnp.minimum(start, columns - width)  # where a slice of this width fits
        part = jax.lax.dynamic_slice_in_dim(factor, begin, width, 1)
        place = begin + jnp.arange(width)
        own = (place >= start) & (jax.lax.dynamic_slice(group, (begin,), (width,)) == owner)
        part = jnp.where(own, part, 0.0)
        return out.at[owner].add(part @ part.T, mode="drop"), None

    empty = jnp.zeros((n, rank, rank), factor.dtype)
    return jax.lax.scan(add, empty, jnp.arange(columns // width + n))[0]
