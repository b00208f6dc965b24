"""Whether sources, electrodes and coils are where they can be: refused where they are not.

What both heads ask is here once; arguments are concrete.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Array, Float

from esijax import _checks
from esijax._types import InputError, is_traced
from esijax.forward._host import as_array
from esijax.forward.sensors import Sensors
from esijax.forward.surface import Surface, nearest_triangles

NEAR = 0.03  # m: farthest an electrode may be from the scalp
NEAR_ONE = 0.01  # m: with one layer, which is mostly the inner skull
FAR = 1.0  # m: no head reaches there
CLOSE = 1e-6  # m: as good as on a surface, or at the same place
ON = 1e-3  # of the full solid angle
TOUCHING = 1e-3  # rad


def points_of(positions) -> Float[Array, "locations 3"]:
    """Positions as an array, once their shape is seen to be right."""
    positions = as_array(positions)
    if positions.ndim != 2 or positions.shape[1] != 3 or not len(positions):
        raise InputError(f"positions must be (locations, 3), at least one, got {positions.shape}.")
    return positions


def check_conductivities(sigma, layers) -> None:
    """Refuse conductivities that are not positive, naming the layer; traced ones pass."""
    if is_traced(sigma):
        return
    values = np.asarray(sigma)
    wrong = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
    if wrong.size:
        raise InputError(
            f"the conductivity of {layers[wrong[0]]} is {values[wrong[0]]:g} S/m: it must be "
            "positive and finite."
        )


def check_simple(omega: np.ndarray, layer: str) -> None:
    """Refuse a surface that crosses itself, by the solid angles that its vertices see of it.

    It is that of the surface's cone at the vertex; the full one more or less on the wrong side.
    """
    wrong = np.flatnonzero(np.abs(omega / (4 * np.pi) - 0.5) > 0.5 + ON)
    if wrong.size:
        raise InputError(
            f"the {layer} crosses itself: {wrong.size} of its vertices lie on the wrong side of "
            f"its triangles ({_checks.names(wrong)}). Mend the mesh."
        )


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
    parts = [points[i : i + 64] for i in range(0, len(points), 64)]
    return np.concatenate([_share(part, rr, tris) for part in parts]) if parts else np.zeros(0)


def _share(points, rr, tris):
    """By distances to the vertices, which triangles share; scalar products by the law of cosines.

    (van Oosterom and Strackee 1983, doi:10.1109/TBME.1983.325207.)
    """
    square = sum((points[:, i, None] - rr[:, i]) ** 2 for i in range(3)).T
    length = np.sqrt(square)
    a, b, c = rr[tris.T]
    normal = np.cross(b - a, c - a)
    det = np.sum(normal * a, axis=1)[:, None] - normal @ points.T
    corners = [(length[k], square[k]) for k in tris.T]
    scale = corners[0][0] * corners[1][0] * corners[2][0]
    for i, side in enumerate((c - b, a - c, b - a)):
        (opposite, _), (_, x), (_, y) = (corners[(i + k) % 3] for k in range(3))
        scale += 0.5 * opposite * (x + y - np.sum(side**2, axis=1)[:, None])
    half = np.arctan2(det, scale)
    # a triangle that fills half the sky is within a micrometre or so
    touching = np.abs(half).max(axis=0) > np.pi - TOUCHING
    return np.where(touching, 0.5, half.sum(axis=0) / (2 * np.pi))


def check_places(positions: np.ndarray, sensors: Sensors) -> None:
    """Refuse sources that are nowhere, at one place, in mm, or where a sensor is."""
    if not np.isfinite(positions).all():
        wrong = np.flatnonzero(~np.isfinite(positions).all(axis=1))
        raise InputError(f"positions of sources {_checks.names(wrong)} are NaN or infinite.")
    _check_distinct(positions)
    away = np.linalg.norm(positions, axis=1)
    wrong = np.flatnonzero(away > FAR)
    if wrong.size:
        raise InputError(
            f"{wrong.size} of {len(positions)} sources lie up to {away.max():.3g} m from the "
            f"origin: {_checks.names(wrong)}; are positions in mm instead of m?"
        )
    if not is_traced(sensors):
        _check_apart(positions, sensors)


def _check_distinct(positions: np.ndarray) -> None:
    """Refuse sources at the same place: their columns would be the same."""
    pairs = _checks.same_place(positions)
    if len(pairs):
        named = _checks.names(f"{i} and {j}" for i, j in pairs)
        raise InputError(
            f"{len(pairs)} sources coincide with another: {named}. Leave them out; "
            "several directions at one place are orientations (locations, orients, 3)."
        )


def _check_apart(positions: np.ndarray, sensors: Sensors) -> None:
    """Refuse sensors at the place of a source; few are near enough for a closer look."""
    middle = positions.mean(axis=0)
    reach = np.linalg.norm(positions - middle, axis=1).max() + CLOSE
    for names, points in _sensor_points(sensors):
        near = np.argwhere(np.linalg.norm(points - middle, axis=2) <= reach)
        for sensor, point in near:
            away = np.linalg.norm(positions - points[sensor, point], axis=1)
            if away.min() <= CLOSE:
                raise InputError(
                    f"source {away.argmin()} and sensor {names[sensor]} are at the same place, "
                    f"{_place(positions[away.argmin()])}: leave one of them out."
                )


def _sensor_points(sensors: Sensors) -> list[tuple[list[str], np.ndarray]]:
    """Names and places (sensors, points, 3) in head coordinates, of electrodes and of coils."""
    parts = []
    if sensors.electrodes is not None:
        places = np.asarray(sensors.electrodes.positions)[:, None]
        parts.append((electrode_names(sensors), places))
    if sensors.coils is not None:
        parts.append((coil_names(sensors), np.asarray(sensors.coils.in_head[0])))
    return parts


def electrode_names(sensors: Sensors) -> list[str]:
    """Names of the electrodes: of the channels, and of those that are only references."""
    eeg = [n for n, k in zip(sensors.ch_names, sensors.ch_types, strict=True) if k == "eeg"]
    assert sensors.electrodes is not None
    n = sensors.electrodes.positions.shape[0]
    return [*eeg[:n], *(f"reference {i + 1}" for i in range(n - len(eeg)))]


def coil_names(sensors: Sensors) -> list[str]:
    """Names of the MEG channels."""
    return [n for n, k in zip(sensors.ch_names, sensors.ch_types, strict=True) if k != "eeg"]


def _place(point: np.ndarray) -> str:
    """A place in words."""
    return f"({', '.join(f'{1e3 * x:.1f}' for x in point)}) mm"


def refuse_sources(n: int, on, out, inner: str, where: Callable[[int], str]) -> None:
    """Raise for sources on the innermost surface or outside it; `where` says where one lies."""
    if len(on):
        raise InputError(
            f"{len(on)} of {n} sources lie on the {inner}, between two conductivities: "
            f"{_checks.names(on)}. Move them inwards or leave them out."
        )
    if len(out):
        raise InputError(
            f"{len(out)} of {n} sources are not inside the {inner}: {_checks.names(out)}; the "
            f"first lies {where(int(out[0]))}. Leave them out, or check trans."
        )


def check_sources(positions: np.ndarray, surfaces, layers) -> None:
    """Refuse sources that are not inside the innermost of surfaces, saying where they are."""
    doubtful, flat = _doubtful(positions, surfaces[0])
    share = share_seen(positions[doubtful], surfaces[0])
    on = (np.abs(share - 1) > ON) & (np.abs(share) > ON)
    if flat.size:
        distance = nearest_triangles(surfaces[0], positions[doubtful[flat]])[1]
        on[flat] |= np.asarray(distance) < CLOSE
    out = (np.abs(share - 1) > ON) & ~on

    def where(source: int) -> str:
        for surface, name in zip(surfaces[1:], layers[1:], strict=True):
            if (np.abs(share_seen(positions[[source]], surface) - 1) < ON).all():
                return f"between the {layers[0]} and the {name}"
        return "outside the head" if len(surfaces) > 1 else "outside of it"

    refuse_sources(len(positions), doubtful[on], doubtful[out], layers[0], where)


def _doubtful(points: np.ndarray, surface: Surface) -> tuple[np.ndarray, np.ndarray]:
    """Points that are not behind the planes of all triangles, and which of them are on a plane.

    What is behind all of them is inside: the kernel of the surface, most of a skull.
    """
    rr, tris = np.asarray(surface.vertices, dtype=float), np.asarray(surface.triangles)
    a, b, c = (rr[tris[:, i]] for i in range(3))
    normal = np.cross(b - a, c - a)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    offset = np.sum(normal * a, axis=1)
    outer, flat = np.zeros((2, len(points)), dtype=bool)
    for start in range(0, len(points), 1024):
        some = slice(start, start + 1024)
        height = points[some] @ normal.T - offset
        outer[some] = (height > -1e-5).any(axis=1)
        flat[some] = (np.abs(height) < CLOSE).any(axis=1)
    doubtful = np.flatnonzero(outer)
    return doubtful, np.flatnonzero(flat[doubtful])


def check_metres(sensors: Sensors, middle: np.ndarray) -> None:
    """Refuse sensors so far from the middle of a head that they must be in mm."""
    for names, points in _sensor_points(sensors):
        away = np.linalg.norm(points - middle, axis=2).max(axis=1)
        wrong = np.flatnonzero(away > FAR)
        if wrong.size:
            raise InputError(
                f"{wrong.size} sensors are up to {away.max():.3g} m from the head: "
                f"{_checks.names(names[i] for i in wrong)}; are positions in mm instead of m?"
            )


def check_electrodes(distance: np.ndarray, one_layer: bool, sensors: Sensors) -> None:
    """Refuse electrodes that are not near the outermost surface."""
    limit = NEAR_ONE if one_layer else NEAR
    wrong = np.flatnonzero(distance > limit)
    if wrong.size:
        names = electrode_names(sensors)
        hint = (
            "a one-layer model is of the inner skull, EEG needs three layers (or leave EEG out)"
            if one_layer
            else "are they in head coordinates and in metres, and is trans right?"
        )
        raise InputError(
            f"{wrong.size} electrodes are up to {1e3 * distance.max():.3g} mm from the outermost "
            f"surface: {_checks.names(names[i] for i in wrong)}; {hint}"
        )


def check_outside(scalp: Surface, sensors: Sensors, name: str) -> None:
    """Refuse coils of which a part is inside the head."""
    if sensors.coils is None:
        return
    points = np.asarray(sensors.coils.in_head[0])
    flat = points.reshape(-1, 3)
    rr = np.asarray(scalp.vertices)
    rr, away = rr - rr.mean(axis=0), flat - rr.mean(axis=0)
    # a point is outside where no vertex is as far in its direction
    near = np.flatnonzero((away @ rr.T).max(axis=1) >= np.sum(away**2, axis=1))
    inside = near[share_seen(flat[near], scalp) > ON]
    if inside.size:
        names = coil_names(sensors)
        wrong = np.unique(inside // points.shape[1])
        raise InputError(
            f"{wrong.size} MEG sensors lie inside the {name}: "
            f"{_checks.names(names[i] for i in wrong)}. Are trans and dev_head_t right?"
        )
