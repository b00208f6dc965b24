"""A head model without any download: fsaverage5, a three-layer head, EEG and MEG sensors.

The cortex ships with nilearn; the inner skull, the head surface, the head-to-MRI transform, the
electrode positions and the MEG array ship with MNE-Python.
"""

import atexit
import os
import pathlib
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import mne
import numpy as np
from scipy.spatial import KDTree

from esijax._types import InputError

__all__ = ["Template", "template"]

SUBJECT = "fsaverage"
SFREQ = 600.0
HELMET_UP = 0.05  # m: the array comes with its device frame on the head's, too low to fit
CENTRE = np.array([0.0, -0.021, 0.006])  # m, MRI: inside the brain, both skins are star-shaped
SKULL = 0.006  # m
SAME_NAME = 0.05  # m: farther apart, a name means two electrodes (C5 of biosemi128 is not 10-05's)


@dataclass(frozen=True)
class Template:
    """What a head model consists of, as MNE-Python objects.

    Parameters
    ----------
    info : mne.Info
        Sensors: EEG with an average-reference projector, or MEG, or both.
    forward : mne.Forward
        Lead field with free orientation, V / (A m) and T / (A m).
    src : mne.SourceSpaces
        Cortical source space, both hemispheres.
    bem : mne.bem.ConductorModel
        Solution of the three-layer boundary element model.
    trans : mne.Transform
        Head to MRI.
    subjects_dir : pathlib.Path
        Folder with the FreeSurfer-like subject "fsaverage" (10242 vertices a hemisphere).
    """

    info: mne.Info
    forward: mne.Forward
    src: mne.SourceSpaces
    bem: "mne.bem.ConductorModel"
    trans: mne.transforms.Transform
    subjects_dir: pathlib.Path


def template(
    montage: str | Sequence[str] | None = "biosemi64",
    meg: bool = True,
    *,
    spacing: str = "oct5",
    conductivity: tuple[float, float, float] = (0.3, 0.006, 0.3),
    bem: "mne.bem.ConductorModel | None" = None,
    subjects_dir: str | os.PathLike | None = None,
) -> Template:
    """Make a head model of the average brain, without a download.

    Parameters
    ----------
    montage : str | sequence of str | None
        An EEG montage that MNE-Python knows, a list of 10-05 names, or None for no EEG. Known
        10-05 names get their measured position on this head; other electrodes are moved to the
        head surface along the line from its centre. A name that means another place in the
        montage (C5 of "biosemi128") is not taken for the 10-05 one.
    meg : bool
        Whether to have 306 MEG channels (102 magnetometers, 204 planar gradiometers).
    spacing : str
        Source spacing: "ico3" (1284 locations), "oct5" (2052), "ico4" (5124), "oct6" (8196).
    conductivity : tuple of float
        Brain, skull and scalp, S/m. Not used where `bem` is given.
    bem : mne.bem.ConductorModel | None
        Solution made earlier (the field `bem` of a template); made when None, which takes some
        seconds once per process and conductivity.
    subjects_dir : path-like | None
        Where to write the subject "fsaverage"; None: a temporary folder, removed at exit.

    Returns
    -------
    Template
        Sensors, lead field, source space, boundary element model, transform and folder.

    Raises
    ------
    InputError
        With neither EEG nor MEG, an unknown montage, or a `subjects_dir` that already holds
        another "fsaverage".

    Notes
    -----
    The source surface is fsaverage5 [1]_. The skull is 6 mm thick, thinner where the head is.

    References
    ----------
    .. [1] Fischl B., Sereno M. I., Tootell R. B. H., Dale A. M. (1999) High-resolution
       intersubject averaging and a coordinate system for the cortical surface. Human Brain
       Mapping 8:272-284. doi:10.1002/(SICI)1097-0193(1999)8:4<272::AID-HBM10>3.0.CO;2-4

    Examples
    --------
    >>> head = template("biosemi64", meg=False, spacing="ico3")  # doctest: +SKIP
    >>> head.forward["sol"]["data"].shape  # doctest: +SKIP
    (64, 3852)
    """
    if not montage and not meg:
        raise InputError("montage=None and meg=False leave no sensors: ask for EEG, MEG or both.")
    montage = montage or None
    with mne.utils.use_log_level("ERROR"):
        info = _info(montage, meg)
        folder = _default_subjects_dir() if subjects_dir is None else pathlib.Path(subjects_dir)
        _write_subject(folder)
        bem = _solve_bem(folder, tuple(conductivity)) if bem is None else bem
        src = mne.setup_source_space(
            SUBJECT, spacing=spacing, surface="white", subjects_dir=folder, add_dist=False
        )
        trans = _trans()
        forward = mne.make_forward_solution(
            info, trans, src, bem, meg=meg, eeg=montage is not None, mindist=0.0
        )
    return Template(info, forward, src, bem, trans, folder)


# Sensors


def _info(montage: str | Sequence[str] | None, meg: bool) -> mne.Info:
    """Put MEG (in its helmet position) and EEG (average reference) into one Info."""
    parts, positions = [], {}
    if meg:
        info = mne.channels.read_meg_canonical_info("neuromag")
        shift = np.eye(4)
        shift[2, 3] = HELMET_UP
        info["dev_head_t"] = mne.transforms.Transform("meg", "head", shift)
        parts.append(_empty_raw(info))
    if montage is not None:
        positions = _electrode_positions(montage)
        parts.append(_empty_raw(mne.create_info(list(positions), SFREQ, "eeg")))
    raw = parts[0].add_channels(parts[1:], force_update_info=True)
    raw.set_montage(mne.channels.make_dig_montage(positions, **_fiducials(), coord_frame="head"))
    if montage is not None:
        raw.set_eeg_reference("average", projection=True)
    return raw.info


def _empty_raw(info: mne.Info) -> mne.io.RawArray:
    """Wrap an Info, at the common sampling frequency, so that Infos can be joined."""
    with info._unlock():
        info["sfreq"], info["lowpass"] = SFREQ, SFREQ / 2
    return mne.io.RawArray(np.zeros((len(info["ch_names"]), 1)), info)


def _electrode_positions(montage: str | Sequence[str]) -> dict[str, np.ndarray]:
    """Electrode positions by name, head coordinates in m."""
    known = _known_electrodes()
    if not isinstance(montage, str):
        missing = [name for name in montage if name not in known]
        if missing:
            raise InputError(f"no 10-05 position is known for {', '.join(missing[:5])}.")
        return {name: known[name] for name in montage}
    builtin = mne.channels.get_builtin_montages()
    if montage not in builtin:
        raise InputError(f"montage {montage!r} is unknown; known are {', '.join(builtin)}.")
    if montage.startswith("standard_") and f"colin27_{montage[9:]}" in builtin:
        montage = f"colin27_{montage[9:]}"
    dig = mne.channels.make_standard_montage(montage)
    aligned = mne.channels.compute_native_head_t(dig)
    own = {
        k: mne.transforms.apply_trans(aligned, v) for k, v in dig.get_positions()["ch_pos"].items()
    }
    moved = {name: _onto_head(position) for name, position in own.items()}
    return {
        name: known[name] if np.linalg.norm(known.get(name, np.inf) - here) < SAME_NAME else here
        for name, here in moved.items()
    }


def _known_electrodes() -> dict[str, np.ndarray]:
    """Look up 10-05 positions that were placed on this head, in head coordinates."""
    builtin = mne.channels.get_builtin_montages()
    name = "fsaverage_1005" if "fsaverage_1005" in builtin else "standard_1005"
    ch_pos = mne.channels.make_standard_montage(name).get_positions()["ch_pos"]
    to_head = mne.transforms.invert_transform(_trans())
    placed = {k: mne.transforms.apply_trans(to_head, v) for k, v in ch_pos.items()}
    if name.startswith("fsaverage"):
        return placed
    return {k: _onto_head(v) for k, v in placed.items()}  # older MNE-Python: nearly on this head


def _onto_head(position: np.ndarray) -> np.ndarray:
    """Move one position (head coordinates) along the ray from the centre to the head surface."""
    ray = mne.transforms.apply_trans(_trans(), position) - CENTRE
    ray = ray / np.linalg.norm(ray)
    on_head = CENTRE + ray * _radius(_surface("head")["rr"], ray[None])[0]
    return mne.transforms.apply_trans(mne.transforms.invert_transform(_trans()), on_head)


# Anatomy


def _data() -> pathlib.Path:
    return pathlib.Path(mne.__file__).parent / "data" / SUBJECT


def _trans() -> mne.transforms.Transform:
    """Head to MRI."""
    trans = mne.read_trans(_data() / "fsaverage-trans.fif")
    is_forward = trans["from"] == mne.io.constants.FIFF.FIFFV_COORD_HEAD
    return trans if is_forward else mne.transforms.invert_transform(trans)


def _fiducials() -> dict[str, np.ndarray]:
    """Nasion and ear points in head coordinates."""
    points, _ = mne.io.read_fiducials(_data() / "fsaverage-fiducials.fif")
    to_head = mne.transforms.invert_transform(_trans())
    rr = mne.transforms.apply_trans(to_head, np.array([p["r"] for p in points]))
    return dict(zip(("lpa", "nasion", "rpa"), rr, strict=True))


@cache
def _surface(name: str) -> dict:
    """One of MNE's surfaces ("inner_skull-bem", "head"): `rr` in m, `tris`."""
    return mne.read_bem_surfaces(_data() / f"fsaverage-{name}.fif")[0]


def _radius(points: np.ndarray, rays: np.ndarray) -> np.ndarray:
    """Distance from the centre to a star-shaped cloud of points, along unit vectors (n, 3)."""
    radius = np.linalg.norm(points - CENTRE, axis=1)
    angle, near = KDTree((points - CENTRE) / radius[:, None]).query(rays, k=3)
    weight = 1.0 / np.maximum(angle, 1e-9)
    return (radius[near] * weight).sum(axis=1) / weight.sum(axis=1)


def _layers() -> dict[str, np.ndarray]:
    """Vertices (10242, 3) in m of inner skull, outer skull and outer skin, on the same rays."""
    inner = _surface("inner_skull-bem")["rr"] - CENTRE
    r_inner = np.linalg.norm(inner, axis=1)
    rays = inner / r_inner[:, None]
    r_head = _radius(_surface("head")["rr"], rays)
    r_skull = r_inner + np.minimum(SKULL, 0.45 * (r_head - r_inner))
    radii = {"inner_skull": r_inner, "outer_skull": r_skull, "outer_skin": r_head}
    return {name: CENTRE + rays * r[:, None] for name, r in radii.items()}


@cache
def _default_subjects_dir() -> pathlib.Path:
    folder = tempfile.mkdtemp(prefix="esijax-subjects-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return pathlib.Path(folder)


def _write_subject(subjects_dir: pathlib.Path) -> None:
    """Write surfaces and skulls in FreeSurfer's layout, unless it was done before."""
    target = subjects_dir / SUBJECT
    if (target / ".esijax-template").exists():
        return
    if target.exists():
        raise InputError(f"{target} exists and is another fsaverage: give another subjects_dir.")
    subjects_dir.mkdir(parents=True, exist_ok=True)
    half = pathlib.Path(tempfile.mkdtemp(prefix=f".{SUBJECT}-", dir=subjects_dir))
    for part in ("surf", "bem"):
        (half / part).mkdir()
    _write_cortex(half / "surf")
    _write_bem(half / "bem")
    (half / ".esijax-template").touch()
    half.rename(target)  # all or nothing


def _write_cortex(folder: pathlib.Path) -> None:
    """Write nilearn's fsaverage5: meshes in mm, and curvature-like maps."""
    import nibabel
    from nilearn.datasets import fetch_surf_fsaverage

    files = fetch_surf_fsaverage("fsaverage5")
    names = {"white": "white", "pial": "pial", "sphere": "sphere", "infl": "inflated"}
    for side, hemi in (("left", "lh"), ("right", "rh")):
        for key, name in names.items():
            rr, tris = (a.data for a in nibabel.GiftiImage.load(files[f"{key}_{side}"]).darrays)
            nibabel.freesurfer.write_geometry(folder / f"{hemi}.{name}", rr, tris)
        for key, name in (("sulc", "sulc"), ("curv", "curv"), ("thick", "thickness")):
            values = nibabel.GiftiImage.load(files[f"{key}_{side}"]).darrays[0].data
            nibabel.freesurfer.write_morph_data(folder / f"{hemi}.{name}", values)


def _write_bem(folder: pathlib.Path) -> None:
    """Write the three layers, and MNE's head surface and fiducials for pictures."""
    tris = _surface("inner_skull-bem")["tris"]
    for name, rr in _layers().items():
        mne.write_surface(folder / f"{name}.surf", 1e3 * rr, tris)
    for name in ("head", "fiducials"):
        shutil.copy(_data() / f"fsaverage-{name}.fif", folder)


@lru_cache(maxsize=2)
def _solve_bem(subjects_dir: pathlib.Path, conductivity: tuple[float, ...]):
    """Solve the three-layer model with 642 vertices each."""
    layers = mne.make_bem_model(SUBJECT, 3, conductivity, subjects_dir)
    for layer in layers:  # compiled code in MNE knows no big-endian integers
        layer["tris"] = layer["tris"].astype(np.int32)
    return mne.make_bem_solution(layers)
