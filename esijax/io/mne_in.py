"""The door from MNE-Python: `from_mne`."""

from typing import Any

import jax.numpy as jnp
import mne
import numpy as np

from esijax import _checks
from esijax._types import InputError
from esijax.forward import BEMModel, Sensors, SphereModel
from esijax.io.leadfields import computed
from esijax.io.measured import agreement as _agreement
from esijax.io.measured.channels import Channels, common_channels, measurement, referenced
from esijax.io.measured.dead import check_flat
from esijax.io.measured.geometry import geometry_of
from esijax.io.measured.lead_field import assemble
from esijax.io.measured.noise import noise_of
from esijax.io.measured.orient import (
    depth_channels,
    depth_options,
    depth_scale,
    orient,
    orient_scales,
)
from esijax.io.measured.picks import channel_types
from esijax.io.measured.spaces import KINDS, spaces_of
from esijax.io.sensors_in import sensors as sensors_of
from esijax.problem import Labels, Problem, normalised

SOURCE_UNIT = 1e-9  # nA m: source amplitudes of the order of one


def from_mne(
    evoked,
    forward,
    noise_cov=None,
    loose: Any = "auto",
    depth: Any = 0.8,
    rank: Any = None,
    picks: Any = None,
    nave: Any = None,
    head: Any = None,
    sensors: Sensors | None = None,
) -> Problem:
    r"""Make a problem from MNE objects, with MNE's defaults and meaning.

    Parameters
    ----------
    evoked : mne.Evoked | mne.Epochs | mne.io.Raw
        The measurement. Epochs keep a leading trials axis: they share hyper-parameters and are
        never joined in time.
    forward : mne.Forward
        Any orientation, any source space.
    noise_cov : mne.Covariance | None
        Of single trials; it is divided by `nave`. None: from the samples before time zero
        (Ledoit-Wolf per channel type), else `mne.make_ad_hoc_cov`, either one within the
        dimensions that the data fill; a warning says which, and of what rank.
    loose : "auto" | float | dict
        Variance along the surface relative to the normal: 0 fixed, 1 free, "auto" 0.2 for
        surfaces and 1 elsewhere; a dict by kind of source space. A fixed cortex beside a free
        volume keeps three orients, the tangential ones of the cortex without variance.
    depth : None | float | dict
        Exponent of depth weighting, or a dict of exp, limit, limit_depth_chs, combine_xyz.
    rank : None | "info" | "full" | dict
        Rank of the noise covariance, as in `mne.compute_rank`.
    picks : str | list of str or int | None
        Channels or channel types to use; by default all good MEG and EEG channels that
        evoked, forward and noise_cov share.
    nave : float | None
        Averages behind each sample of the data; None: ``evoked.nave``, and 1 for Epochs and Raw.
        Epochs of sub-averages need it.
    head : esijax.forward.SphereModel | esijax.forward.BEMModel | None
        With a head (`esijax.io.head_model`) the lead field is computed in it, at the sources of
        `forward` and along its orientations; what `forward` has of a lead field is not read.
        The problem keeps the head, so that `Problem.in_head` can differentiate by it.
    sensors : esijax.forward.Sensors | None
        Electrodes and coils, with names of channels of evoked. None, with a head: those of
        ``evoked.info``, as `mne.make_forward_solution` takes them. Without a head they are kept
        for `Problem.in_head`, and `forward` has the lead field.

    Returns
    -------
    problem : Problem

    Raises
    ------
    InputError
        For every input that cannot be right; the message names the channel, field or value.
    TypeError
        For objects of the wrong class.

    References
    ----------
    Gramfort et al. 2014, doi:10.1016/j.neuroimage.2013.10.027; Lin et al. 2006 (depth, loose),
    doi:10.1016/j.neuroimage.2005.11.054.

    Examples
    --------
    >>> import esijax as ej
    >>> problem = ej.from_mne(evoked, forward, noise_cov)  # doctest: +SKIP
    """
    _check_types(evoked, forward, noise_cov)
    loose = _loose(forward, loose)
    options = depth_options(depth)
    data = measurement(evoked, nave)
    vertices, kinds = spaces_of(forward["src"])
    if head is not None or sensors is not None:
        forward, sensors = _in_head(data, forward, noise_cov, picks, head, sensors)
    channels, notes = _channels(data, forward, noise_cov, picks)
    recording = data.pick(channels.names)
    _checks.real_finite(recording, "data", channels.names, data.times)
    flat_notes = check_flat(recording, channels.names, channels.types, channels.projs)
    noise, noise_notes = noise_of(noise_cov, recording, channels, rank, data)
    white = noise.matrix @ recording
    _checks.whitened_scale(white, noise.matrix, channels.types)
    field, frames = orient(forward, channels, loose)
    geometry, geometry_notes = geometry_of(forward, frames)
    by_depth = depth_channels(forward, channels, options, noise)
    gain, power, blocks = assemble(
        noise, SOURCE_UNIT, field, by_depth, options["allow_fixed_depth"]
    )
    silent = _checks.silent_sources(power)
    orient_scale = orient_scales(forward, field.n_orients, loose)
    scale = orient_scale if blocks is None else orient_scale * depth_scale(blocks, options)[:, None]
    scale = np.where(silent[:, None], 0.0, scale)
    notes += (*flat_notes, *noise_notes, *geometry_notes, *_baseline(white, data.times))
    return Problem(
        gain=gain,
        data=jnp.asarray(white),
        recording=jnp.asarray(recording),
        prior_scale=jnp.asarray(normalised(scale, power, len(noise.matrix))),
        orient_scale=jnp.asarray(orient_scale),
        source_unit=jnp.asarray(SOURCE_UNIT, dtype=float),
        whitener=noise.whitener(),
        geometry=geometry,
        labels=Labels(
            ch_names=tuple(channels.names),
            ch_types=tuple(channels.types.tolist()),
            vertices=vertices,
            kinds=kinds,
            subject=forward["src"]._subject,
            tmin=data.times[0],
            sfreq=float(evoked.info["sfreq"]),
            comment=str(getattr(evoked, "comment", "") or ""),
            surf_ori=bool(forward["surf_ori"]),
            notes=notes,
        ),
        head=head,
        sensors=sensors,
    )


def _in_head(data, forward, noise_cov, picks, head, sensors) -> tuple[mne.Forward, Sensors]:
    """The forward in another head, and the sensors, once they are seen to be of the measurement."""
    info = data.inst.info
    if head is not None and not isinstance(head, SphereModel | BEMModel):
        raise TypeError(
            f"head must be an esijax SphereModel or BEMModel, got {type(head).__name__}: "
            "ej.io.head_model(bem, trans) makes one."
        )
    if sensors is None:
        every = {**forward["sol"], "row_names": info["ch_names"]}
        channels = common_channels(data, {**forward, "sol": every}, noise_cov, picks)
        sensors = sensors_of(info, reference="info", picks=channels.names)
    if not isinstance(sensors, Sensors):
        raise TypeError(f"sensors must be esijax Sensors, got {type(sensors).__name__}.")
    kinds = dict(zip(info["ch_names"], channel_types(info), strict=True))
    each = zip(sensors.ch_names, sensors.ch_types, strict=True)
    strange = [name for name, kind in each if kinds.get(name) != kind]
    if strange:
        raise InputError(
            f"sensors {_checks.names(strange)} are no channels of the measurement, or of another "
            "type there: names and types must be its own."
        )
    if head is None:
        return forward, sensors
    _agreement.forward_fits(forward)
    return computed(forward, head, sensors, info), sensors


def _channels(data, forward, noise_cov, picks) -> tuple[Channels, tuple[str, ...]]:
    """Channels that take part, once measurement, forward and covariance are seen to agree."""
    _agreement.forward_fits(forward)
    channels = common_channels(data, forward, noise_cov, picks)
    _agreement.same_head(channels, forward)
    _agreement.same_compensation(channels, forward)
    channels, notes = referenced(channels, data)
    _agreement.projectors_known(channels, noise_cov)
    _agreement.lead_field(channels, forward)
    return channels, notes


def _baseline(white: np.ndarray, times: np.ndarray) -> tuple[str, ...]:
    """Say so where the time before zero does not look like noise."""
    before = times < 0
    if before.sum() < 20:
        return ()
    rms = float(np.sqrt(np.mean(white[..., before] ** 2)))
    if rms < 3:
        return ()
    return (
        f"before time zero the whitened data have an rms of {rms:.1f}, where noise gives 1: "
        "apply a baseline correction (apply_baseline) or a high-pass filter",
    )


def _check_types(evoked, forward, noise_cov) -> None:
    if not isinstance(evoked, mne.Evoked | mne.BaseEpochs | mne.io.BaseRaw):
        raise TypeError(f"evoked must be mne.Evoked, Epochs or Raw, got {type(evoked).__name__}.")
    if not isinstance(forward, mne.Forward):
        raise TypeError(f"forward must be an mne.Forward, got {type(forward).__name__}.")
    if noise_cov is not None and not isinstance(noise_cov, mne.Covariance):
        raise TypeError(f"noise_cov must be an mne.Covariance, got {type(noise_cov).__name__}.")


def _loose(forward: mne.Forward, loose: Any) -> dict[str, float]:
    """One value per kind of source space, checked."""
    kinds = {KINDS[s["type"]] for s in forward["src"]}
    if isinstance(loose, str):
        if loose != "auto":
            raise InputError(f"loose must be 'auto', a number or a dict, got {loose!r}.")
        # MNE's rule: 0.2 only where every source space is a surface
        loose = 0.2 if kinds == {"surface"} else 1.0
    if not isinstance(loose, dict):
        loose = dict.fromkeys(kinds, loose)
    if set(loose) != kinds:
        raise InputError(f"loose must have the keys {sorted(kinds)}, got {list(loose)}.")
    for kind, value in loose.items():
        if not (isinstance(value, int | float | np.number) and 0 <= value <= 1):
            raise InputError(
                f"loose must lie between 0 (fixed) and 1 (free), got {value!r} ({kind})."
            )
        if kind == "volume" and value != 1:
            raise InputError(f"a volume source space has no normals: loose must be 1, got {value}.")
    _check_orientation(forward, loose)
    return {k: float(v) for k, v in loose.items()}


def _check_orientation(forward: mne.Forward, loose: dict[str, float]) -> None:
    fixed = forward["source_ori"] == 1
    if fixed and any(v > 0 for v in loose.values()):
        raise InputError(
            f"the forward has fixed orientations, loose={loose} needs free ones: pass loose=0 and "
            "depth=None, or a forward made with force_fixed=False."
        )
