"""Directions of the sensors that sources reach, and those that none does: there noise shows."""

import numpy as np

from esijax.problem import Problem

SILENT = 3e-3  # of the mean power of a whitened direction under the prior
FEWEST = 10  # directions
LOCATIONS = 1000  # that tell which directions are silent: fields of neighbours are alike
LARGEST = 1.2  # times the variance that is stated


def directions(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """Power of sources under the prior (rank,), mean one, and its axes (rank, rank), ascending."""
    step = max(1, problem.n_locations // LOCATIONS)
    gain = np.asarray(problem.gain[:, ::step] * problem.prior_scale[None, ::step])
    gain = gain.reshape(problem.rank, -1)
    power, axes = np.linalg.eigh(gain @ gain.T)
    return np.maximum(power, 0.0) / power.mean(), axes


def silent_directions(problem: Problem) -> np.ndarray:
    """Directions of the whitened sensors in which the lead field has no power, (rank, n)."""
    power, axes = directions(problem)
    return axes[:, power < SILENT]


def silent_note(problem: Problem) -> tuple[str, ...]:
    """Compare the noise after time zero with what is stated; a warning where it is more."""
    axes, times = silent_directions(problem), problem.times
    if axes.shape[1] < FEWEST:
        return ()
    window = times >= 0 if (times >= 0).any() else np.ones(len(times), bool)
    seen = axes.T @ np.asarray(problem.samples)[..., window]
    ratio, stated = float(np.mean(seen**2)), problem.noise_time is not None
    what = f"in {axes.shape[1]} directions that no source reaches the noise has {ratio:.2f} times"
    if ratio > LARGEST:
        slow = "noise_cov or nave may be off, or noise is slower than the baseline is long"
        way = slow if stated else 'noise_time="auto" states it from the baseline'
        return (f"{what} the variance that is stated: {way}",)
    return (f"{what} the variance that is stated",) if stated else ()
