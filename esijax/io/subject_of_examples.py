"""The subject of the examples: MNE's sample subject where its files lie, else a simulated one."""

import os
from dataclasses import dataclass
from pathlib import Path

import jax
import mne
import numpy as np

from esijax import simulate
from esijax.arrays import ledoit_wolf
from esijax.io.measured.geometry import geometry
from esijax.io.readers import read_evoked, read_forward, read_noise_cov
from esijax.io.template_head import template

__all__ = ["Subject", "sample_subject"]

BADS = ("MEG 2443", "EEG 053")
# places of the stand-in's responses, m, MNI: Heschl's gyri, calcarine sulci; side, share, latency
AUDITORY = {"left": (-0.050, -0.021, 0.007), "right": (0.052, -0.017, 0.007)}
VISUAL = {"left": (-0.012, -0.088, 0.004), "right": (0.014, -0.086, 0.004)}
RESPONSES = {
    "Left Auditory": [(AUDITORY["right"], 1.0, 0.090), (AUDITORY["left"], 0.6, 0.098)],
    "Right Auditory": [(AUDITORY["left"], 1.0, 0.090), (AUDITORY["right"], 0.6, 0.098)],
    "Left visual": [(VISUAL["right"], 1.0, 0.120)],
    "Right visual": [(VISUAL["left"], 1.0, 0.100)],
}
AREA, MOMENT, NAVE = 8e-4, 50e-9, 50  # m2, A m of a whole patch, averages
SENSOR_STD = {"eeg": 1e-6, "mag": 15e-15, "grad": 3e-13}  # V, T, T/m, of one trial
BRAIN_STD = 1e-9  # A m, of each location in one trial


@dataclass(frozen=True)
class Subject:
    """Four evoked responses of one head, with what an inverse solution needs.

    Parameters
    ----------
    evokeds : dict of mne.Evoked
        "Left Auditory", "Right Auditory", "Left visual" and "Right visual"; 306 MEG channels and
        EEG, bad channels marked, no baseline subtracted.
    noise_cov : mne.Covariance
        Of single trials, V and T.
    forward : mne.Forward
        Lead field, free orientation.
    simulated : bool
        Whether this is the stand-in.
    about : str
        One line that says what it is and where it came from.
    """

    evokeds: dict[str, mne.Evoked]
    noise_cov: mne.Covariance
    forward: mne.Forward
    simulated: bool
    about: str

    def evoked(
        self, condition: str, tmin: float | None = None, tmax: float | None = None
    ) -> mne.Evoked:
        """Give a copy of one response, its baseline subtracted, cut to a window.

        Parameters
        ----------
        condition : str
            One of the four.
        tmin, tmax : float | None
            Ends of the window, s.

        Returns
        -------
        mne.Evoked
            The copy.
        """
        evoked = self.evokeds[condition].copy().apply_baseline((None, 0), verbose="ERROR")
        return evoked.crop(tmin, tmax)


def sample_subject(folder: str | os.PathLike | None = None, spacing: str = "oct5") -> Subject:
    """Give the subject of the examples.

    MNE's sample subject, where its files are found. Else a stand-in: the template head with four
    responses that are simulated at the places where such responses come from, in noise of sensors
    and brain, from the very grid that is inverted, so that it is localised better than a subject.

    Parameters
    ----------
    folder : path-like | None
        Where the files are (``audvis-ave.fif.gz`` and others); None: the folder that the variable
        ESIJAX_DATA names, else ``../shared/data``, each with or without ``sample`` after it.
    spacing : str
        Spacing of the sources: "oct5" or "oct6".

    Returns
    -------
    Subject
        Responses, noise covariance and lead field; print its `about`.

    References
    ----------
    .. [1] Gramfort A., et al. (2013) MEG and EEG data analysis with MNE-Python. Frontiers in
       Neuroscience 7:267. doi:10.3389/fnins.2013.00267

    Examples
    --------
    >>> subject = sample_subject()  # doctest: +SKIP
    >>> evoked = subject.evoked("Right visual", 0.08, 0.11)  # doctest: +SKIP
    """
    named = os.environ.get("ESIJAX_DATA", "../shared/data") if folder is None else folder
    for data in (Path(named), Path(named) / "sample"):
        if (data / "audvis-ave.fif.gz").exists():
            return _read(data, spacing)
    return _stand_in(spacing, f"no sample subject in {named} (ESIJAX_DATA)")


def _read(data: Path, spacing: str) -> Subject:
    evokeds = {name: read_evoked(data / "audvis-ave.fif.gz", name) for name in RESPONSES}
    for evoked in evokeds.values():
        evoked.info["bads"] = list(BADS)
    forward = read_forward(data / f"audvis-{spacing}-fwd.fif")
    noise_cov = read_noise_cov(data / "audvis-cov.fif")
    return Subject(evokeds, noise_cov, forward, False, f"MNE's sample subject, from {data}")


def _stand_in(spacing: str, why: str) -> Subject:
    head = template("biosemi64", meg=True, spacing=spacing)
    fixed = mne.convert_forward_solution(head.forward, force_fixed=True, verbose="ERROR")
    gain, cortex, trans = fixed["sol"]["data"].astype(float), geometry(fixed), head.trans["trans"]
    in_mri = np.asarray(cortex.positions) @ trans[:3, :3].T + trans[:3, 3]
    sfreq = head.info["sfreq"]
    times = np.arange(-round(0.2 * sfreq), round(0.5 * sfreq)) / sfreq
    std = np.array([SENSOR_STD[kind] for kind in head.info.get_channel_types()])

    def noise(key, n: int) -> np.ndarray:
        brain, white = jax.random.split(key)
        activity = BRAIN_STD * np.asarray(simulate.pink_noise(brain, (gain.shape[1], n), sfreq))
        return gain @ activity + std[:, None] * np.asarray(jax.random.normal(white, (len(std), n)))

    evokeds = {}
    for key, (name, sources) in enumerate(RESPONSES.items(), 1):
        data = noise(jax.random.key(key), len(times)) / np.sqrt(NAVE)
        for place, share, latency in sources:
            seed = int(np.argmin(np.linalg.norm(in_mri - place, axis=1)))
            profile = np.asarray(simulate.patch(cortex, seed, AREA))
            wave = share * MOMENT * np.asarray(simulate.erp(times, latency, 0.03, 7.0))
            data += np.outer(gain @ (profile / profile.sum()), wave)
        evokeds[name] = mne.EvokedArray(
            data, head.info, tmin=times[0], nave=NAVE, comment=name, verbose="ERROR"
        ).apply_proj(verbose="ERROR")
    cov = _covariance(noise(jax.random.key(0), 4000), head.info)
    about = f"{why}: simulated responses on the template head instead"
    return Subject(evokeds, cov, head.forward, True, about)


def _covariance(baseline: np.ndarray, info: mne.Info) -> mne.Covariance:
    """Shrunk covariance of each kind of sensor, none between them."""
    types, cov = np.array(info.get_channel_types()), np.zeros((len(baseline), len(baseline)))
    for some in (types == "eeg", types != "eeg"):
        rows = np.flatnonzero(some)
        cov[np.ix_(rows, rows)] = ledoit_wolf(baseline[rows])
    return mne.Covariance(cov, list(info["ch_names"]), [], [], baseline.shape[1])
