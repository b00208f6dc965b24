"""Triangulated surfaces: topology, checks, and the nearest triangle of an electrode."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from esijax import _checks
from esijax._types import InputError, is_traced

__all__ = ["Surface", "edges_of", "incident", "nearest", "vector_areas"]


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
        converter=lambda v: v if isinstance(v, Array) else jnp.asarray(v, dtype=float)
    )
    triangles: Int[Array, "triangles 3"] = eqx.field(
        converter=lambda t: (
            t if isinstance(t, Array) else jnp.asarray(np.asarray(t, dtype=np.int64))
        )
    )


def check_surface(surface: Surface, name: str) -> None:
    """Refuse surfaces that are open, inside-out, torn, or not of a head's size in metres."""
    tris = np.asarray(surface.triangles)
    n = surface.vertices.shape[0]
    if not (tris.size and tris.min() >= 0 and tris.max() < n):
        raise InputError(f"the {name} has triangles without vertices: it has {n} vertices.")
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


def vector_areas(surface: Surface) -> Float[Array, "vertices 3"]:
    """Sum of area times normal over the triangles around each vertex."""
    a, b, c = (surface.vertices[surface.triangles[:, i]] for i in range(3))
    area = 0.5 * jnp.cross(b - a, c - a)
    out = jnp.zeros_like(surface.vertices)
    for i in range(3):
        out = out.at[surface.triangles[:, i]].add(area)
    return out


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
    corners = surface.vertices[surface.triangles]
    fixed = jax.lax.stop_gradient((corners, points))
    distance, rank = jax.vmap(lambda p: _squared_distances(fixed[0], p))(fixed[1])
    least = jnp.min(distance, axis=1, keepdims=True)
    index = jnp.argmin(jnp.where(distance <= least * (1 + 1e-9), rank, jnp.inf), axis=1)
    a, b, c = (corners[index, i] for i in range(3))
    weights = jax.vmap(_foot)(a, b, c, points)
    return weights, index, jnp.sqrt(least[:, 0])


def _foot(a, b, c, point):
    """Weights of three corners at the foot of a point on their plane."""
    u, v, d = b - a, c - a, point - a
    uu, uv, vv, ud, vd = u @ u, u @ v, v @ v, u @ d, v @ d
    det = uu * vv - uv * uv
    p, q = (vv * ud - uv * vd) / det, (uu * vd - uv * ud) / det
    return jnp.stack([1 - p - q, p, q])


def _squared_distances(corners: Float[Array, "triangles 3 3"], point):
    """To the nearest point of each triangle, and what decides between two over their edge.

    Over an edge two triangles are equally near. MNE-Python then takes the one whose side looks
    nearer by a formula that halves the product of the two sides; we take the same one.
    """
    weights = jax.vmap(lambda t: _foot(t[0], t[1], t[2], point))(corners)
    foot = jnp.einsum("tc,tcd->td", weights, corners) - point
    height = jnp.sum(foot**2, axis=1)
    inside = jnp.where((weights >= 0).all(axis=1), height, jnp.inf)
    side = jnp.roll(corners, -1, axis=1) - corners
    along = jnp.sum((point - corners) * side, axis=2) / jnp.sum(side**2, axis=2)
    at = corners + jnp.clip(along, 0, 1)[..., None] * side - point
    near = jnp.minimum(inside, jnp.sum(at**2, axis=2).min(axis=1))
    return near, jnp.minimum(inside, height + _by_sides(corners, weights))


def _by_sides(corners, weights) -> Float[Array, " triangles"]:
    """MNE-Python's squared distance, in the plane, from the foot to the nearest side."""
    u, v = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    a, b, c = jnp.sum(u * u, axis=1), jnp.sum(v * v, axis=1), jnp.sum(u * v, axis=1)
    p, q = weights[:, 1], weights[:, 2]
    slide = ((2 * a - c) * (1 - p) + (2 * b - c) * q) / (2 * (a + b - c))
    slide = jnp.clip(slide, 0, 1)
    ends = (
        (jnp.clip(p + 0.5 * q * c / a, 0, 1), 0.0),
        (1 - slide, slide),
        (0.0, jnp.clip(q + 0.5 * p * c / b, 0, 1)),
    )
    parts = [(p - x) ** 2 * a + (q - y) ** 2 * b + (p - x) * (q - y) * c for x, y in ends]
    return jnp.minimum(jnp.minimum(parts[0], parts[1]), parts[2])
