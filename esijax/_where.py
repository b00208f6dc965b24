"""Which locations and times: indices, masks, slices, labels."""

from typing import Any

import numpy as np

from esijax._types import InputError
from esijax.problem import Problem


def indices(which: Any, n: int, what: str) -> np.ndarray:
    """Give the chosen of n as indices, at least one; None chooses all."""
    every = np.arange(n)
    chosen = every if which is None else np.atleast_1d(every[_checked(which, n, what)])
    if chosen.size == 0:
        raise InputError(f"`at` selects no {what}.")
    return chosen


def _checked(which: Any, n: int, what: str) -> Any:
    if isinstance(which, slice):
        return which
    which = np.asarray(which)
    if which.size == 0:
        return which.astype(int)
    if which.dtype == bool:
        if which.shape != (n,):
            raise InputError(f"a mask of {what} must have {n} entries, got {which.shape}.")
        return which
    if which.dtype.kind not in "iu" or which.min() < -n or which.max() >= n:
        raise InputError(f"{what} must be integers below {n}.")
    return which


def region_of(region: Any, problem: Problem) -> np.ndarray:
    """Indices of the locations of an `mne.Label`, or of what `indices` takes."""
    if not (hasattr(region, "vertices") and hasattr(region, "hemi")):
        return indices(region, problem.n_locations, "locations")
    vertices = problem.labels.vertices
    if len(vertices) < 2:
        raise InputError("a Label needs a surface source space with two hemispheres.")
    side = 0 if region.hemi == "lh" else 1
    hit = np.flatnonzero(np.isin(vertices[side], region.vertices))
    if hit.size == 0:
        raise InputError(f"label {region.name!r} holds none of the source locations.")
    return hit + (len(vertices[0]) if side else 0)


def flips(normals: Any, index: np.ndarray, mode: str) -> np.ndarray:
    """Sign of each location in an average: -1 where it points against the main direction."""
    if mode not in ("mean", "mean_flip"):
        raise InputError(f"mode must be 'mean' or 'mean_flip', got {mode!r}.")
    if mode == "mean" or normals is None:
        return np.ones(len(index))
    normals = np.asarray(normals)[index]
    main = np.linalg.svd(normals, full_matrices=False)[2][0]
    signs = np.where(normals @ main < 0, -1.0, 1.0)
    return signs if signs.sum() >= 0 else -signs
