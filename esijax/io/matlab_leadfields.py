"""Lead fields that other tools have computed, from their MATLAB files, units checked."""

from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import scipy.io

from esijax import _checks
from esijax._types import InputError
from esijax.forward import LeadField
from esijax.forward._host import as_array
from esijax.forward.rigid import check_rigid

METRES = {"m": 1.0, "dm": 0.1, "cm": 0.01, "mm": 0.001}


class Stored(NamedTuple):
    """What a file holds: gain (channels, locations, 3), positions, names, their unit, its scale."""

    gain: np.ndarray
    positions: np.ndarray
    names: tuple[str, ...]
    unit: str
    scale: float


def read_leadfield(
    path,
    *,
    to_head=None,
    ch_names=None,
    ch_types: Any = "eeg",
    scale: float | None = None,
) -> LeadField:
    r"""Read the lead field of FieldTrip, Brainstorm or the New York Head.

    Parameters
    ----------
    path : path
        FieldTrip: a .mat with the result of ``ft_prepare_leadfield``, by any method (SimBio's and
        DUNEuro's finite elements too); sources outside the brain are left out. Brainstorm: a
        ``headmodel_*.mat``, which names no channels. New York Head: ``sa_nyhead.mat`` (v7.3).
    to_head : (4, 4) or mne.Transform, optional
        From the coordinates of the file (after its unit was turned into m) to head coordinates;
        the identity when None. Moments are turned as well.
    ch_names : sequence of str, optional
        Needed where the file names no channels; else must not be given.
    ch_types : str or sequence of str
        "eeg", "mag" or "grad", of all channels or of each.
    scale : float, optional
        V / (A m) or T / (A m) per unit of the file. None: 1 for FieldTrip and Brainstorm, 1000 for
        the New York Head (V per mA m, as Næss et al. read it; its authors state no unit).

    Returns
    -------
    esijax.forward.LeadField
        Three orients, along the axes of head coordinates.

    Raises
    ------
    InputError
        For files of another kind, missing or superfluous names, positions that are no head's, and
        gains outside the range that a head can have (then `scale` is needed).

    References
    ----------
    Oostenveld et al. 2011, doi:10.1155/2011/156869; Tadel et al. 2011, doi:10.1155/2011/879716;
    Huang, Parra and Haufe 2016, doi:10.1016/j.neuroimage.2015.12.019; Næss et al. 2021,
    doi:10.1016/j.neuroimage.2020.117467 (LFPykit, units of the New York Head).

    Examples
    --------
    >>> import esijax as ej
    >>> field = ej.io.read_leadfield("leadfield.mat", to_head=trans)  # doctest: +SKIP
    """
    stored = _read(Path(path))
    if ch_names is not None and stored.names:
        raise InputError(f"{path} names its channels itself: leave ch_names out, then pick.")
    names = tuple(ch_names) if ch_names is not None else stored.names
    if len(names) != len(stored.gain):
        raise InputError(
            f"{path} holds {len(stored.gain)} channels and {len(stored.names)} names: give "
            f"ch_names, got {len(names)}."
        )
    types = (ch_types,) * len(names) if isinstance(ch_types, str) else tuple(ch_types)
    if len(types) != len(names) or set(types) - {"eeg", "mag", "grad"}:
        raise InputError(f"ch_types must be eeg, mag or grad for {len(names)} channels: {types!r}.")
    if stored.unit not in METRES:
        raise InputError(f"{path} has positions in {stored.unit!r}; known are {sorted(METRES)}.")
    motion = _motion(to_head)
    positions = METRES[stored.unit] * stored.positions @ motion[:3, :3].T + motion[:3, 3]
    _checks.positions(positions)
    gain = (stored.scale if scale is None else scale) * stored.gain
    try:
        _checks.lead_field(gain, np.arange(len(names)), names, types)
    except InputError as error:
        raise InputError(f"{path}: {error} Say with scale what a unit of the file is.") from error
    # moments along the axes of the head, in those of the file
    gain = np.einsum("cld,ed->cle", gain, motion[:3, :3])
    axes = np.broadcast_to(np.eye(3), (len(positions), 3, 3))
    return LeadField(as_array(gain), as_array(positions), as_array(axes), names, types)


def _motion(to_head: Any) -> np.ndarray:
    if to_head is None:
        return np.eye(4)
    motion = np.asarray(to_head["trans"] if isinstance(to_head, dict) else to_head, dtype=float)
    check_rigid(motion, "to_head")
    return motion


def _read(path: Path) -> Stored:
    if not path.is_file():
        raise InputError(f"{path}: no such file.")
    if h5py.is_hdf5(path):
        return _new_york(path)
    try:
        content = scipy.io.loadmat(path, squeeze_me=True, struct_as_record=False)
    except (ValueError, TypeError, OSError, NotImplementedError) as error:
        raise InputError(f"{path}: not a MATLAB file, or a broken one ({error}).") from error
    if {"Gain", "GridLoc"} <= set(content):
        return _brainstorm(content, path)
    for value in content.values():
        if hasattr(value, "leadfield") and hasattr(value, "pos"):
            return _fieldtrip(value, path)
    raise InputError(
        f"{path} holds no lead field of FieldTrip (leadfield, pos) or Brainstorm (Gain, GridLoc), "
        f"but {_checks.names(k for k in content if not k.startswith('__'))}."
    )


def _fieldtrip(grid, path: Path) -> Stored:
    """One matrix (channels, 3) per source; empty or NaN outside."""
    blocks = [np.asarray(block, dtype=float) for block in np.atleast_1d(grid.leadfield)]
    keep = [b.ndim == 2 and b.size > 0 and bool(np.isfinite(b).all()) for b in blocks]
    if not any(keep) or blocks[keep.index(True)].shape[1] != 3:
        raise InputError(
            f"{path}: the lead field has no sources with three orients; leave cfg.reducerank and "
            "a fixed orientation out (cfg.backproject = 'yes' keeps three)."
        )
    gain = np.stack([b for b, k in zip(blocks, keep, strict=True) if k], axis=1)
    positions = np.atleast_2d(np.asarray(grid.pos, dtype=float))[np.array(keep)]
    names = tuple(str(n) for n in np.atleast_1d(getattr(grid, "label", ())))
    return Stored(gain, positions, names, str(getattr(grid, "unit", "")), 1.0)


def _brainstorm(content: dict, path: Path) -> Stored:
    """Gain (channels, 3 x sources) along the axes of its coordinates, V and T per A m, m."""
    gain = np.asarray(content["Gain"], dtype=float)
    positions = np.atleast_2d(np.asarray(content["GridLoc"], dtype=float))
    if gain.ndim != 2 or gain.shape[1] != 3 * len(positions):
        raise InputError(
            f"{path}: Gain is {gain.shape} for {len(positions)} sources; three columns each are "
            "needed (unconstrained)."
        )
    known = np.isfinite(gain).all(axis=1)  # Brainstorm: NaN for channels without a model
    if not known.all():
        _checks.warn(f"{int((~known).sum())} channels of {path.name} have no lead field: zero.")
        gain = np.where(known[:, None], gain, 0.0)
    return Stored(gain.reshape(len(gain), -1, 3), positions, (), "m", 1.0)


def _new_york(path: Path) -> Stored:
    """MATLAB's v7.3 is HDF5 with reversed axes; texts are references to character codes.

    LFPykit's `NYHeadModel` multiplies V_fem by 1e-9 for mV per nA µm: 1 V per mA m, vertices in mm.
    """
    with h5py.File(path, "r") as file:
        try:
            cortex = file["sa/cortex75K"]
            gain = np.asarray(cortex["V_fem"], dtype=float).T
            positions = np.asarray(cortex["vc"], dtype=float).T
            labels = np.asarray(file["sa/clab_electrodes"]).ravel()
            names = tuple("".join(chr(c) for c in np.ravel(file[ref])) for ref in labels)
        except KeyError as error:
            raise InputError(f"{path} is HDF5 but not the New York Head ({error}).") from error
    if gain.shape[1:] != (len(positions), 3):
        raise InputError(f"{path}: V_fem is {gain.shape} for {len(positions)} vertices.")
    return Stored(gain, positions, names, "mm", 1e3)
