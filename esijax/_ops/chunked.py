r"""Products of a lead field with itself, a few hundred columns at a time.

A lead field of 8,003 locations x 3 orients takes 70 MB; each temporary of that size costs more
in memory traffic than its arithmetic. Chunks stay in cache: twice as fast on a CPU.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from esijax._types import Blocks, Gain


def chunk_size(n_locations: int, n_orients: int) -> int:
    """Locations per chunk: all on an accelerator, about 768 columns on a CPU."""
    if jax.default_backend() != "cpu":
        return n_locations
    return min(n_locations, max(1, 768 // n_orients))


def gram(gain: Gain, variance: Float[Array, "locations orients"]) -> Float[Array, "rank rank"]:
    """G diag(variance) G'."""
    rank, n, orients = gain.shape
    size = chunk_size(n, orients)
    half = jnp.sqrt(variance)

    def square(start, width):
        part = jax.lax.dynamic_slice_in_dim(gain, start, width, axis=1)
        part = part * jax.lax.dynamic_slice_in_dim(half, start, width, axis=0)[None]
        return _symmetric_square(part.reshape(rank, -1))

    def add(total, start):
        return total + square(start, size), None

    n_whole = n // size
    total, _ = jax.lax.scan(add, jnp.zeros((rank, rank), gain.dtype), jnp.arange(n_whole) * size)
    rest = n - n_whole * size
    return total if rest == 0 else total + square(n_whole * size, rest)


def _symmetric_square(a: Float[Array, "rank columns"]) -> Float[Array, "rank rank"]:
    """A A', of which one off-diagonal quarter is the transpose of the other."""
    middle = len(a) // 2
    top, low = a[:middle], a[middle:]
    cross = top @ low.T
    return jnp.block([[top @ top.T, cross], [cross.T, low @ low.T]])


def filtered_blocks(
    inverse: Float[Array, "rank rank"], gain: Gain, *, squared: bool = False
) -> Blocks:
    r"""Blocks :math:`G_l^\top S G_l` of each location, or :math:`G_l^\top S^2 G_l`.

    Parameters
    ----------
    inverse : (rank, rank)
        Symmetric S.
    gain : (rank, locations, orients)
    squared : bool
        Use the square of S.
    """
    rank, _, orients = gain.shape

    def blocks(rows, _start, size):
        after = rows @ inverse
        before = after if squared else rows
        before, after = (
            before.reshape(size, orients, 1, rank),
            after.reshape(size, 1, orients, rank),
        )
        return jnp.sum(before * after, axis=-1)

    return by_location(blocks, gain, (orients, orients))


def back_project(
    gain: Gain, columns: Float[Array, "rank columns"], factor: Float[Array, "locations orients"]
) -> Float[Array, "locations orients columns"]:
    """Factor times G' V."""
    orients = gain.shape[-1]

    def project(rows, start, size):
        part = jax.lax.dynamic_slice_in_dim(factor, start, size, axis=0)
        return (rows @ columns).reshape(size, orients, -1) * part[..., None]

    return by_location(project, gain, (orients, columns.shape[1]))


def by_location(function, gain: Gain, shape: tuple[int, int]) -> Float[Array, "locations o p"]:
    """Fill (locations, *shape) from chunks of G', transposed once so that products run fast."""
    rank, n, orients = gain.shape
    size = chunk_size(n, orients)

    def put(out, start):
        part = jax.lax.dynamic_slice_in_dim(gain, start, size, axis=1)
        # without the barrier XLA multiplies the strided transpose, at half the speed
        rows = jax.lax.optimization_barrier(part.reshape(rank, -1).T)
        values = function(rows, start, size)
        return jax.lax.dynamic_update_slice_in_dim(out, values, start, axis=0), None

    # the last chunk overlaps the one before: the same values are written twice
    starts = jnp.minimum(jnp.arange(-(-n // size)) * size, n - size)
    return jax.lax.scan(put, jnp.zeros((n, *shape), gain.dtype), starts)[0]
