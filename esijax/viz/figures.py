"""Figures of an estimate: data, time courses with bands, diagnostics."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from esijax._types import InputError
from esijax._where import indices
from esijax.estimate import Estimate
from esijax.problem import Problem
from esijax.viz._canvas import figure_for, is_axes
from esijax.viz._style import LINES
from esijax.viz.maps import summary_of
from esijax.viz.summary import place_name

# factor from the SI unit that MNE-Python gives the type, and the unit shown; others as they came
UNITS = {
    "eeg": (1e6, "µV"),
    "mag": (1e15, "fT"),
    "grad": (1e13, "fT/cm"),
    **dict.fromkeys(("ecog", "seeg", "dbs"), (1e6, "µV")),
    "csd": (1e3, "mV/m²"),
    **dict.fromkeys(("hbo", "hbr"), (1e6, "µM")),
}
NAMES = {
    "eeg": "EEG",
    "mag": "magnetometers",
    "grad": "gradiometers",
    "ecog": "ECoG",
    "seeg": "sEEG",
    "csd": "CSD",
    "unknown": "data",
}
WHITENED = "whitened"


def plot_data(of: Estimate | Problem, kind: str | None = None, time: Any = None, ax: Any = None):
    """Draw the recording by type, and the whitened data: `esijax.plot.data`."""
    estimate = of if isinstance(of, Estimate) else None
    problem = of.problem if isinstance(of, Estimate) else of
    moment = None
    if estimate is not None:
        moment = 1e3 * problem.times[summary_of(estimate, time).peak_time]
    elif time is not None:
        moment = 1e3 * float(time)
    types = np.array(problem.labels.ch_types)
    kinds = [k for k in dict.fromkeys((*UNITS, *types.tolist())) if (types == k).any()]
    if kind not in (None, WHITENED, *kinds):
        raise InputError(f"kind must be one of {', '.join((*kinds, WHITENED))}, got {kind!r}.")
    one = is_axes(ax)
    drawn = [kind or WHITENED] if one else [*kinds, WHITENED] if kind is None else [kind]
    if one:
        panels = [ax]
    else:
        n = len(drawn)
        ax = figure_for(ax, (max(min(4.2 * n, 12.8), 2.6 * n), 2.9))
        panels = ax.subplots(1, n, squeeze=False)[0]
    for panel, name in zip(panels, drawn, strict=True):
        if name == WHITENED:
            _draw_whitened(panel, problem, estimate)
        else:
            _draw_recording(panel, problem, name, types == name)
        if moment is not None:
            panel.axvline(moment, color="0.7", lw=0.8, zorder=0)
        panel.set_xlabel("time (ms)")
    return ax


def _draw_recording(ax, problem: Problem, kind: str, chosen: np.ndarray) -> None:
    factor, unit = UNITS.get(kind, (1.0, ""))
    rows, times = _averaged(problem.recording)[chosen], 1e3 * problem.times
    dot = _single_sample_marker(times)
    ax.plot(times, factor * rows.T, color="0.35", lw=0.5, alpha=0.6, **dot)
    ax.set(title=f"{len(rows)} {NAMES.get(kind, kind)}", ylabel=unit)


def _draw_whitened(ax, problem: Problem, estimate: Estimate | None) -> None:
    white, times = _averaged(problem.samples), 1e3 * problem.times
    dot = _single_sample_marker(times)
    rms = np.sqrt(np.mean(white**2, axis=0))
    ax.plot(times, rms, color="k", lw=1.2, label="data", **dot)
    fitted = None if estimate is None else estimate.fitted_samples
    if fitted is not None:
        left = np.sqrt(np.mean((white - _averaged(fitted)) ** 2, axis=0))
        ax.plot(times, left, color=LINES[1], lw=1.2, ls="--", label="residual", **dot)
    ax.axhline(1.0, color=LINES[0], ls=":", lw=1.2, label="noise")
    ax.set(title="whitened, rms over channels", ylabel="noise standard deviations", ylim=(0, None))
    ax.legend(frameon=False, fontsize=9)


def plot_courses(
    estimate: Estimate,
    where: Sequence[Any] | None = None,
    level: Any = 0.9,
    time: Any = None,
    ax: Any = None,
):
    """Draw time courses with their credible band: `esijax.plot.courses`."""
    summary = summary_of(estimate, time)
    places = (
        list(summary.places or (0,))
        if where is None
        else _listed(where, estimate.problem.n_locations)
    )
    single = is_axes(ax)
    if single:
        panels = [ax] * len(places)
    else:
        ax = figure_for(ax, (4.2 * len(places), 3.2))
        panels = ax.subplots(1, len(places), sharey=True, squeeze=False)[0]
    moment = 1e3 * estimate.problem.times[summary.peak_time]
    for i, (panel, place) in enumerate(zip(panels, places, strict=True)):
        name = _name_of(estimate, place)
        _draw_course(panel, estimate, place, level, summary.factor, LINES[i % len(LINES)], name)
        panel.axvline(moment, color="0.7", lw=0.8, zorder=0)
        panel.set(title="" if single else name, xlabel="time (ms)")
    panels[0].set_ylabel(f"along the normal ({summary.unit})")
    band = "" if estimate.std is None else f" and {100 * level:.0f} % credible band"
    text = ("most probable amplitude" if estimate.std is None else "posterior mean") + band
    if single:
        ax.set_title(text, fontsize=11)
        ax.legend(frameon=False, fontsize=9)
    else:
        ax.suptitle(text, fontsize=11)
    return ax


def _listed(where: Any, n: int) -> list[Any]:
    """The places as a list, at least one; a single number or label is a list of one."""
    if _is_one(where) or hasattr(where, "vertices") or hasattr(where, "lh"):
        where = [where]
    places = [int(indices(p, n, "locations")[0]) if _is_one(p) else p for p in where]
    if not places:
        raise InputError("where holds no place: give locations or labels, or None for the peaks.")
    return places


def _is_one(place: Any) -> bool:
    """Whether it is a single location, and no region."""
    return isinstance(place, int | np.integer)


def _name_of(estimate: Estimate, place: Any) -> str:
    if _is_one(place):
        return place_name(estimate, int(place))
    return str(getattr(place, "name", None) or f"{len(place)} locations")


def _draw_course(ax, estimate, place, level, factor, colour, name) -> None:
    """One course: of a location as it is, of a region with the signs of its normals."""
    single = _is_one(place)
    region, mode = ([int(place)], "mean") if single else (place, "mean_flip")
    course = estimate.label(region, level=level, mode=mode)
    mean, low, high = (
        factor * _averaged_course(x) for x in (course.mean, course.lower, course.upper)
    )
    times = 1e3 * course.times
    ax.fill_between(times, low, high, color=colour, alpha=0.25, lw=0)
    if len(times) == 1:
        ax.vlines(times, low, high, color=colour, alpha=0.25, lw=6)
    ax.plot(times, mean, color=colour, lw=1.4, label=name, **_single_sample_marker(times))
    ax.axhline(0, color="0.5", lw=0.6)


def plot_diagnostics(estimate: Estimate):
    """Draw goodness of fit over time and whether the whitened residual looks like noise.

    Parameters
    ----------
    estimate : Estimate
        Of a method that models the data.

    Returns
    -------
    matplotlib.figure.Figure | None
    """
    import matplotlib.pyplot as plt
    from scipy.stats import norm

    if estimate.gof is None:
        return None
    times = 1e3 * estimate.problem.times
    gof = np.asarray(estimate.gof)
    gof = gof.mean(axis=0) if gof.ndim == 2 else gof
    left = (np.asarray(estimate.problem.samples) - np.asarray(estimate.fitted_samples)).ravel()
    figure, axes = plt.subplots(1, 2, figsize=(8.4, 2.9), layout="constrained")
    axes[0].plot(times, 100 * gof, color="k", lw=1.2, **_single_sample_marker(times))
    axes[0].set(
        title="goodness of fit", xlabel="time (ms)", ylabel="explained power (%)", ylim=(0, 100)
    )
    grid = np.linspace(-5, 5, 101)
    axes[1].hist(left, bins=grid, density=True, color="0.7", label="whitened residual")
    axes[1].plot(grid, norm.pdf(grid), color=LINES[1], lw=1.2, label="N(0, 1)")
    axes[1].set(title="residual against noise", xlabel="noise standard deviations", yticks=[])
    axes[1].legend(frameon=False, fontsize=9)
    return figure


def _single_sample_marker(times: np.ndarray) -> dict[str, str]:
    """Style of a course of one sample: a marker, for a line would show nothing."""
    return {"marker": "o"} if len(times) == 1 else {}


def _averaged(array) -> np.ndarray:
    array = np.asarray(array)
    return array.mean(axis=0) if array.ndim == 3 else array


def _averaged_course(array) -> np.ndarray:
    array = np.asarray(array)
    return array.mean(axis=0) if array.ndim == 2 else array
