"""Picture of simulation-based calibration."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from esijax._types import InputError
from esijax.metrics import Calibration, ecdf_band

MOST = 16


def plot_ecdf(result: Calibration, names: Sequence[str] | None = None, level: Any = 0.95):
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

    Returns
    -------
    matplotlib.figure.Figure

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
    import matplotlib.pyplot as plt

    ks, chi2 = result.ks, result.chi2
    if names is None:
        worst = sorted(result.names, key=lambda name: min(ks[name], chi2[name]))[:MOST]
        names = [name for name in result.names if name in worst]
    unknown = [name for name in names if name not in result.names]
    if unknown or not names:
        raise InputError(f"names must be among {result.names}, got {list(names)}.")
    z, lower, upper = ecdf_band(len(result.position), level)
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(2.9 * columns, 2.3 * rows + 0.4),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for ax, name in zip(axes.flat, names, strict=False):
        values = np.sort(result.pit[:, result.names.index(name)])
        shares = np.searchsorted(values, z, side="right") / len(values)
        outside = bool(((shares < lower) | (shares > upper)).any())
        ax.fill_between(z, lower - z, upper - z, color="0.85", lw=0)
        ax.axhline(0, color="0.5", lw=0.6)
        ax.plot(z, shares - z, color="C3" if outside else "C0", lw=1.2)
        ax.set_title(f"{name}: p = {min(ks[name], chi2[name]):.2g}", fontsize=9)
    for ax in axes.flat[len(names) :]:
        ax.remove()
    figure.supxlabel("rank of the truth among the draws (share)", fontsize=9)
    figure.supylabel("share of truths below, minus rank", fontsize=9)
    left = len(result.names) - len(names)
    more = f" ({left} more not shown)" if left else ""
    figure.suptitle(
        f"{len(values)} data sets, band {100 * level:g} %, p = {result.p_value:.2g}{more}",
        fontsize=10,
    )
    return figure
