"""Sizes of working sets: few, so that few programs are compiled."""

import jax.numpy as jnp
from jaxtyping import Array, Int

FIRST_SIZE = 64  # locations of a first working set
MOST_COLUMNS = 2048  # columns of a working set within a transformation


def host_sizes(n_locations: int) -> tuple[int, ...]:
    """Sizes that the host compiles one after the other, doubling."""
    out = [FIRST_SIZE]
    while out[-1] < n_locations:
        out.append(2 * out[-1])
    return (*out[:-1], n_locations)


def loop_sizes(n_locations: int, n_orients: int) -> tuple[int, ...]:
    """Sizes that are branches of one compiled loop; all their memory is taken at once."""
    largest = min(n_locations, MOST_COLUMNS // n_orients)
    return (*(n for n in (FIRST_SIZE, 8 * FIRST_SIZE) if n < largest), largest)


def branch_of(sizes: tuple[int, ...], wanted: Int[Array, ""]) -> Int[Array, ""]:
    """Which of the sizes holds so many locations; the last one where none does."""
    return jnp.searchsorted(jnp.asarray(sizes), jnp.minimum(wanted, sizes[-1]))
