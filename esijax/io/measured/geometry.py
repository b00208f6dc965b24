"""Positions, normals, areas and neighbours of the sources of a forward."""

import jax.numpy as jnp
import mne
import numpy as np

from esijax import _checks
from esijax._ops.geodesic import joined_edges
from esijax._types import InputError
from esijax.arrays import nearest_neighbours
from esijax.io.measured.cells import cells, triangle_areas
from esijax.io.measured.orient import frames_of
from esijax.problem import Geometry


def geometry_of(forward: mne.Forward, frames: np.ndarray) -> tuple[Geometry, tuple[str, ...]]:
    """Geometry in head coordinates, and notes on sources that the forward left out."""
    src = forward["src"]
    positions = np.asarray(forward["source_rr"], dtype=float)
    if len(positions) == 0:
        raise InputError("the forward holds no sources.")
    _checks.positions(positions)
    _checks.coincident(positions)
    to_head = np.eye(4)
    if forward["coord_frame"] == 5:
        to_head = np.asarray(forward["mri_head_t"]["trans"], dtype=float)
        positions = positions @ to_head[:3, :3].T + to_head[:3, 3]
    frames = frames @ to_head[:3, :3].T
    starts = np.cumsum([0, *(int(s["nuse"]) for s in src)])
    meshes, areas = zip(*(_surface(s) for s in src), strict=True)
    triangles = np.concatenate([m + a for m, a in zip(meshes, starts, strict=False)])
    edges = [_edges(s, m) for s, m in zip(src, meshes, strict=True)]
    places = np.split(positions, starts[1:-1])
    edges = [joined_edges(p, e) if len(e) else e for p, e in zip(places, edges, strict=True)]
    edges = np.concatenate([e + a for e, a in zip(edges, starts, strict=False)])
    areas = np.concatenate(areas)
    return (
        Geometry(
            positions=jnp.asarray(positions),
            normals=jnp.asarray(frames[:, -1]),
            frames=jnp.asarray(frames),
            areas=jnp.asarray(areas) if areas.any() else None,
            triangles=jnp.asarray(triangles, dtype=int) if len(triangles) else None,
            edges=jnp.asarray(edges, dtype=int) if len(edges) else None,
        ),
        _left_out(src),
    )


def geometry(forward: mne.Forward) -> Geometry:
    """Give the geometry of a forward: positions, surface frames, areas, mesh.

    Parameters
    ----------
    forward : mne.Forward

    Returns
    -------
    geometry : Geometry
        In head coordinates.
    """
    return geometry_of(forward, frames_of(forward))[0]


def _surface(s) -> tuple[np.ndarray, np.ndarray]:
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
    return (mesh, _areas(points, every, points[s["vertno"]], mesh)) if len(mesh) else none


def _edges(s, mesh: np.ndarray) -> np.ndarray:
    """Pairs of neighbours within one source space: along the mesh, else the six nearest."""
    if len(mesh):
        a, b, c = mesh.T.astype(np.int64)
        start, end = np.concatenate([a, b, a]), np.concatenate([b, c, c])
        code = np.minimum(start, end) * int(s["nuse"]) + np.maximum(start, end)
        return np.stack(np.divmod(np.unique(code), int(s["nuse"])), axis=1)
    if s["nuse"] < 2:
        return np.zeros((0, 2), dtype=int)
    return nearest_neighbours(np.asarray(s["rr"][s["vertno"]], dtype=float))


def _areas(points, tris, used, mesh: np.ndarray) -> np.ndarray:
    """Area of each used vertex; a hemisphere's sum is that of its full-resolution surface."""
    area = np.zeros(len(used))
    each = triangle_areas(used, mesh) / 3
    for corner in mesh.T:
        area += np.bincount(corner, weights=each, minlength=len(area))
    return area * triangle_areas(points, tris).sum() / area.sum()


def _left_out(src) -> tuple[str, ...]:
    dropped = {}
    for i, s in enumerate(src):
        tris = s.get("use_tris") if s["type"] == "surf" else None
        if tris is not None and np.size(tris) and s["nuse"] < s["np"]:
            lost = np.zeros(s["np"], dtype=bool)
            lost[tris] = True
            lost[s["vertno"]] = False
            lost = np.flatnonzero(lost)
            if len(lost):
                dropped[i] = lost
    if not dropped:
        return ()
    text = "; ".join(
        f"{len(v)} in source space {i} (vertices {_checks.names(v, 4)})" for i, v in dropped.items()
    )
    return (f"sources left out when the forward was computed (outside the inner skull?): {text}",)
