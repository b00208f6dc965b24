"""Noise in time from several measurements: `ej.io.noise_time`."""

from typing import Any

import mne
import numpy as np

from esijax._types import InputError
from esijax.io.measured.channels import common_channels, measurement, referenced
from esijax.io.measured.noise import noise_of
from esijax.io.measured.noise_in_time import Timing, from_baselines


def noise_time(
    measurements: Any,
    noise_cov: mne.Covariance | None,
    *,
    like: Any = None,
    picks: Any = None,
    rank: Any = None,
) -> np.ndarray:
    r"""Covariance of the noise between samples, from the baselines of several measurements.

    .. math:: \Omega = P C P^\top, \qquad C_{st} = g(\infty) - g(|s - t|)

    with g the variogram of the whitened baselines, pairs of samples counted alike in all of them,
    and P the baseline correction on record (none: what the mean would take is noise, too).

    Parameters
    ----------
    measurements : mne.Evoked | mne.Epochs | list of them
        With baselines of at least 20 samples; their averages may differ in number (`nave`).
    noise_cov : mne.Covariance | None
        As for `from_mne`.
    like : mne.Evoked | mne.Epochs | None
        Whose times and baseline correction it is for; the first by default.
    picks, rank : as of `from_mne`
        As for `from_mne`.

    Returns
    -------
    omega : (times, times)
        For ``from_mne(..., noise_time=omega)``, in variances that the noise covariance states.

    Raises
    ------
    InputError
        If no baseline is long enough, or sampling frequencies differ.

    Examples
    --------
    >>> import esijax as ej
    >>> omega = ej.io.noise_time(evokeds, noise_cov)  # doctest: +SKIP
    >>> problem = ej.from_mne(evoked, forward, noise_cov, noise_time=omega)  # doctest: +SKIP
    """
    found = measurements if isinstance(measurements, list | tuple) else [measurements]
    if not found:
        raise InputError("noise_time needs a measurement at least.")
    for inst in (*found, *([] if like is None else [like])):
        if not isinstance(inst, mne.Evoked | mne.BaseEpochs):
            raise TypeError(f"noise_time takes mne.Evoked or Epochs, got {type(inst).__name__}.")
    whites = [_whitened(inst, noise_cov, picks, rank) for inst in found]
    timings = [Timing.of(inst) for inst in found]
    target = timings[0] if like is None else Timing.of(like)
    return from_baselines(whites, timings, target)[0]


def _whitened(inst, noise_cov, picks, rank) -> np.ndarray:
    """Measurement whitened as `from_mne` does, whatever forward there is."""
    data = measurement(inst)
    rows = inst.ch_names if noise_cov is None else noise_cov.ch_names
    channels, _ = referenced(common_channels(data, list(rows), noise_cov, picks), data)
    recording = data.pick(channels.names)
    noise, _ = noise_of(noise_cov, recording, channels, rank, data)
    return noise.matrix @ recording
