"""Orientations and their prior: surface frames, loose constraint, depth weighting.

The arithmetic is MNE-Python's (`compute_depth_prior`, `compute_orient_prior`), on arrays, so that
a problem is ready in a fraction of the time that copying the source spaces takes.
"""

from typing import Any

import jax
import jax.numpy as jnp
import mne
import numpy as np
from jaxtyping import Array, Float, Num

from esijax._ops.chunked import chunk_size
from esijax._types import Gain, InputError

KINDS = {"surf": "surface", "vol": "volume", "discrete": "discrete"}
DEPTH = {"exp": 0.8, "limit": 10.0, "limit_depth_chs": True, "combine_xyz": "spectral"}


def orient(
    forward: mne.Forward, ch_names: list[str], loose: dict[str, float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Lead field, frames of its future orient axes, and the rotation that leads to them.

    Returns
    -------
    gain : (channels, locations, 1 or 3)
        As the forward stores it, or along the normals where all orientations are fixed.
    frames : (locations, 1 or 3, 3)
        Orient axes in the frame of the forward; the normal last.
    rotation : (locations, 3, 3) | None
        What `assemble` still has to apply; None where the forward is in its frames already.
    """
    own = np.asarray(forward["source_nn"], dtype=float)
    if forward["source_ori"] == 1:
        return channel_rows(forward, ch_names)[:, :, None], own[:, None], None
    own = own.reshape(-1, 3, 3)
    if all(v == 0 for v in loose.values()):
        return *_along_normals(forward, ch_names, own), None
    gain = channel_rows(forward, ch_names)
    gain = gain.reshape(len(gain), -1, 3)
    if forward["surf_ori"]:
        return gain, own, None
    frames = own.copy()
    start = 0
    for s in forward["src"]:
        if s["type"] != "vol":  # a volume has no normals: its sources keep the head's axes
            frames[start : start + s["nuse"]] = surface_frames(_normals(s).astype(float))
        start += s["nuse"]
    return gain, frames, frames


@jax.jit
def assemble(
    whitener: Float[Array, "rank channels"],
    gain: Num[Array, "channels locations orients"],
    rotation: Float[Array, "locations orients 3"] | None,
) -> tuple[Gain, Float[Array, "locations orients"]]:
    """Whitened lead field in its frames, and the power of each of its columns; in chunks.

    Parameters
    ----------
    whitener : (rank, channels)
    gain : (channels, locations, orients)
    rotation : (locations, orients, 3) | None

    Returns
    -------
    white : (rank, locations, orients)
    power : (locations, orients)
    """
    _, n, orients = gain.shape
    size = chunk_size(n, orients)

    def put(out, start):
        part = jax.lax.dynamic_slice_in_dim(gain, start, size, axis=1).astype(whitener.dtype)
        if rotation is not None:
            axes = jax.lax.dynamic_slice_in_dim(rotation, start, size, axis=0)
            part = jnp.sum(part[:, :, None, :] * axes[None], axis=-1)
        white = (whitener @ part.reshape(len(part), -1)).reshape(-1, size, orients)
        return jax.lax.dynamic_update_slice_in_dim(out, white, start, axis=1), None

    starts = jnp.minimum(jnp.arange(-(-n // size)) * size, n - size)
    white, _ = jax.lax.scan(put, jnp.zeros((len(whitener), n, orients), whitener.dtype), starts)
    return white, jnp.sum(white**2, axis=0)


def channel_rows(forward: mne.Forward, ch_names: list[str]) -> np.ndarray:
    """Lead field rows of the named channels, as the forward stores them."""
    return _select(forward, forward["sol"]["data"], ch_names)


def _select(forward: mne.Forward, rows: np.ndarray, ch_names: list[str]) -> np.ndarray:
    position = {name: i for i, name in enumerate(forward["sol"]["row_names"])}
    wanted = [position[name] for name in ch_names]
    return rows if wanted == list(range(len(rows))) else rows[wanted]


def _along_normals(forward, ch_names, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fixed orientations, with MNE's rounding: `convert_forward_solution` gives float32 here."""
    gain = forward["sol"]["data"]
    gain = gain.reshape(len(gain), -1, 3)
    if forward["surf_ori"]:
        along, frames = gain[:, :, 2], own[:, 2:]
    else:
        normals = np.concatenate([_normals(s) for s in forward["src"]])
        along = gain[:, :, 0] * normals[:, 0]
        along += gain[:, :, 1] * normals[:, 1]
        along += gain[:, :, 2] * normals[:, 2]
        frames = normals.astype(float)[:, None]
    return _select(forward, along.astype(np.float32), ch_names)[:, :, None], frames


def _normals(s) -> np.ndarray:
    """Normals at the sources; averaged over cortical patches where the source space has them."""
    if s.get("pinfo") is None or s.get("patch_inds") is None:
        return s["nn"][s["vertno"]]
    mean = np.array([s["nn"][s["pinfo"][i]].sum(axis=0) for i in s["patch_inds"]])
    return mean / np.linalg.norm(mean, axis=1, keepdims=True)


def surface_frames(normals: np.ndarray) -> np.ndarray:
    """Right-handed frames (locations, 3, 3) whose last row is the unit normal."""
    normals = normals / np.linalg.norm(normals, axis=1, keepdims=True)
    helper = np.where(np.abs(normals[:, :1]) < 0.9, [[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]])
    first = np.cross(helper, normals)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    return np.stack([first, np.cross(normals, first), normals], axis=1)


def prior_scales(
    forward: mne.Forward, gain: np.ndarray, info: mne.Info, loose: dict, depth: Any, noise
) -> tuple[np.ndarray, np.ndarray]:
    """Standard deviations (locations, orients): of the orientation constraint, and with depth."""
    n_locations, n_orients = gain.shape[1:]
    orient_scale = np.ones((n_locations, n_orients))
    if n_orients == 3:
        start = 0
        for s in forward["src"]:
            orient_scale[start : start + s["nuse"], :2] = np.sqrt(loose[KINDS[s["type"]]])
            start += s["nuse"]
    options = _depth_options(depth)
    if options["exp"] is None or options["exp"] == 0:
        return orient_scale, orient_scale.copy()
    prior = _depth_prior(forward, gain, info, options, noise)
    return orient_scale, orient_scale * np.sqrt(prior)[:, None]


def _depth_options(depth: Any) -> dict:
    given = depth if isinstance(depth, dict) else {"exp": depth}
    unknown = set(given) - {*DEPTH, "allow_fixed_depth"}
    if unknown:
        raise InputError(f"depth does not know {sorted(unknown)}; it knows {sorted(DEPTH)}.")
    options = {**DEPTH, **given}
    exp = options["exp"]
    if exp is not None and not (isinstance(exp, int | float | np.number) and 0 <= exp < np.inf):
        raise InputError(f"the depth exponent must be None or a number >= 0, got {exp!r}.")
    if options["limit_depth_chs"] not in (True, False, "whiten"):
        raise InputError(
            f"limit_depth_chs: True, False or 'whiten', {options['limit_depth_chs']!r}."
        )
    limit = options["limit"]
    if limit is not None and not (isinstance(limit, int | float | np.number) and limit > 0):
        raise InputError(f"the depth limit must be None or a number > 0, got {limit!r}.")
    if options["combine_xyz"] not in ("spectral", "fro"):
        raise InputError(
            f"combine_xyz must be 'spectral' or 'fro', got {options['combine_xyz']!r}."
        )
    return options


def _depth_prior(forward, gain, info, options: dict, noise) -> np.ndarray:
    """Variance by depth, (locations,): 1 / sensitivity^exp, limited."""
    if forward["source_ori"] == 1 and not options.get("allow_fixed_depth"):
        raise InputError(
            "depth weighting needs the lead field of all three orientations and this forward has "
            "fixed ones: pass depth=None, depth=dict(allow_fixed_depth=True), or a free forward."
        )
    rows = _depth_rows(info, options["limit_depth_chs"])
    if gain.shape[2] == 1 and forward["source_ori"] != 1:  # loose=0 of a free forward
        names = forward["sol"]["row_names"]
        position = {name: i for i, name in enumerate(names)}
        rows = np.array([position[info["ch_names"][i]] for i in rows])
        gain = forward["sol"]["data"].reshape(len(names), -1, 3)
    whitener = noise.matrix if options["limit_depth_chs"] == "whiten" else None
    power = _sensitivity(gain, rows, whitener, options["combine_xyz"])
    power = np.where(power > 0, power, power[power > 0].min())
    return _limited(1.0 / power, options["limit"], options["limit_depth_chs"]) ** options["exp"]


def _depth_rows(info: mne.Info, limit_depth_chs) -> np.ndarray:
    """Channels that tell how deep a source is."""
    if limit_depth_chs is not True:
        return np.arange(len(info["ch_names"]))
    types = np.array(info.get_channel_types())
    kind = next(k for k in ("grad", "mag", "eeg") if (types == k).any())
    return np.flatnonzero(types == kind)


def _sensitivity(gain: np.ndarray, rows: np.ndarray, whitener, combine_xyz: str) -> np.ndarray:
    """Squared spectral or Frobenius norm of each location's lead field, (locations,)."""
    part = gain[rows].astype(float)
    if whitener is not None:
        part = np.tensordot(whitener, part, 1)
    if combine_xyz == "fro" or gain.shape[2] == 1:
        return np.einsum("clo,clo->l", part, part)
    by_location = part.transpose(1, 2, 0)
    return np.linalg.eigvalsh(by_location @ by_location.transpose(0, 2, 1))[:, -1]


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
