"""The maps of an estimate at many times, for the page."""

import jax.numpy as jnp
import numpy as np

from esijax._ops.exceed import directed_exceedance
from esijax.estimate import Estimate
from esijax.viz._style import Map
from esijax.viz.interactive import Film, view_maps
from esijax.viz.maps import POINT, WHAT, maps_of, surfaces_of
from esijax.viz.summary import Summary, summarise

MOST_FRAMES = 60
MOST_NUMBERS = 250_000  # of one film: the page stays below 12 MB


def view_map(estimate: Estimate, summary: Summary | None = None) -> str:
    """Give a standalone page with the maps to turn, at times to choose."""
    summary = summarise(estimate) if summary is None else summary
    times = chosen_times(estimate.problem.n_times, summary.peak_time, estimate.problem.n_locations)
    return view_maps(
        surfaces_of(estimate),
        films_of(estimate, summary, times),
        times=(1e3 * estimate.problem.times[times]).tolist(),
        start=int(np.flatnonzero(times == summary.peak_time)[0]),
        positions=estimate.problem.geometry.positions,
    )


def chosen_times(n_times: int, peak: int, n_locations: int) -> np.ndarray:
    """At most 60 samples, evenly spread, the one of the peak among them."""
    most = max(min(MOST_FRAMES, MOST_NUMBERS // n_locations), 1)
    step = -(-n_times // most)
    return np.arange(peak % step, n_times, step)


def films_of(estimate: Estimate, summary: Summary, times: np.ndarray) -> dict[str, Film]:
    """What `maps_of` gives at the peak, at several times on the same colours."""
    maps = maps_of(estimate, summary)
    mean = POINT if POINT in maps else WHAT["mean"]
    amplitude = summary.amplitude[:, times].T
    films = {name: Film(item, np.asarray(item.values)[None]) for name, item in maps.items()}
    films[mean] = Film(_whole_range(maps[mean], float(amplitude.max())), amplitude)
    if POINT in maps:
        return films
    std = np.asarray(estimate.std)
    if std.shape[-1] == 1:
        films[WHAT["std"]] = films[WHAT["std"]]._replace(steady=True)
    else:
        std = np.sqrt(np.mean(std**2, axis=0)) if std.ndim == 4 else std
        frames = summary.factor * np.linalg.norm(std[..., times], axis=1).T
        still = maps[WHAT["std"]]
        whole = Map(still.values, still.label, None, still.cmap, (0.0, float(frames.max()) or 1.0))
        films[WHAT["std"]] = Film(whole, frames)
    if estimate.samples.steady:
        found = estimate.mean[..., times]
        found = found.mean(axis=0) if found.ndim == 4 else found
        level = jnp.asarray(summary.threshold, float)
        frames = np.asarray(directed_exceedance(found, estimate.cov, level)).T
        films[WHAT["exceedance"]] = Film(maps[WHAT["exceedance"]], frames)
    return films


def _whole_range(item: Map, top: float) -> Map:
    """The same map on the colours of all times."""
    limits = item.limits or (0.0, 1.0)
    share = (item.threshold or 0.0) / limits[1]
    return Map(item.values, item.label, share * top, item.cmap, (0.0, top or 1.0), item.spheres)
