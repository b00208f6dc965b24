r"""Neighbours of each location in a table of fixed width, and symmetric averages over them.

.. math:: (\bar x)_i = \sum_{j \in N(i)} \frac{w_{ij}}{\sqrt{s_i s_j}}\, x_j, \qquad
          w_{ij} = e^{-d_{ij}^2 / 2 h^2}, \qquad s_i = c + \sum_j w_{ij}

Pure functions of a problem's positions and edges, so that they run inside jit and vmap too.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from esijax._types import InputError
from esijax.problem import Geometry

MOST = 8  # neighbours of a location
NEAREST = 6  # as many neighbours as in a mesh of triangles, where there is none
WIDTH = 0.012  # m
OWN_SHARE = 0.3  # c: a location with few neighbours averages towards zero
ROWS_AT_A_TIME = 256

Table = Int[Array, "locations most"]
Features = Float[Array, "locations features"]


class Neighbours(eqx.Module):
    """Neighbours of each location and their symmetric weights.

    Parameters
    ----------
    index : (locations, most)
        The location itself where there are fewer.
    weight : (locations, most)
        Zero there.
    """

    index: Table
    weight: Float[Array, "locations most"]

    def average(self, x: Features) -> Features:
        """Weighted sum over neighbours, the same as its own transpose."""
        return _average(x, self.index, self.weight)


def mesh_neighbours(geometry: Geometry) -> Neighbours:
    """Give the neighbours along the edges of the mesh; the nearest by position where there is none.

    Parameters
    ----------
    geometry : Geometry
        With positions.

    Returns
    -------
    neighbours : Neighbours
        At most 8 of each location, the nearest; whether two are neighbours does not depend on the
        order of the locations.

    Raises
    ------
    InputError
        Without positions.
    """
    positions = geometry.positions
    if positions is None:
        raise InputError(
            "an unrolled solver averages over neighbours, and this problem has no positions: give "
            "them (`positions` of from_arrays), or use inference.EM, which needs none."
        )
    positions = jax.lax.stop_gradient(positions)
    if geometry.edges is None or len(geometry.edges) == 0:
        index, is_neighbour = _by_position(positions)
    else:
        index, is_neighbour = _along_edges(positions, geometry.edges)
    distance = jnp.linalg.norm(positions[index] - positions[:, None], axis=-1)
    weight = jnp.where(is_neighbour, jnp.exp(-0.5 * (distance / WIDTH) ** 2), 0.0)
    total = OWN_SHARE + jnp.sum(weight, axis=1)
    return Neighbours(index, weight / jnp.sqrt(total[:, None] * total[index]))


def _along_edges(positions, edges) -> tuple[Table, Array]:
    """Edges as a table; an edge counts if it is among the shortest of both its ends."""
    n = len(positions)
    start = jnp.concatenate([edges[:, 0], edges[:, 1]])
    end = jnp.concatenate([edges[:, 1], edges[:, 0]])
    length = jnp.linalg.norm(positions[start] - positions[end], axis=1)
    order = jnp.lexsort((length, start))
    first = jnp.searchsorted(start[order], jnp.arange(n))
    place = jnp.arange(len(start)) - first[start[order]]
    rank = jnp.zeros(len(start), int).at[order].set(place)
    both = jnp.maximum(rank, jnp.roll(rank, len(edges))) < MOST
    column = jnp.where(both, rank, MOST)  # out of bounds: dropped
    index = jnp.tile(jnp.arange(n)[:, None], (1, MOST)).at[start, column].set(end, mode="drop")
    return index, jnp.zeros((n, MOST), bool).at[start, column].set(True, mode="drop")


def _by_position(positions) -> tuple[Table, Array]:
    """The nearest; two are neighbours if they are as near to each other as to their sixth."""
    n = len(positions)
    most = min(MOST, n - 1)
    if most == 0:
        return jnp.zeros((n, 0), int), jnp.zeros((n, 0), bool)

    def nearest(position):
        distance = jnp.linalg.norm(positions - position[None], axis=1)
        minus, index = jax.lax.top_k(-distance, most + 1)
        return -minus[1:], index[1:]

    distance, index = jax.lax.map(nearest, positions, batch_size=min(ROWS_AT_A_TIME, n))
    reach = 1.25 * distance[:, min(NEAREST, most) - 1]
    near = distance <= jnp.minimum(reach[:, None], reach[index])
    mutual = jnp.any(index[index] == jnp.arange(n)[:, None, None], axis=-1)
    return jnp.where(near & mutual, index, jnp.arange(n)[:, None]), near & mutual


def _sum(x, index, weight):
    # neighbour by neighbour: no array of locations x neighbours x features
    return sum(
        (weight[:, k, None] * x[index[:, k]] for k in range(index.shape[1])), jnp.zeros_like(x)
    )


_average = jax.custom_vjp(_sum)
_average.defvjp(
    lambda x, index, weight: (_sum(x, index, weight), (index, weight)),
    lambda kept, cotangent: (_sum(cotangent, *kept), None, None),
)
