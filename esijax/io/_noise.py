"""The noise covariance: checked, estimated where it is missing, turned into a whitener."""

import dataclasses
from collections import Counter
from copy import deepcopy
from typing import Any

import jax.numpy as jnp
import mne
import numpy as np
from mne.proj import make_projector

from esijax import _checks
from esijax._types import InputError
from esijax.arrays import ledoit_wolf
from esijax.problem import Whitener

MIN_BASELINE = 20
RANK_SCALE = {"mag": 1e12, "grad": 1e11, "eeg": 1e5}  # brings V and T to like size


@dataclasses.dataclass(frozen=True)
class Noise:
    """Whitener of the average on the host, and the covariance that it came from."""

    matrix: np.ndarray
    colorer: np.ndarray
    nave: float
    cov: mne.Covariance
    rank: Any

    def whitener(self) -> Whitener:
        """As a pytree."""
        size = np.linalg.norm(self.colorer, axis=0)  # orthogonal columns: sqrt of eigenvalues
        numbers = (self.matrix, self.colorer, -np.log(size).sum(), self.nave)
        return Whitener(*(jnp.asarray(x, dtype=float) for x in numbers))


def noise_of(noise_cov, recording, info, rank, data) -> tuple[Noise, tuple[str, ...]]:
    """Whitener for the channels of info; says where the covariance came from if it was missing."""
    rank = _check_rank_argument(rank, info)
    notes: tuple[str, ...] = ()
    if noise_cov is None:
        noise_cov, note = _fallback(recording, info, data)
        _checks.warn(f"no noise_cov given. {note}.")
        notes = (note,)
    names = list(info["ch_names"])
    index = [noise_cov.ch_names.index(name) for name in names]
    square = np.diag(noise_cov.data) if noise_cov["diag"] else np.asarray(noise_cov.data)
    square = square[np.ix_(index, index)]
    _check_by_type(square, info)
    # a private copy: MNE's own would share projectors with the caller's
    cov = mne.Covariance(square, names, [], deepcopy(noise_cov["projs"]), noise_cov["nfree"])
    rank = _checked_rank(cov, info, rank)
    matrix, colorer = _whitening(cov, info, rank)
    root = np.sqrt(data.nave)
    return Noise(matrix * root, colorer / root, data.nave, cov, rank), notes


def _whitening(cov: mne.Covariance, info: mne.Info, rank: dict) -> tuple[np.ndarray, np.ndarray]:
    """Whitener and colorer of the projected covariance, MEG and EEG apart, as MNE-Python's.

    The same as `mne.cov.compute_whitener(pca=True)` for a rank that is known already.
    """
    names = list(info["ch_names"])
    square = _projected(cov.data, [*info["projs"], *cov["projs"]], names)
    kinds = np.array(["eeg" if t == "eeg" else "meg" for t in info.get_channel_types()])
    whiteners, colorers = [], []
    for kind in dict.fromkeys(kinds):
        rows = np.flatnonzero(kinds == kind)
        keep = sum(n for k, n in rank.items() if (k == "eeg") == (kind == "eeg"))
        values, vectors = np.linalg.eigh(square[np.ix_(rows, rows)])
        values, vectors = values[len(rows) - keep :], vectors[:, len(rows) - keep :]
        if not (keep and values[0] > 0):
            raise InputError(f"noise_cov leaves rank {keep} in {kind}, with an eigenvalue <= 0.")
        embed = np.zeros((keep, len(names)))
        embed[:, rows] = vectors.T
        whiteners.append(embed / np.sqrt(values)[:, None])
        colorers.append(embed.T * np.sqrt(values))
    return np.concatenate(whiteners), np.concatenate(colorers, axis=1)


def _projected(square: np.ndarray, projs: list, ch_names: list[str]) -> np.ndarray:
    """Covariance of the named channels after the projectors."""
    with mne.utils.use_log_level("ERROR"):  # MNE warns where channels of a projector are left out
        projector, n_projs, _ = make_projector(projs, ch_names)
    return projector @ (square @ projector.T) if n_projs else square


def _check_rank_argument(rank: Any, info: mne.Info) -> Any:
    """Refuse impossible ranks; give a copy of a dict, for MNE-Python adds to the one it gets."""
    if rank is None or (isinstance(rank, str) and rank in ("info", "full")):
        return rank
    if not isinstance(rank, dict):
        raise InputError(f"rank must be None, 'info', 'full' or a dict, got {rank!r}.")
    room = Counter(info.get_channel_types())
    room["meg"] = room["mag"] + room["grad"]
    for kind, n in rank.items():
        known = kind in ("meg", "mag", "grad", "eeg")
        if not (known and isinstance(n, int | np.integer) and n > 0):
            raise InputError(f"rank must give integers for meg or eeg, got {kind!r}: {n!r}.")
        if room[kind] and n > room[kind]:
            raise InputError(f"rank of {kind} is set to {n}, more than its {room[kind]} channels.")
    return {kind: n for kind, n in rank.items() if room[kind]}


def _check_by_type(square: np.ndarray, info: mne.Info) -> None:
    """Checks that need one scale: MEG together, EEG apart."""
    types = np.array(["eeg" if t == "eeg" else "meg" for t in info.get_channel_types()])
    names = np.array(info["ch_names"])
    for kind in dict.fromkeys(types):
        rows = np.flatnonzero(types == kind)
        _checks.covariance(square[np.ix_(rows, rows)], list(names[rows]))


def _checked_rank(cov: mne.Covariance, info: mne.Info, rank: Any) -> dict[str, int]:
    """Rank per channel type, compared with what the projectors leave."""

    def compute(how):
        return mne.compute_rank(cov, how, info=info, on_rank_mismatch="ignore", verbose="ERROR")

    found = _estimated_rank(cov, info)
    use = found if rank is None else compute(rank)
    for kind, n in _by_group(use).items():
        if n > found.get(kind, n) and _unstable(cov, info, kind, n):
            raise InputError(
                f"rank of {kind} is set to {n}, but noise_cov has only {found[kind]} dimensions: "
                "the whitener would amplify rounding errors; pass rank=None."
            )
    room = Counter(_group(t) for t in info.get_channel_types())
    if any(n <= 0.9 * room[kind] for kind, n in found.items()):
        _warn_if_low(found, _by_group(compute("info")))
    return use


def _group(kind: str) -> str:
    return "eeg" if kind == "eeg" else "meg"


def _by_group(rank: dict[str, int]) -> dict[str, int]:
    total: Counter = Counter()
    for kind, n in rank.items():
        total[_group(kind)] += int(n)
    return dict(total)


def _warn_if_low(found: dict[str, int], nominal: dict[str, int]) -> None:
    low = [k for k, n in found.items() if n < 0.8 * nominal.get(k, n)]
    if low:
        ranks = " and ".join(f"rank {found[k]} in {k} (of {nominal[k]})" for k in low)
        _checks.warn(
            f"noise_cov has {ranks}: too few samples? Estimate it with shrinkage, or check the "
            "projectors."
        )


def _estimated_rank(cov: mne.Covariance, info: mne.Info) -> dict[str, int]:
    """Rank of the projected covariance by MNE's rule, from eigenvalues above rounding."""
    types = info.get_channel_types()
    scale = np.array([RANK_SCALE[t] for t in types])
    kinds = np.array(["eeg" if t == "eeg" else "meg" for t in types])
    rank = {}
    for kind in dict.fromkeys(kinds):
        rows = np.flatnonzero(kinds == kind)
        names = [info["ch_names"][i] for i in rows]
        square = _projected(cov.data[np.ix_(rows, rows)], info["projs"], names)
        values = np.abs(np.linalg.eigvalsh(square * np.outer(scale[rows], scale[rows])))
        rank[kind] = int(np.sum(values > len(rows) * values.max() * np.finfo(float).eps))
    return rank


def _unstable(cov: mne.Covariance, info: mne.Info, kind: str, n: int) -> bool:
    """Tell whether the n-th eigenvalue is rounding error (1e-10 of the largest)."""
    rows = [i for i, t in enumerate(info.get_channel_types()) if _group(t) == kind]
    names = [info["ch_names"][i] for i in rows]
    square = _projected(cov.data[np.ix_(rows, rows)], [*info["projs"], *cov["projs"]], names)
    std = np.sqrt(np.maximum(np.diag(square), 0.0))
    std = np.where(std > 0, std, 1.0)
    values = np.linalg.eigvalsh(square / np.outer(std, std))[::-1]
    return n > len(values) or bool(values[n - 1] < 1e-10 * values[0])


def _fallback(recording, info, data) -> tuple[mne.Covariance, str]:
    """Pre-stimulus baseline, else MNE's ad hoc diagonal."""
    before = np.flatnonzero(data.times < 0)
    if len(before) < MIN_BASELINE or isinstance(data.inst, mne.io.BaseRaw):
        note = "noise_cov: ad hoc diagonal (mne.make_ad_hoc_cov), for want of a baseline"
        return mne.make_ad_hoc_cov(info, verbose="ERROR"), note
    n = len(info["ch_names"])
    baseline = np.moveaxis(recording[..., before], -2, 0).reshape(n, -1)
    cov = np.zeros((n, n))
    types = np.array(info.get_channel_types())
    for kind in dict.fromkeys(types):
        rows = np.flatnonzero(types == kind)
        cov[np.ix_(rows, rows)] = ledoit_wolf(baseline[rows]) * data.nave
    note = f"noise_cov: Ledoit-Wolf estimate of {len(before)} samples before time zero, per type"
    projs = deepcopy(info["projs"])
    return mne.Covariance(cov, list(info["ch_names"]), [], projs, baseline.shape[1] - 1), note
