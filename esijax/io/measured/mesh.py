"""Meshes, areas and neighbours of the sources of one source space.

A decimated surface may come without triangles of its own: `mne.setup_source_space` gives none where
the spacing is in millimetres, and none is left of those that it gives once a forward was restricted
to a label. They are then made of the cells of the used vertices.
"""

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import dijkstra

from esijax.arrays import nearest_neighbours

CELL_REACH = (
    1.5  # of the usual distance between used vertices: all of a cortex, little around a label
)


def triangles_and_areas(s) -> tuple[np.ndarray, np.ndarray]:
    """Triangles over the used vertices, numbered 0 .. nuse - 1, and the area of each vertex."""
    none = np.zeros((0, 3), dtype=int), np.zeros(int(s["nuse"]))
    if s["type"] != "surf" or s["tris"] is None or not np.size(s["tris"]):
        return none
    every = np.asarray(s["tris"])
    points = np.asarray(s["rr"], dtype=float)
    tris = every if s["nuse"] == s["np"] else s["use_tris"]
    if tris is None or np.size(tris) == 0:  # restrict_forward_to_stc leaves (1, 0)
        return cells(points, every, np.asarray(s["vertno"]))
    position = np.full(s["np"], -1)
    position[s["vertno"]] = np.arange(s["nuse"])
    mesh = position[np.asarray(tris)]
    mesh = mesh[(mesh >= 0).all(axis=1)]
    return (mesh, _vertex_areas(points, every, points[s["vertno"]], mesh)) if len(mesh) else none


def neighbours_of(s, mesh: np.ndarray) -> np.ndarray:
    """Pairs of neighbours within one source space: along the mesh, else the six nearest."""
    if len(mesh):
        a, b, c = mesh.T.astype(np.int64)
        start, end = np.concatenate([a, b, a]), np.concatenate([b, c, c])
        code = np.minimum(start, end) * int(s["nuse"]) + np.maximum(start, end)
        return np.stack(np.divmod(np.unique(code), int(s["nuse"])), axis=1)
    if s["nuse"] < 2:
        return np.zeros((0, 2), dtype=int)
    return nearest_neighbours(np.asarray(s["rr"][s["vertno"]], dtype=float))


def _vertex_areas(points, tris, used, mesh: np.ndarray) -> np.ndarray:
    """Area of each used vertex; a hemisphere's sum is that of its full-resolution surface."""
    area = np.zeros(len(used))
    each = triangle_areas(used, mesh) / 3
    for corner in mesh.T:
        area += np.bincount(corner, weights=each, minlength=len(area))
    return area * triangle_areas(points, tris).sum() / area.sum()


def triangle_areas(points: np.ndarray, tris: np.ndarray) -> np.ndarray:
    """Areas (triangles,) of triangles over points."""
    a = points[tris[:, 0]]
    (ux, uy, uz), (vx, vy, vz) = (points[tris[:, 1]] - a).T, (points[tris[:, 2]] - a).T
    x, y, z = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
    return np.sqrt(x * x + y * y + z * z) / 2


def cells(points: np.ndarray, tris: np.ndarray, used: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Triangles over the used vertices whose cells meet, and the areas of the cells.

    The cell of a used vertex are the vertices of the full surface that are nearer to it than to any
    other, along the surface, and not much farther than used vertices are from each other: a label
    does not own the cortex around it.

    Returns
    -------
    mesh : (triangles, 3)
        Numbered as `used`.
    areas : (used,)
    """
    mesh, areas = np.zeros((0, 3), dtype=int), np.zeros(len(used))
    if len(used) < 2:
        return mesh, areas
    n = len(points)
    sides = np.concatenate([tris[:, [0, 1]], tris[:, [1, 2]], tris[:, [2, 0]]]).astype(np.int64)
    sides.sort(axis=1)
    start, end = np.divmod(np.unique(sides[:, 0] * n + sides[:, 1]), n)
    length = np.linalg.norm(points[start] - points[end], axis=1)
    both = np.concatenate([start, end]), np.concatenate([end, start])
    graph = sparse.csr_array((np.tile(length, 2), both), shape=(n, n))
    distance, _, nearest = dijkstra(graph, indices=used, min_only=True, return_predecessors=True)
    place = np.full(n, -1)
    place[used] = np.arange(len(used))
    cell = np.where(nearest >= 0, place[nearest], -1)
    cell[distance > CELL_REACH * _spacing(cell, distance, start, end, length, len(used))] = -1
    corners = np.sort(cell[tris], axis=1)
    apart = (corners[:, 0] >= 0) & (np.diff(corners, axis=1) > 0).all(axis=1)
    _, first = np.unique(corners[apart], axis=0, return_index=True)
    mesh = cell[tris[apart][first]]  # turned as the surface is
    each = triangle_areas(points, tris) / 3
    for corner in tris.T:
        inside = cell[corner] >= 0
        areas += np.bincount(cell[corner][inside], weights=each[inside], minlength=len(used))
    return mesh, areas


def _spacing(cell, distance, start, end, length, n_used: int) -> float:
    """Median distance of a used vertex from the nearest other, along the surface."""
    meet = (cell[start] != cell[end]) & (cell[start] >= 0) & (cell[end] >= 0)
    start, end = start[meet], end[meet]
    path = distance[start] + length[meet] + distance[end]
    shortest = np.full(n_used, np.inf)
    np.minimum.at(shortest, cell[start], path)
    np.minimum.at(shortest, cell[end], path)
    known = np.isfinite(shortest)
    return float(np.median(shortest[known])) if known.any() else 0.0
