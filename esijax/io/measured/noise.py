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
from esijax._ops.safe import divisor
from esijax._types import InputError
from esijax.io.measured.channels import Channels
from esijax.io.measured.fallback import fallback, rank_of_sss
from esijax.problem import Whitener

RANK_SCALE = {"mag": 1e12, "grad": 1e11, "eeg": 1e5}  # brings V and T to like size


@dataclasses.dataclass(frozen=True)
class HostWhitener:
    """Whitener of the average on the host.

    `parts` tells which rows of the matrix see which channels: MEG and EEG are whitened apart.
    """

    matrix: np.ndarray
    colorer: np.ndarray
    nave: float
    parts: list[tuple[slice, np.ndarray]]

    def whitener(self) -> Whitener:
        """Whitener of the problem, on the device."""
        size = np.linalg.norm(self.colorer, axis=0)  # orthogonal columns: sqrt of eigenvalues
        numbers = (self.matrix, self.colorer, -np.log(size).sum(), self.nave)
        return Whitener(*(jnp.asarray(x, dtype=float) for x in numbers))


def noise_of(
    noise_cov, recording, channels: Channels, rank, data
) -> tuple[HostWhitener, tuple[str, ...]]:
    """Whitener for the channels; says where the covariance came from if it was missing."""
    rank = _check_rank_argument(rank, channels)
    notes: tuple[str, ...] = ()
    is_given = noise_cov is not None
    if not is_given:
        noise_cov, note = fallback(recording, channels, data)
        _checks.warn(f"no noise_cov given. {note}.")
        notes = (note,)
    names = channels.names
    index = channels.rows(noise_cov.ch_names)
    square = np.diag(noise_cov.data) if noise_cov["diag"] else np.asarray(noise_cov.data)
    square = square[np.ix_(index, index)]
    for rows in _rows_by_group(channels).values():  # MEG together, EEG apart: checks need one scale
        noisy = rows[np.diag(square)[rows] != 0]  # a reference electrode has no noise as yet
        _checks.covariance(square[np.ix_(noisy, noisy)], [names[i] for i in noisy])
    # a private copy: MNE's own would share projectors with the caller's
    cov = mne.Covariance(square, names, [], deepcopy(noise_cov["projs"]), noise_cov["nfree"])
    square = _projected(square, [*channels.projs, *cov["projs"]], names)
    rank = _checked_rank(cov, square, channels, rank, is_given)
    matrix, colorer, parts = _whitening(square, channels, rank)
    root = np.sqrt(data.nave)
    return HostWhitener(matrix * root, colorer / root, data.nave, parts), notes


def _rows_by_group(channels: Channels) -> dict[str, np.ndarray]:
    """Rows of MEG and EEG, in the order in which they come."""
    kinds = np.where(channels.types == "eeg", "eeg", "meg")
    return {str(kind): np.flatnonzero(kinds == kind) for kind in dict.fromkeys(kinds)}


def _whitening(square: np.ndarray, channels: Channels, rank: dict):
    """Whitener, colorer and parts of the projected covariance, as MNE-Python's.

    The same as `mne.cov.compute_whitener(pca=True)` for a rank that is known already.
    """
    whiteners, colorers, parts, start = [], [], [], 0
    for kind, rows in _rows_by_group(channels).items():
        keep = sum(n for k, n in rank.items() if (k == "eeg") == (kind == "eeg"))
        values, vectors = np.linalg.eigh(square[np.ix_(rows, rows)])
        values, vectors = values[len(rows) - keep :], vectors[:, len(rows) - keep :]
        if not (keep and values[0] > 0):
            raise InputError(f"noise_cov leaves rank {keep} in {kind}, with an eigenvalue <= 0.")
        embed = np.zeros((keep, len(square)))
        embed[:, rows] = vectors.T
        whiteners.append(embed / np.sqrt(values)[:, None])
        colorers.append(embed.T * np.sqrt(values))
        parts.append((slice(start, start + keep), rows))
        start += keep
    return np.concatenate(whiteners), np.concatenate(colorers, axis=1), parts


def _projected(square: np.ndarray, projs: list, ch_names: list[str]) -> np.ndarray:
    """Covariance of the named channels after the projectors."""
    with mne.utils.use_log_level("ERROR"):  # MNE warns where channels of a projector are left out
        projector, n_projs, _ = make_projector(projs, ch_names)
    return projector @ (square @ projector.T) if n_projs else square


def _check_rank_argument(rank: Any, channels: Channels) -> Any:
    """Refuse impossible ranks; give a copy of a dict, for MNE-Python adds to the one it gets."""
    if rank is None or (isinstance(rank, str) and rank in ("info", "full")):
        return rank
    if not isinstance(rank, dict):
        raise InputError(f"rank must be None, 'info', 'full' or a dict, got {rank!r}.")
    room = Counter(channels.types.tolist())
    meg = [kind for kind in ("mag", "grad") if room[kind]]
    room["meg"] = room["mag"] + room["grad"]
    whole = meg[0] if len(meg) == 1 else "meg"  # what MNE-Python reads; it ignores the others
    for kind, n in rank.items():
        known = kind in ("meg", "mag", "grad", "eeg")
        is_count = isinstance(n, int | np.integer) and not isinstance(n, bool) and n > 0
        if not (known and is_count):
            raise InputError(
                "rank must give positive integers for 'meg', 'mag', 'grad' or 'eeg', got "
                f"{kind!r}: {n!r}."
            )
        if room[kind] and n > room[kind]:
            raise InputError(f"rank of {kind} is set to {n}, more than its {room[kind]} channels.")
        if room[kind] and kind not in (whole, "eeg"):
            raise InputError(
                f"rank is given for {kind!r}, but the MEG channels here are {' and '.join(meg)}, "
                f"whitened as one: pass rank={{{whole!r}: ...}}."
            )
    return {kind: n for kind, n in rank.items() if room[kind]}


def _checked_rank(
    cov: mne.Covariance, square, channels: Channels, rank: Any, is_given: bool
) -> dict[str, int]:
    """Rank per channel type, compared with what the projectors leave."""

    def compute(how):
        info = channels.picked()
        return mne.compute_rank(cov, how, info=info, on_rank_mismatch="ignore", verbose="ERROR")

    groups = _rows_by_group(channels)
    found = {kind: _estimated_rank(square, channels, rows) for kind, rows in groups.items()}
    use = found if rank is None else compute(rank)
    for kind, n in _sum_by_group(use).items():
        if n > found.get(kind, n) and _unstable(square, groups[kind], n):
            raise InputError(
                f"rank of {kind} is set to {n}, but noise_cov has only {found[kind]} dimensions: "
                "the whitener would amplify rounding errors; pass rank=None."
            )
    if is_given:
        _warn_if_filtered(rank_of_sss(channels), _sum_by_group(use).get("meg", 0))
        if any(n <= 0.9 * len(groups[kind]) for kind, n in found.items()):
            _warn_if_low(found, _sum_by_group(compute("info")))
    return use


def _meg_or_eeg(kind: str) -> str:
    return "eeg" if kind == "eeg" else "meg"


def _sum_by_group(rank: dict[str, int]) -> dict[str, int]:
    total: Counter = Counter()
    for kind, n in rank.items():
        total[_meg_or_eeg(kind)] += int(n)
    return dict(total)


def _warn_if_filtered(left: int | None, rank: int) -> None:
    if left is not None and rank > left:
        _checks.warn(
            f"the data were Maxwell-filtered to rank {left}, noise_cov has {rank} dimensions in "
            "meg: the others count as zeros that were measured. Estimate it from the filtered "
            "data, e.g. mne.compute_covariance(epochs, tmax=0, rank='info')."
        )


def _warn_if_low(found: dict[str, int], nominal: dict[str, int]) -> None:
    low = [k for k, n in found.items() if n < 0.8 * nominal.get(k, n)]
    if low:
        ranks = " and ".join(f"rank {found[k]} in {k} (of {nominal[k]})" for k in low)
        _checks.warn(
            f"noise_cov has {ranks}: too few samples? Estimate it with shrinkage, or check the "
            "projectors."
        )


def _estimated_rank(square: np.ndarray, channels: Channels, rows: np.ndarray) -> int:
    """Rank of the projected covariance by MNE's rule, from eigenvalues above rounding."""
    scale = np.array([RANK_SCALE[t] for t in channels.types[rows]])
    values = np.abs(np.linalg.eigvalsh(square[np.ix_(rows, rows)] * np.outer(scale, scale)))
    return int(np.sum(values > len(rows) * values.max() * np.finfo(float).eps))


def _unstable(square: np.ndarray, rows: np.ndarray, n: int) -> bool:
    """Whether the n-th eigenvalue is rounding error (below 1e-10 of the largest)."""
    square = square[np.ix_(rows, rows)]
    std = np.sqrt(np.maximum(np.diag(square), 0.0))
    std = divisor(std)
    values = np.linalg.eigvalsh(square / np.outer(std, std))[::-1]
    return n > len(values) or bool(values[n - 1] < 1e-10 * values[0])
