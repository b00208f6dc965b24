"""What is looked at before anything is computed: data, covariance, lead field, units."""

import logging
import warnings

import numpy as np

from esijax._types import EsijaxWarning, InputError

logger = logging.getLogger("esijax")


def names(items, limit: int = 5) -> str:
    """Show the first few of many names."""
    items = list(items)
    more = f" and {len(items) - limit} more" if len(items) > limit else ""
    return ", ".join(str(i) for i in items[:limit]) + more


def warn(message: str) -> None:
    """Warn once, at the caller's line."""
    warnings.warn(message, EsijaxWarning, stacklevel=3)


def real_finite(array: np.ndarray, what: str, ch_names, times=None) -> None:
    """Refuse complex, NaN and infinite values, naming channel and time."""
    if np.iscomplexobj(array):
        raise InputError(
            f"{what} is complex; source imaging here is for real data: pass the real and the "
            "imaginary part one after the other, or the band-passed signal itself."
        )
    if np.isfinite(array).all():
        return
    where = np.argwhere(~np.isfinite(array))[0]
    value = array[tuple(where)]
    channel = ch_names[where[-2]] if array.ndim > 1 else ch_names[where[0]]
    moment = f" at {times[where[-1]]:.4f} s" if times is not None else ""
    raise InputError(
        f"{what} has the value {value} in channel {channel}{moment}: mark the channel bad "
        "or drop that segment."
    )


def flat_channels(data: np.ndarray, ch_names) -> None:
    """Warn about channels without any variation while others vary; data (..., channels, times)."""
    if data.shape[-1] < 2:
        return
    span = np.ptp(data, axis=-1).reshape(-1, data.shape[-2]).max(axis=0)
    flat = [n for n, s in zip(ch_names, span, strict=True) if s == 0]
    if flat and len(flat) < len(ch_names):
        warn(f"flat in the data: {names(flat)}. A dead channel misleads: mark it bad.")


def covariance(cov: np.ndarray, ch_names, what: str = "noise_cov") -> None:
    """Refuse a covariance that is none: shape, NaN, asymmetry, negative eigenvalues, zero."""
    n = len(ch_names)
    if cov.shape != (n, n):
        raise InputError(f"{what} must be ({n}, {n}) for {n} channels, got {cov.shape}.")
    real_finite(cov, what, ch_names)
    variance = np.diag(cov)
    if (variance < 0).any():
        i = int(np.argmin(variance))
        raise InputError(f"{what} has the negative variance {variance[i]:.3g} in {ch_names[i]}.")
    if not variance.any():
        raise InputError(f"{what} is all zero: estimate it from a baseline or pass None.")
    scale = np.sqrt(np.where(variance > 0, variance, 1.0))
    corr = cov / np.outer(scale, scale)
    lopsided = np.abs(corr - corr.T)
    if lopsided.max() > 1e-6:
        i, j = np.unravel_index(int(np.argmax(lopsided)), corr.shape)
        raise InputError(
            f"{what} is not symmetric: {ch_names[i]} / {ch_names[j]} differ by "
            f"{lopsided[i, j]:.3g} in units of their standard deviations."
        )
    smallest = np.linalg.eigvalsh((corr + corr.T) / 2)[0]
    if smallest < -1e-6 * n:
        raise InputError(
            f"{what} is not positive semi-definite: smallest eigenvalue {smallest:.3g} "
            "(of the correlation matrix). Estimate it again, with shrinkage if samples are few."
        )
    dead = [n_ for n_, v in zip(ch_names, variance, strict=True) if v == 0]
    if dead:
        warn(f"zero variance in {what}: {names(dead)}; these channels do not take part.")


def whitened_scale(white: np.ndarray, what: str = "data") -> None:
    """Refuse whitened data that are absurdly large or small: wrong units somewhere."""
    rms = float(np.sqrt(np.mean(white**2))) if white.size else 0.0
    if rms == 0:
        warn(f"{what} is all zero: so is the estimate.")
    elif rms > 1e3 or rms < 1e-3:
        raise InputError(
            f"whitened {what} has an rms of {rms:.3g}, where noise alone gives 1: "
            "wrong units? data and noise_cov must both be in V and T (not µV or fT)."
        )


def positions(pos: np.ndarray) -> None:
    """Refuse positions that are not metres within a head."""
    if not np.isfinite(pos).all():
        raise InputError("source positions hold NaN or Inf.")
    reach = float(np.linalg.norm(pos, axis=1).max())
    if not 0.02 <= reach <= 0.15:
        raise InputError(
            f"the farthest source lies {reach:.3g} m from the origin; in a head it is "
            "0.02 to 0.15 m: positions must be in metres."
        )


def coincident(pos: np.ndarray) -> None:
    """Warn about sources at the same place."""
    distinct = len(np.unique(np.round(pos, 7), axis=0))
    if distinct < len(pos):
        warn(
            f"{len(pos) - distinct} of {len(pos)} source positions coincide with another: "
            "they share their activity."
        )


def few(n_channels: int, n_locations: int) -> None:
    """Refuse empty problems, warn about the smallest."""
    if n_locations == 0:
        raise InputError("the source space is empty: no locations.")
    if n_channels == 0:
        raise InputError("no good channel is left: all are marked bad or excluded by picks.")
    if n_channels == 1:
        warn("a single channel cannot localise anything: the map only shows its sensitivity.")


def silent_sources(gain: np.ndarray) -> np.ndarray:
    """Find locations whose lead field is zero; they are excluded, with a warning."""
    if not np.isfinite(gain).all():
        row, col = np.argwhere(~np.isfinite(gain.reshape(len(gain), -1)))[0]
        raise InputError(
            f"the lead field holds NaN or Inf (channel row {row}, column {col}): compute it again."
        )
    silent = ~gain.any(axis=(0, 2))
    if silent.any():
        warn(
            f"{int(silent.sum())} of {silent.size} locations have a zero lead field and are "
            f"excluded: {names(np.flatnonzero(silent))}."
        )
    return silent
