"""Depth weighting: sources that the channels hardly see are given more variance.

The arithmetic is MNE-Python's (`compute_depth_prior`), on arrays.
"""

from typing import Any

import numpy as np

from esijax._types import InputError
from esijax.io.measured.channels import Channels
from esijax.io.measured.noise import HostWhitener

DEPTH = {
    "exp": 0.8,
    "limit": 10.0,
    "limit_depth_chs": True,
    "combine_xyz": "spectral",
    "allow_fixed_depth": False,
}


def depth_options(depth: Any, is_fixed: bool) -> dict:
    """Options of the depth weighting as MNE names them; InputError for others.

    `is_fixed`: the forward has one orientation, which tells less of the depth.
    """
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
    if exp and is_fixed and not options["allow_fixed_depth"]:
        raise InputError(
            "depth weighting needs the lead field of all three orientations and this forward has "
            "fixed ones: pass depth=None, depth=dict(allow_fixed_depth=True), or a free forward."
        )
    return options


def depth_channels(channels: Channels, options: dict, noise: HostWhitener) -> np.ndarray | None:
    """Channels that tell how deep a source is, or the map to them; None without depth weighting."""
    if not options["exp"]:
        return None
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
