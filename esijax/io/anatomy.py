"""Where sources are in the brain: MNI coordinates and regions, or why they are not known."""

from dataclasses import dataclass
from typing import Any

import mne
import numpy as np
from jaxtyping import Float

from esijax.io.regions_in import APARC, parcels
from esijax.io.subject import FSAVERAGE, Subject, subject_of
from esijax.problem import Problem

MNI = "MNI305"  # what FreeSurfer's talairach.xfm leads to, and in which fsaverage lies
NAMES = {APARC: "aparc (Desikan-Killiany)"}


@dataclass(frozen=True)
class Anatomy:
    """What is known of the locations of a problem beside head coordinates.

    Parameters
    ----------
    mni : (locations, 3) | None
        mm.
    space : str
        Which MNI space; empty without coordinates.
    regions : (locations,) of str | None
        Region of each location; "" off the cortex.
    atlas : str
        Where their names come from; empty without.
    notes : tuple of str
        What is not known, and why.
    """

    mni: Float[np.ndarray, "locations 3"] | None
    space: str
    regions: np.ndarray | None
    atlas: str
    notes: tuple[str, ...]


def anatomy(
    problem: Problem, subjects_dir: Any = None, parc: str = APARC, trans: Any = None
) -> Anatomy:
    """Look up MNI coordinates and regions of all locations.

    Parameters
    ----------
    problem : Problem
    subjects_dir, parc
        As of `esijax.io.regions`.
    trans : mne.transforms.Transform | None
        Between head and MRI; needed for volumes alone.
    """
    subject = subject_of(problem, subjects_dir, trans)
    mni, no_mni = _mni(problem, subject)
    regions, no_region = parcels(problem, subject, parc)
    if no_mni and no_mni == no_region:
        notes = (f"no MNI coordinates and no regions: {no_mni}",)
    else:
        told = ("no MNI coordinates", no_mni), ("no regions", no_region)
        notes = tuple(f"{what}: {why}" for what, why in told if why)
    return Anatomy(
        mni,
        "" if mni is None else MNI,
        regions,
        "" if regions is None else NAMES.get(parc, parc),
        notes,
    )


def _mni(problem: Problem, subject: Subject) -> tuple[np.ndarray | None, str]:
    """MNI coordinates, mm, by the subject's transform or fsaverage's own; or why not."""
    name, positions = problem.labels.subject, problem.geometry.positions
    if positions is None:
        return None, "the sources have no positions"
    xfm = None if subject.folder is None else subject.folder / "mri/transforms/talairach.xfm"
    written = xfm is not None and xfm.is_file()
    if not written and name != FSAVERAGE:
        return None, subject.no_folder or f"there is no {xfm}"
    if subject.head_mri is None:
        return None, subject.why or "the transform between head and MRI is not given (trans)"
    if subject.folder is None or not written:  # fsaverage lies in MNI space
        return 1e3 * mne.transforms.apply_trans(subject.head_mri, np.asarray(positions)), ""
    try:
        found = mne.head_to_mni(
            np.asarray(positions), name, subject.head_mri, subject.folder.parent, verbose="ERROR"
        )
    except (OSError, ValueError) as error:  # no orig.mgz beside it, or a broken file
        return None, f"{xfm} cannot be used ({error})"
    return found, ""
