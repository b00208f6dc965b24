"""The lead field of a forward, brought into its frames and whitened, in one pass.

A lead field of 8,003 locations x 3 orients takes 70 MB: each further copy of it costs more than
its arithmetic. Some hundred columns at a time stay in cache, rows of channels last, so that every
step is a fast product; the result is handed to JAX without a copy.
"""

import math
from typing import Any, NamedTuple

import jax
import numpy as np

from esijax.io.measured.noise import HostWhitener

COLUMNS_AT_A_TIME = 768  # at a time


class StoredField(NamedTuple):
    """The lead field of a forward, and what leads to its frames.

    Parameters
    ----------
    stored : (rows, locations, 1 or 3)
        As the forward has it, float32 or float64.
    turn : (locations, 1 or 3, 3) | None
        Axes to project on; None: they are the stored ones.
    single : bool
        Round to float32 after the turn, as MNE-Python does for fixed orientations.
    """

    stored: np.ndarray
    turn: np.ndarray | None
    single: bool

    @property
    def n_orients(self) -> int:
        """Orients after the turn."""
        return self.stored.shape[2] if self.turn is None else self.turn.shape[1]

    def columns(self, rows: np.ndarray, here: slice) -> np.ndarray:
        """Lead fields of some locations, (locations, orients, channels) in float64."""
        part = self.stored[rows, here]
        return part.transpose(1, 2, 0).astype(float, order="C")

    def turned(self, columns: np.ndarray, start: int) -> np.ndarray:
        """Bring the columns of the locations from `start` on into their axes."""
        if self.turn is None:
            return columns
        columns = self.turn[start : start + len(columns)] @ columns
        return columns.astype(np.float32).astype(float) if self.single else columns


def assemble(
    noise: HostWhitener,
    unit: float,
    field: StoredField,
    rows: np.ndarray,
    depth: np.ndarray | None,
    turned_first: bool = False,
) -> tuple[jax.Array, np.ndarray, np.ndarray | None]:
    """Whitened lead field in its frames, the power of its columns, and what depth weighting needs.

    Parameters
    ----------
    noise : HostWhitener
    unit : float
        A m per unit of source amplitude.
    field : StoredField
    rows : (channels,) of int
        Row of each channel in the stored field.
    depth : (some,) of int | (some, channels) | None
        Channels that tell how deep a source is, or a map to them.
    turned_first : bool
        Whether the depth is seen along the axes of the frames only (MNE's ``allow_fixed_depth``).

    Returns
    -------
    white : (rank, locations, orients)
    power : (locations, orients)
    blocks : (locations, o, o) | None
        Products of the columns of each location, as `depth` sees them.
    """
    n, own = field.stored.shape[1:]
    seen_orients = field.n_orients if turned_first else own
    out = _aligned((len(noise.matrix), n, field.n_orients))
    flat_out = out.reshape(len(out), -1)
    power = np.empty(flat_out.shape[1])
    blocks = None if depth is None else np.empty((n, seen_orients, seen_orients))
    parts = [
        (part, _as_slice(seen), noise.matrix[part][:, seen] * unit) for part, seen in noise.parts
    ]
    size = max(1, COLUMNS_AT_A_TIME // own)
    for start in range(0, n, size):
        columns = field.columns(rows, slice(start, start + size))
        turned = field.turned(columns, start)
        if depth is not None and blocks is not None:
            seen = turned if turned_first else columns
            seen = np.take(seen, depth, axis=2) if depth.ndim == 1 else seen @ depth.T
            np.einsum("loc,lpc->lop", seen, seen, out=blocks[start : start + size])
        flat = turned.reshape(-1, turned.shape[2]).T
        there = slice(start * field.n_orients, start * field.n_orients + flat.shape[1])
        for part, seen, block in parts:
            np.matmul(block, flat[seen], out=flat_out[part, there])
        np.einsum("rc,rc->c", flat_out[:, there], flat_out[:, there], out=power[there])
    return jax.device_put(out, may_alias=True), power.reshape(n, -1), blocks


def _as_slice(index: np.ndarray) -> Any:
    """Neighbouring places as a slice, which reads without a copy."""
    first, last = int(index[0]), int(index[-1])
    return slice(first, last + 1) if last - first == len(index) - 1 else index


def _aligned(shape: tuple[int, ...]) -> np.ndarray:
    """Empty float64 array that JAX on a CPU takes over without a copy (64-byte boundary)."""
    n = math.prod(shape)
    buffer = np.empty(n + 8)
    skip = (-buffer.ctypes.data // 8) % 8
    return buffer[skip : skip + n].reshape(shape)
