"""The cortex of a problem, to draw maps on."""

import numpy as np

from esijax._types import InputError
from esijax.problem import Problem
from esijax.viz._surface import Cortex, cortex

__all__ = ["cortex_of"]


def cortex_of(problem: Problem) -> Cortex:
    """Prepare the surfaces on which maps of a problem are shown.

    Parameters
    ----------
    problem : Problem
        With sources on a cortex: positions, and triangles or the vertices of fsaverage.

    Returns
    -------
    Cortex
        Both hemispheres, for `esijax.viz.cortex.plot_maps`.

    Raises
    ------
    InputError
        For sources that are on no surface.

    Examples
    --------
    >>> from esijax.viz.cortex import plot_maps
    >>> plot_maps(cortex_of(problem), {"mean": amplitude})  # doctest: +SKIP
    """
    geometry, labels = problem.geometry, problem.labels
    if geometry.positions is None or set(labels.kinds) != {"surface"}:
        raise InputError("a cortex needs sources on surfaces; show points with `glass_points`.")
    sizes = [len(v) for v in labels.vertices]
    side = (np.repeat(np.arange(len(sizes)), sizes) > 0).astype(int)
    triangles = None if geometry.triangles is None else np.asarray(geometry.triangles)
    return cortex(
        np.asarray(geometry.positions),
        triangles,
        np.concatenate(labels.vertices),
        labels.subject,
        side,
    )
