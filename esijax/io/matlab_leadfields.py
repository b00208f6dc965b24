"""Lead fields that other tools have computed, from their MATLAB files, units checked."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from esijax import _checks, _files
from esijax._ops.memory import limit_bytes
from esijax._types import InputError, is_number
from esijax.forward import LeadField
from esijax.forward._host import as_array
from esijax.forward.rigid import check_rigid
from esijax.io import _hdf5, _mat5

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
    scale: Any = None,
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
    names = _matlab_names(ch_names) if ch_names is not None else stored.names
    if len(names) != len(stored.gain):
        raise InputError(
            f"{path} holds {len(stored.gain)} channels and {len(stored.names)} names: give "
            f"ch_names, got {len(names)}."
        )
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise InputError(f"{path} would have several channels {_checks.names(twice)}: rename them.")
    if scale is not None and not (is_number(scale) and np.isfinite(scale) and scale != 0):
        raise InputError(f"scale must be a finite number other than 0, got {scale!r}.")
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


def _matlab_names(given: Any) -> tuple[str, ...]:
    if isinstance(given, str) or not all(isinstance(name, str) for name in given):
        raise InputError(f"ch_names must be the names of all channels, got {given!r:.60}.")
    return tuple(given)


def _read(path: Path) -> Stored:
    """Read a file of any of the formats; InputError says in one sentence what is wrong with it."""
    if not path.exists():
        raise InputError(f"{path}: no such file.")
    try:
        if path.is_file() and _hdf5.is_hdf5(path):
            return _new_york(path)
        content = _mat5.read_mat5(_files.read_whole(path, limit_bytes()), limit_bytes())
        if {"Gain", "GridLoc"} <= set(content):
            return _brainstorm(content, path)
        for value in content.values():
            if isinstance(value, dict) and {"leadfield", "pos"} <= set(value):
                return _fieldtrip(value)
    except InputError as error:
        text = str(error)
        raise InputError(text if text.startswith(str(path)) else f"{path}: {text}") from error
    except Exception as error:  # whatever a damaged file leads the libraries to, memory included
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        raise InputError(f"{path}: not a MATLAB file, or a broken one ({what:.80}).") from error
    raise InputError(
        f"{path} holds no lead field of FieldTrip (leadfield, pos) or Brainstorm (Gain, GridLoc), "
        f"but {_checks.names(content) or 'nothing'}."
    )


def _real(value: Any, what: str) -> np.ndarray:
    """Real numbers with at least two axes, as MATLAB has them."""
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu":
        kinds = {str: "text", list: "cells", dict: "a struct", np.ndarray: "complex numbers"}
        found = kinds.get(type(value), "something else")
        raise InputError(f"{what} holds {found} where real numbers are needed.")
    return value.astype(float)


def _matlab_positions(value: Any, what: str, n: int | None = None) -> np.ndarray:
    found = _real(value, what)
    if found.ndim != 2 or found.shape[1] != 3 or len(found) != (len(found) if n is None else n):
        need = "sources" if n is None else n
        raise InputError(f"{what} is {found.shape}; ({need}, 3) is needed.")
    return found


def _fieldtrip(grid: dict[str, Any]) -> Stored:
    """One matrix (channels, 3) per source; empty or NaN outside."""
    cells = grid["leadfield"]
    if not isinstance(cells, list):
        raise InputError("leadfield holds no cells, one of each source.")
    empty = np.zeros((0, 0))
    blocks = [empty if isinstance(c, str) and not c else _real(c, "leadfield") for c in cells]
    keep = np.array([b.size > 0 and bool(np.isfinite(b).all()) for b in blocks], dtype=bool)
    shapes = {b.shape for b, k in zip(blocks, keep, strict=True) if k}
    if not shapes or any(len(shape) != 2 or shape[1] != 3 for shape in shapes):
        raise InputError(
            "the lead field has no sources with three orients; leave cfg.reducerank and "
            "a fixed orientation out (cfg.backproject = 'yes' keeps three)."
        )
    if len(shapes) > 1:
        raise InputError(f"the sources of leadfield have different shapes: {sorted(shapes)}.")
    gain = np.stack([b for b, k in zip(blocks, keep, strict=True) if k], axis=1)
    positions = _matlab_positions(grid["pos"], "pos", len(blocks))[keep]
    label = grid.get("label", [])
    label = [label] if isinstance(label, str) else label
    if not isinstance(label, list) or not all(isinstance(name, str) for name in label):
        raise InputError("label holds no names of channels.")
    return Stored(gain, positions, tuple(label), str(grid.get("unit", "")), 1.0)


def _brainstorm(content: dict[str, Any], path: Path) -> Stored:
    """Gain (channels, 3 x sources) along the axes of its coordinates, V and T per A m, m."""
    gain, positions = (
        _real(content["Gain"], "Gain"),
        _matlab_positions(content["GridLoc"], "GridLoc"),
    )
    if gain.ndim != 2 or gain.shape[1] != 3 * len(positions) or not gain.size:
        raise InputError(
            f"Gain is {gain.shape} for {len(positions)} sources; three columns each are "
            "needed (unconstrained)."
        )
    known = np.isfinite(gain).all(axis=1)  # Brainstorm: NaN for channels without a model
    if not known.any():
        raise InputError("Gain holds NaN or Inf in every channel.")
    if not known.all():
        _checks.warn(f"{int((~known).sum())} channels of {path.name} have no lead field: zero.")
        gain = np.where(known[:, None], gain, 0.0)
    return Stored(gain.reshape(len(gain), -1, 3), positions, (), "m", 1.0)


def _new_york(path: Path) -> Stored:
    """MATLAB's v7.3 is HDF5 with reversed axes; texts are references to character codes.

    LFPykit's `NYHeadModel` multiplies V_fem by 1e-9 for mV per nA µm: 1 V per mA m, vertices in mm.
    """
    with _hdf5.opened(path) as file:
        try:
            gain = file.numbers("sa/cortex75K/V_fem").T
            positions = file.numbers("sa/cortex75K/vc").T
            names = file.texts("sa/clab_electrodes")
        except KeyError as error:
            raise InputError(f"HDF5 but not the New York Head: it has no {error}.") from error
    if positions.ndim != 2 or gain.shape[1:] != (len(positions), 3) or not gain.size:
        raise InputError(f"V_fem is {gain.shape} for vertices {positions.shape}.")
    return Stored(gain, positions, names, "mm", 1e3)
