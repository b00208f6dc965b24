"""What a report needs to know of an estimate: the peak, where it is, units for people."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from esijax._shown import display_unit
from esijax._types import InputError
from esijax.estimate import Estimate


class Summary(NamedTuple):
    """The map at its peak.

    Parameters
    ----------
    amplitude : (locations, times)
        Norm over orients of the posterior mean (trials averaged), display unit.
    peak_time : int
        Sample of the largest amplitude.
    places : tuple of int
        Locations of the largest amplitudes over time, 3 cm apart.
    threshold : float
        Half the largest amplitude, in the unit of the estimate.
    factor, unit : float, str
        From the estimate's unit to the display unit.
    """

    amplitude: np.ndarray
    peak_time: int
    places: tuple[int, ...]
    threshold: float
    factor: float
    unit: str


def summarise(estimate: Estimate, time: float | None = None, n_places: int = 3) -> Summary:
    """Find peak time and places of a map.

    Parameters
    ----------
    estimate : Estimate
    time : float, optional
        s; the sample to show instead of that of the largest amplitude.
    n_places : int
        How many places at most.
    """
    mean = estimate.mean
    if mean.ndim == 4:
        mean = jnp.mean(mean, axis=0)
    amplitude = np.asarray(jnp.linalg.norm(mean, axis=-2))
    times = estimate.problem.times
    at = int(np.argmax(amplitude.max(axis=0)))
    if time is not None:
        if not times[0] - 1e-3 <= time <= times[-1] + 1e-3:
            raise InputError(f"time {time} s is outside {times[0]:.3f} to {times[-1]:.3f} s.")
        at = int(np.argmin(np.abs(times - time)))
    factor, unit = display_unit(estimate, float(amplitude.max()))
    positions = estimate.problem.geometry.positions
    places = _strongest_places(amplitude[:, at], positions, n_places)
    threshold = float(amplitude[:, at].max()) / 2
    return Summary(amplitude * factor, at, places, threshold, factor, unit)


def _strongest_places(amplitude: np.ndarray, positions, n_places: int) -> tuple[int, ...]:
    """Largest amplitudes, each 3 cm from those before."""
    left = amplitude.copy()
    places: list[int] = []
    while len(places) < n_places and left.max() > 0.2 * amplitude.max() > 0:
        best = int(np.argmax(left))
        places.append(best)
        if positions is None:
            left[best] = 0
        else:
            where = np.asarray(positions)
            left[np.linalg.norm(where - where[best], axis=1) < 0.03] = 0
    return tuple(places)


def hemispheres(estimate: Estimate) -> np.ndarray:
    """0 for locations of the first source space (left, perhaps empty), 1 right, -1 not cortex."""
    labels = estimate.problem.labels
    sizes = [len(v) for v in labels.vertices]
    side = (np.repeat(np.arange(len(sizes)), sizes) > 0).astype(int)
    return np.where(np.repeat([k == "surface" for k in labels.kinds], sizes), side, -1)


def place_name(estimate: Estimate, location: int) -> str:
    """Where a location is: its hemisphere, by the source space, and head coordinates."""
    positions = estimate.problem.geometry.positions
    if positions is None:
        return f"location {location}"
    x, y, z = 1e3 * np.asarray(positions)[location]
    hemispheres = estimate.problem.labels.hemispheres
    name = hemispheres[location] if len(hemispheres) else ""
    side = {"lh": "left ", "rh": "right "}.get(str(name), "")
    return f"{side}({x:.0f}, {y:.0f}, {z:.0f}) mm"
