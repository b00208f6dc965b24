r"""Two published protocols, on any forward, with the settings of their fixed-orientation runs.

Both draw sources at single locations with fixed orientations and invert with the lead field that
made the data (an inverse crime, kept so that figures compare with theirs), and both mix noise by

.. math:: y = L x + \frac{1 - \alpha}{\alpha} \frac{\lVert L x \rVert_F}{\lVert e \rVert_F} e

BSI-Zoo (github.com/braindatalab/BSI-Zoo, `data_generator` and `run_benchmark`): 1, 2, 3 or 5
sources, 10 samples of :math:`N(0, 1)`, noise covariance drawn from a Wishart distribution of as
many degrees of freedom as channels (its diagonal alone, or all of it) and known to the method;
alpha from 0.99 to 0.01.

CaliBrain 1.0.3 (github.com/braindatalab/CaliBrain, `source_simulation`): 1, 3, 5, 10 or 100
sources, 1 s at 250 Hz, evoked-like courses (noise between 1 and 5 Hz by a zero-phase Butterworth
filter of order 4 in a Hann window at a random place after the stimulus, at least 82 samples long,
peak amplitudes log-normal around 20 nA m), white noise, alpha 0.1, 0.5 (its figures) and 0.9;
intervals on the time mean.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import mne
import numpy as np
from scipy.signal import butter, filtfilt

from esijax import io
from esijax._types import InputError
from esijax.benchmark.case import Case
from esijax.benchmark.study import Study

DrawMatrix = Callable[[np.random.Generator, int], np.ndarray]


@dataclass(frozen=True)
class Protocol:
    """Data sets of a published protocol: everything but the seed.

    Parameters
    ----------
    study : Study
    nnz : int
        Active sources.
    alpha : float
        How signal and noise are mixed.
    waves : callable
        (generator, number of sources) to courses (sources, times), A m.
    noise_cov : callable
        (generator, number of channels) to a noise covariance, up to its scale.
    sfreq, tmin : float
    at : "peak" | "mean"
    """

    study: Study
    nnz: int
    alpha: float
    waves: DrawMatrix
    noise_cov: DrawMatrix
    sfreq: float
    tmin: float
    at: str

    def cases(self, seeds: int) -> Iterator[Case]:
        """Draw the data sets one by one."""
        info, forward, gain = _one_kind(self.study)
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            if self.nnz > gain.shape[1]:
                raise InputError(f"{self.nnz} sources do not fit into {gain.shape[1]} locations.")
            at = rng.choice(gain.shape[1], self.nnz, replace=False)
            waves = self.waves(rng, self.nnz)
            clean = gain[:, at] @ waves
            noise, cov = mixed(rng, clean, self.noise_cov(rng, len(gain)), self.alpha)
            yield self._case(info, forward, at, waves, clean + noise, noise, cov)

    def _case(self, info, forward, at, waves, data, noise, cov) -> Case:
        info = info.copy()
        with info._unlock():
            info["sfreq"] = self.sfreq
        evoked = mne.EvokedArray(noise, info, tmin=self.tmin, nave=1, verbose="ERROR")
        noise_cov = mne.Covariance(cov, list(info["ch_names"]), [], list(info["projs"]), nfree=1)
        problem = io.from_mne(evoked, forward, noise_cov, loose=0.0, depth=None)
        # with an alpha of 0.99 the whitened data look as if their unit were wrong
        problem = problem.with_data(data)
        truth = np.zeros((problem.n_locations, 1, waves.shape[1]))
        truth[at, 0] = waves
        active = np.zeros(problem.n_locations, dtype=bool)
        active[at] = True
        where = np.asarray(problem.geometry.positions)[at]
        return Case(problem, truth, active, where, self.at, forward, info, 0.0, None)


def mixed(rng: np.random.Generator, clean: np.ndarray, cov: np.ndarray, alpha: float):
    """Noise to be mixed in by alpha, and its covariance."""
    noise = np.linalg.cholesky(cov) @ rng.standard_normal(clean.shape)
    factor = (1 - alpha) / alpha * np.linalg.norm(clean) / np.linalg.norm(noise)
    return factor * noise, factor**2 * cov


def _one_kind(study: Study) -> tuple[mne.Info, mne.Forward, np.ndarray]:
    """Channels of one kind without projectors: the protocols know one unit and full rank."""
    info, bads = study.info, set(study.info["bads"])
    types = info.get_channel_types()
    kind = next(k for k in ("grad", "mag", "eeg") if k in types)
    names = [n for n, t in zip(info["ch_names"], types, strict=True) if t == kind]
    known = set(study.forward["sol"]["row_names"])
    names = [n for n in names if n not in bads and n in known]
    info = mne.pick_info(info, [info["ch_names"].index(n) for n in names])
    with info._unlock():
        info["projs"] = [p for p in info["projs"] if kind == "eeg" and p["kind"] == 10]
    fixed = mne.convert_forward_solution(study.forward, force_fixed=True, verbose="ERROR")
    rows = [fixed["sol"]["row_names"].index(n) for n in names]
    gain = fixed["sol"]["data"].astype(float)[rows]
    return info, study.forward, gain - gain.mean(axis=0) * (kind == "eeg")


def gaussian_waves(rng: np.random.Generator, n: int) -> np.ndarray:
    """Ten samples of N(0, 1), in nA m."""
    return 1e-9 * rng.standard_normal((n, 10))


def wishart(rng: np.random.Generator, n: int) -> np.ndarray:
    """Wishart draw with n degrees of freedom and scale 1e-3 I."""
    half = np.sqrt(1e-3) * rng.standard_normal((n, n))
    return half @ half.T


def erp_waves(rng: np.random.Generator, n: int) -> np.ndarray:
    """Evoked-like courses of CaliBrain, (n, 250) from -0.5 s on, A m."""
    out = np.zeros((n, 250))
    b, a = butter(4, [1 / 125, 5 / 125], btype="band")
    for course in out:
        length = rng.integers(82, 126)
        start = 125 + rng.integers(0, 126 - length)
        part = filtfilt(b, a, rng.standard_normal(length)) * np.hanning(length)
        peak = np.clip(rng.lognormal(np.log(20.0), 0.2), 2.5, 50.0)
        course[start : start + length] = 1e-9 * peak * part / np.abs(part).max()
    return out


def _white(_rng: np.random.Generator, n: int) -> np.ndarray:
    return np.eye(n)


def _diagonal_cov(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.diag(np.diag(wishart(rng, n)))


def _bsi(nnz: int, alpha: float, cov: DrawMatrix) -> Callable[[Study], Protocol]:
    return lambda study: Protocol(study, nnz, alpha, gaussian_waves, cov, 100.0, 0.0, "peak")


def _calibrain_protocol(nnz: int, alpha: float) -> Callable[[Study], Protocol]:
    return lambda study: Protocol(study, nnz, alpha, erp_waves, _white, 250.0, -0.5, "mean")


PROTOCOLS: dict[str, Callable[[Study], Protocol]] = {
    f"BSI-Zoo {n}, {kind}, alpha {alpha}": _bsi(n, alpha, cov)
    for n in (1, 2, 3, 5)
    for kind, cov in (("diagonal", _diagonal_cov), ("full", wishart))
    for alpha in (0.99, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.01)
} | {
    f"CaliBrain {n}, alpha {alpha}": _calibrain_protocol(n, alpha)
    for n in (1, 3, 5, 10, 100)
    for alpha in (0.1, 0.5, 0.9)
}
