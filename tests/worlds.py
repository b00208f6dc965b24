"""Arrays, source spaces, forwards and data of MNE-Python, made without a download."""

import tempfile
import warnings
from functools import cache
from pathlib import Path

import mne
import numpy as np
from mne.transforms import Transform

from esijax.io import template_head

STD = {"eeg": 3e-7, "grad": 4e-13, "mag": 1.2e-14}  # of the noise
CENTRE = (0.0, 0.01, 0.045)  # of the sphere that conducts
SUBJECT = "fsaverage"


# ------------------------------------------------------------------ arrays
def _device_to_head():
    trans = np.eye(4)
    trans[:3, 3] = 0.002, 0.004, 0.043
    return Transform("meg", "head", trans)


def _helmet(n, coil, radius):
    """Radial coils of one type over a sphere."""
    k = np.arange(2 * n) + 0.5
    polar, around = np.arccos(1 - k / n), np.pi * (1 + 5**0.5) * k
    out = np.c_[np.cos(around) * np.sin(polar), np.sin(around) * np.sin(polar), np.cos(polar)]
    out = out[out[:, 2] > -0.2][:n]
    info = mne.create_info([f"MEG {i:03d}" for i in range(len(out))], 500.0, "mag")
    for ch, z in zip(info["chs"], out, strict=True):
        x = np.cross(z, [0.3, 0.8, 0.1])
        x /= np.linalg.norm(x)
        ch["loc"][:] = np.r_[radius * z, x, np.cross(z, x), z]
        ch["coil_type"], ch["coord_frame"] = coil, 1
    return info


def _meg(name):
    info = mne.channels.read_meg_canonical_info(name)
    return mne.pick_info(info, mne.pick_types(info, meg=True, ref_meg=False))


def _eeg(montage, n=None):
    montage = mne.channels.make_standard_montage(montage)
    info = mne.create_info(montage.ch_names, 500.0, "eeg")
    info.set_montage(montage)
    return info if n is None else mne.pick_info(info, np.arange(n))


ARRAYS = {
    "neuromag": lambda: _meg("neuromag"),
    "ctf": lambda: _meg("ctf151"),
    "kit": lambda: _helmet(157, 6001, 0.125),
    "bti": lambda: _helmet(148, 4001, 0.125),
    "opm": lambda: _helmet(90, 8001, 0.112),
    "eeg32": lambda: _eeg("biosemi32"),
    "eeg64": lambda: _eeg("biosemi64"),
    "eeg128": lambda: _eeg("GSN-HydroCel-128"),
    "opm and eeg": lambda: (ARRAYS["opm"](), ARRAYS["eeg32"]()),
    "neuromag and eeg": lambda: (ARRAYS["neuromag"](), ARRAYS["eeg32"]()),
}


@cache
def _info(array):
    made = ARRAYS[array]()
    raws = []
    for info in made if isinstance(made, tuple) else (made,):
        with info._unlock():
            info["dev_head_t"], info["sfreq"], info["lowpass"] = _device_to_head(), 500.0, 250.0
        raws.append(mne.io.RawArray(np.zeros((len(info["ch_names"]), 2)), info, verbose="ERROR"))
    return raws[0].add_channels(raws[1:], force_update_info=True).info if raws[1:] else raws[0].info


def info_of(array):
    """Measurement info of an array, one's own."""
    return _info(array).copy()


# ------------------------------------------------------------------ source spaces
@cache
def subjects_dir():
    """Folder with the cortex of fsaverage5; removed when the process ends."""
    folder = tempfile.TemporaryDirectory()
    surf = Path(folder.name) / SUBJECT / "surf"
    surf.mkdir(parents=True)
    template_head._write_cortex(surf)
    subjects_dir.keep = folder
    return folder.name


@cache
def _cortex(spacing, add_dist):
    return mne.setup_source_space(
        SUBJECT,
        spacing,
        subjects_dir=subjects_dir(),
        surface="white",
        add_dist=add_dist,
        verbose="ERROR",
    )


def cortex(spacing="ico1", add_dist=False):
    return _cortex(spacing, add_dist).copy()


def inside(n, seed, kind):
    """Places inside the sphere, as a volume or with normals."""
    rng = np.random.default_rng(seed)
    normals = rng.standard_normal((n, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    places = CENTRE + 0.06 * np.roll(normals, 1, axis=0) * rng.uniform(0.4, 1, (n, 1))
    to_mri = template_head._trans()
    places = mne.transforms.apply_trans(to_mri, places)
    normals = mne.transforms.apply_trans(to_mri, normals, move=False)
    src = mne.setup_volume_source_space(pos={"rr": places, "nn": normals}, verbose="ERROR")
    src[0].update(type=kind, shape=(1, 1, n))  # MNE shows the shape of volumes
    return src


# 37 or 74 locations (of the cortex some lie outside the sphere): few shapes to compile for
SPACES = {
    "cortex": cortex,
    "patches": lambda: cortex(add_dist="patch"),
    "left": lambda: mne.SourceSpaces(cortex()[:1]),
    "right": lambda: mne.SourceSpaces(cortex()[1:]),
    "volume": lambda: inside(37, 0, "vol"),
    "volumes": lambda: inside(20, 0, "vol") + inside(17, 1, "vol"),
    "mixed": lambda: cortex("ico0") + inside(15, 0, "vol"),
    "discrete": lambda: inside(74, 0, "discrete"),
    "mixed discrete": lambda: cortex("ico0") + inside(15, 0, "discrete"),
}


# ------------------------------------------------------------------ forwards
@cache
def _forward(array, space):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return mne.make_forward_solution(
            _info(array),
            template_head._trans(),
            SPACES[space](),
            mne.make_sphere_model(CENTRE, 0.105, verbose="ERROR"),
            mindist=0.0,
            on_inside="ignore",
            verbose="ERROR",
        )


def forward_of(array, space, form="head"):
    """Free in the axes of the head; in memory turned to surfaces, or along normals."""
    forward = _forward(array, space)
    if form == "head":
        return forward.copy()
    return mne.convert_forward_solution(
        forward, surf_ori=True, force_fixed=form == "fixed", verbose="ERROR"
    )


# ------------------------------------------------------------------ data
def scale_of(info):
    return np.array([STD[kind] for kind in info.get_channel_types()])


def covariance_of(info, rng, kind="full"):
    """Noise covariance of single trials: correlated within a type, singular, or diagonal."""
    types, std = np.array(info.get_channel_types()), scale_of(info)
    corr = np.eye(len(std))
    for one in np.unique(types):
        rows = np.flatnonzero(types == one)
        mix = 0.6 * rng.standard_normal((len(rows), 6))
        block = np.diag(rng.uniform(0.5, 2, len(rows))) + mix @ mix.T
        if kind == "singular":
            lost = np.linalg.qr(rng.standard_normal((len(rows), 4)))[0]
            left = np.eye(len(rows)) - lost @ lost.T
            block = left @ block @ left
        corr[np.ix_(rows, rows)] = block
    return corr * np.outer(std, std)


def samples_of(info, forward, rng, n_times, trials=None):
    """Noise of the size of the types and three sources, (..., channels, times)."""
    lead = () if trials is None else (trials,)
    noise = rng.standard_normal((*lead, len(info["ch_names"]), n_times))
    rows = [forward["sol"]["row_names"].index(name) for name in info["ch_names"]]
    gain = forward["sol"]["data"][rows]
    gain = gain[:, rng.choice(gain.shape[1], 3, replace=False)] / scale_of(info)[:, None]
    gain *= 5 / np.sqrt(np.mean(gain**2))
    clean = gain @ rng.standard_normal((*lead, 3, n_times))
    return (clean + noise) * scale_of(info)[:, None]
