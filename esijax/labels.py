"""Names of what was measured: channels, sources, subject, times; what the whole record showed."""

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from esijax._types import is_traced

HEMISPHERES = ("lh", "rh")

FEWEST_BEFORE = 10  # samples before time zero that tell what the noise is


@dataclass(frozen=True)
class Record:
    """What the whitened recording showed before it was cropped.

    Parameters
    ----------
    tmin, sfreq : float
        Time of its first sample (s) and sampling frequency (Hz).
    power : tuple of float
        Global field power: mean square over the channels at each sample, each by its own variance
        of the noise. 1 for noise as stated.
    n_before : int
        Samples before time zero.
    rms_before : float | None
        Root mean square of those, over the whitened directions; None where there are too few.
    channel_before : float | None
        The same over the channels, each by its own standard deviation of the noise: their median.
    band : float | None
        Hz; the part of the spectrum below it has the variance that is stated. None where all of
        it has less.
    channels : tuple of float
        Before time zero: mean square of each channel's error, predicted from all others, over what
        the noise covariance foretells.
    n_effective : float
        Independent samples among those before time zero.
    """

    tmin: float
    sfreq: float
    power: tuple[float, ...]
    n_before: int = 0
    rms_before: float | None = None
    channel_before: float | None = None
    band: float | None = None
    channels: tuple[float, ...] = ()
    n_effective: float = 0.0

    @property
    def times(self) -> np.ndarray:
        """Time of each sample, s."""
        return self.tmin + np.arange(len(self.power)) / self.sfreq

    @property
    def floor(self) -> float:
        """Global field power of the noise: its mean before time zero, else 1."""
        before = np.array(self.power[: self.n_before])
        return float(before.mean()) if self.n_before >= FEWEST_BEFORE else 1.0


def record_of(problem: Any) -> Record | None:
    """What the recording of a `Problem` showed before any of it was cropped; None under jit."""
    names = problem.labels
    if names.record is not None or is_traced(problem):
        return names.record
    white, heard = (_trials(x) for x in (problem.samples, problem.recording))
    std = np.sqrt(np.sum(np.asarray(problem.whitener.colorer) ** 2, axis=1))
    heard = heard[:, std > 0] / std[std > 0, None]
    power = np.mean(heard**2, axis=(0, 1))
    clock = names.tmin, names.sfreq, tuple(power.tolist())
    before = np.flatnonzero(names.tmin + np.arange(len(power)) / names.sfreq < -0.5 / names.sfreq)
    if len(before) < FEWEST_BEFORE:
        return Record(*clock, len(before))
    white = white[..., before]
    channel = float(np.median(np.sqrt(np.mean(heard[..., before] ** 2, axis=(0, 2)))))
    rms, band = float(np.sqrt(np.mean(white**2))), _band(white, names.sfreq)
    matrix = np.asarray(problem.whitener.matrix)
    foretold = np.sum(matrix**2, axis=0)
    error = np.mean((matrix.T @ white) ** 2, axis=(0, 2)) / np.where(foretold > 0, foretold, 1.0)
    found = tuple(error.tolist()), n_effective(white)
    return Record(*clock, len(before), rms, channel, band, *found)


def n_effective(white: np.ndarray) -> float:
    r"""Count independent samples in noise (trials, rank, times) whose samples go together.

    .. math:: n = (\operatorname{tr} \Omega)^2 / \|\Omega\|_F^2

    with the covariance of the samples, less what chance adds to its norm.
    """
    trials, rank, n = white.shape
    cov = np.einsum("krs,krt->st", white, white) / (trials * rank)
    total = float(np.trace(cov))
    if total == 0:
        return float(n * trials)
    excess = float(np.sum(cov**2)) - total**2 / (trials * rank)
    return trials * float(np.clip(total**2 / max(excess, total**2 / n), 1.0, n))


def _trials(x: Any) -> np.ndarray:
    """Data with an axis of trials in front, (trials, rows, times)."""
    return np.asarray(x).reshape(-1, *np.shape(x)[-2:])


def _band(white: np.ndarray, sfreq: float) -> float | None:
    """Frequency below which the spectrum holds a variance of one, Hz."""
    n = white.shape[-1]
    spectrum = np.mean(np.abs(np.fft.rfft(white, axis=-1)) ** 2, axis=(0, 1)) / n**2
    spectrum[1 : (n + 1) // 2] *= 2
    over = np.flatnonzero(np.cumsum(spectrum) > 1)
    return float(over[0] * sfreq / n) if len(over) else None


@dataclass(frozen=True, eq=False)
class Labels:
    """Names that never enter a computation; equal by content, so that jit does not retrace.

    Parameters
    ----------
    ch_names, ch_types : tuple of str
        Good channels in the order of the measurement, and their kinds ("grad", "mag", "eeg").
    vertices : tuple of ndarray
        Vertex numbers per source space.
    kinds : tuple of str
        Kind of each source space: "surface", "volume" or "discrete".
    subject : str | None
        FreeSurfer subject.
    tmin, sfreq : float
        Time of the first sample (s) and sampling frequency (Hz).
    comment : str
        Name of the condition.
    surf_ori : bool
        Whether the lead field came in surface orientation.
    notes : tuple of str
        What was assumed on the user's behalf when the problem was made.
    record : Record | None
        Of the whole recording, where the problem is a part of it.
    """

    ch_names: tuple[str, ...]
    ch_types: tuple[str, ...]
    vertices: tuple[np.ndarray, ...] = ()
    kinds: tuple[str, ...] = ()
    subject: str | None = None
    tmin: float = 0.0
    sfreq: float = 1.0
    comment: str = ""
    surf_ori: bool = False
    notes: tuple[str, ...] = field(default=())
    record: Record | None = None

    @cached_property
    def digest(self) -> str:
        """Content hash of all names."""
        h = hashlib.sha256(repr((self.ch_names, self.ch_types, self.kinds, self.subject)).encode())
        h.update(repr((self.tmin, self.sfreq, self.comment, self.surf_ori, self.notes)).encode())
        h.update(repr(self.record).encode())
        for v in self.vertices:
            h.update(np.ascontiguousarray(v, dtype=np.int64).tobytes() + b"|")
        return h.hexdigest()

    def __hash__(self) -> int:
        return hash(self.digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Labels) and self.digest == other.digest

    @cached_property
    def hemispheres(self) -> np.ndarray:
        """Hemisphere of each location by its source space: "lh", "rh", or "" in a volume."""
        surfaces = [i for i, kind in enumerate(self.kinds) if kind == "surface"]
        names = dict(zip(surfaces, HEMISPHERES, strict=True)) if len(surfaces) == 2 else {}
        sizes = [len(v) for v in self.vertices]
        return np.repeat(np.array([names.get(i, "") for i in range(len(sizes))], dtype="U2"), sizes)

    @property
    def n_eeg(self) -> int:
        """Number of EEG channels."""
        return self.ch_types.count("eeg")

    @property
    def remarks(self) -> tuple[str, ...]:
        """What the channels alone tell the reader of a map."""
        if not (0 < self.n_eeg < 64 and self.n_eeg == len(self.ch_types)):
            return ()
        return (
            f"{self.n_eeg} EEG channels: below 64, expect localisation errors of a centimetre or "
            "more (Song et al. 2015, doi:10.1016/j.jneumeth.2015.08.015).",
        )
