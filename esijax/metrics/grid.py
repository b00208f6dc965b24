"""Distances and neighbours that several scores share."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from esijax._types import InputError


def distance_to(
    positions: Float[ArrayLike, "locations 3"], points: Float[ArrayLike, "points 3"]
) -> Float[Array, " locations"]:
    r"""Distance from each location to the nearest of some points, :math:`\min_k |r_l - q_k|`.

    Parameters
    ----------
    positions : (locations, 3)
        Where the locations are, m.
    points : (points, 3)
        At least one.

    Returns
    -------
    distance : (locations,)
        In the unit of the positions, not negative.

    Examples
    --------
    >>> import jax.numpy as jnp, esijax as ej
    >>> line = jnp.array([[0.0, 0, 0], [3.0, 0, 0]])
    >>> ej.metrics.distance_to(line, line[:1]).tolist()
    [0.0, 3.0]
    """
    points = jnp.asarray(points)
    return _nearest(jnp.asarray(positions), points, points.shape[0])


def distance_to_active(
    positions: Float[ArrayLike, "locations 3"], active: Bool[ArrayLike, " locations"]
) -> Float[Array, " locations"]:
    r"""Distance from each location to the nearest active one.

    Parameters
    ----------
    positions : (locations, 3)
        Where the locations are, m.
    active : bool, (locations,)
        Which locations are truly active.

    Returns
    -------
    distance : (locations,)
        In the unit of the positions; 0 where active, infinite where nothing is.

    Examples
    --------
    >>> import jax.numpy as jnp, esijax as ej
    >>> line = jnp.array([[0.0, 0, 0], [3.0, 0, 0]])
    >>> ej.metrics.distance_to_active(line, jnp.array([False, True])).tolist()
    [3.0, 0.0]
    """
    positions, active = jnp.asarray(positions), jnp.asarray(active)
    first = jnp.nonzero(active, size=len(positions), fill_value=0)[0]
    return _nearest(positions, positions[first], jnp.sum(active))


@jax.jit
def _nearest(positions: Array, points: Array, count: Any) -> Array:
    """Distance to the first `count` points; one point at a time keeps it within the cache."""
    x, y, z = positions.T

    def closer(k, best):
        p = points[k]
        return jnp.minimum(best, (x - p[0]) ** 2 + (y - p[1]) ** 2 + (z - p[2]) ** 2)

    return jnp.sqrt(jax.lax.fori_loop(0, count, closer, jnp.full_like(x, jnp.inf)))


def sum_over(active: Bool[Array, " locations"], value: Callable[[Array], Array]) -> Array:
    """Sum of a function of the index over the active locations, whose number may be traced."""
    index = jnp.nonzero(active, size=active.shape[0], fill_value=0)[0]
    zero = jnp.zeros((), jax.eval_shape(value, index[0]).dtype)
    return jax.lax.fori_loop(0, jnp.sum(active), lambda k, out: out + value(index[k]), zero)


def neighbours(positions: Float[ArrayLike, "locations 3"], radius: Any) -> Int[Array, "edges 2"]:
    """Pairs of locations within a radius, for grids that have no mesh; on the host.

    Parameters
    ----------
    positions : (locations, 3)
        Where the locations are, m.
    radius : float
        In the unit of the positions: for a volume grid, a little more than its spacing.

    Returns
    -------
    edges : (edges, 2)
        Each pair once.

    Raises
    ------
    InputError
        If the radius is not positive.

    Examples
    --------
    >>> import jax.numpy as jnp, esijax as ej
    >>> line = jnp.array([[0.0, 0, 0], [1.0, 0, 0], [3.0, 0, 0]])
    >>> ej.metrics.neighbours(line, 1.5).tolist()
    [[0, 1]]
    """
    from scipy.spatial import KDTree

    if not radius > 0:
        raise InputError(f"the radius of a neighbourhood must be positive, got {radius}.")
    return jnp.asarray(KDTree(np.asarray(positions)).query_pairs(radius, output_type="ndarray"))


@jax.jit
def local_maxima(
    amplitude: Float[ArrayLike, " locations"], edges: Int[ArrayLike, "edges 2"]
) -> Bool[Array, " locations"]:
    """Locations above zero that no neighbour exceeds; of equal neighbours the first is kept.

    Parameters
    ----------
    amplitude : (locations,)
        Not negative.
    edges : (edges, 2)
        Pairs of neighbours: `Geometry.edges`, or `neighbours` where there is no mesh.

    Returns
    -------
    peaks : bool, (locations,)

    Examples
    --------
    >>> import jax.numpy as jnp, esijax as ej
    >>> chain = jnp.array([[0, 1], [1, 2], [2, 3]])
    >>> ej.metrics.local_maxima(jnp.array([3.0, 1, 2, 2]), chain).tolist()
    [True, False, True, False]
    """
    amplitude, (start, end) = jnp.asarray(amplitude), jnp.asarray(edges).T
    tied = (amplitude[start] == amplitude[end]) & (start > end)
    lower = jnp.where((amplitude[start] < amplitude[end]) | tied, start, end)
    return (amplitude > 0).at[lower].set(False)


def geodesic(
    positions: Float[ArrayLike, "locations 3"],
    edges: Int[ArrayLike, "edges 2"],
    sources: Int[ArrayLike, " sources"],
) -> Float[np.ndarray, "sources locations"]:
    """Lengths of the shortest ways along mesh edges; on the host.

    Ways along edges are longer than across triangles, by up to some 15 % on regular meshes.

    Parameters
    ----------
    positions : (locations, 3)
        Where the locations are, m.
    edges : (edges, 2)
        Pairs of neighbouring locations.
    sources : int, (sources,)
        Locations where the ways begin.

    Returns
    -------
    length : (sources, locations)
        In the unit of the positions; infinite between hemispheres.

    References
    ----------
    Dijkstra 1959, doi:10.1007/BF01386390.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> corner = np.array([[0.0, 0, 0], [1.0, 0, 0], [1.0, 1, 0]])
    >>> ej.metrics.geodesic(corner, np.array([[0, 1], [1, 2]]), np.array([0])).tolist()
    [[0.0, 1.0, 2.0]]
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import dijkstra

    positions, edges = np.asarray(positions), np.asarray(edges)
    length = np.linalg.norm(positions[edges[:, 0]] - positions[edges[:, 1]], axis=1)
    n = len(positions)
    graph = csr_array((length, (edges[:, 0], edges[:, 1])), shape=(n, n))
    return dijkstra(graph, directed=False, indices=np.asarray(sources))
