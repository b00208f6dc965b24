"""Whether the parts of a forward solution fit together."""

import mne
import numpy as np

from esijax import _checks
from esijax._types import InputError


def check_parts(forward: mne.Forward) -> None:
    """Refuse a forward whose parts do not fit together: a FIF file has no checksum."""
    _check_frames(forward)
    n_orients = 1 if forward["source_ori"] == 1 else 3
    n_sources = sum(int(s["nuse"]) for s in forward["src"])
    sol = forward["sol"]
    fits = {
        "the lead field": sol["data"].shape == (len(sol["row_names"]), n_sources * n_orients),
        "the number of sources": forward["nsource"] == n_sources,
        "the positions": np.shape(forward["source_rr"]) == (n_sources, 3),
        "the orientations": _are_unit(forward["source_nn"]),
    }
    for i, s in enumerate(forward["src"]):
        fits[f"source space {i}"] = _space_fits(s)
    wrong = [what for what, fit in fits.items() if not fit]
    if wrong:
        raise InputError(
            f"the forward does not fit together ({_checks.names(wrong)}): a corrupt file? Compute "
            "it again."
        )


def _space_fits(s) -> bool:
    """Whether vertices, normals and triangles of a source space refer to each other."""
    n = int(s["np"])
    triangles = [s.get("tris"), s.get("use_tris")] if s["type"] == "surf" else []
    return (
        len(s["rr"]) == len(s["nn"]) == n
        and len(s["vertno"]) == s["nuse"]
        and all(_indices_within(index, n) for index in (s["vertno"], *triangles))
        and bool(np.isfinite(s["rr"]).all())
        and _are_unit(s["nn"][s["vertno"]])
    )


def _indices_within(index: np.ndarray | None, n: int) -> bool:
    """Whether all are valid indices of an array of length n; a missing index passes."""
    return index is None or np.size(index) == 0 or bool(np.min(index) >= 0 and np.max(index) < n)


def _are_unit(vectors: np.ndarray) -> bool:
    """Whether all are finite unit vectors."""
    length = np.sum(np.asarray(vectors, dtype=float) ** 2, axis=-1)
    return bool((np.abs(length - 1.0) < 0.1).all())


def _check_frames(forward: mne.Forward) -> None:
    """Refuse other coordinates than head or MRI, and source spaces that claim others."""
    frame = forward["coord_frame"]
    if frame not in (4, 5):
        raise InputError(
            f"the forward is in coordinate frame {int(frame)}; it must be head (4) or MRI (5)."
        )
    wrong = [i for i, s in enumerate(forward["src"]) if s["coord_frame"] != frame]
    if wrong:
        raise InputError(
            f"the forward claims coordinate frame {int(frame)}, its source space {wrong[0]} "
            f"{int(forward['src'][wrong[0]]['coord_frame'])}: one of the flags is wrong, compute "
            "the forward again."
        )
