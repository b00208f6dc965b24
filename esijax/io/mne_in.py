"""The door from MNE-Python: `from_mne`."""

from typing import Any

import jax.numpy as jnp
import mne
import numpy as np

from esijax import _checks
from esijax._types import InputError
from esijax.arrays import normalised
from esijax.forward import Sensors
from esijax.io.measured.agreement import check_agreement
from esijax.io.measured.channels import common_channels, measurement, referenced
from esijax.io.measured.consistency import check_parts
from esijax.io.measured.dead import check_flat
from esijax.io.measured.depth import depth_channels, depth_options, depth_scale
from esijax.io.measured.lead_field import assemble
from esijax.io.measured.noise import noise_of
from esijax.io.measured.noise_in_time import Timing, from_baselines
from esijax.io.measured.other_head import through_head
from esijax.io.measured.solution import solution_of
from esijax.problem import Labels, Problem
from esijax.trust.silent import silent_note

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
    noise_time: Any = None,
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
    noise_time : None | "auto" | (times, times)
        Covariance of the whitened noise between samples: None, each is independent and has the
        variance that `noise_cov` states, as in MNE-Python; "auto", from the baseline of the
        measurement and the correction on record; or an array, e.g. of several measurements by
        `esijax.io.noise_time`. `Problem.crop` and `Problem.binned` carry it.

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
    data = measurement(evoked, nave)
    check_parts(forward)
    if head is not None or sensors is not None:
        forward, sensors = through_head(forward, data, noise_cov, picks, head, sensors)
    solution = solution_of(forward, loose)
    options = depth_options(depth, solution.is_fixed)
    channels = common_channels(data, solution.row_names, noise_cov, picks)
    channels, reference_notes = referenced(channels, data)
    check_agreement(channels, forward, noise_cov)
    recording = data.pick(channels.names)
    _checks.real_finite(recording, "data", channels.names, data.times)
    flat_notes = check_flat(recording, channels.names, channels.types, channels.projs)
    noise, noise_notes = noise_of(noise_cov, recording, channels, rank, data)
    white = noise.matrix @ recording
    _checks.whitened_scale(white, noise.matrix, channels.types)
    gain, power, blocks = assemble(
        noise,
        SOURCE_UNIT,
        solution.field,
        channels.forward_rows,
        depth_channels(channels, options, noise),
        options["allow_fixed_depth"],
    )
    scale = solution.orient_scale
    if blocks is not None:
        scale = scale * depth_scale(blocks, options)[:, None]
    scale = np.where(_checks.silent_sources(power)[:, None], 0.0, scale)
    problem = Problem(
        gain=gain,
        data=jnp.asarray(white),
        recording=jnp.asarray(recording),
        prior_scale=jnp.asarray(normalised(scale, power, len(noise.matrix))),
        orient_scale=jnp.asarray(solution.orient_scale),
        source_unit=jnp.asarray(SOURCE_UNIT, dtype=float),
        whitener=noise.whitener(),
        geometry=solution.geometry,
        labels=Labels(
            ch_names=tuple(channels.names),
            ch_types=tuple(channels.types.tolist()),
            vertices=solution.vertices,
            kinds=solution.kinds,
            subject=solution.subject,
            tmin=data.times[0],
            sfreq=float(evoked.info["sfreq"]),
            comment=str(getattr(evoked, "comment", "") or ""),
            surf_ori=solution.surf_ori,
            notes=(
                *reference_notes,
                *flat_notes,
                *noise_notes,
                *solution.notes,
                *_baseline_note(white, data.times),
            ),
        ),
        head=head,
        sensors=sensors,
    )
    return problem if noise_time is None else _in_time(problem, noise_time, white, evoked)


def _in_time(problem: Problem, noise_time: Any, white: np.ndarray, evoked) -> Problem:
    """State the noise in time, and compare it with what no source can have made."""
    if isinstance(noise_time, str) and noise_time == "auto":
        timing = Timing.of(evoked)
        noise_time, note = from_baselines([white], [timing], timing)
        problem = problem.with_notes(note)
    elif isinstance(noise_time, str):
        raise InputError(f"noise_time must be 'auto' or an array, got {noise_time!r}.")
    problem = problem.with_noise_time(noise_time)
    return problem.with_notes(*silent_note(problem))


def _baseline_note(white: np.ndarray, times: np.ndarray) -> tuple[str, ...]:
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
