"""Lead fields to and from MNE-Python's forwards."""

from typing import Any

import mne
import numpy as np

from esijax import _checks
from esijax._types import InputError
from esijax.forward import LeadField
from esijax.forward._host import as_array
from esijax.io.measured.consistency import check_parts
from esijax.io.measured.picks import channel_types

FREE, FIXED, HEAD = 2, 1, 4  # FIFFV_MNE_FREE_ORI, FIFFV_MNE_FIXED_ORI, FIFFV_COORD_HEAD


def leadfield(forward: mne.Forward) -> LeadField:
    """Give the lead field of an MNE forward, of any orientation.

    Parameters
    ----------
    forward : mne.Forward
        MNE-Python's lead field.

    Returns
    -------
    esijax.forward.LeadField
        Head coordinates; the channels of the forward in its order.

    Raises
    ------
    InputError
        If the parts of the forward do not fit together or are not in SI units.

    Examples
    --------
    >>> import esijax as ej
    >>> ej.io.leadfield(forward).gain.shape  # doctest: +SKIP
    (366, 8003, 3)
    """
    if not isinstance(forward, mne.Forward):
        raise TypeError(f"forward must be an mne.Forward, got {type(forward).__name__}.")
    check_parts(forward)
    names = list(forward["sol"]["row_names"])
    kinds = dict(zip(forward["info"]["ch_names"], channel_types(forward["info"]), strict=True))
    types = [kinds[name] for name in names]
    gain = np.asarray(forward["sol"]["data"], dtype=float)
    _checks.lead_field(gain, np.arange(len(names)), names, types)
    positions, axes = sources_in_head(forward)
    return LeadField(
        as_array(gain.reshape(len(names), *axes.shape[:2])),
        as_array(positions),
        as_array(axes),
        tuple(names),
        tuple(types),
    )


def sources_in_head(forward: mne.Forward) -> tuple[np.ndarray, np.ndarray]:
    """Positions (locations, 3) and axes (locations, orients, 3) in head coordinates."""
    orients = 1 if forward["source_ori"] == FIXED else 3
    positions = np.asarray(forward["source_rr"], dtype=float)
    axes = np.asarray(forward["source_nn"], dtype=float).reshape(-1, orients, 3)
    if forward["coord_frame"] != HEAD:
        to_head = np.asarray(forward["mri_head_t"]["trans"], dtype=float)
        positions = positions @ to_head[:3, :3].T + to_head[:3, 3]
        axes = axes @ to_head[:3, :3].T
    return positions, axes


def computed(forward: mne.Forward, head, sensors, info: mne.Info) -> mne.Forward:
    """The sources of a forward, seen through another head by some channels of `info`."""
    positions, axes = sources_in_head(forward)
    free = axes.shape[1] == 3 and bool((axes == np.eye(3)).all())
    field = head.leadfield(positions, None if free else axes, sensors)
    names, gain = list(field.ch_names), np.asarray(field.gain)
    data = gain.reshape(len(names), -1)
    sol = dict(data=data, nrow=data.shape[0], ncol=data.shape[1], row_names=names, col_names=[])
    parts = {"sol": sol, "_orig_sol": None, "info": info, "nchan": len(names)}
    return mne.Forward({**forward, **parts})


def to_forward(leadfield: LeadField, info: mne.Info, src=None, trans: Any = None) -> mne.Forward:
    """Make an mne.Forward that MNE-Python's own inverse solvers accept.

    Parameters
    ----------
    leadfield : LeadField
        One or three orients; three must be the axes of the head.
    info : mne.Info
        With the channels of the lead field among its own.
    src : mne.SourceSpaces, optional
        Whose used vertices are the locations, in their order (of a forward, or set up before, in
        head or MRI coordinates). None: a discrete source space at the locations.
    trans : mne.Transform, optional
        Between head and MRI, in either direction; needed for a `src` in MRI coordinates.

    Returns
    -------
    mne.Forward
        In head coordinates.

    Raises
    ------
    InputError
        If the channels, the source space or the orients do not fit.

    Examples
    --------
    >>> import esijax as ej
    >>> forward = ej.io.to_forward(field, info, src, trans)  # doctest: +SKIP
    """
    names = list(leadfield.ch_names)
    missing = [name for name in names if name not in info["ch_names"]]
    if missing:
        raise InputError(f"info lacks channels of the lead field: {_checks.names(missing)}.")
    positions = np.array(leadfield.positions, dtype=float)
    axes = np.array(leadfield.orientations, dtype=float)
    n, orients = axes.shape[:2]
    mri_head = _mri_head(trans)
    if orients == 3 and not np.allclose(axes, np.eye(3), atol=1e-6):
        raise InputError("a free mne.Forward has the axes of the head: compute it along those.")
    if orients not in (1, 3):
        raise InputError(f"an mne.Forward has one or three orients, not {orients}.")
    src = (
        _discrete(positions, axes)
        if src is None
        else _source_spaces_in_head(src, mri_head, positions)
    )
    info = mne.pick_info(info, [info["ch_names"].index(name) for name in names])
    data = np.array(leadfield.gain, dtype=float).reshape(len(names), n * orients)
    sol = dict(data=data, nrow=data.shape[0], ncol=data.shape[1], row_names=names, col_names=[])
    kind = FREE if orients == 3 else FIXED
    return mne.Forward(
        sol=sol,
        source_ori=kind,
        nsource=n,
        coord_frame=HEAD,
        sol_grad=None,
        nchan=len(names),
        _orig_source_ori=kind,
        _orig_sol=data.copy(),
        _orig_sol_grad=None,
        info=_forward_info(info, mri_head),
        src=src,
        source_nn=np.tile(np.eye(3), (n, 1)) if orients == 3 else axes[:, 0],
        source_rr=positions,
        surf_ori=orients == 1,
        mri_head_t=mri_head,
    )


def _mri_head(trans) -> mne.transforms.Transform:
    """MRI to head; the identity where nothing was given."""
    if trans is None:
        return mne.transforms.Transform("mri", "head", np.eye(4))
    if isinstance(trans, str) or hasattr(trans, "__fspath__"):
        trans = mne.read_trans(trans, verbose="ERROR")
    return trans if int(trans["from"]) == 5 else mne.transforms.invert_transform(trans)


def _forward_info(info: mne.Info, mri_head) -> mne.Info:
    """What an mne.Forward keeps of the measurement, and what its writer asks for."""
    out = info.copy()
    with out._unlock():
        out["mri_head_t"], out["mri_file"], out["meas_file"] = mri_head, "", ""
        out["mri_id"] = dict(machid=np.zeros(2, np.int32), version=0, secs=0, usecs=0)
        out["meas_id"], out["working_dir"], out["command_line"] = None, "", "esijax"
    return out


def _discrete(positions, axes) -> mne.SourceSpaces:
    src = mne.setup_volume_source_space(
        pos=dict(rr=positions, nn=axes[:, -1]), sphere=None, verbose="ERROR"
    )
    src[0]["coord_frame"] = np.array(HEAD, np.int32)
    return src


def _source_spaces_in_head(src, mri_head, positions) -> mne.SourceSpaces:
    """The source space in head coordinates, checked against the locations."""
    src = src.copy()
    for s in src:
        mne.transform_surface_to(s, "head", mri_head)
    places = np.concatenate([s["rr"][s["vertno"]] for s in src])
    if len(places) != len(positions):
        raise InputError(
            f"the source space has {len(places)} used vertices, the lead field {len(positions)} "
            "locations."
        )
    off = np.linalg.norm(places - positions, axis=1)
    if off.max() > 1e-3:
        raise InputError(
            f"location {int(off.argmax())} of the lead field is {1e3 * off.max():.3g} mm from its "
            "place in the source space: another order, another space, or a missing trans?"
        )
    return src
