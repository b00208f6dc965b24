"""Whether sources, electrodes and coils are where they can be: refused where they are not."""

import numpy as np

from esijax import _checks
from esijax._types import InputError
from esijax.forward.surface import Surface

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
    """Solid angle of a surface over the full one: 1 inside, 0 outside, 1/2 on it.

    In NumPy: few points are doubtful, and a compilation would take longer.
    """
    rr, tris = np.asarray(surface.vertices, dtype=float), np.asarray(surface.triangles)
    corners = [rr[tris[:, i]] for i in range(3)]
    parts = [points[i : i + 64] for i in range(0, len(points), 64)]
    return np.concatenate([_share(part, *corners) for part in parts]) if parts else np.zeros(0)


def _share(points, a, b, c):
    u, v, w = (x - points[:, None] for x in (a, b, c))
    lu, lv, lw = (np.sqrt(np.einsum("ptd,ptd->pt", x, x)) for x in (u, v, w))
    det = np.einsum("ptd,ptd->pt", u, np.cross(v, w))
    scale = lu * lv * lw
    for x, y, length in ((u, v, lw), (v, w, lu), (w, u, lv)):
        scale += np.einsum("ptd,ptd->pt", x, y) * length
    half = np.arctan2(det, scale)
    # a triangle that fills half the sky is within a micrometre or so
    touching = np.abs(half).max(axis=1) > np.pi - TOUCHING
    return np.where(touching, 0.5, half.sum(axis=1) / (2 * np.pi))


def _surely_inside(points: np.ndarray, surface: Surface) -> np.ndarray:
    """Points behind the planes of all triangles: the kernel of the surface, most of a skull."""
    rr, tris = np.asarray(surface.vertices, dtype=float), np.asarray(surface.triangles)
    a, b, c = (rr[tris[:, i]] for i in range(3))
    normal = np.cross(b - a, c - a)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    return (points @ normal.T < np.sum(normal * a, axis=1) - 1e-5).all(axis=1)


def check_distinct(positions: np.ndarray) -> None:
    """Refuse sources at the same place (0.1 um): their columns would be the same."""
    x, y, z = np.round(positions.T * 1e7).astype(np.int64)
    code = (x << 42) + (y << 21) + z
    order = np.argsort(code, kind="stable")
    same = np.flatnonzero(np.diff(code[order]) == 0)
    if same.size:
        pairs = [f"{order[i]} and {order[i + 1]}" for i in same]
        raise InputError(
            f"{len(pairs)} sources coincide with another: {_checks.names(pairs)}. Leave them out; "
            "several directions at one place are orientations (locations, orients, 3)."
        )


def check_sources(positions: np.ndarray, surfaces, layers) -> None:
    """Refuse sources that are not inside the innermost surface, saying where they are."""
    if not np.isfinite(positions).all():
        wrong = np.flatnonzero(~np.isfinite(positions).all(axis=1))
        raise InputError(f"positions of sources {_checks.names(wrong)} are NaN or infinite.")
    check_distinct(positions)
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


def check_electrodes(distance: np.ndarray, one_layer: bool) -> None:
    """Refuse electrodes that are not near the outermost surface."""
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
