"""Which locations and times: indices, masks, slices, labels."""

from typing import Any

import numpy as np

from esijax import _checks
from esijax._types import InputError, is_traced
from esijax.labels import HEMISPHERES
from esijax.problem import Labels, Problem


def indices(which: Any, n: int, what: str) -> np.ndarray:
    """Give the chosen of n as indices, at least one; None chooses all.

    Parameters
    ----------
    which : int | sequence of int | mask of n | slice | None
        Negative numbers count from the end.
    n : int
    what : str
        What is chosen from, for messages.

    Raises
    ------
    InputError
        For anything else, numbers out of range, and a choice of nothing.
    """
    every = np.arange(n)
    chosen = every if which is None else np.atleast_1d(every[_checked_selector(which, n, what)])
    if chosen.size == 0:
        raise InputError(f"this selects no {what} of {n}: give at least one, or None for all.")
    return chosen


def _checked_selector(which: Any, n: int, what: str) -> Any:
    """A slice, a mask or whole numbers in range; never truth values taken for numbers."""
    if isinstance(which, slice):
        try:
            which.indices(n)
        except (TypeError, ValueError) as error:
            raise InputError(f"{which!r} is no slice of {n} {what}: {error}.") from error
        return which
    found = _selector_array(which, what)
    if found.ndim > 1:
        raise InputError(f"{what} must be a number or one row of numbers, got {found.shape}.")
    if found.size == 0:
        return found.astype(int)
    if found.dtype == bool:
        if found.shape != (n,):
            raise InputError(f"a mask of {what} must have {n} entries, got {found.shape}.")
        return found
    if found.dtype.kind not in "iu":
        raise InputError(f"{what} must be integers below {n}, got {_short_repr(which)}.")
    outside = found[(found < -n) | (found >= n)] if found.ndim else found
    if found.min() < -n or found.max() >= n:
        raise InputError(f"{what} must be integers below {n}, got {_checks.names(outside.flat)}.")
    return found


def _selector_array(which: Any, what: str) -> np.ndarray:
    """Convert a choice to an array; InputError for what cannot be one."""
    if is_traced(which):
        raise InputError(f"{what} must be known numbers here, not those of a transformation.")
    if isinstance(which, list | tuple | range):
        truths = [isinstance(w, bool | np.bool_) for w in which]
        if any(truths) and not all(truths):
            raise InputError(f"{what} are numbers or a mask, not both: got {_short_repr(which)}.")
    try:
        return np.asarray(which)
    except (TypeError, ValueError) as error:  # rows of unequal length
        raise InputError(f"{what} must be integers, got {_short_repr(which)}.") from error


def _short_repr(value: Any) -> str:
    return f"{value!r:.60}"


def pair(at: Any) -> tuple[Any, Any]:
    """Read `at`: (locations, times), or None for all of both."""
    if at is None:
        return None, None
    if not (isinstance(at, tuple | list) and len(at) == 2):
        raise InputError(
            f"`at` must be (locations, times), None standing for all, got {_short_repr(at)}."
        )
    return at[0], at[1]


def region_of(region: Any, problem: Problem) -> np.ndarray:
    """Indices of the locations of an `mne.Label`, of both hemispheres too, or of indices.

    Parameters
    ----------
    region : mne.Label | mne.BiHemiLabel | what `indices` takes
    problem : Problem

    Returns
    -------
    index : (some,)
        Each location once.

    Raises
    ------
    InputError
        For a label of another subject, one on a hemisphere that the problem does not have, and
        one without any source.
    """
    sides = _sides(region)
    if sides is None:
        return _once(indices(region, problem.n_locations, "locations"))
    who = f"label {getattr(region, 'name', None)!r}"
    check_subject(getattr(region, "subject", None), problem.labels, who)
    found = [at_vertices(problem.labels, side.hemi, side.vertices, who) for side in sides]
    found = np.concatenate(found)
    if found.size == 0:
        raise InputError(f"{who} holds none of the source locations.")
    return found


def _sides(region: Any) -> tuple[Any, ...] | None:
    """Split an MNE label into those of single hemispheres; None for anything else."""
    if hasattr(region, "lh") and hasattr(region, "rh"):
        return region.lh, region.rh
    if hasattr(region, "vertices") and getattr(region, "hemi", None) in HEMISPHERES:
        return (region,)
    return None


def check_subject(of: str | None, labels: Labels, who: str) -> None:
    """Refuse vertex numbers of another subject: they mean other places."""
    if of is not None and labels.subject is not None and of != labels.subject:
        raise InputError(
            f"{who} is of the subject {of!r}, the source space of {labels.subject!r}: morph the "
            "label (mne.Label.morph), or take one of the subject."
        )


def at_vertices(labels: Labels, hemi: str, vertices: np.ndarray, who: str) -> np.ndarray:
    """Locations at some vertices of one hemisphere, wherever its source space stands."""
    surfaces = [i for i, kind in enumerate(labels.kinds) if kind == "surface"]
    if len(surfaces) != 2:
        raise InputError(
            f"{who} is on a hemisphere ({hemi}), the problem has "
            f"{_checks.names(labels.kinds) or 'no'} source spaces: give numbers of locations."
        )
    space = surfaces[HEMISPHERES.index(hemi)]
    offset = sum(len(v) for v in labels.vertices[:space])
    return offset + np.flatnonzero(np.isin(labels.vertices[space], vertices))


def _once(index: np.ndarray) -> np.ndarray:
    """Drop repeated locations: an average would count each as often as it is listed."""
    found = np.unique(index)
    if len(found) == len(index):
        return index
    _checks.warn(f"{len(index) - len(found)} of {len(index)} locations are repeated: counted once.")
    return found


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
