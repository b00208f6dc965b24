"""The noise covariance where none is given: within the dimensions that the data fill.

Maxwell filtering, interpolated electrodes and projectors leave fewer dimensions than channels. A
covariance that fills the rest with noise claims that zero was measured there, almost without
noise, and draws the map to sources that the rest does not see.
"""

from typing import NamedTuple

import mne
import numpy as np
from mne.proj import make_projector

from esijax._ops.trials import trials_as_columns
from esijax._types import InputError
from esijax.io.measured.channels import Channels, Measurement

MIN_BASELINE = 20
SCALE = {"mag": 1e-15, "grad": 1e-13, "eeg": 1e-6}  # fT, fT/cm, uV: MNE-Python shrinks in those
FILLED = 1e-12  # share of the largest eigenvalue; rounding to float32 leaves about 1e-15
SAMPLES = 10_000  # at a time


class Group(NamedTuple):
    """Channels whose noise is estimated together, and the dimensions that their data fill.

    Parameters
    ----------
    kind : str
    rows : (channels,) of int
    basis : (channels, rank)
        Orthonormal, for data in the scale of their types.
    is_told : bool
        Whether the samples tell the rank; else it is that of the projectors.
    """

    kind: str
    rows: np.ndarray
    basis: np.ndarray
    is_told: bool


def fallback(
    recording: np.ndarray, channels: Channels, data: Measurement
) -> tuple[mne.Covariance, str]:
    """Covariance of single trials from the baseline, else MNE's ad hoc diagonal; and a note.

    Both on the space that the data fill after the projectors: the estimate of Ledoit and Wolf by
    type, or what is left of the diagonal.
    """
    before = np.flatnonzero(data.times < 0)
    if len(before) < MIN_BASELINE or isinstance(data.inst, mne.io.BaseRaw):
        how, baseline = "ad hoc diagonal (mne.make_ad_hoc_cov), for want of a baseline", None
        scale = np.sqrt(mne.make_ad_hoc_cov(channels.picked(), verbose="ERROR")["data"])
    else:
        how = f"Ledoit-Wolf estimate of {len(before)} samples before time zero, per type"
        scale = np.array([SCALE[kind] for kind in channels.types])
        baseline = trials_as_columns(recording[..., before])
        baseline = baseline / scale[:, None]
    with mne.utils.use_log_level("ERROR"):  # MNE warns where channels of a projector are left out
        projector = make_projector(channels.projs, channels.names)[0]
    projector = projector * scale / scale[:, None]
    cov, ranks = np.zeros((len(scale), len(scale))), []
    for kind, rows, basis, _ in _noise_groups(recording, channels, scale, projector):
        inner = np.eye(basis.shape[1])
        if baseline is not None:
            inner = _ledoit_wolf_cov(basis.T @ projector[rows] @ baseline) * data.nave
        colour = scale[rows, None] * basis
        cov[np.ix_(rows, rows)] = colour @ inner @ colour.T
        ranks.append(f"rank {len(inner)} of {len(rows)} in {kind}")
    nfree = 1 if baseline is None else baseline.shape[1] - 1
    cov = mne.Covariance(cov, list(channels.names), [], [], nfree)
    return cov, f"noise_cov: {how}; {' and '.join(ranks)}"


def _ledoit_wolf_cov(samples: np.ndarray) -> np.ndarray:
    """Covariance of (dimensions, times) samples by Ledoit and Wolf, for the degrees of freedom."""
    from sklearn.covariance import ledoit_wolf

    n_times = samples.shape[1]
    return ledoit_wolf(samples.T)[0] * n_times / (n_times - 1)


def _noise_groups(recording, channels: Channels, scale, projector) -> list[Group]:
    """Each type by itself; magnetometers and gradiometers together where one tells of the other."""
    gram, n_free = _scatter(recording, scale)
    gram = projector @ gram @ projector.T
    most = rank_of_sss(channels)

    def group(kind: str, types: tuple[str, ...]) -> Group:
        rows = np.flatnonzero(np.isin(channels.types, types))
        block, room = gram[np.ix_(rows, rows)], projector[rows] @ projector[rows].T
        limit = len(rows) if kind == "eeg" or most is None else most
        return _noise_group(kind, rows, block, room, limit, n_free)

    single = [group(str(kind), (str(kind),)) for kind in dict.fromkeys(channels.types)]
    meg = [g for g in single if g.kind != "eeg"]
    if len(meg) < 2:
        return single
    both = group("meg", ("mag", "grad"))
    apart = sum(g.basis.shape[1] for g in meg)
    if not (both.is_told and both.basis.shape[1] < apart):
        return single
    return [both, *(g for g in single if g.kind == "eeg")]


def _noise_group(kind: str, rows, gram, room, limit: int, n_free: int) -> Group:
    """Basis of what the data fill; of what the projectors leave where samples are too few."""
    rank, basis = _filled(gram)
    most, whole = _filled(room)
    most = min(most, limit)
    if rank < most and rank in (0, n_free):
        if limit < len(rows):
            raise InputError(
                f"the data are Maxwell-filtered to rank {limit} and {n_free + 1} samples do not "
                "tell which dimensions of the channels that leaves: pass noise_cov, or the whole "
                "measurement with its baseline."
            )
        return Group(kind, rows, whole, False)
    return Group(kind, rows, basis[:, -min(rank, most) :], True)


def _filled(gram: np.ndarray) -> tuple[int, np.ndarray]:
    """How many eigenvalues are more than rounding, and their eigenvectors, ascending."""
    values, vectors = np.linalg.eigh(gram)
    rank = int(np.sum(values > FILLED * max(values[-1], 0.0)))
    return rank, vectors[:, len(values) - rank :]


def _scatter(recording: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, int]:
    """Products of the scaled channels about the mean of each trial, and degrees of freedom."""
    trials = recording.reshape(-1, *recording.shape[-2:])
    gram = np.zeros((len(scale), len(scale)))
    for trial in trials:
        mean = trial.mean(axis=1, keepdims=True)
        for start in range(0, trial.shape[1], SAMPLES):
            part = (trial[:, start : start + SAMPLES] - mean) / scale[:, None]
            gram += part @ part.T
    return gram, len(trials) * (trials.shape[2] - 1)


def rank_of_sss(channels: Channels) -> int | None:
    """Dimensions that Maxwell filtering left the channels, as MNE-Python counts; None without."""
    history = channels.info.get("proc_history") or []
    if not any("in_order" in (p.get("max_info") or {}).get("sss_info", {}) for p in history):
        return None
    flat = np.zeros((len(channels.names), 1))
    flat = mne.EvokedArray(flat, channels.picked(), verbose="ERROR")
    rank = mne.compute_rank(flat, "info", verbose="ERROR")
    return sum(n for kind, n in rank.items() if kind != "eeg")
