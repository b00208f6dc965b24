r"""Tight Gabor frames: the short-time Fourier transform with a sine window, and its adjoint.

.. math:: (\Phi x)_{ft} = \frac{1}{\sqrt W} \sum_{n=0}^{W-1} x_{n + tH} \,
   \frac{h_n}{\sqrt{\sum_s h_{n + (t - s) H}^2}} \; e^{-2 \pi i f n / W}, \qquad
   h_n = \sin \tfrac{\pi (n + 1/2)}{W}

for windows of W samples, H apart: MNE-Python's transform, :math:`\Phi^H \Phi = I`. Real signals
need the frequencies 0 ... W/2 alone; those in between stand for two coefficients. `Frame` holds
real and imaginary parts scaled by the square root of that count m, so that it is a real isometry

.. math:: \lVert \Phi x \rVert^2 = \sum_k m_k \lvert z_k \rvert^2, \qquad
   \sum_k m_k \lvert z_k \rvert = \sum_k \sqrt{m_k} \, \lVert c_k \rVert, \quad
   c_k = \sqrt{m_k} \, (\operatorname{Re} z_k, \operatorname{Im} z_k)

Several frames together, each divided by the square root of their number, are a tight frame again.
"""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from esijax._types import InputError

Signals = Float[Array, "*lead times"]
Spectra = Complex[Array, "*lead freqs steps"]
Coefs = Float[Array, "*lead 2 coefs"]


def check_window(wsize: int, tstep: int) -> None:
    """Raise InputError unless windows of `wsize` samples, `tstep` apart, are a tight frame."""
    for name, value in (("wsize", wsize), ("tstep", tstep)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise InputError(f"{name} must be a positive integer, got {value!r}.")
    if wsize % 4:
        raise InputError(f"wsize must be a multiple of 4, got {wsize}.")
    if tstep % 2 or wsize % tstep or 2 * tstep > wsize:
        raise InputError(
            f"tstep must be even, a divider of wsize = {wsize} and at most half of it, got {tstep}."
        )


def _n_steps(n_times: int, tstep: int) -> int:
    """Windows that cover so many samples."""
    return math.ceil(n_times / tstep)


def _windows(wsize: int, tstep: int, n_times: int) -> np.ndarray:
    """Window of each step over the root of the energy that all leave at each sample."""
    n_steps, hop = _n_steps(n_times, tstep), wsize // tstep
    sine = np.sin((np.arange(wsize) + 0.5) / wsize * np.pi)
    energy = np.zeros((n_steps + hop - 1, tstep))
    for part, some in enumerate((sine**2).reshape(hop, tstep)):
        energy[part : part + n_steps] += some
    spread = np.concatenate([energy[i : i + n_steps] for i in range(hop)], axis=1)
    return sine / np.sqrt(wsize * spread)


def stft(x: Signals, wsize: int, tstep: int) -> Spectra:
    """Short-time Fourier transform, frequencies 0 ... wsize / 2.

    Parameters
    ----------
    x : (..., times)
    wsize, tstep : int
        Samples of a window, and from one to the next.

    Returns
    -------
    z : (..., wsize / 2 + 1, ceil(times / tstep))
    """
    n_times = x.shape[-1]
    n_steps, hop = _n_steps(n_times, tstep), wsize // tstep
    before = (wsize - tstep) // 2
    after = (n_steps + hop - 1) * tstep - before - n_times
    padded = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(before, after)])
    rows = padded.reshape(*x.shape[:-1], n_steps + hop - 1, tstep)
    frames = jnp.concatenate([rows[..., i : i + n_steps, :] for i in range(hop)], axis=-1)
    window = jnp.asarray(_windows(wsize, tstep, n_times), dtype=x.dtype)
    return jnp.swapaxes(jnp.fft.rfft(frames * _lead_axes(window, frames.ndim)), -1, -2)


def istft(z: Spectra, tstep: int, n_times: int) -> Signals:
    """Adjoint of `stft`, which is its inverse on real signals.

    Parameters
    ----------
    z : (..., wsize / 2 + 1, steps)
    tstep, n_times : int

    Returns
    -------
    x : (..., times)
    """
    wsize = 2 * (z.shape[-2] - 1)
    n_steps, hop = _n_steps(n_times, tstep), wsize // tstep
    frames = jnp.fft.irfft(jnp.swapaxes(z, -1, -2), wsize)
    window = wsize * _windows(wsize, tstep, n_times)
    frames = frames * _lead_axes(jnp.asarray(window, dtype=frames.dtype), frames.ndim)
    parts = jnp.split(frames, hop, axis=-1)
    lead = [(0, 0)] * (z.ndim - 2)
    rows = sum(jnp.pad(part, [*lead, (i, hop - 1 - i), (0, 0)]) for i, part in enumerate(parts))
    before = (wsize - tstep) // 2
    flat = jnp.reshape(rows, (*z.shape[:-2], (n_steps + hop - 1) * tstep))
    return flat[..., before : before + n_times]


def _lead_axes(x: Array, ndim: int) -> Array:
    """Add leading axes of length 1."""
    return x.reshape((1,) * (ndim - x.ndim) + x.shape)


@dataclasses.dataclass(frozen=True)
class Frame:
    """One or several Gabor frames of signals of a length, as one real isometry.

    Parameters
    ----------
    wsize, tstep : tuple of int
        Of each frame.
    n_times : int

    Raises
    ------
    InputError
        Where a pair is no tight frame.
    """

    wsize: tuple[int, ...]
    tstep: tuple[int, ...]
    n_times: int

    def __post_init__(self):
        for wsize, tstep in zip(self.wsize, self.tstep, strict=True):
            check_window(wsize, tstep)

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """Frequencies and steps of each frame."""
        pairs = zip(self.wsize, self.tstep, strict=True)
        return tuple((w // 2 + 1, _n_steps(self.n_times, h)) for w, h in pairs)

    @property
    def n_coefs(self) -> int:
        """Complex coefficients of a signal."""
        return sum(f * t for f, t in self.shapes)

    def roots(self) -> np.ndarray:
        """Square root of how many coefficients each stands for, (coefs,)."""
        return np.concatenate([np.repeat(_count_roots(f), t) for f, t in self.shapes])

    def analysis(self, x: Signals) -> Coefs:
        """Coefficients of signals: real and imaginary parts, frequency by frequency."""
        parts = []
        for wsize, tstep, (freqs, steps) in zip(self.wsize, self.tstep, self.shapes, strict=True):
            z = stft(x, wsize, tstep)
            both = jnp.stack([z.real, z.imag], axis=-3)
            root = _lead_axes(
                jnp.asarray(_count_roots(freqs) / np.sqrt(len(self.wsize)))[:, None], both.ndim
            )
            both = both * root.astype(x.dtype)
            parts.append(both.reshape(*both.shape[:-2], freqs * steps))
        return parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis=-1)

    def synthesis(self, coefs: Coefs) -> Signals:
        """Adjoint of `analysis`, and its left inverse."""
        total, begin = jnp.zeros((), dtype=coefs.dtype), 0
        for tstep, (freqs, steps) in zip(self.tstep, self.shapes, strict=True):
            some = coefs[..., begin : begin + freqs * steps]
            some = some.reshape(*some.shape[:-1], freqs, steps)
            root = 1.0 / (_count_roots(freqs) * np.sqrt(len(self.tstep)))
            some = some * _lead_axes(jnp.asarray(root, dtype=coefs.dtype)[:, None], some.ndim)
            z = some[..., 0, :, :] + 1j * some[..., 1, :, :]
            total = total + istft(z, tstep, self.n_times)
            begin += freqs * steps
        return total


def _count_roots(n_freqs: int) -> np.ndarray:
    """Root of how many coefficients a frequency stands for: 1 at both ends, else sqrt(2)."""
    out = np.full(n_freqs, np.sqrt(2.0))
    out[[0, -1]] = 1.0
    return out
