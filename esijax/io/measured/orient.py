"""Orientations and their prior: surface frames and the loose constraint.

The arithmetic is MNE-Python's (`compute_orient_prior`), on arrays, so that a problem is ready in a
fraction of the time that copying the source spaces takes.
"""

from typing import Any, NamedTuple

import mne
import numpy as np

from esijax._types import InputError
from esijax.io.measured.lead_field import StoredField
from esijax.io.measured.spaces import SPACE_KINDS


class Oriented(NamedTuple):
    """A forward solution in the axes that its problem has.

    Parameters
    ----------
    field : StoredField
    frames : (locations, 1 or 3, 3)
        Orient axes in the frame of the forward; the normal last.
    scale : (locations, 1 or 3)
        Standard deviation that the orientation constraint leaves.
    """

    field: StoredField
    frames: np.ndarray
    scale: np.ndarray


def oriented(forward: mne.Forward, loose: Any) -> Oriented:
    """Bring a forward into surface frames, or along its normals where `loose` is 0."""
    by_kind = _loose_by_kind(forward, loose)
    field, frames = _field_and_frames(forward, is_fixed=not any(by_kind.values()))
    return Oriented(field, frames, _orient_scale(forward, field.n_orients, by_kind))


def _field_and_frames(forward: mne.Forward, is_fixed: bool) -> tuple[StoredField, np.ndarray]:
    """Lead field with what leads to its frames, and the frames."""
    gain = forward["sol"]["data"]
    if forward["source_ori"] == 1:
        return StoredField(gain[:, :, None], None, False), frames_of(forward)
    gain = gain.reshape(len(gain), -1, 3)
    if is_fixed:
        return _along_normals(forward, gain)
    frames = frames_of(forward)
    turn = None if forward["surf_ori"] else frames
    return StoredField(gain, turn, False), frames


def frames_of(forward: mne.Forward) -> np.ndarray:
    """Orient axes (locations, 1 or 3, 3) in the frame of the forward; the normal last.

    Those of a fixed forward or of one in surface orientation are its own.
    """
    own = np.asarray(forward["source_nn"], dtype=float)
    if forward["source_ori"] == 1:
        return own[:, None]
    frames = own.reshape(-1, 3, 3).copy()
    start = 0
    for s in forward["src"]:
        # a volume has no normals: its sources keep the head's axes
        if s["type"] != "vol" and not forward["surf_ori"]:
            frames[start : start + s["nuse"]] = surface_frames(_normals(s))
        start += s["nuse"]
    return frames


def _along_normals(forward, gain) -> tuple[StoredField, np.ndarray]:
    """Fixed orientations: the lead field along the normals.

    MNE-Python starts from the lead field as it was computed, along the axes of the head, even where
    the forward was turned since, and takes normals as the source space has them: in single
    precision and not quite of length one, unless patches are at hand.
    """
    normals = np.concatenate([_normals(s) for s in forward["src"]])[:, None]
    if any(_has_patches(s) for s in forward["src"]):
        normals = normals / np.linalg.norm(normals, axis=2, keepdims=True)
    if not forward["surf_ori"]:
        return StoredField(gain, normals, True), normals
    own = frames_of(forward)[:, 2:]
    first = _as_computed(forward, gain, normals)
    if first is not None:
        return StoredField(first, normals, True), normals
    turn = np.broadcast_to([[0.0, 0.0, 1.0]], own.shape)
    return StoredField(gain, turn, True), own


def _as_computed(forward, gain: np.ndarray, normals: np.ndarray) -> np.ndarray | None:
    """Lead field along the axes of the head, if it is there and still that of the forward."""
    first = forward.get("_orig_sol")
    if first is None or first.size != gain.size:
        return None
    first = first.reshape(gain.shape)
    along = np.einsum("slx,lx->sl", first, normals[:, 0])
    last = gain[:, :, 2]  # the caller may have changed it
    return first if np.allclose(along, last, rtol=0, atol=1e-5 * np.abs(last).max()) else None


def _normals(s) -> np.ndarray:
    """Normals at the sources; averaged over cortical patches where the source space has them."""
    if not _has_patches(s):
        return np.asarray(s["nn"][s["vertno"]], dtype=float)
    mean = [s["nn"][s["pinfo"][i]].sum(axis=0) for i in s["patch_inds"]]
    mean = np.array(mean, dtype=float).reshape(-1, 3)
    return mean / np.linalg.norm(mean, axis=1, keepdims=True)


def _has_patches(s) -> bool:
    return s.get("pinfo") is not None and s.get("patch_inds") is not None


def surface_frames(normals: np.ndarray) -> np.ndarray:
    """Right-handed frames (locations, 3, 3) whose last row is the unit normal."""
    normals = normals / np.linalg.norm(normals, axis=1, keepdims=True)
    helper = np.where(np.abs(normals[:, :1]) < 0.9, [[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]])
    first = np.cross(helper, normals)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    return np.stack([first, np.cross(normals, first), normals], axis=1)


def _orient_scale(forward: mne.Forward, n_orients: int, loose: dict[str, float]) -> np.ndarray:
    """Standard deviation that the orientation constraint leaves, (locations, orients)."""
    if n_orients == 1:
        return np.ones((forward["nsource"], 1))
    kinds = [SPACE_KINDS[s["type"]] for s in forward["src"]]
    each = np.repeat([np.sqrt(loose[k]) for k in kinds], [int(s["nuse"]) for s in forward["src"]])
    return np.stack([each, each, np.ones(len(each))], axis=1)


def _loose_by_kind(forward: mne.Forward, loose: Any) -> dict[str, float]:
    """The orientation constraint of each kind of source space, checked."""
    kinds = {SPACE_KINDS[s["type"]] for s in forward["src"]}
    if isinstance(loose, str):
        if loose != "auto":
            raise InputError(f"loose must be 'auto', a number or a dict, got {loose!r}.")
        # MNE's rule: 0.2 only where every source space is a surface
        loose = 0.2 if kinds == {"surface"} else 1.0
    if not isinstance(loose, dict):
        loose = dict.fromkeys(kinds, loose)
    if set(loose) != kinds:
        raise InputError(f"loose must have the keys {sorted(kinds)}, got {list(loose)}.")
    for kind, value in loose.items():
        if not (isinstance(value, int | float | np.number) and 0 <= value <= 1):
            raise InputError(
                f"loose must lie between 0 (fixed) and 1 (free), got {value!r} ({kind})."
            )
        if kind == "volume" and value != 1:
            raise InputError(f"a volume source space has no normals: loose must be 1, got {value}.")
    _check_free(forward, loose)
    return {k: float(v) for k, v in loose.items()}


def _check_free(forward: mne.Forward, loose: dict[str, float]) -> None:
    """Refuse a loose constraint on a forward that has one orientation."""
    fixed = forward["source_ori"] == 1
    if fixed and any(v > 0 for v in loose.values()):
        raise InputError(
            f"the forward has fixed orientations, loose={loose} needs free ones: pass loose=0 and "
            "depth=None, or a forward made with force_fixed=False."
        )
