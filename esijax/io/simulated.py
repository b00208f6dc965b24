"""MNE's side of simulated data: heads that make them, lead fields that are wrong, the way back."""

from typing import Any

import jax
import mne
import numpy as np
from jaxtyping import PRNGKeyArray

from esijax import _checks
from esijax._types import InputError
from esijax.io.measured.geometry import geometry_of
from esijax.io.measured.orient import frames_of
from esijax.problem import Problem
from esijax.simulate import Head

VERBOSE = "ERROR"


def simulation_head(forward: mne.Forward, problem: Problem, *, fixed: bool = False) -> Head:
    """Give the head that makes data for a problem, from another forward than the one inverted.

    Parameters
    ----------
    forward : mne.Forward
        Free orientation, or fixed; with the channels of the problem among its own.
    problem : Problem
        From `from_mne`.
    fixed : bool
        Whether to keep the component along the surface normals only: a third of the memory.

    Returns
    -------
    head : esijax.simulate.Head
        Its orient axes are the surface frames, the normal last.

    Raises
    ------
    InputError
        If a channel is missing in the forward.

    Examples
    --------
    >>> import esijax as ej
    >>> head = ej.io.simulation_head(oct6, ej.from_mne(evoked, oct5, cov))  # doctest: +SKIP
    """
    names = list(problem.labels.ch_names)
    missing = [name for name in names if name not in set(forward["sol"]["row_names"])]
    if missing:
        raise InputError(f"the forward lacks channels of the problem: {_checks.names(missing)}.")
    rows = [forward["sol"]["row_names"].index(name) for name in names]
    gain = np.asarray(forward["sol"]["data"], dtype=float)[rows]
    frames = frames_of(forward)
    gain = gain.reshape(len(rows), -1, frames.shape[1])
    if forward["source_ori"] == 1:
        return Head(gain, geometry_of(forward, frames)[0])
    # what the forward calls its axes, in terms of the frames
    own = np.asarray(forward["source_nn"], dtype=float).reshape(-1, 3, 3)
    turn = np.einsum("lod,led->loe", frames, own)
    if fixed:
        frames, turn = frames[:, 2:], turn[:, 2:]
    gain = np.einsum("cle,loe->clo", gain, turn)
    return Head(gain, geometry_of(forward, frames)[0])


def perturbed_forward(
    forward: mne.Forward,
    bem: "mne.bem.ConductorModel",
    *,
    key: PRNGKeyArray | None = None,
    shift_mm: Any = 0.0,
    rotation_deg: Any = 0.0,
    electrode_mm: Any = 0.0,
    conductivity: Any = None,
) -> mne.Forward:
    r"""Compute a lead field again with something wrong, for the same sources.

    The anatomy (sources and boundary element model) is moved rigidly against the sensors by a
    translation of `shift_mm` in a random direction and a rotation of `rotation_deg` about a
    random axis through the middle of the sources; every electrode moves by a Gaussian vector
    whose rms length is `electrode_mm`, and back onto the scalp. Positions and orient axes of the
    result are those of the anatomy, as in `forward`: only the lead field differs, and column by
    column the two are comparable.

    Parameters
    ----------
    forward : mne.Forward
        The nominal one, free orientation, from a source space in MRI coordinates.
    bem : mne.bem.ConductorModel
        Solution to compute with: the nominal one, or another head model.
    key : PRNG key, optional
        Needed where something is drawn.
    shift_mm, rotation_deg : float
        Co-registration error; typical are 3 to 5 mm and 2 to 5 degrees.
    electrode_mm : float
        Electrode shift.
    conductivity : tuple of float, optional
        Of the layers of `bem` from the brain outwards, S/m: it is solved anew.

    Returns
    -------
    forward : mne.Forward
        A copy with another lead field.

    Raises
    ------
    InputError
        For fixed orientation, a missing key, a negative size, or conductivities that do not
        belong to the layers.

    Examples
    --------
    >>> import jax, esijax as ej
    >>> wrong = ej.io.perturbed_forward(  # doctest: +SKIP
    ...     forward, bem, key=jax.random.key(0), shift_mm=5.0, rotation_deg=3.0
    ... )
    """
    if forward["source_ori"] == 1:
        raise InputError("a lead field is computed with free orientation: give a free forward.")
    sizes = (shift_mm, rotation_deg, electrode_mm)
    if not all(np.isfinite(s) and s >= 0 for s in sizes):
        raise InputError(f"errors must be finite and >= 0 (mm, degrees, mm), got {sizes}.")
    if any(sizes) and key is None:
        raise InputError("errors are drawn: give key=jax.random.key(...).")
    move, jitter = jax.random.split(jax.random.key(0) if key is None else key)
    centre = np.asarray(forward["source_rr"], dtype=float).mean(axis=0)
    if forward["coord_frame"] == 5:
        centre = mne.transforms.apply_trans(forward["mri_head_t"], centre)
    wrong = _random_motion(move, 1e-3 * float(shift_mm), np.radians(float(rotation_deg)), centre)
    bem = bem if conductivity is None else with_conductivity(bem, conductivity)
    info = _with_shifted_electrodes(forward, jitter, 1e-3 * float(electrode_mm))
    gain = _computed(forward, info, bem, wrong)
    # the moment stays with the anatomy: its axes turn with it
    axes = np.asarray(forward["source_nn"], dtype=float).reshape(-1, 3, 3)
    to_head = np.eye(3)
    if forward["coord_frame"] == 5:
        to_head = np.asarray(forward["mri_head_t"]["trans"])[:3, :3]
    turned = axes @ (wrong[:3, :3] @ to_head).T
    out = forward.copy()
    data = np.einsum("cld,lod->clo", gain, turned).reshape(len(gain), -1)
    out["sol"]["data"] = data
    out["_orig_sol"] = data.copy()
    return out


def to_evoked(problem: Problem, info: mne.Info) -> mne.EvokedArray:
    """Give the data of a problem as an Evoked, for other programs on the same data.

    Parameters
    ----------
    problem : Problem
        With one data set, such as ``simulation.problem``.
    info : mne.Info
        Of the measurement that the problem came from: positions, projectors, bad channels.

    Returns
    -------
    evoked : mne.EvokedArray
        The channels of the problem in its order, its number of averages.

    Raises
    ------
    InputError
        For many data sets at once, or an info without some channel.

    Examples
    --------
    >>> import esijax as ej
    >>> evoked = ej.io.to_evoked(simulation.problem, info)  # doctest: +SKIP
    >>> noise_cov = ej.io.to_noise_cov(simulation.problem, info)  # doctest: +SKIP
    """
    recording, labels = problem.recording, problem.labels
    if recording.ndim != 2:
        raise InputError(f"{len(recording)} data sets: give one of them, simulation[i].problem.")
    return mne.EvokedArray(
        np.array(recording, dtype=float),  # a copy: an Evoked is changed in place
        _info_of_problem(info, labels),
        tmin=labels.tmin,
        nave=round(float(problem.whitener.nave)),
        comment="simulated",
        verbose=VERBOSE,
    )


def to_noise_cov(problem: Problem, info: mne.Info) -> mne.Covariance:
    """Give the noise covariance of a problem as MNE's, of single trials.

    Parameters
    ----------
    problem : Problem
        What was measured.
    info : mne.Info
        As in `to_evoked`.

    Returns
    -------
    noise_cov : mne.Covariance
        Projected by the projectors of the problem, where there were any.

    Raises
    ------
    InputError
        If info lacks some channel.
    """
    info = _info_of_problem(info, problem.labels)
    colorer = np.asarray(problem.whitener.colorer)
    cov = colorer @ colorer.T * float(problem.whitener.nave)
    return mne.Covariance(cov, list(info["ch_names"]), [], list(info["projs"]), nfree=1)


def _info_of_problem(info: mne.Info, labels) -> mne.Info:
    """Info of the problem's channels at its sampling frequency."""
    missing = [name for name in labels.ch_names if name not in info["ch_names"]]
    if missing:
        raise InputError(f"info lacks channels of the problem: {_checks.names(missing)}.")
    info = mne.pick_info(info, [info["ch_names"].index(name) for name in labels.ch_names])
    with info._unlock():
        info["sfreq"] = labels.sfreq
    return info


def _random_motion(key: PRNGKeyArray, shift: float, angle: float, centre: np.ndarray) -> np.ndarray:
    """Head-to-head transform (4, 4): a rotation about `centre`, then a translation."""
    pair = np.asarray(jax.random.normal(key, (2, 3)), dtype=float)
    direction, axis = pair / np.linalg.norm(pair, axis=1, keepdims=True)
    out = np.eye(4)
    cross = np.cross(np.eye(3), axis)
    # Rodrigues' formula; np.cross(I, axis) is minus the cross-product matrix
    out[:3, :3] = np.eye(3) - np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    out[:3, 3] = centre - out[:3, :3] @ centre + shift * direction
    return out


def with_conductivity(bem, conductivity: Any):
    """Solve the layers of a boundary element model with other conductivities.

    Parameters
    ----------
    bem : mne.bem.ConductorModel
        MNE-Python's model with its surfaces.
    conductivity : tuple of float
        Of its layers from the brain outwards, S/m.

    Returns
    -------
    bem : mne.bem.ConductorModel

    Raises
    ------
    InputError
        For a sphere, or another number of layers.

    Examples
    --------
    >>> import esijax as ej
    >>> bem = ej.io.with_conductivity(bem, (0.3, 0.01, 0.3))  # doctest: +SKIP
    """
    values = np.atleast_1d(np.asarray(conductivity, dtype=float))
    if bem["is_sphere"] or len(values) != len(bem["surfs"]) or not (values > 0).all():
        layers = 0 if bem["is_sphere"] else len(bem["surfs"])
        raise InputError(
            f"conductivity must be {layers} positive numbers for the {layers} layers of this "
            f"boundary element model, got {conductivity!r}."
        )
    surfs = [surf.copy() for surf in bem["surfs"]]  # from the outside inwards, as MNE has them
    for surf, sigma in zip(surfs, values[::-1], strict=True):
        surf["sigma"] = float(sigma)
        surf["tris"] = surf["tris"].astype(np.int32)
    return mne.make_bem_solution(surfs, verbose=VERBOSE)


def _with_shifted_electrodes(forward, key: PRNGKeyArray, size: float) -> mne.Info:
    """Sensors of the forward, each electrode moved by itself."""
    names = forward["sol"]["row_names"]
    info = forward["info"]
    info = mne.pick_info(info, [info["ch_names"].index(name) for name in names])
    with info._unlock():  # a forward that was read from a file says nothing of compensation
        info["comps"] = info.get("comps", [])
    move = np.asarray(jax.random.normal(key, (len(names), 3))) * size / np.sqrt(3)
    for ch, by, kind in zip(info["chs"], move, info.get_channel_types(), strict=True):
        if kind == "eeg":
            ch["loc"][:3] += by
    return info


def _computed(forward, info: mne.Info, bem, wrong: np.ndarray) -> np.ndarray:
    """Lead field (channels, locations, 3) along the head's axes, the anatomy moved by `wrong`."""
    nominal = forward["mri_head_t"]
    src = forward["src"].copy()
    for s in src:
        if s["coord_frame"] == 4:
            mne.surface.transform_surface_to(s, "mri", nominal)
    trans = mne.transforms.Transform("mri", "head", wrong @ np.asarray(nominal["trans"]))
    types = set(info.get_channel_types())
    made = mne.make_forward_solution(
        info,
        trans,
        src,
        bem,
        meg=bool(types - {"eeg"}),
        eeg="eeg" in types,
        mindist=0.0,
        verbose=VERBOSE,
    )
    if made["nsource"] != forward["nsource"]:
        raise InputError(
            f"only {made['nsource']} of {forward['nsource']} sources lie inside the inner skull of "
            "this boundary element model: it is of another head."
        )
    rows = [made["sol"]["row_names"].index(name) for name in forward["sol"]["row_names"]]
    return made["sol"]["data"][rows].reshape(len(rows), -1, 3)
