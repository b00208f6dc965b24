"""Whether sources, electrodes and coils are where they can be: refused where they are not."""

import jax
import jax.numpy as jnp
import numpy as np

from esijax import _checks
from esijax._types import InputError
from esijax.forward.surface import Surface, nearest

NEAR = 0.03  # m: farthest an electrode may be from the scalp
NEAR_ONE = 0.01  # m: with one layer, which is mostly the inner skull
ON = 1e-3  # of the full solid angle
TOUCHING = 1e-3  # rad


def check_nested(omega: np.ndarray, counts, layers) -> None:
    """Refuse surfaces that cross, by the solid angles that their vertices see of each other."""
    ends = np.cumsum([0, *counts])
    for i in range(len(counts) - 1):
        outer, inner = slice(ends[i], ends[i + 1]), slice(ends[i + 1], ends[i + 2])
        angle = omega[inner, outer].sum(axis=1) / (4 * np.pi)
        wrong = np.flatnonzero(np.abs(angle - 1) > ON)
        if wrong.size:
            raise InputError(
                f"the {layers[i + 1]} is not inside the {layers[i]}: {wrong.size} of its vertices "
                f"stick out ({_checks.names(wrong)}). Do the surfaces cross, or is their order "
                "other than from the inside outwards?"
            )
        angle = omega[outer, inner].sum(axis=1) / (4 * np.pi)
        wrong = np.flatnonzero(np.abs(angle) > ON)
        if wrong.size:
            raise InputError(
                f"the {layers[i]} crosses the {layers[i + 1]}: {wrong.size} of its vertices lie "
                f"inside ({_checks.names(wrong)})."
            )


def share_seen(points: np.ndarray, surface: Surface) -> np.ndarray:
    """Solid angle of a surface over the full one: 1 inside, 0 outside, 1/2 on it."""
    if not len(points):
        return np.zeros(0)
    size = 1 << int(np.ceil(np.log2(len(points))))  # few shapes, few compilations
    padded = np.concatenate([points, np.full((size - len(points), 3), 1e3)])
    share = _share(jnp.asarray(padded), surface.vertices, surface.triangles)
    return np.asarray(share)[: len(points)]


@jax.jit
def _share(points, vertices, triangles):
    a, b, c = (vertices[triangles[:, i]] for i in range(3))

    def of(point):
        u, v, w = a - point, b - point, c - point
        lu, lv, lw = (jnp.sqrt(jnp.sum(x**2, axis=1)) for x in (u, v, w))
        det = jnp.sum(u * jnp.cross(v, w), axis=1)
        scale = lu * lv * lw + jnp.sum(u * v, axis=1) * lw
        scale += jnp.sum(v * w, axis=1) * lu + jnp.sum(w * u, axis=1) * lv
        half = jnp.arctan2(det, scale)
        # a triangle that fills half the sky is within a micrometre or so
        touching = jnp.max(jnp.abs(half)) > jnp.pi - TOUCHING
        return jnp.where(touching, 0.5, jnp.sum(half) / (2 * jnp.pi))

    return jax.lax.map(of, points, batch_size=min(64, len(points)))


def _surely_inside(points: np.ndarray, surface: Surface) -> np.ndarray:
    """Points within the sphere that fits between the middle and the nearest triangle plane."""
    rr, tris = np.asarray(surface.vertices), np.asarray(surface.triangles)
    centre = rr.mean(axis=0)
    a, b, c = (rr[tris[:, i]] - centre for i in range(3))
    normal = np.cross(b - a, c - a)
    reach = np.abs(np.sum(normal * a, axis=1) / np.linalg.norm(normal, axis=1)).min()
    return np.linalg.norm(points - centre, axis=1) < 0.999 * reach


def check_sources(positions: np.ndarray, surfaces, layers) -> None:
    """Refuse sources that are not inside the innermost surface, saying where they are."""
    if not np.isfinite(positions).all():
        wrong = np.flatnonzero(~np.isfinite(positions).all(axis=1))
        raise InputError(f"positions of sources {_checks.names(wrong)} are NaN or infinite.")
    doubtful = np.flatnonzero(~_surely_inside(positions, surfaces[0]))
    share = share_seen(positions[doubtful], surfaces[0])
    out = doubtful[np.abs(share - 1) > ON]
    if not out.size:
        return
    far = float(np.linalg.norm(positions[out], axis=1).max())
    if far > 1:
        raise InputError(
            f"{out.size} of {len(positions)} sources lie up to {far:.3g} m from the origin: are "
            "positions in mm instead of m?"
        )
    on = doubtful[(np.abs(share - 1) > ON) & (np.abs(share) > ON)]
    if on.size:
        raise InputError(
            f"{on.size} of {len(positions)} sources lie on the {layers[0]}, where the potential is "
            f"infinite: {_checks.names(on)}. Move them inwards or leave them out."
        )
    where = "outside the head"
    for surface, name in zip(surfaces[1:], layers[1:], strict=True):
        if (np.abs(share_seen(positions[out[:1]], surface) - 1) < ON).all():
            where = f"between the {layers[0]} and the {name}"
            break
    raise InputError(
        f"{out.size} of {len(positions)} sources are not inside the {layers[0]}: "
        f"{_checks.names(out)}; the first lies {where}. Leave them out, or check trans."
    )


def check_electrodes(scalp: Surface, sensors, one_layer: bool) -> None:
    """Refuse electrodes that are not near the outermost surface."""
    if sensors.electrodes is None:
        return
    distance = np.asarray(_distance(scalp, sensors.electrodes.positions))
    limit = NEAR_ONE if one_layer else NEAR
    wrong = np.flatnonzero(distance > limit)
    if wrong.size:
        hint = (
            "a one-layer model is of the inner skull, EEG needs three layers (or leave EEG out)"
            if one_layer
            else "are they in head coordinates and in metres, and is trans right?"
        )
        raise InputError(
            f"{wrong.size} electrodes are up to {1e3 * distance.max():.3g} mm from the outermost "
            f"surface: {_checks.names(wrong)}; {hint}"
        )


@jax.jit
def _distance(scalp, points):
    return nearest(scalp, points)[2]


def check_outside(scalp: Surface, sensors, name: str) -> None:
    """Refuse coils inside the head."""
    if sensors.coils is None:
        return
    middle = np.asarray(sensors.coils.in_head[0]).mean(axis=1)
    meg = [n for n, k in zip(sensors.ch_names, sensors.ch_types, strict=True) if k != "eeg"]
    reach = np.linalg.norm(np.asarray(scalp.vertices), axis=1).max()
    near = np.flatnonzero(np.linalg.norm(middle, axis=1) <= reach)
    inside = near[share_seen(middle[near], scalp) > ON]
    if inside.size:
        raise InputError(
            f"{inside.size} MEG sensors lie inside the {name}: "
            f"{_checks.names(meg[i] for i in inside)}. Are trans and dev_head_t right?"
        )
