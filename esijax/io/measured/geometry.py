"""Positions, normals, areas and neighbours of the sources of a forward."""

import jax.numpy as jnp
import mne
import numpy as np

from esijax import _checks
from esijax._ops.geodesic import joined_edges
from esijax._types import InputError
from esijax.io.measured.mesh import neighbours_of, triangles_and_areas
from esijax.io.measured.orient import frames_of
from esijax.problem import Geometry


def geometry_of(forward: mne.Forward, frames: np.ndarray) -> tuple[Geometry, tuple[str, ...]]:
    """Geometry in head coordinates, and notes on sources that the forward left out."""
    src = forward["src"]
    notes = _left_out(src)
    positions = np.asarray(forward["source_rr"], dtype=float)
    if len(positions) == 0:
        raise InputError("the source space is empty: the forward holds no sources.")
    _checks.positions(positions)
    _checks.coincident(positions)
    to_head = np.eye(4)
    if forward["coord_frame"] == 5:
        to_head = np.asarray(forward["mri_head_t"]["trans"], dtype=float)
        positions = positions @ to_head[:3, :3].T + to_head[:3, 3]
    frames = frames @ to_head[:3, :3].T
    starts = np.cumsum([0, *(int(s["nuse"]) for s in src)])
    meshes, areas = zip(*(triangles_and_areas(s) for s in src), strict=True)
    triangles = np.concatenate([m + a for m, a in zip(meshes, starts, strict=False)])
    edges = [neighbours_of(s, m) for s, m in zip(src, meshes, strict=True)]
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
        notes,
    )


def geometry(forward: mne.Forward) -> Geometry:
    """Give the geometry of a forward: positions, surface frames, areas, mesh.

    Parameters
    ----------
    forward : mne.Forward
        MNE-Python's lead field.

    Returns
    -------
    geometry : Geometry
        In head coordinates.
    """
    return geometry_of(forward, frames_of(forward))[0]


def _left_out(src) -> tuple[str, ...]:
    """Note on vertices of the mesh that are no sources."""
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
