"""Names of what was measured: channels, sources, subject, times."""

import hashlib
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

HEMISPHERES = ("lh", "rh")


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

    @cached_property
    def digest(self) -> str:
        """Content hash of all names."""
        h = hashlib.sha256(repr((self.ch_names, self.ch_types, self.kinds, self.subject)).encode())
        h.update(repr((self.tmin, self.sfreq, self.comment, self.surf_ori, self.notes)).encode())
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
