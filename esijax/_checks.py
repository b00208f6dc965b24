"""What is looked at before anything is computed: data, covariance, lead field, units."""

import logging
import warnings

import numpy as np

from esijax._ops.safe import divisor
from esijax._types import EsijaxWarning, InputError

logger = logging.getLogger("esijax")

ESTIMATE_AGAIN = "estimate it again from a clean baseline"


def names(items, limit: int = 5) -> str:
    """Show the first few of many names."""
    items = list(items)
    more = f" and {len(items) - limit} more" if len(items) > limit else ""
    return ", ".join(str(i) for i in items[:limit]) + more


def warn(message: str) -> None:
    """Warn once, at the caller's line."""
    warnings.warn(message, EsijaxWarning, stacklevel=3)


def real_array(array, what: str, ndims: tuple[int, ...]) -> np.ndarray:
    """Convert to float64 without losing anything; InputError says why where that cannot be."""
    if isinstance(array, np.ma.MaskedArray):
        if np.ma.getmaskarray(array).any():
            raise InputError(
                f"{what} is masked in {int(np.ma.getmaskarray(array).sum())} of {array.size} "
                "entries: leave those channels or segments out."
            )
        array = array.data
    try:
        array = np.asarray(array)
    except ValueError as error:
        raise InputError(f"{what} is ragged: all its rows must have one length.") from error
    if array.dtype.kind == "c":
        raise InputError(f"{what} is complex: pass real arrays.")
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{what} must be an array of numbers, got dtype {array.dtype}.")
    if array.ndim not in ndims:
        allowed = " or ".join(str(n) for n in ndims)
        raise InputError(f"{what} must have {allowed} axes, got the shape {array.shape}.")
    return array.astype(float)


def real_finite(
    array: np.ndarray,
    what: str,
    ch_names,
    times=None,
    way_out: str = "mark the channel bad or drop that segment",
) -> None:
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
    raise InputError(f"{what} has the value {value} in channel {channel}{moment}: {way_out}.")


def flat_channels(data: np.ndarray, ch_names, rows=None) -> None:
    """Warn about channels without any variation while others vary; data (..., channels, times).

    `rows` are those that are looked at; all by default.
    """
    if data.shape[-1] < 2:
        return
    span = np.ptp(data, axis=-1).reshape(-1, data.shape[-2]).max(axis=0)
    rows = range(len(ch_names)) if rows is None else rows
    flat = [ch_names[i] for i in rows if span[i] == 0]
    if flat and span.any():
        warn(f"flat in the data: {names(flat)}. A dead channel misleads: mark it bad.")


def covariance(cov: np.ndarray, ch_names, what: str = "noise_cov") -> None:
    """Refuse an invalid covariance: shape, NaN, asymmetry, negative eigenvalues, all zero."""
    n = len(ch_names)
    if cov.shape != (n, n):
        raise InputError(f"{what} must be ({n}, {n}) for {n} channels, got {cov.shape}.")
    real_finite(cov, what, ch_names, way_out=ESTIMATE_AGAIN)
    variance = np.diag(cov)
    if (variance < 0).any():
        i = int(np.argmin(variance))
        raise InputError(
            f"{what} has the negative variance {variance[i]:.3g} in {ch_names[i]}: "
            f"{ESTIMATE_AGAIN}."
        )
    if not variance.any():
        raise InputError(
            f"{what} is all zero for {names(ch_names, 3)}: {ESTIMATE_AGAIN}, or pass None."
        )
    scale = np.sqrt(divisor(variance))
    corr = cov / np.outer(scale, scale)
    lopsided = np.abs(corr - corr.T)
    if lopsided.max() > 1e-6:
        i, j = np.unravel_index(int(np.argmax(lopsided)), corr.shape)
        raise InputError(
            f"{what} is not symmetric: {ch_names[i]} / {ch_names[j]} differ by "
            f"{lopsided[i, j]:.3g} in units of their standard deviations; {ESTIMATE_AGAIN}."
        )
    smallest = _negative_eigenvalue((corr + corr.T) / 2, -1e-6 * n)
    if smallest is not None:
        raise InputError(
            f"{what} is not positive semi-definite: smallest eigenvalue {smallest:.3g} "
            "(of the correlation matrix). Estimate it again, with shrinkage if samples are few."
        )
    dead = [n_ for n_, v in zip(ch_names, variance, strict=True) if v == 0]
    if dead:
        warn(f"zero variance in {what}: {names(dead)}; these channels do not take part.")


def _negative_eigenvalue(square: np.ndarray, limit: float) -> float | None:
    """Smallest eigenvalue if it is below the limit, else None; Cholesky tells that sooner."""
    try:
        np.linalg.cholesky(square - limit * np.eye(len(square)))
    except np.linalg.LinAlgError:
        return float(np.linalg.eigvalsh(square)[0])
    return None


def whitened_scale(white: np.ndarray, matrix=None, ch_types=None, what: str = "data") -> None:
    """Refuse whitened data that are absurdly large or small: wrong units somewhere.

    With the whitener's matrix (rank, channels) and the channel types each type is looked at by
    itself, so that a wrong unit of one does not hide behind the others.
    """
    if not white.any():
        warn(f"{what} is all zero: so is the estimate.")
        return
    power = np.mean(white**2, axis=tuple(i for i in range(white.ndim) if i != white.ndim - 2))
    groups = {"": slice(None)}
    if matrix is not None and ch_types is not None:
        kinds = np.array(ch_types)
        groups = {
            "" if k == "unknown" else f" {k}": matrix[:, kinds == k].any(axis=1)
            for k in dict.fromkeys(ch_types)
        }
    for kind, rows in groups.items():
        rms = float(np.sqrt(np.mean(power[rows]))) if power[rows].size else 0.0
        if rms > 1e3 or 0 < rms < 1e-3:
            raise InputError(
                f"whitened{kind} {what} has an rms of {rms:.3g}, where noise alone gives 1: wrong "
                "units, or an offset that no baseline removed? data and noise_cov must both be in "
                "V and T (not µV or fT)."
            )


# rms of a row that a head can have, per A m; medians in MNE's sample: 51, 2.4e-6, 5.4e-5
GAIN_RMS = {"eeg": (1e0, 1e4, "V"), "mag": (5e-8, 1e-4, "T"), "grad": (1e-6, 3e-3, "T/m")}
OUTLYING = 1e4  # times the median of all, relative to the noise, where types are unknown
WILD = 30  # times the median of the type; the largest row of MNE's sample has 1.5


def lead_field(gain: np.ndarray, rows, ch_names, ch_types) -> None:
    """Refuse lead fields (channels, ...) that are not finite, in other units, or hold wild values.

    All of them pass silently elsewhere: sources come out 1e9 too small, or in the wrong place.
    `rows` are those of the named channels.
    """
    flat = gain.reshape(len(gain), -1)
    with np.errstate(over="ignore", invalid="ignore"):
        power = np.einsum("cs,cs->c", flat, flat).astype(float)[rows] / max(flat.shape[1], 1)
    if not np.isfinite(power).all():
        bad = [n for n, p in zip(ch_names, power, strict=True) if not np.isfinite(p)]
        raise InputError(f"the lead field holds NaN or Inf in {names(bad)}: compute it again.")
    for kind, limits in GAIN_RMS.items():
        of_kind = [i for i, k in enumerate(ch_types) if k == kind]
        if power[of_kind].any():
            _check_rms(np.sqrt(power[of_kind]), kind, *limits, [ch_names[i] for i in of_kind])


def _check_rms(rms: np.ndarray, kind: str, low: float, high: float, unit: str, ch_names) -> None:
    typical = float(np.median(rms))
    if not low <= typical <= high:
        raise InputError(
            f"the {kind} lead field has an rms of {typical:.3g} {unit}/(A m), expected {low:g} to "
            f"{high:g}: is it per nA m, or in other units?"
        )
    wild = [name for name, r in zip(ch_names, rms, strict=True) if r > WILD * typical]
    if wild:
        raise InputError(
            f"the lead field of {names(wild)} is more than {WILD} times that of the other {kind} "
            "channels: a corrupt file, or other units? Compute it again."
        )


def outlying_rows(gain: np.ndarray, noise_std: np.ndarray, ch_names) -> None:
    """Refuse rows of a lead field (channels, ...) that dwarf all others, in units of their noise.

    What channels measure may differ, so that rows of unknown type are compared with their noise.
    """
    rms = np.sqrt(np.mean(gain.reshape(len(gain), -1) ** 2, axis=1))
    known = (noise_std > 0) & (rms > 0)
    share = np.where(known, rms, 0.0) / np.where(known, noise_std, 1.0)
    typical = float(np.median(share[known])) if known.any() else 0.0
    wild = [name for name, s in zip(ch_names, share, strict=True) if s > OUTLYING * typical]
    if wild and typical > 0:
        raise InputError(
            f"the lead field of {names(wild)} is {share.max() / typical:.2g} times that of a "
            "typical channel, each relative to its noise: is it, or its noise_cov, in other units?"
        )


def spread_out(pos: np.ndarray, n: int = 200) -> np.ndarray | None:
    """Choose some hundred of the positions; None where they do not span a hemisphere."""
    if len(pos) < 50 or np.ptp(pos, axis=0).max() < 0.08:
        return None
    return np.unique(np.linspace(0, len(pos) - 1, n).astype(int))


def astray_rows(gain: np.ndarray, sensors: np.ndarray, sources: np.ndarray) -> np.ndarray:
    """Find rows of a lead field that are not strongest near the sensors whose names they bear.

    Per channel, the log power over sources is correlated with minus the log distance from the
    sensor, both centred. In nine heads (sample, template, spheres; MEG and 60 to 256 electrodes)
    the correlation was below 0.3 in 0 % of the channels, 9 % in the worst; with all rows permuted
    in 52 to 76 %, with a quarter of them in 6 to 26 %.

    Parameters
    ----------
    gain : (channels, locations, 3)
    sensors, sources : (channels, 3), (locations, 3)
        Head coordinates, m.

    Returns
    -------
    index
        Channels below 0.3; none where they are too few of all to be sure.
    """
    power = np.sum(gain.astype(float) ** 2, axis=2)
    distance = np.linalg.norm(sensors[:, None] - sources, axis=2)
    reached = power.all(axis=0)
    if len(gain) < 8 or reached.sum() < 50:
        return np.zeros(0, dtype=int)
    both = [np.log(power[:, reached]), -np.log(np.maximum(distance[:, reached], 1e-4))]
    both = [a - a.mean(axis=1, keepdims=True) for a in both]
    a, b = (a - a.mean(axis=0) for a in both)
    size = np.sqrt(np.sum(a**2, axis=1) * np.sum(b**2, axis=1))
    corr = np.sum(a * b, axis=1) / divisor(size)
    index = np.flatnonzero(corr < 0.3)
    return index if len(index) > 0.12 * len(gain) else index[:0]


def positions(pos: np.ndarray) -> None:
    """Refuse positions that are not metres within a head."""
    if not np.isfinite(pos).all():
        raise InputError("source positions hold NaN or Inf: make the source space again.")
    distance = np.linalg.norm(pos, axis=1)
    reach = float(distance.max())
    if reach > 0.15 and np.median(distance) < 0.15:
        outside = np.flatnonzero(distance > 0.15)
        raise InputError(
            f"{len(outside)} of {len(pos)} sources lie outside any head, up to {reach:.3g} m from "
            f"the origin: {names(outside)}; leave them out (positions are in metres)."
        )
    if not 0.02 <= reach <= 0.15:
        raise InputError(
            f"the farthest source lies {reach:.3g} m from the origin; in a head it is "
            "0.02 to 0.15 m: positions must be in metres."
        )


def same_place(pos: np.ndarray) -> np.ndarray:
    """Find pairs (pairs, 2) of positions that are the same to 0.1 um."""
    x, y, z = np.round(pos.T * 1e7).astype(np.int64)
    code = (x << 42) + (y << 21) + z
    order = np.argsort(code, kind="stable")
    same = np.flatnonzero(np.diff(code[order]) == 0)
    return np.stack([order[same], order[same + 1]], axis=1)


def coincident(pos: np.ndarray) -> None:
    """Warn about sources at the same place."""
    pairs = same_place(pos)
    if len(pairs):
        warn(
            f"{len(pairs)} of {len(pos)} source positions coincide with another: "
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
    elif n_locations == 1:
        warn("a single location takes up whatever it can explain: nothing is localised.")


def silent_sources(power: np.ndarray) -> np.ndarray:
    """Find locations whose lead field is zero; they are excluded, with a warning.

    `power` holds the squared column norms of the whitened lead field, (locations, orients).
    """
    if not np.isfinite(power).all():
        location = int(np.argwhere(~np.isfinite(power))[0, 0])
        raise InputError(
            f"the lead field holds NaN or Inf at location {location}: compute it again."
        )
    silent = ~power.any(axis=1)
    if silent.any():
        warn(
            f"{int(silent.sum())} of {silent.size} locations have a zero lead field and are "
            f"excluded: {names(np.flatnonzero(silent))}."
        )
    return silent
