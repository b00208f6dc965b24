"""Orientations and their prior: surface frames, loose constraint, depth weighting.

The arithmetic is MNE-Python's (`compute_depth_prior`, `compute_orient_prior`), on arrays, so that
a problem is ready in a fraction of the time that copying the source spaces takes.
"""

from typing import Any

import mne
import numpy as np

from esijax._types import InputError
from esijax.io.measured.channels import Channels
from esijax.io.measured.lead_field import LeadField
from esijax.io.measured.noise import Noise
from esijax.io.measured.spaces import KINDS

DEPTH = {
    "exp": 0.8,
    "limit": 10.0,
    "limit_depth_chs": True,
    "combine_xyz": "spectral",
    "allow_fixed_depth": False,
}


def orient(
    forward: mne.Forward, channels: Channels, loose: dict[str, float]
) -> tuple[LeadField, np.ndarray]:
    """Lead field with what leads to its frames, and the frames.

    Returns
    -------
    field : LeadField
    frames : (locations, 1 or 3, 3)
        Orient axes in the frame of the forward; the normal last.
    """
    gain = forward["sol"]["data"]
    rows = channels.rows(forward["sol"]["row_names"])
    if forward["source_ori"] == 1:
        return LeadField(gain[:, :, None], rows, None, False), frames_of(forward)
    gain = gain.reshape(len(gain), -1, 3)
    if all(v == 0 for v in loose.values()):
        return _along_normals(forward, gain, rows)
    frames = frames_of(forward)
    if forward["surf_ori"]:
        return LeadField(gain, rows, None, False), frames
    return LeadField(gain, rows, frames, False), frames


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


def _along_normals(forward, gain, rows) -> tuple[LeadField, np.ndarray]:
    """Fixed orientations: the lead field along the normals.

    MNE-Python starts from the lead field as it was computed, along the axes of the head, even where
    the forward was turned since, and takes normals as the source space has them: in single
    precision and not quite of length one, unless patches are at hand.
    """
    normals = np.concatenate([_normals(s) for s in forward["src"]])[:, None]
    if any(_has_patches(s) for s in forward["src"]):
        normals = normals / np.linalg.norm(normals, axis=2, keepdims=True)
    if not forward["surf_ori"]:
        return LeadField(gain, rows, normals, True), normals
    own = frames_of(forward)[:, 2:]
    first = _as_computed(forward, gain, normals)
    if first is not None:
        return LeadField(first, rows, normals, True), normals
    turn = np.broadcast_to([[0.0, 0.0, 1.0]], own.shape)
    return LeadField(gain, rows, turn, True), own


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


def orient_scales(forward: mne.Forward, n_orients: int, loose: dict[str, float]) -> np.ndarray:
    """Standard deviation that the orientation constraint leaves, (locations, orients)."""
    if n_orients == 1:
        return np.ones((forward["nsource"], 1))
    kinds = [KINDS[s["type"]] for s in forward["src"]]
    each = np.repeat([np.sqrt(loose[k]) for k in kinds], [int(s["nuse"]) for s in forward["src"]])
    return np.stack([each, each, np.ones(len(each))], axis=1)


def depth_options(depth: Any) -> dict:
    """Options of the depth weighting as MNE names them; InputError for others."""
    given = depth if isinstance(depth, dict) else {"exp": depth}
    unknown = [key for key in given if key not in DEPTH]
    if unknown:
        raise InputError(f"depth does not know {unknown}; it knows {sorted(DEPTH)}.")
    options = {**DEPTH, **given}
    exp = options["exp"]
    if exp is not None and not (isinstance(exp, int | float | np.number) and 0 <= exp < np.inf):
        raise InputError(f"the depth exponent must be None or a number >= 0, got {exp!r}.")
    by = options["limit_depth_chs"]
    if not (isinstance(by, bool | np.bool_) or (isinstance(by, str) and by == "whiten")):
        raise InputError(f"limit_depth_chs must be True, False or 'whiten', got {by!r}.")
    options["limit_depth_chs"] = by if isinstance(by, str) else bool(by)
    limit = options["limit"]
    if limit is not None and not (isinstance(limit, int | float | np.number) and limit > 0):
        raise InputError(f"the depth limit must be None or a number > 0, got {limit!r}.")
    xyz = options["combine_xyz"]
    if not (isinstance(xyz, str) and xyz in ("spectral", "fro")):
        raise InputError(f"combine_xyz must be 'spectral' or 'fro', got {xyz!r}.")
    return options


def depth_channels(
    forward: mne.Forward, channels: Channels, options: dict, noise: Noise
) -> np.ndarray | None:
    """Channels that tell how deep a source is, or the map to them; None without depth weighting."""
    if not options["exp"]:
        return None
    if forward["source_ori"] == 1 and not options["allow_fixed_depth"]:
        raise InputError(
            "depth weighting needs the lead field of all three orientations and this forward has "
            "fixed ones: pass depth=None, depth=dict(allow_fixed_depth=True), or a free forward."
        )
    if options["limit_depth_chs"] == "whiten":
        return noise.matrix
    if not options["limit_depth_chs"]:
        return np.arange(len(channels.names))
    kind = next(k for k in ("grad", "mag", "eeg") if (channels.types == k).any())
    return np.flatnonzero(channels.types == kind)


def depth_scale(blocks: np.ndarray, options: dict) -> np.ndarray:
    """Standard deviation by depth, (locations,): 1 / sensitivity^exp, limited.

    Parameters
    ----------
    blocks : (locations, o, o)
        Products of the lead fields of each location.
    options : dict
    """
    if options["combine_xyz"] == "fro" or blocks.shape[1] == 1:
        power = np.trace(blocks, axis1=1, axis2=2)
    else:
        power = np.linalg.eigvalsh(blocks)[:, -1]
    power = np.where(power > 0, power, power[power > 0].min())
    weight = _limited(1.0 / power, options["limit"], options["limit_depth_chs"])
    return np.sqrt(weight ** options["exp"])


def _limited(weight: np.ndarray, limit: float | None, limit_depth_chs) -> np.ndarray:
    """Cap the ratio of weights at limit^2, counted as MNE-Python (and MNE-C) do."""
    if limit is None:
        return weight
    ordered = np.sort(weight)
    top = limit**2 * ordered[0]
    if limit_depth_chs is not False:
        above = ordered[ordered > top]
        top = above[0] if len(above) else ordered[-1]
    return np.minimum(weight / top, 1.0)
