"""Which part of a recording to look at, where nobody says: around its largest field power."""

import numpy as np

from esijax.labels import Record, record_of
from esijax.problem import Problem

SMOOTH = 0.02  # s, over which the power is averaged
SHORTEST, LONGEST = 0.02, 0.1  # s


def proposed_window(problem: Problem) -> tuple[float, float] | None:
    """Propose a window around the largest global field power after the baseline.

    The mean square over the channels, each in standard deviations of its noise, averaged over
    20 ms; the window reaches to where half of what stands above the baseline is left, and is 20
    to 100 ms long.

    Parameters
    ----------
    problem : Problem
        With its baseline, or what is on record of it.

    Returns
    -------
    window : (tmin, tmax) | None
        s, first and last sample; None where there are fewer than three samples.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> wave = np.exp(-0.5 * ((np.arange(100) - 70) / 5) ** 2)
    >>> data = np.outer(np.arange(1.0, 5.0), wave)
    >>> problem = ej.from_arrays(np.eye(4), data, 0.01, sfreq=200.0, tmin=-0.25)
    >>> low, high = proposed_window(problem)
    >>> bool(low < 0.1 < high)
    True
    """
    record = record_of(problem)
    return None if record is None else window_of(record)


def window_of(record: Record) -> tuple[float, float] | None:
    """The same of what was recorded; see `proposed_window`."""
    times, power = record.times, smoothed(record)
    after = np.flatnonzero(times > 0) if (times > 0).any() else np.arange(len(times))
    if len(times) < 3:
        return None
    peak = after[np.argmax(power[after])]
    half = min(record.floor, power[peak]) / 2 + power[peak] / 2
    low = high = peak
    reach = LONGEST / 2 * record.sfreq
    while low > after[0] and peak - low < reach and power[low - 1] >= half:
        low -= 1
    while high < after[-1] and high - peak < reach and power[high + 1] >= half:
        high += 1
    margin = SHORTEST / 2 * record.sfreq
    low = max(min(low, int(np.floor(peak - margin))), after[0])
    high = min(max(high, int(np.ceil(peak + margin))), after[-1])
    return float(times[low]), float(times[high])


def smoothed(record: Record) -> np.ndarray:
    """Global field power (mean square) over 20 ms around each sample."""
    n = max(1, round(SMOOTH * record.sfreq))
    n = min(n + 1 - n % 2, len(record.power))
    kernel = np.ones(n)
    weight = np.convolve(np.ones(len(record.power)), kernel, "same")
    return np.convolve(np.asarray(record.power), kernel, "same") / weight
