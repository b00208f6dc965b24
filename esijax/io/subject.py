"""The FreeSurfer subject of a source space: its folder, and how its MRI lies to the head."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import mne
import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from esijax._types import InputError
from esijax.labels import HEMISPHERES, Labels
from esijax.problem import Problem

FSAVERAGE = "fsaverage"
N_FSAVERAGE5 = 10242  # vertices of a hemisphere; those of all finer grids begin with them
MISFIT = 0.006  # m: a pial surface is 2 to 4 mm from the white one
FEW = 4  # points that fix a rotation


@dataclass(frozen=True)
class Subject:
    """What is known of the MRI behind a source space.

    Parameters
    ----------
    folder : Path | None
        Of the subject, in the folder of subjects.
    head_mri : mne.transforms.Transform | None
        From head to MRI coordinates.
    numbered : bool
        Whether vertex numbers of the source space are known to be those of the surfaces.
    why : str
        Why they are not.
    no_folder : str
        Why there is no folder.
    """

    folder: Path | None
    head_mri: Any
    numbered: bool
    why: str
    no_folder: str


def on_fsaverage(subject: str | None, vertno: Any) -> bool:
    """Whether the sources are vertices of fsaverage5, which is at hand without the subject."""
    known = subject == FSAVERAGE and vertno is not None
    return known and bool(np.max(vertno, initial=0) < N_FSAVERAGE5)


def on_template(labels: Labels) -> bool:
    """The same of all surfaces of a problem."""
    return on_fsaverage(labels.subject, np.concatenate([[0], *_surfaces(labels)]))


def subject_of(problem: Problem, subjects_dir: Any = None, trans: Any = None) -> Subject:
    """Find the subject of a problem, and see whether its surfaces are those of the sources.

    Parameters
    ----------
    problem : Problem
    subjects_dir : path-like | None
        None: what MNE-Python takes (SUBJECTS_DIR of the environment, or of its configuration).
    trans : mne.transforms.Transform | None
        Between head and MRI, in either direction. Where the surfaces are known it is not needed:
        the source space lies in both coordinates.

    Raises
    ------
    InputError
        If `subjects_dir` is no folder.
    """
    folder, no_folder = _folder_of(problem.labels.subject, subjects_dir)
    head_mri = None if trans is None else mne.transforms._ensure_trans(trans, "head", "mri")
    on_surface = problem.labels.hemispheres != ""
    if problem.geometry.positions is None or not on_surface.any():
        why = "no source is on a cortex of known sides"
        return Subject(folder, head_mri, False, why, no_folder)
    white, why = _white(problem.labels, folder, no_folder)
    if white is None:
        return Subject(folder, head_mri, False, why, no_folder)
    head = np.asarray(problem.geometry.positions)[on_surface]
    if head_mri is not None and _misfit(head_mri, head, white) <= MISFIT:
        return Subject(folder, head_mri, True, "", no_folder)
    if len(head) < FEW:
        why = "too few sources to compare them with a surface"
        return Subject(folder, head_mri, False, why, no_folder)
    fitted = _rigid(head, white)
    misfit = _misfit(fitted, head, white)
    if misfit <= MISFIT:
        return Subject(folder, fitted, True, "", no_folder)
    why = (
        f"the surfaces of {problem.labels.subject!r} in {folder or 'fsaverage5'} are not those of "
        f"the source space: half of the sources are more than {1e3 * misfit:.0f} mm off"
    )
    return Subject(folder, head_mri, False, why, no_folder)


def _folder_of(subject: str | None, subjects_dir: Any) -> tuple[Path | None, str]:
    """Folder of the subject, or why there is none."""
    if subjects_dir is not None and not Path(subjects_dir).is_dir():
        raise InputError(
            f"{subjects_dir} is no folder: give that of FreeSurfer's subjects (subjects_dir)."
        )
    if subject is None:
        return None, "the source space does not say of which subject it is"
    if subjects_dir is None:
        subjects_dir = mne.get_config("SUBJECTS_DIR")
    if subjects_dir is None:
        return None, f"no folder of subjects is given (subjects_dir), for {subject!r}"
    folder = Path(subjects_dir) / subject
    return (folder, "") if folder.is_dir() else (None, f"{subjects_dir} has no subject {subject!r}")


def _surfaces(labels: Labels) -> list[np.ndarray]:
    """Vertex numbers of the hemispheres."""
    pairs = zip(labels.kinds, labels.vertices, strict=True)
    return [v for kind, v in pairs if kind == "surface"]


def _white(labels: Labels, folder: Path | None, why: str) -> tuple[np.ndarray | None, str]:
    """White surface at the vertices of both hemispheres, MRI coordinates, m; or why not."""
    parts = []
    for hemi, vertices in zip(HEMISPHERES, _surfaces(labels), strict=True):
        file = None if folder is None else folder / "surf" / f"{hemi}.white"
        if file is not None and file.is_file():
            points = mne.read_surface(file, verbose="ERROR")[0]
        elif on_template(labels):
            points = _fsaverage5_white(hemi)
        else:
            return None, why or f"{folder} has no surf/{hemi}.white"
        if np.max(vertices, initial=0) >= len(points):
            return None, (
                f"{file} has {len(points)} vertices, the source space numbers them up to "
                f"{np.max(vertices)}: it is of another reconstruction"
            )
        parts.append(1e-3 * points[vertices])
    return np.concatenate(parts), ""


@cache
def _fsaverage5_white(hemi: str) -> Float[np.ndarray, "10242 3"]:
    from nibabel.gifti.gifti import GiftiImage
    from nilearn.datasets import fetch_surf_fsaverage

    side = {"lh": "left", "rh": "right"}[hemi]
    file = fetch_surf_fsaverage("fsaverage5")[f"white_{side}"]
    return GiftiImage.from_filename(file).darrays[0].data.astype(float)


def _misfit(head_mri: Any, head: np.ndarray, mri: np.ndarray) -> float:
    moved = mne.transforms.apply_trans(head_mri, head)
    return float(np.median(np.linalg.norm(moved - mri, axis=1)))


def _rigid(head: np.ndarray, mri: np.ndarray) -> Any:
    """The rotation and shift that bring head to MRI coordinates, by least squares."""
    a, b = head.mean(axis=0), mri.mean(axis=0)
    trans = np.eye(4)
    trans[:3, :3] = Rotation.align_vectors(mri - b, head - a)[0].as_matrix()
    trans[:3, 3] = b - trans[:3, :3] @ a
    return mne.transforms.Transform("head", "mri", trans)
