"""Pictures of calibration: ranks of truths among draws, stated against observed probability."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from esijax._types import InputError
from esijax.metrics import Calibration, Reliability, ecdf_band
from esijax.viz._canvas import figure_for, is_axes
from esijax.viz._style import LINES

MOST = 16


def plot_calibration(result: Any, names: Sequence[str] | None = None, level: Any = 0.95, ax=None):
    """Draw ranks or a reliability curve: `esijax.plot.calibration`."""
    if isinstance(result, Reliability):
        return _plot_reliability(result, ax)
    if not isinstance(result, Calibration):
        raise InputError(
            f"give a Calibration (ej.metrics.sbc, ranks, gauntlet) or a Reliability "
            f"(ej.metrics.reliability), got {type(result).__name__}."
        )
    return plot_ecdf(result, names, level, ax)


def _plot_reliability(curve: Reliability, ax: Any):
    """Observed share against stated probability, with how many are in each bin."""
    import matplotlib.pyplot as plt

    if not is_axes(ax):
        figure = ax or plt.figure(figsize=(3.8, 3.6), layout="constrained")
        ax = figure.add_subplot()
    count = np.asarray(curve.count)
    full = count > 0
    stated, observed = np.asarray(curve.stated)[full], np.asarray(curve.observed)[full]
    ax.plot([0, 1], [0, 1], color="0.5", lw=0.8, ls=":", label="calibrated")
    ax.plot(stated, observed, color=LINES[0], lw=1.2)
    size = 15 + 160 * count[full] / count.sum()
    ax.scatter(stated, observed, s=size, color=LINES[0], label="observed, area: how many")
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    ax.set(xlabel="stated probability", ylabel="share that was active")
    ax.legend(frameon=False, fontsize=9, loc="upper left")
    return ax


def plot_ecdf(
    result: Calibration, names: Sequence[str] | None = None, level: Any = 0.95, ax: Any = None
):
    r"""Draw the empirical distribution of the ranks against what uniform ones do.

    Each panel shows :math:`\hat F(z) - z` with the band that holds all of it with the given
    probability. Above the band on the left: truths too low among the draws, the posterior lies
    too high; below left and above right: posterior too wide; the other way round: too narrow.

    Parameters
    ----------
    result : Calibration
        From `esijax.metrics.calibration.sbc`, `ranks` or `gauntlet`.
    names : sequence of str, optional
        Which quantities; by default all, or the 16 of smallest p-value.
    level : float
        Probability of the band.
    ax : Axes | Figure | SubFigure, optional
        Where to draw; an Axes holds one quantity.

    Returns
    -------
    matplotlib.figure.Figure | matplotlib.axes.Axes
        What was given as `ax`, or a new figure.

    Raises
    ------
    InputError
        For a quantity that was not ranked.

    References
    ----------
    Säilynoja, Bürkner and Vehtari 2022, doi:10.1007/s11222-022-10090-6.

    Examples
    --------
    >>> import numpy as np
    >>> from esijax.metrics import Calibration
    >>> from esijax.viz.sbc import plot_ecdf
    >>> position = np.random.default_rng(0).uniform(0, 100, (200, 2))
    >>> len(plot_ecdf(Calibration(("a", "b"), (99, 99), position, np.zeros(2))).axes)
    2
    """
    ks, chi2 = result.ks, result.chi2
    if names is None:
        worst = sorted(result.names, key=lambda name: min(ks[name], chi2[name]))[:MOST]
        names = [name for name in result.names if name in worst]
    unknown = [name for name in names if name not in result.names]
    if unknown or not names:
        raise InputError(f"names must be among {result.names}, got {list(names)}.")
    band = ecdf_band(len(result.position), level)
    if is_axes(ax):
        if len(names) > 1:
            raise InputError(f"one Axes holds one of {', '.join(names)}: choose it by names.")
        _draw_ecdf(ax, result, names[0], band, min(ks[names[0]], chi2[names[0]]))
        ax.set_xlabel("rank of the truth among the draws (share)", fontsize=9)
        ax.set_ylabel("share of truths below, minus rank", fontsize=9)
        return ax
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    figure = figure_for(ax, (2.9 * columns, 2.3 * rows + 0.4))
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for panel, name in zip(axes.flat, names, strict=False):
        _draw_ecdf(panel, result, name, band, min(ks[name], chi2[name]))
    for spare in axes.flat[len(names) :]:
        spare.remove()
    figure.supxlabel("rank of the truth among the draws (share)", fontsize=9)
    figure.supylabel("share of truths below, minus rank", fontsize=9)
    left = len(result.names) - len(names)
    more = f" ({left} more not shown)" if left else ""
    figure.suptitle(
        f"{len(result.position)} data sets, band {100 * level:g} %, p = {result.p_value:.2g}{more}",
        fontsize=10,
    )
    return figure


def _draw_ecdf(ax, result: Calibration, name: str, band, p_value: float) -> None:
    """One quantity: its band, and what its ranks do, dashed where they leave it."""
    z, lower, upper = band
    values = np.sort(result.pit[:, result.names.index(name)])
    shares = np.searchsorted(values, z, side="right") / len(values)
    outside = bool(((shares < lower) | (shares > upper)).any())
    ax.fill_between(z, lower - z, upper - z, color="0.85", lw=0)
    ax.axhline(0, color="0.5", lw=0.6)
    ax.plot(z, shares - z, color=LINES[int(outside)], ls="--" if outside else "-", lw=1.2)
    ax.set_title(f"{name}: p = {p_value:.2g}" + ", outside" * outside, fontsize=9)
