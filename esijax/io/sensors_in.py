"""Sensors of an mne.Info, as arrays."""

from typing import Any

import mne
import numpy as np
from mne.forward._make_forward import _create_meg_coils  # honours mne.use_coil_def

from esijax import _checks
from esijax._types import InputError
from esijax.forward import Coils, Electrodes, Sensors
from esijax.forward._host import as_array
from esijax.io.measured.picks import channel_types

ACCURACIES = ("normal", "accurate")


def sensors(
    info: mne.Info, accuracy: str = "accurate", *, reference: Any = None, picks: Any = None
) -> Sensors:
    """Give the MEG and EEG channels of an Info as differentiable arrays.

    Parameters
    ----------
    info : mne.Info
        All MEG and EEG channels are taken, bad ones too, in its order. Reference MEG channels are
        left out.
    accuracy : "accurate" | "normal"
        Integration points of the coils, as MNE-Python defines them; it uses "accurate" ones for
        lead fields and "normal" ones for dipole fits.
    reference : None | "average" | "info" | str | list of str
        What EEG is measured against. None: infinity, which an average-reference projector turns
        into the average. "info": the electrode that each channel's `loc` names, as
        `mne.make_forward_solution` does. A name or several: those electrodes (linked: their mean).
    picks : list of str, optional
        Names of the channels to take, in the order of info.

    Returns
    -------
    esijax.forward.Sensors

    Raises
    ------
    InputError
        For gradient compensation, a missing device-to-head transform, electrodes without a
        position, unknown coils, references or words.

    Examples
    --------
    >>> import esijax as ej
    >>> sensors = ej.io.sensors(evoked.info)  # doctest: +SKIP
    """
    if accuracy not in ACCURACIES:
        raise InputError(f"accuracy must be one of {ACCURACIES}, got {accuracy!r}.")
    kinds = dict(zip(info["ch_names"], channel_types(info), strict=True))
    names = [n for n, kind in kinds.items() if kind in ("mag", "grad", "eeg")]
    if picks is not None:
        strange = [n for n in picks if n not in set(names)]
        if strange:
            raise InputError(f"{_checks.names(strange)}: no MEG or EEG channels of this info.")
        names = [n for n in names if n in set(picks)]
    if not names:
        raise InputError("the info has no MEG or EEG channel.")
    chs = {ch["ch_name"]: ch for ch in info["chs"]}
    eeg = [chs[n] for n in names if kinds[n] == "eeg"]
    meg = [chs[n] for n in names if kinds[n] != "eeg"]
    return Sensors(
        _electrodes_of_channels(eeg, reference, chs) if eeg else None,
        _coils(meg, accuracy, info["dev_head_t"]) if meg else None,
        tuple(names),
        tuple(kinds[n] for n in names),
    )


def _coils(chs: list, accuracy: str, dev_head_t) -> Coils:
    compensated = [ch["ch_name"] for ch in chs if int(ch["coil_type"]) >> 16]
    if compensated:
        raise InputError(
            f"{_checks.names(compensated)} are gradient-compensated, which these lead fields do "
            "not know: use data without it (raw.apply_gradient_compensation(0)), or compute the "
            "forward with mne.make_forward_solution."
        )
    if dev_head_t is None:
        raise InputError(
            "info['dev_head_t'] is missing: where the head was in the MEG device is not known. Set "
            "it, or leave the MEG channels out (picks)."
        )
    for ch in chs:
        if not np.isfinite(ch["loc"]).all():
            raise InputError(f"{ch['ch_name']} has no position (its loc holds NaN).")
    try:
        found = _create_meg_coils(chs, accuracy)
    except RuntimeError as error:  # a coil type without a definition
        raise InputError(f"no coil definition: {error}.") from error
    most = max(len(coil["w"]) for coil in found)
    points, normals = np.empty((2, len(found), most, 3))
    weights = np.zeros((len(found), most))
    for i, coil in enumerate(found):
        n = len(coil["w"])
        points[i], normals[i] = coil["rmag"][0], coil["cosmag"][0]  # what fills up weighs nothing
        points[i, :n], normals[i, :n], weights[i, :n] = coil["rmag"], coil["cosmag"], coil["w"]
    return Coils(
        as_array(points),
        as_array(normals),
        as_array(weights),
        as_array(dev_head_t["trans"]),
    )


def _electrodes_of_channels(chs: list, reference: Any, all_chs: dict) -> Electrodes:
    own = np.array([ch["loc"][:3] for ch in chs], dtype=float)
    names = [ch["ch_name"] for ch in chs]
    lost = [n for n, p in zip(names, own, strict=True) if not (np.isfinite(p).all() and p.any())]
    if lost:
        raise InputError(f"no position for {_checks.names(lost)}: set a montage (set_montage).")
    if isinstance(reference, str) and reference == "info":
        return _as_in_info(chs, own)
    if isinstance(reference, str) and reference not in ("average", *names):
        raise InputError(
            f"reference must be None, 'average', 'info' or names of EEG channels: {reference!r}."
        )
    if reference is not None and not (isinstance(reference, str) and reference == "average"):
        links = [reference] if isinstance(reference, str) else list(reference)
        strange = [n for n in links if n not in all_chs]
        if strange:
            raise InputError(f"reference electrodes {_checks.names(strange)} are not in this info.")
        reference = np.array([all_chs[n]["loc"][:3] for n in links], dtype=float)
    made = Sensors.eeg(own, reference).electrodes
    assert made is not None
    return made


def _as_in_info(chs: list, own: np.ndarray) -> Electrodes:
    """Each channel against the electrode in its own `loc`, where there is one."""
    others = np.array([ch["loc"][3:6] for ch in chs], dtype=float)
    has = np.isfinite(others).all(axis=1) & others.any(axis=1)
    places, index = np.unique(others[has], axis=0, return_inverse=True)
    montage = np.zeros((len(own), len(own) + len(places)))
    montage[:, : len(own)] = np.eye(len(own))
    montage[np.flatnonzero(has), len(own) + index.ravel()] = -1.0
    return Electrodes(as_array(np.concatenate([own, places])), as_array(montage))
