"""Figures of an estimate: data, time courses with bands, maps, diagnostics."""

import jax.numpy as jnp
import numpy as np

from esijax._ops.exceed import directed_exceedance
from esijax._types import InputError
from esijax.estimate import Estimate
from esijax.viz._surface import Cortex, on_fsaverage
from esijax.viz.cortex import Map, glass_points, plot_maps
from esijax.viz.interactive import view_maps
from esijax.viz.problem_cortex import cortex_of
from esijax.viz.summary import Summary, hemispheres, place_name, summarise

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
# with fewer, the triangles of a hemisphere make no surface: its sources are shown as points
MIN_TRIANGLES = 20


def plot_data(estimate: Estimate, summary: Summary | None = None):
    """Draw the recording per channel type, and the whitened data with what the map explains.

    Parameters
    ----------
    estimate : Estimate
    summary : Summary, optional

    Returns
    -------
    matplotlib.figure.Figure
    """
    import matplotlib.pyplot as plt

    summary = summarise(estimate) if summary is None else summary
    problem = estimate.problem
    times = 1e3 * problem.times
    recording, white = _averaged(problem.recording), _averaged(problem.samples)
    types = np.array(problem.labels.ch_types)
    kinds = [k for k in dict.fromkeys((*UNITS, *types.tolist())) if (types == k).any()]
    n = len(kinds) + 1
    width = max(min(4.2 * n, 12.8), 2.6 * n)
    figure, axes = plt.subplots(1, n, figsize=(width, 2.9), layout="constrained", squeeze=False)
    axes = axes[0]
    dot = _single_sample_marker(times)
    for ax, kind in zip(axes[:-1], kinds, strict=True):
        factor, unit = UNITS.get(kind, (1.0, ""))
        rows = recording[types == kind]
        ax.plot(times, factor * rows.T, color="0.35", lw=0.5, alpha=0.6, **dot)
        ax.set(title=f"{len(rows)} {NAMES.get(kind, kind)}", ylabel=unit)
    rms = np.sqrt(np.mean(white**2, axis=0))
    axes[-1].plot(times, rms, color="k", lw=1.2, label="data", **dot)
    fitted = estimate.fitted_samples
    if fitted is not None:
        left = np.sqrt(np.mean((white - _averaged(fitted)) ** 2, axis=0))
        axes[-1].plot(times, left, color="C3", lw=1.2, label="residual", **dot)
    axes[-1].axhline(1.0, color="C0", ls=":", lw=1.2, label="noise")
    axes[-1].set(
        title="whitened, rms over channels", ylabel="noise standard deviations", ylim=(0, None)
    )
    axes[-1].legend(frameon=False, fontsize=9)
    for ax in axes:
        ax.axvline(times[summary.peak_time], color="0.7", lw=0.8, zorder=0)
        ax.set_xlabel("time (ms)")
    return figure


def plot_courses(estimate: Estimate, summary: Summary | None = None, level: float = 0.9):
    """Draw time courses with their credible band at the peaks of the map.

    Parameters
    ----------
    estimate : Estimate
    summary : Summary, optional
    level : float
        Probability of the band.

    Returns
    -------
    matplotlib.figure.Figure
    """
    import matplotlib.pyplot as plt

    summary = summarise(estimate) if summary is None else summary
    times = 1e3 * estimate.problem.times
    places = summary.places or (0,)
    n = len(places)
    figure, axes = plt.subplots(
        1, n, figsize=(4.2 * n, 3.2), sharey=True, layout="constrained", squeeze=False
    )
    for i, (ax, location) in enumerate(zip(axes[0], places, strict=True)):
        course = estimate.label([location], level=level, mode="mean")
        mean, low, high = (
            summary.factor * _averaged_course(x) for x in (course.mean, course.lower, course.upper)
        )
        ax.fill_between(times, low, high, color=f"C{i}", alpha=0.25, lw=0)
        if len(times) == 1:
            ax.vlines(times, low, high, color=f"C{i}", alpha=0.25, lw=6)
        ax.plot(times, mean, color=f"C{i}", lw=1.4, **_single_sample_marker(times))
        ax.axhline(0, color="0.5", lw=0.6)
        ax.axvline(times[summary.peak_time], color="0.7", lw=0.8, zorder=0)
        ax.set(title=place_name(estimate, location), xlabel="time (ms)")
    axes[0, 0].set_ylabel(f"along the normal ({summary.unit})")
    band = "" if estimate.std is None else f" and {100 * level:.0f} % credible band"
    what = "most probable amplitude" if estimate.std is None else "posterior mean"
    figure.suptitle(what + band, fontsize=11)
    return figure


def maps_of(estimate: Estimate, summary: Summary) -> dict[str, Map]:
    """Posterior mean, standard deviation and exceedance probability at the peak."""
    at, factor = summary.peak_time, summary.factor
    top = float(summary.amplitude[:, at].max())
    if estimate.std is None:
        return {
            "most probable": Map(
                summary.amplitude[:, at],
                summary.unit,
                threshold=1e-6 * top,
                cmap="inferno",
                limits=(0.0, top or 1.0),
            )
        }
    std = _std_at(estimate, at)
    probability = exceedance_at(estimate, summary.threshold, at)
    shown = summary.threshold * factor
    return {
        "posterior mean": Map(
            summary.amplitude[:, at],
            summary.unit,
            threshold=0.4 * top,
            cmap="inferno",
            limits=(0.0, top or 1.0),
        ),
        "posterior SD": Map(factor * std, summary.unit, cmap="viridis"),
        "Pr(exceeds)": Map(
            probability,
            f"Pr(> {shown:.3g} {summary.unit})",
            threshold=0.5,
            cmap="magma",
            limits=(0.0, 1.0),
        ),
    }


def _std_at(estimate: Estimate, at: int) -> np.ndarray:
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


def plot_map(estimate: Estimate, summary: Summary | None = None, title: str | None = None):
    """Draw mean, standard deviation and exceedance probability, three rows by four views.

    Parameters
    ----------
    estimate : Estimate
    summary : Summary, optional
    title : str, optional

    Returns
    -------
    matplotlib.figure.Figure
        On the cortex where all sources are on one, else three projections of the mean.

    Raises
    ------
    InputError
        If the problem has no positions.
    """
    if estimate.problem.geometry.positions is None:
        raise InputError("a map shows where sources are: give positions to from_arrays.")
    summary = summarise(estimate) if summary is None else summary
    maps = maps_of(estimate, summary)
    moment = 1e3 * estimate.problem.times[summary.peak_time]
    title = title or f"{estimate.model} / {estimate.method} at {moment:.0f} ms"
    surfaces = _surfaces(estimate)
    if surfaces is None:
        first = next(iter(maps.values()))
        return glass_points(
            np.asarray(estimate.problem.geometry.positions), first.values, title, label=first.label
        )
    return plot_maps(surfaces, maps, title=title)


def view_map(estimate: Estimate, summary: Summary | None = None) -> str | None:
    """Give a standalone page with the maps on a cortex to turn; None without a cortex."""
    summary = summarise(estimate) if summary is None else summary
    surfaces = _surfaces(estimate)
    return None if surfaces is None else view_maps(surfaces, maps_of(estimate, summary))


def _surfaces(estimate: Estimate) -> Cortex | None:
    """The cortex, where all sources are on one and each side has a mesh to show."""
    geometry, labels = estimate.problem.geometry, estimate.problem.labels
    if geometry.triangles is None or set(labels.kinds) != {"surface"}:
        return None
    side, triangles = hemispheres(estimate), np.asarray(geometry.triangles)
    sizes = np.bincount(side[triangles[:, 0]], minlength=2)
    known = on_fsaverage(labels.subject, np.concatenate(labels.vertices))
    if not known and (sizes[np.unique(side)] < MIN_TRIANGLES).any():
        return None
    return cortex_of(estimate.problem)


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
    axes[1].plot(grid, norm.pdf(grid), color="C3", lw=1.2, label="N(0, 1)")
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
