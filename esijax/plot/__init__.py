"""Pictures of what was measured, assumed and found: `esijax.plot`.

Each function takes ``ax``, where to draw: None for a new figure, a Matplotlib Figure or SubFigure,
or one Axes where a single panel is enough. What was given comes back, else the new figure.
Colour maps and lines are safe for colour-blind readers; colour bars bear their unit.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from esijax.estimate import Estimate
from esijax.problem import Problem

__all__ = ["calibration", "compare", "courses", "data", "map", "prior_posterior", "trust"]


def map(
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
    r"""Draw a source map: mean, standard deviation and exceedance probability.

    .. math:: \bar a_l = \lVert E[x_l \mid Y] \rVert, \qquad
              \Pr(x_l^\top \bar x_l / \bar a_l > \tfrac12 \max_m \bar a_m \mid Y)

    On the cortex; volumes on slices through the largest value, each source as large as the space
    nearest to it; both where the source space is mixed; three projections where it is neither.
    Where at most a tenth of the locations is active each is a sphere whose area is its amplitude,
    and the largest are listed beside.

    Parameters
    ----------
    estimate : Estimate
        Of any method.
    time : float, optional
        s; by default the time of the largest amplitude.
    what : "mean" | "std" | "exceedance" | None
        One of the three maps; None: all that the estimate has. With an Axes the first one.
    views : sequence of str, optional
        Of the cortex: "left" or "right" and lateral, medial, dorsal, ventral, anterior or
        posterior. By default lateral and medial of both; with an Axes that of the peak.
    title : str, optional
        By default model, method and time.
    patches : (sources, 3), optional
        Head coordinates of active simulated sources, m: a line is drawn around them on the
        cortex.
    mri : path | image, optional
        Image behind the slices; FreeSurfer's T1.mgz is read in the coordinates of its surfaces.
        None: the grid of the sources, grey.
    trans : mne.Transform | (4, 4), optional
        Head to MRI, for `mri`.
    ax : matplotlib Axes | Figure | SubFigure, optional
        An Axes takes one view. Slices need a whole Figure.

    Returns
    -------
    matplotlib.figure.Figure | matplotlib.axes.Axes

    Raises
    ------
    InputError
        Without positions, for a time outside the data, for maps and views that are not there.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> rng = np.random.default_rng(0)
    >>> gain, where = rng.standard_normal((8, 12)), 0.04 * rng.standard_normal((12, 3))
    >>> problem = ej.from_arrays(gain, gain[:, :3], noise_cov=0.1, positions=where)
    >>> estimate = ej.solve(problem, ej.models.MinimumNorm(), ej.inference.Linear())
    >>> [axes.get_title() for axes in ej.plot.map(estimate, time=1.0).axes[:3]]
    ['sagittal', 'coronal', 'axial']
    """
    from esijax.viz.maps import plot_map

    where = {"views": views, "patches": patches, "mri": mri, "trans": trans}
    return plot_map(estimate, time, what, title=title, **where, ax=ax)


def compare(
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
    """Draw the means of several estimates at one time, a row each with its own colour bar.

    Parameters
    ----------
    estimates : dict of Estimate
        By name; all of the same source locations.
    time : float, optional
        s; by default that of the largest amplitude of the first.
    views : sequence of str, optional
        As of `map`.
    title : str, optional
        As of `map`.
    patches : (sources, 3), optional
        As of `map`.
    mri : path, optional
        As of `map`.
    trans : mne.transforms.Transform, optional
        As of `map`.
    ax : matplotlib Figure | SubFigure, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    InputError
        For other source locations, and a time that one of them does not have.

    Examples
    --------
    >>> ej.plot.compare({"dSPM": one, "mixed norm": other}, time=0.092)  # doctest: +SKIP
    """
    from esijax.viz.maps import plot_compare

    where = {"views": views, "patches": patches, "mri": mri, "trans": trans}
    return plot_compare(estimates, time, title=title, **where, ax=ax)


def courses(
    estimate: Estimate,
    where: Sequence[Any] | None = None,
    *,
    level: Any = 0.9,
    time: Any = None,
    ax: Any = None,
):
    """Draw time courses along the normal with their credible bands.

    Parameters
    ----------
    estimate : Estimate
        Of any method.
    where : sequence of int, mne.Label or array of int, optional
        Locations and regions (their mean, signs aligned); by default the strongest places, 3 cm
        apart.
    level : float
        Probability of the band at each sample.
    time : float, optional
        s; where the strongest places are looked for, marked by a line. By default the peak.
    ax : matplotlib Axes | Figure | SubFigure, optional
        An Axes takes all courses, a figure has a panel for each.

    Returns
    -------
    matplotlib.figure.Figure | matplotlib.axes.Axes

    Raises
    ------
    InputError
        For a region that the problem does not have.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> gain = np.random.default_rng(0).standard_normal((8, 12))
    >>> problem = ej.from_arrays(gain, gain[:, :3], noise_cov=0.1)
    >>> estimate = ej.solve(problem, ej.models.MinimumNorm(), ej.inference.Linear())
    >>> [axes.get_title() for axes in ej.plot.courses(estimate, [0, 5]).axes]
    ['location 0', 'location 5']
    """
    from esijax.viz.figures import plot_courses

    return plot_courses(estimate, where, level, time, ax)


def data(of: Estimate | Problem, kind: str | None = None, *, time: Any = None, ax: Any = None):
    """Draw the recording by channel type, and the whitened data with what a map leaves of them.

    Parameters
    ----------
    of : Estimate | Problem
        A problem has no residual.
    kind : str, optional
        One channel type ("eeg", "mag", "grad", ...) or "whitened"; by default all.
    time : float, optional
        s, marked by a line; by default the peak of the map.
    ax : matplotlib Axes | Figure | SubFigure, optional
        An Axes takes one kind, by default "whitened".

    Returns
    -------
    matplotlib.figure.Figure | matplotlib.axes.Axes

    Raises
    ------
    InputError
        For a kind that was not measured.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> gain = np.random.default_rng(0).standard_normal((8, 12))
    >>> problem = ej.from_arrays(gain, gain[:, :3], noise_cov=0.1)
    >>> [axes.get_title() for axes in ej.plot.data(problem).axes]
    ['8 data', 'whitened, rms over channels']
    """
    from esijax.viz.figures import plot_data

    return plot_data(of, kind, time, ax)


def prior_posterior(
    estimate: Estimate,
    model: Any = None,
    names: str | Sequence[str] | None = None,
    *,
    noise: Any = None,
    n: int = 1000,
    key: Any = 0,
    ax: Any = None,
):
    """Draw hyper-parameters before and after the data.

    Parameters
    ----------
    estimate : Estimate
        Its `hyper`, in normalised units: draws as a histogram, a single value as a line.
    model : Prior, optional
        What was solved with: draws of its hyper-prior are shown behind. Without it the posterior
        alone.
    names : str | sequence of str, optional
        Which; a name stands for all its numbers. By default the first 12.
    noise : Noise, optional
        What was solved with.
    n : int
        Draws of the prior.
    key : PRNG key | int
        For these draws.
    ax : matplotlib Axes | Figure | SubFigure, optional
        An Axes takes one number.

    Returns
    -------
    matplotlib.figure.Figure | matplotlib.axes.Axes

    Raises
    ------
    InputError
        Where there are no hyper-parameters, for unknown names, and for a flat hyper-prior.

    Examples
    --------
    >>> ej.plot.prior_posterior(estimate, prior, "gamma")  # doctest: +SKIP
    """
    from esijax.viz.hyper import plot_prior_posterior

    return plot_prior_posterior(estimate, model, names, noise=noise, n=n, key=key, ax=ax)


def calibration(
    result: Any, names: Sequence[str] | None = None, *, level: Any = 0.95, ax: Any = None
):
    r"""Draw whether stated probabilities are met.

    Of ranks, :math:`\hat F(z) - z` with the band that holds all of it with the given probability.
    Above the band on the left: truths too low among the draws, the posterior lies too high; below
    left and above right: posterior too wide; the other way round: too narrow. Of Pr(active), the
    observed share against the stated probability.

    Parameters
    ----------
    result : Calibration | Reliability
        From `esijax.metrics.sbc`, `ranks` or `gauntlet`; or from `esijax.metrics.reliability`.
    names : sequence of str, optional
        Which quantities were ranked; by default all, or the 16 of smallest p-value.
    level : float
        Probability of the band.
    ax : matplotlib Axes | Figure | SubFigure, optional
        An Axes takes one quantity.

    Returns
    -------
    matplotlib.figure.Figure | matplotlib.axes.Axes

    Raises
    ------
    InputError
        For a quantity that was not ranked, and other results.

    References
    ----------
    Säilynoja, Bürkner and Vehtari 2022, doi:10.1007/s11222-022-10090-6.
    DeGroot and Fienberg 1983, doi:10.2307/2987588.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> position = np.random.default_rng(0).uniform(0, 100, (200, 2))
    >>> result = ej.metrics.Calibration(("a", "b"), (99, 99), position, np.zeros(2))
    >>> len(ej.plot.calibration(result).axes)
    2
    """
    from esijax.viz.sbc import plot_calibration

    return plot_calibration(result, names, level, ax)


def trust(trust: Any, ax: Any = None):
    """Draw whether a map can be believed: a light, a sentence, and the checks behind them.

    Parameters
    ----------
    trust : Estimate | what `estimate.trust()` gives
        It has ``light``, ``sentence`` and ``checks``, each with ``name``, ``value``, ``limit`` and
        ``light``.
    ax : matplotlib Axes | Figure | SubFigure, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        For anything else.

    Examples
    --------
    >>> ej.plot.trust(estimate)  # doctest: +SKIP
    """
    from esijax.viz.trust import plot_trust

    return plot_trust(trust, ax)
