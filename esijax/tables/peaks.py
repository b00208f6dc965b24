"""Peaks of a map, active locations that belong together, and the patch around a peak."""

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from esijax.geometry import Geometry

SILENT = 1e-6  # of the largest: below it a location is not active
SPARSE = 0.1  # share of active locations below which a map is sparse
TOGETHER = 0.01  # m: active locations within it are one place, as are neighbours on the mesh


def neighbours(geometry: Geometry, n_locations: int) -> sparse.csr_array:
    """Adjacency of the locations: along the mesh, and `edges` for those that are on none."""
    none = np.zeros((0, 2), dtype=int)
    mesh = none if geometry.triangles is None else np.asarray(geometry.triangles)
    pairs = (
        np.concatenate([mesh[:, [0, 1]], mesh[:, [1, 2]], mesh[:, [2, 0]]]) if len(mesh) else none
    )
    if geometry.edges is not None:
        on_mesh = np.zeros(n_locations, dtype=bool)
        on_mesh[mesh] = True
        edges = np.asarray(geometry.edges)
        pairs = np.concatenate([pairs, edges[~on_mesh[edges].all(axis=1)]])
    both = np.concatenate([pairs, pairs[:, ::-1]])
    ones = np.ones(len(both), dtype=bool)
    return sparse.csr_array((ones, (both[:, 0], both[:, 1])), shape=(n_locations, n_locations))


def is_sparse(amplitude: Float[np.ndarray, " locations"]) -> bool:
    """Whether few locations are active: a map of a penalty, not of a minimum norm."""
    active = amplitude > SILENT * amplitude.max(initial=0)
    return 0 < int(active.sum()) <= max(1, SPARSE * len(amplitude))


def local_maxima(
    amplitude: Float[np.ndarray, " locations"],
    graph: sparse.csr_array,
    positions: Float[np.ndarray, "locations 3"] | None,
    space: Int[np.ndarray, " locations"],
    apart: float,
    floor: float,
) -> list[int]:
    """Local maxima, the strongest first, none near a stronger one of the same source space.

    Parameters
    ----------
    amplitude : (locations,)
        Not negative.
    graph : sparse (locations, locations)
        Neighbours; a local maximum is not below any of its own.
    positions : (locations, 3)
        m; None: local maxima are as near as they come.
    space : (locations,)
        Source space of each location: the hemispheres are apart wherever they touch.
    apart : float
        m.
    floor : float
        Of the largest: lower ones are left out.
    """
    top = amplitude.max(initial=0)
    coo = graph.tocoo()
    highest = np.zeros_like(amplitude)
    np.maximum.at(highest, coo.coords[0], amplitude[coo.coords[1]])
    found = np.flatnonzero((amplitude >= highest) & (amplitude >= floor * top) & (amplitude > 0))
    kept: list[int] = []
    for peak in found[np.argsort(-amplitude[found], kind="stable")]:
        rivals = [k for k in kept if space[k] == space[peak]]
        if positions is not None and rivals:
            distance = np.linalg.norm(positions[rivals] - positions[peak], axis=1)
            if distance.min() < apart:
                continue
        kept.append(int(peak))
    return kept


def nearest_peak(
    peaks: list[int],
    positions: Float[np.ndarray, "locations 3"] | None,
    space: Int[np.ndarray, " locations"],
) -> Int[np.ndarray, " locations"]:
    """Which of the peaks of its source space is nearest to each location; -1 where there is none.

    Without positions a location belongs to the first peak, but for the peaks themselves.
    """
    owner = np.full(len(space), -1)
    for here in np.unique(space[peaks]):
        rivals = np.array([i for i, p in enumerate(peaks) if space[p] == here])
        inside = np.flatnonzero(space == here)
        owner[inside] = rivals[0]
        if positions is not None:
            places = positions[np.asarray(peaks)[rivals]]
            owner[inside] = rivals[KDTree(places).query(positions[inside])[1]]
    owner[peaks] = np.arange(len(peaks))
    return owner


def patch(
    amplitude: Float[np.ndarray, " locations"], graph: sparse.csr_array, peak: int
) -> Int[np.ndarray, " some"]:
    """Locations above half of a peak that hang together with it."""
    high = np.flatnonzero(amplitude > 0.5 * amplitude[peak])
    piece = connected_components(graph[high][:, high], directed=False)[1]
    return high[piece == piece[np.searchsorted(high, peak)]]


def active_groups(
    amplitude: Float[np.ndarray, " locations"],
    graph: sparse.csr_array,
    positions: Float[np.ndarray, "locations 3"] | None,
    space: Int[np.ndarray, " locations"],
) -> list[Int[np.ndarray, " some"]]:
    """All active locations, those of one place together; the strongest group first.

    Two belong together where they are neighbours on the mesh, or within a centimetre in the same
    source space, or both belong to a third.
    """
    active = np.flatnonzero(amplitude > SILENT * amplitude.max(initial=0))
    near = graph[active][:, active]
    if positions is not None and len(active) > 1:
        pairs = KDTree(positions[active]).query_pairs(TOGETHER, output_type="ndarray")
        pairs = pairs[space[active[pairs[:, 0]]] == space[active[pairs[:, 1]]]]
        ones = np.ones(len(pairs), dtype=bool)
        near = near + sparse.csr_array((ones, (pairs[:, 0], pairs[:, 1])), shape=near.shape)
    n, group = connected_components(near, directed=False)
    groups = [active[group == i] for i in range(n)]
    groups = [g[np.argsort(-amplitude[g], kind="stable")] for g in groups]
    return sorted(groups, key=lambda g: -amplitude[g[0]])
