"""Distances along a mesh, on the host: the graph, evenly spread seeds, what lies within reach."""

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components, dijkstra
from scipy.spatial import KDTree

SEEDS_AT_A_TIME = 200  # seeds at a time: distances to all locations are held for so many
STRAY = 0.01  # a piece of mesh with a smaller share of the locations is a crumb


def mesh_graph(positions: np.ndarray, edges: np.ndarray) -> sparse.csr_array:
    """Edge lengths (m) as a symmetric graph."""
    lengths = np.linalg.norm(positions[edges[:, 0]] - positions[edges[:, 1]], axis=1)
    # a stored zero would be no edge to csgraph
    lengths = np.maximum(lengths, 1e-9)
    both = np.concatenate([edges, edges[:, ::-1]])
    n = len(positions)
    return sparse.csr_array((np.r_[lengths, lengths], (both[:, 0], both[:, 1])), shape=(n, n))


def joined_edges(positions: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Edges, and one more from each crumb of the mesh to the nearest location of a large piece.

    Where sources too close to the skull are left out, a location may lose all its neighbours.
    """
    n = len(positions)
    piece = connected_components(mesh_graph(positions, edges), directed=False)[1]
    size = np.bincount(piece)
    large = size >= max(STRAY * n, 2)
    if large.all() or not large.any():
        return edges
    kept = np.flatnonzero(large[piece])
    distance, nearest = KDTree(positions[kept]).query(positions)
    bridges = []
    for crumb in np.flatnonzero(~large):
        inside = np.flatnonzero(piece == crumb)
        start = inside[np.argmin(distance[inside])]
        bridges.append((start, kept[nearest[start]]))
    return np.concatenate([edges, np.sort(np.array(bridges), axis=1)])


def farthest_points(graph: sparse.csr_array, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Seeds, each as far as possible from those before, and the distance to the nearest (m).

    Returns
    -------
    seeds : (n,)
    distance : (locations,)
        Infinite in pieces of mesh without a seed (there are more pieces than seeds).
    """
    piece = connected_components(graph, directed=False)[1]
    room = np.bincount(piece)[piece]
    distance = np.full(graph.shape[0], np.inf)
    seeds: list[int] = []
    for _ in range(n):
        # a piece without a seed comes first, the largest before the others
        seed = int(np.argmax(np.where(np.isinf(distance), 1e6 + room, distance)))
        seeds.append(seed)
        far = distance.max()
        limit = far if np.isfinite(far) else np.inf
        distance = np.minimum(distance, dijkstra(graph, indices=seed, limit=limit))
        distance[seed] = 0.0
    return np.array(seeds), distance


def neighbourhoods(
    graph: sparse.csr_array, seeds: np.ndarray, reach: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Locations closer to each seed than its reach (m), and their distances."""
    rows = []
    for start in range(0, len(seeds), SEEDS_AT_A_TIME):
        chunk = slice(start, start + SEEDS_AT_A_TIME)
        distance = dijkstra(graph, indices=seeds[chunk], limit=float(reach[chunk].max()))
        for row, limit in zip(distance, reach[chunk], strict=True):
            inside = np.flatnonzero(row < limit)
            rows.append((inside, row[inside]))
    return rows


def laplacian(positions: np.ndarray, edges: np.ndarray, n_dimensions: int) -> sparse.csr_array:
    r"""Minus the Laplacian of the mesh (1/m2): positive semi-definite, constants in its null space.

    Weights :math:`2 d / (\bar k\, h_{ij}^2)` with d dimensions and :math:`\bar k` neighbours on
    average make it exact for quadratic functions on a regular lattice. Short edges count as half
    the median one, so that two sources close by do not make it stiff.
    """
    n = len(positions)
    lengths = np.linalg.norm(positions[edges[:, 0]] - positions[edges[:, 1]], axis=1)
    lengths = np.maximum(lengths, 0.5 * np.median(lengths))
    weight = 2.0 * n_dimensions / (2.0 * len(edges) / n) / lengths**2
    both = np.concatenate([edges, edges[:, ::-1]])
    adjacency = sparse.csr_array((np.r_[weight, weight], (both[:, 0], both[:, 1])), shape=(n, n))
    return (sparse.diags_array(adjacency.sum(axis=1)) - adjacency).tocsr()
