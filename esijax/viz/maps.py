"""The map of an estimate, and maps of several side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from scipy.spatial import KDTree

from esijax._ops.exceed import directed_exceedance
from esijax._shown import side_text
from esijax._types import InputError
from esijax.estimate import Estimate
from esijax.viz._canvas import figure_for, is_axes
from esijax.viz._spheres import NUMBERED, Row
from esijax.viz._style import PROBABILITY, SIZE, SPREAD, Map
from esijax.viz._surface import Cortex, cortex, on_fsaverage
from esijax.viz.cortex import VIEWS, glass_points, plot_maps, plot_view
from esijax.viz.slices import is_grid, plot_slices
from esijax.viz.summary import Summary, hemispheres, summarise

# with fewer, the triangles of a hemisphere make no surface: its sources are shown as points
MIN_TRIANGLES = 20
FEW = 0.1  # share of locations: a map of at most so many is drawn as spheres
NOTHING = 1e-3  # of the largest amplitude: less is none
NEAR = 0.008  # m, from an active simulated source: within its patch
WHAT = {"mean": "posterior mean", "std": "posterior SD", "exceedance": "Pr(exceeds)"}
OUTLINE = "; outlined: the simulated sources"
POINT = "most probable"  # the mean of a point estimate


def maps_of(estimate: Estimate, summary: Summary) -> dict[str, Map]:
    """Posterior mean, standard deviation and exceedance probability at the peak."""
    at, factor = summary.peak_time, summary.factor
    mean = mean_map(summary.amplitude[:, at], summary.unit, estimate.std is None)
    if estimate.std is None:
        return {POINT: mean}
    shown = summary.threshold * factor
    return {
        WHAT["mean"]: mean,
        WHAT["std"]: Map(factor * std_at(estimate, at), summary.unit, cmap=SPREAD),
        WHAT["exceedance"]: Map(
            exceedance_at(estimate, summary.threshold, at),
            f"Pr(> {shown:.3g} {summary.unit})",
            threshold=0.5,
            cmap=PROBABILITY,
            limits=(0.0, 1.0),
            spheres=mean.spheres,
        ),
    }


def mean_map(values: np.ndarray, unit: str, point: bool) -> Map:
    """Amplitudes (locations,): as spheres where few are not zero, else the larger ones."""
    top = float(values.max())
    active = int((values > NOTHING * top).sum())
    spheres = 0 < active <= max(1.0, FEW * len(values))
    share = NOTHING if spheres else 0.05 if point else 0.4
    return Map(values, unit, share * top, SIZE, (0.0, top or 1.0), spheres)


def std_at(estimate: Estimate, at: int) -> np.ndarray:
    """Root of the total variance of each location at one sample, trials averaged."""
    std = np.asarray(estimate.std)
    std = np.sqrt(np.mean(std**2, axis=0)) if std.ndim == 4 else std
    return np.linalg.norm(std[..., at if std.shape[-1] > 1 else 0], axis=-1)


def exceedance_at(estimate: Estimate, threshold: float, at: int) -> np.ndarray:
    """Exceedance along the mean at one sample, trials averaged, without the other samples."""
    if not estimate.samples.steady:
        found = np.asarray(estimate.exceedance(threshold, along="mean", at=(None, [at])))
        return found.mean(axis=0)[:, 0] if found.ndim == 3 else found[:, 0]
    mean = estimate.mean[..., at : at + 1]
    mean = mean.mean(axis=0) if mean.ndim == 4 else mean
    return np.asarray(directed_exceedance(mean, estimate.cov, jnp.asarray(threshold, float)))[:, 0]


def plot_map(
    estimate: Estimate,
    time: Any = None,
    what: str | None = None,
    *,
    views: Sequence[str] | None = None,
    title: str | None = None,
    patches: Any = None,
    mri: Any = None,
    trans: Any = None,
    ax: Any = None,
):
    """Draw the maps of an estimate at one time: `esijax.plot.map`; `time` may be a Summary."""
    positions = _positions(estimate)
    summary = summary_of(estimate, time)
    maps = _chosen(maps_of(estimate, summary), what)
    moment = 1e3 * estimate.problem.times[summary.peak_time]
    title = title or f"{estimate.model} / {estimate.method} at {moment:.0f} ms"
    if is_axes(ax):
        return _one_view(estimate, maps, views, patches, ax)
    where = {"outline": outline_of(estimate, patches), "views": views or VIEWS}
    behind = {"mri": mri, "trans": trans}
    title += OUTLINE if patches is not None else ""
    table = _table(estimate, next(iter(maps.values())))
    return _drawn(estimate, positions, maps, title, table, where, behind, ax)


def _one_view(estimate: Estimate, maps: dict[str, Map], views, patches, ax):
    """One map from one side, in the caller's Axes."""
    surfaces = surfaces_of(estimate)
    if surfaces is None:
        raise InputError("sources that lie on no cortex need several panels: give a Figure as ax.")
    name, item = next(iter(maps.items()))
    view = None if views is None else views if isinstance(views, str) else views[0]
    return plot_view(surfaces, name, item, view, ax, outline_of(estimate, patches))


def _drawn(estimate, positions, maps, title, table, where, behind, ax, together=True):
    """Cortex, slices or both, or three projections, as the source spaces are."""
    surfaces, inside = surfaces_of(estimate), in_volume(estimate)
    if surfaces is None and (not inside.any() or (len(maps) == 1 and _few(maps))):
        first = next(iter(maps.values()))
        return glass_points(positions, first.values, title, label=first.label, ax=ax)
    if surfaces is None:
        return plot_slices(positions, maps, title=title, **behind, ax=ax, together=together)
    if not inside.any():
        return plot_maps(surfaces, maps, title=title, table=table, **where, ax=ax)
    deep = {name: _part(item, inside) for name, item in maps.items()}
    figure = figure_for(ax, (13.6, 2.2 * len(maps) + 0.9 + 2.5 * len(deep)))
    share = (2.2 * len(maps) + 0.9) / (2.2 * len(maps) + 0.9 + 2.5 * len(deep))
    upper, _ = figure.subfigures(2, 1, height_ratios=[share, 1 - share])
    plot_maps(surfaces, maps, title=title, table=table, **where, ax=upper)
    plot_slices(
        positions[inside], deep, **behind, ax=figure, part=(0.0, 1 - share), together=together
    )
    return figure


def _few(maps: Mapping[str, Map]) -> bool:
    return next(iter(maps.values())).spheres


def _part(item: Map, inside: np.ndarray) -> Map:
    """A map at some locations, on the colours of all."""
    values = np.asarray(item.values)
    limits = item.limits or (0.0, float(np.abs(values).max()) or 1.0)
    return Map(values[inside], item.label, item.threshold, item.cmap, limits)


def plot_compare(
    estimates: Mapping[str, Estimate],
    time: Any = None,
    *,
    views: Sequence[str] | None = None,
    title: str | None = None,
    patches: Any = None,
    mri: Any = None,
    trans: Any = None,
    ax: Any = None,
):
    """Draw the means of several estimates, a row each: `esijax.plot.compare`."""
    if not (isinstance(estimates, Mapping) and estimates):
        raise InputError("give the estimates by name: {'dSPM': estimate, ...}, at least one.")
    first = next(iter(estimates.values()))
    positions = _positions(first)
    summary = summary_of(first, time)
    seconds = float(first.problem.times[summary.peak_time])
    maps = {}
    for name, estimate in estimates.items():
        here = _positions(estimate)
        if here.shape != positions.shape or not np.allclose(here, positions, atol=1e-6):
            raise InputError(f"{name!r} has other source locations than {next(iter(estimates))!r}.")
        own = summary if estimate is first else summarise(estimate, seconds)
        maps[name] = mean_map(own.amplitude[:, own.peak_time], own.unit, estimate.std is None)
    title = title or f"source maps at {1e3 * seconds:.0f} ms"
    title += OUTLINE if patches is not None else ""
    where = {"outline": outline_of(first, patches), "views": views or VIEWS}
    behind = {"mri": mri, "trans": trans}
    if surfaces_of(first) is not None or in_volume(first).any():
        return _drawn(first, positions, maps, title, (), where, behind, ax, together=False)
    figure = figure_for(ax, (10.5, 3.7 * len(maps)))
    parts = np.atleast_1d(figure.subfigures(len(maps), 1))
    for part, (name, item) in zip(parts, maps.items(), strict=True):
        glass_points(positions, item.values, name, label=item.label, ax=part)
    return figure


def _positions(estimate: Estimate) -> np.ndarray:
    if estimate.problem.geometry.positions is None:
        raise InputError("a map shows where sources are: give positions to from_arrays.")
    return np.asarray(estimate.problem.geometry.positions)


def summary_of(estimate: Estimate, time: Any) -> Summary:
    """What is known of the map at a time (s), at its peak (None), or already (a Summary)."""
    return time if isinstance(time, Summary) else summarise(estimate, time)


def _chosen(maps: dict[str, Map], what: str | None) -> dict[str, Map]:
    """All maps, or the one that is asked for."""
    if what is None:
        return maps
    if what not in WHAT:
        raise InputError(f"what must be one of {', '.join(WHAT)} or None, got {what!r}.")
    if what != "mean" and POINT in maps:
        raise InputError(f"a point estimate has no {WHAT[what]}: ask for 'mean'.")
    name = POINT if POINT in maps else WHAT[what]
    return {name: maps[name]}


def _table(estimate: Estimate, item: Map) -> list[Row]:
    """The largest places of a map of few: side, head coordinates, amplitude."""
    if not item.spheres:
        return []
    values = np.asarray(item.values)
    order = np.argsort(-values, kind="stable")[: int((values >= (item.threshold or 0.0)).sum())]
    mm = 1e3 * _positions(estimate)[order]
    rows = [Row("", "", "x, y, z (mm, head)", item.label)]
    for rank, (location, (x, y, z)) in enumerate(zip(order[:NUMBERED], mm, strict=False)):
        side = side_text(estimate.problem.labels, int(location)).strip()
        rows.append(
            Row(str(rank + 1), side, f"{x:.0f}, {y:.0f}, {z:.0f}", f"{values[location]:.3g}")
        )
    if len(order) > NUMBERED:
        most = f"at most {values[order[NUMBERED]]:.3g}"
        rows.append(Row("", "", f"{len(order) - NUMBERED} more", most))
    return rows


def outline_of(estimate: Estimate, patches: Any) -> np.ndarray | None:
    """Field over locations that is above 0.5 within 8 mm of the active simulated sources."""
    if patches is None:
        return None
    patches = np.asarray(patches, float)
    if patches.ndim != 2 or patches.shape[1] != 3 or not len(patches):
        raise InputError(
            f"patches must be (sources, 3), head coordinates in m of the active simulated sources; "
            f"got {patches.shape}."
        )
    return 1.0 - KDTree(patches).query(_positions(estimate))[0] / (2 * NEAR)


def in_volume(estimate: Estimate) -> np.ndarray:
    """Locations that are shown on slices: of volumes, and of grids that no surface holds."""
    labels = estimate.problem.labels
    kinds = np.repeat(np.array(labels.kinds, "U8"), [len(v) for v in labels.vertices])
    grid = kinds == "discrete"
    if not is_grid(_positions(estimate)[grid]):
        grid[:] = False
    return (kinds == "volume") | grid


def surfaces_of(estimate: Estimate) -> Cortex | None:
    """The cortex, where each side of it has a mesh to show."""
    geometry, labels = estimate.problem.geometry, estimate.problem.labels
    if geometry.triangles is None or "surface" not in labels.kinds:
        return None
    side, triangles = hemispheres(estimate), np.asarray(geometry.triangles)
    sizes = np.bincount(side[triangles[:, 0]], minlength=2)
    vertices = np.concatenate(labels.vertices)
    known = on_fsaverage(labels.subject, vertices[side >= 0])
    if not known and (sizes[np.unique(side[side >= 0])] < MIN_TRIANGLES).any():
        return None
    return cortex(np.asarray(geometry.positions), triangles, vertices, labels.subject, side)
