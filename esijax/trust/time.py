"""Checks of the time: whether the map peaks where the response does, and within the window."""

import numpy as np

from esijax.trust.check import Check
from esijax.trust.inputs import TrustInputs
from esijax.trust.window import smoothed, window_of

OUTSIDE = 2.0  # times the power above the noise within the window
LESS = 0.6  # of the largest power: where the map peaks there is more
NEAR = 0.02  # s
FEWEST = 5  # samples, of which an edge can be told


def peak(e: TrustInputs) -> list[Check]:
    """Compare the peak of the map with that of the field power, inside and outside the window."""
    times = e.problem.times
    if e.amplitude is None or len(times) < FEWEST:
        return []
    at = int(np.argmax(e.amplitude.max(axis=0)))
    where, found = float(times[at]), window_of(e.record)
    told, advice = f"the map peaks at {1e3 * where:.0f} ms", ""
    limit = float(times[0]), float(times[-1])
    if found is not None:
        low, high = found
        outside = _power(e, *found) > OUTSIDE * _power(e, *limit)
        span = f"{1e3 * low:.0f} to {1e3 * high:.0f} ms"
        if outside and (high < limit[0] or low > limit[1]):
            told = f"{told}; the response is strongest outside this window, from {span}"
            advice = f"look there too: problem.crop({low:.3f}, {high:.3f})"
        elif limit[0] <= low and high <= limit[1] and _apart(e, where, found):
            told = f"{told}, the field power from {span}"
            advice = f"choose the window of one response: problem.crop({low:.3f}, {high:.3f})"
            limit = found
    if not advice and at in (0, len(times) - 1) and _rises(e, at):
        told = f"{told}, the edge of the window"
        advice = "widen the window until the peak lies inside it"
    light = "amber" if advice else "green"
    return [Check("peak", where, limit, light, told, advice)]


def _apart(e: TrustInputs, where: float, found: tuple[float, float]) -> bool:
    """Whether the map peaks outside a window, and where the field is much weaker than in it."""
    low, high = found[0] - NEAR, found[1] + NEAR
    return not low <= where <= high and _power(e, where, where) < LESS * _power(e, *found)


def _power(e: TrustInputs, low: float, high: float) -> float:
    """Largest field power above the noise from `low` to `high`, after time zero where there is."""
    times, power = e.record.times, smoothed(e.record)
    near = 0.5 / e.record.sfreq
    inside = (times > low - near) & (times < high + near) & ((times > 0) | (high < near))
    return float(power[inside].max() - e.record.floor) if inside.any() else 0.0


def _rises(e: TrustInputs, at: int) -> bool:
    """Whether the field power goes on to rise beyond the edge, as far as is known."""
    times, power = e.record.times, smoothed(e.record)
    edge = e.problem.times[at]
    here = int(np.argmin(np.abs(times - edge)))
    step = -1 if at == 0 else 1
    beyond = here + step * max(1, round(NEAR / 2 * e.record.sfreq))
    if not 0 <= beyond < len(times):
        return True
    return bool(power[beyond] > power[here])
