"""Triangulated surfaces: topology, checks, and the nearest triangle of an electrode."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from esijax import _checks
from esijax._types import InputError, is_traced
from esijax.forward._host import as_array, on_host

__all__ = [
    "Surface",
    "edges_of",
    "foot_weights",
    "incident",
    "nearest",
    "nearest_triangles",
    "vector_areas",
    "vertices_of",
]

MIN_AREA = 1e-12  # m2


class Surface(eqx.Module):
    """A closed surface of triangles.

    Parameters
    ----------
    vertices : (vertices, 3)
        m.
    triangles : (triangles, 3) of int
        Corners, counter-clockwise seen from outside.
    """

    vertices: Float[Array, "vertices 3"] = eqx.field(
        converter=lambda v: v if isinstance(v, Array) else as_array(v)
    )
    triangles: Int[Array, "triangles 3"] = eqx.field(
        converter=lambda t: t if isinstance(t, Array) else as_array(t, np.int64)
    )


def check_surface(surface: Surface, name: str) -> None:
    """Refuse surfaces that are open, inside-out, torn, or not of a head's size in metres."""
    tris = np.asarray(surface.triangles)
    n = surface.vertices.shape[0]
    if not (tris.size and tris.min() >= 0 and tris.max() < n):
        raise InputError(f"the {name} has triangles without vertices: it has {n} vertices.")
    loose = np.setdiff1d(np.arange(n), tris)
    if loose.size:
        raise InputError(f"the {name} has vertices without a triangle: {_checks.names(loose)}.")
    directed = np.concatenate([tris[:, [0, 1]], tris[:, [1, 2]], tris[:, [2, 0]]]) @ [n, 1]
    reverse = np.concatenate([tris[:, [1, 0]], tris[:, [2, 1]], tris[:, [0, 2]]]) @ [n, 1]
    lonely = np.setdiff1d(directed, reverse)
    if lonely.size:
        where = [f"{code // n}-{code % n}" for code in lonely]
        raise InputError(
            f"the {name} is open or its triangles do not all turn the same way: {lonely.size} "
            f"edges have no partner ({_checks.names(where)}, as vertex numbers). Close the hole."
        )
    if len(np.unique(directed)) < len(directed):
        raise InputError(f"the {name} has an edge with more than two triangles: mend the mesh.")
    if is_traced(surface.vertices):
        return
    rr = np.asarray(surface.vertices, dtype=float)
    if not np.isfinite(rr).all():
        wrong = np.flatnonzero(~np.isfinite(rr).all(axis=1))
        raise InputError(f"the {name} has NaN or infinite vertices: {_checks.names(wrong)}.")
    size = float(np.ptp(rr, axis=0).max())
    if not 0.05 <= size <= 0.5:
        raise InputError(f"the {name} is {size:.3g} m wide: surfaces of a head are in metres.")
    a, b, c = (rr[tris[:, i]] - rr.mean(axis=0) for i in range(3))
    flat = np.flatnonzero(np.linalg.norm(np.cross(b - a, c - a), axis=1) < MIN_AREA)
    if flat.size:
        raise InputError(
            f"the {name} has triangles without an area: {_checks.names(flat)}. Do some of their "
            "vertices coincide?"
        )
    if np.sum(a * np.cross(b, c)) < 0:
        raise InputError(
            f"the {name} is inside out (its volume is negative): swap two corners of each triangle."
        )


def edges_of(triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Edges (edges, 2), and those of each triangle (triangles, 3), edge i from corner i on."""
    pairs = np.stack([triangles, np.roll(triangles, -1, axis=1)], axis=2).reshape(-1, 2)
    edges, index = np.unique(np.sort(pairs, axis=1), axis=0, return_inverse=True)
    return edges, index.reshape(-1, 3)


def incident(triangles: np.ndarray, n: int) -> np.ndarray:
    """Places of each vertex among the raveled (3, triangles), filled up with one past the end."""
    flat = triangles.T.ravel()
    order = np.argsort(flat, kind="stable")
    count = np.bincount(flat, minlength=n)
    first = np.cumsum(count) - count
    out = np.full((n, count.max()), flat.size)
    rank = np.arange(flat.size) - first[flat[order]]
    out[flat[order], rank] = order
    return out


def vector_areas(surfaces) -> Float[Array, "vertices 3"]:
    """Sum of area times normal over the triangles around each vertex, surface after surface."""
    return _concatenated(*(_vector_areas(s.vertices, s.triangles) for s in surfaces))


def vertices_of(surfaces) -> Float[Array, "vertices 3"]:
    """Vertices, surface after surface."""
    return _concatenated(*(s.vertices for s in surfaces))


@on_host
def _concatenated(xp, *parts):
    return xp.concatenate(parts)


@on_host
def _vector_areas(xp, vertices, triangles):
    a, b, c = xp.moveaxis(vertices[triangles], 1, 0)
    area = 0.5 * xp.cross(b - a, c - a)
    total = xp.zeros_like(vertices)
    if xp is jnp:
        return total.at[triangles].add(area[:, None])
    np.add.at(total, triangles, area[:, None])
    return total


def nearest(surface: Surface, points: Float[Array, "points 3"]):
    """Nearest triangle of each point, and the weights of its corners at the foot of the point.

    The weights are those of the plane of the triangle; over an edge that bulges outwards the foot
    may lie a little beyond it, where the potential is extrapolated, as MNE-Python does.

    Returns
    -------
    weights : (points, 3)
        Differentiable in the points and the vertices.
    index : (points,)
    distance : (points,)
        m.
    """
    index, distance = nearest_triangles(*jax.lax.stop_gradient((surface, points)))
    corners = surface.vertices, surface.triangles, index
    return foot_weights(*corners, points), index, distance


@on_host
def foot_weights(xp, vertices, triangles, index, points):
    """Weights of the corners of given triangles (points,) at the feet of points on their planes."""
    return _foot(vertices[triangles[index]], points, xp)


def nearest_triangles(surface: Surface, points):
    """Index of the nearest triangle of each point, and its distance (m); some dozens at a time."""
    run = on_host(
        lambda xp, vertices, triangles, some: _nearest_triangle(vertices[triangles], some, xp)
    )
    parts = (
        [points] if is_traced(points) else [points[i : i + 64] for i in range(0, len(points), 64)]
    )
    found = [run(surface.vertices, surface.triangles, part) for part in parts]
    return tuple(jnp.concatenate(part) for part in zip(*found, strict=True))


def _nearest_triangle(corners, points, xp):
    near, rank = _squared_distances(corners, points[:, None], xp)
    least = xp.min(near, axis=1, keepdims=True)
    index = xp.argmin(xp.where(near <= least * (1 + 1e-9), rank, xp.inf), axis=1)
    return index, xp.sqrt(least[:, 0])


def _foot(corners, points, xp):
    """Weights of three corners (..., 3, 3) at the foot of a point (..., 3) on their plane."""
    a = corners[..., 0, :]
    u, v, d = corners[..., 1, :] - a, corners[..., 2, :] - a, points - a
    uu, uv, vv, ud, vd = ((x * y).sum(-1) for x, y in ((u, u), (u, v), (v, v), (u, d), (v, d)))
    det = uu * vv - uv * uv
    p, q = (vv * ud - uv * vd) / det, (uu * vd - uv * ud) / det
    return xp.stack([1 - p - q, p, q], axis=-1)


def _squared_distances(corners, points, xp):
    """To the nearest point of each triangle, and what decides between two over their edge.

    Over an edge two triangles are equally near. MNE-Python then takes the one whose side looks
    nearer by a formula that halves the product of the two sides; we take the same one. Corners are
    (triangles, 3, 3), points (points, 1, 3), both results (points, triangles).
    """
    weights = _foot(corners, points, xp)
    height = ((xp.einsum("ptc,tcd->ptd", weights, corners) - points) ** 2).sum(-1)
    inside = xp.where((weights >= 0).all(axis=-1), height, xp.inf)
    side = xp.roll(corners, -1, axis=1) - corners
    off = points[:, :, None] - corners
    along = xp.clip((off * side).sum(-1) / (side**2).sum(-1), 0, 1)
    near = ((along[..., None] * side - off) ** 2).sum(-1).min(axis=-1)
    return xp.minimum(inside, near), xp.minimum(inside, height + _by_sides(corners, weights, xp))


def _by_sides(corners, weights, xp):
    """MNE-Python's squared distance, in the plane, from the foot to the nearest side."""
    u, v = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    a, b, c = ((x * y).sum(-1) for x, y in ((u, u), (v, v), (u, v)))
    p, q = weights[..., 1], weights[..., 2]
    slide = ((2 * a - c) * (1 - p) + (2 * b - c) * q) / (2 * (a + b - c))
    slide = xp.clip(slide, 0, 1)
    ends = (
        (xp.clip(p + 0.5 * q * c / a, 0, 1), 0.0),
        (1 - slide, slide),
        (0.0, xp.clip(q + 0.5 * p * c / b, 0, 1)),
    )
    parts = [(p - x) ** 2 * a + (q - y) ** 2 * b + (p - x) * (q - y) * c for x, y in ends]
    return xp.minimum(xp.minimum(parts[0], parts[1]), parts[2])
