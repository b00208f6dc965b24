"""Scores of where several sources are, on the mesh, and by transport; all on the host."""

from typing import Any

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Int

from esijax._types import InputError
from esijax.metrics.grid import geodesic, local_maxima


def geodesic_error(
    amplitude: Float[ArrayLike, " locations"],
    positions: Float[ArrayLike, "locations 3"],
    truth: Float[ArrayLike, "sources 3"],
    edges: Int[ArrayLike, "edges 2"],
) -> float:
    """Length of the way along the mesh from the largest amplitude to the nearest true source.

    Two banks of a sulcus are near each other through the air and far along the cortex.

    Parameters
    ----------
    amplitude : (locations,)
        Not negative.
    positions : (locations, 3)
        Where the locations are, m.
    truth : (sources, 3)
        Each is moved to the location nearest to it.
    edges : (edges, 2)
        Pairs of neighbouring locations.

    Returns
    -------
    distance : float
        In the unit of the positions; 0 is best, infinite in the other hemisphere.

    References
    ----------
    Grova et al. 2006, doi:10.1016/j.neuroimage.2005.08.053.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> corner = np.array([[0.0, 0, 0], [1.0, 0, 0], [1.0, 1, 0]])
    >>> edges = np.array([[0, 1], [1, 2]])
    >>> ej.metrics.geodesic_error(np.array([3.0, 1, 0]), corner, corner[2:], edges)
    2.0
    """
    positions, truth = np.asarray(positions), np.asarray(truth)
    peak = int(np.argmax(np.asarray(amplitude)))
    nearest = np.array([np.argmin(np.linalg.norm(positions - q, axis=1)) for q in truth])
    return float(geodesic(positions, edges, np.array([peak]))[0, nearest].min())


def find_peaks(
    amplitude: Float[ArrayLike, " locations"], edges: Int[ArrayLike, "edges 2"], k: int
) -> Int[np.ndarray, " peaks"]:
    """Give the largest local maxima of a map, largest first.

    Parameters
    ----------
    amplitude : (locations,)
        Not negative.
    edges : (edges, 2)
        Pairs of neighbours; see `local_maxima`.
    k : int
        How many at most.

    Returns
    -------
    peaks : int, (k or fewer,)
        Locations.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> chain = np.array([[0, 1], [1, 2], [2, 3]])
    >>> ej.metrics.find_peaks(np.array([2.0, 1, 3, 1]), chain, 2).tolist()
    [2, 0]
    """
    amplitude = np.asarray(amplitude)
    peaks = np.flatnonzero(np.asarray(local_maxima(amplitude, edges)))
    return peaks[np.argsort(-amplitude[peaks], kind="stable")[:k]]


def matched_error(
    amplitude: Float[ArrayLike, " locations"],
    positions: Float[ArrayLike, "locations 3"],
    truth: Float[ArrayLike, "sources 3"],
    edges: Int[ArrayLike, "edges 2"],
) -> Float[np.ndarray, " sources"]:
    r"""Distance of each true source to the peak that belongs to it.

    With k true sources the k largest local maxima of the map are its peaks; they are given to
    the sources one to one such that the sum of distances is least. Where the map has fewer
    peaks, a source that is left over takes the nearest peak.

    Parameters
    ----------
    amplitude : (locations,)
        Not negative.
    positions : (locations, 3)
        Where the locations are, m.
    truth : (sources, 3)
        Where the true sources are, m.
    edges : (edges, 2)
        Pairs of neighbours; see `local_maxima`.

    Returns
    -------
    distance : (sources,)
        In the unit of the positions; 0 is best, infinite where the map has no peak at all.

    References
    ----------
    Kuhn 1955, doi:10.1002/nav.3800020109 (assignment); Schuhmacher et al. 2008,
    doi:10.1109/TSP.2008.920469 (as a score of several sources).

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> line = np.array([[0.0, 0, 0], [1.0, 0, 0], [2.0, 0, 0], [3.0, 0, 0]])
    >>> edges = np.array([[0, 1], [1, 2], [2, 3]])
    >>> ej.metrics.matched_error(np.array([2.0, 1, 1, 3]), line, line[[3, 1]], edges).tolist()
    [0.0, 1.0]
    """
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    positions, truth = np.asarray(positions), np.asarray(truth)
    peaks = find_peaks(amplitude, edges, len(truth))
    if len(peaks) == 0:
        return np.full(len(truth), np.inf)
    apart = cdist(truth, positions[peaks])
    error = apart.min(axis=1)
    rows, columns = linear_sum_assignment(apart)
    error[rows] = apart[rows, columns]
    return error


def earth_mover(
    amplitude: Float[ArrayLike, " locations"],
    true_amplitude: Float[ArrayLike, " locations"],
    positions: Float[ArrayLike, "locations 3"],
    power: Any = 1,
) -> float:
    r"""Mean distance over which the map must be carried to become the truth.

    .. math:: \min_{F \ge 0} \sum_{lk} F_{lk} \lVert r_l - r_k \rVert, \qquad
              F 1 = a^p / \textstyle\sum a^p, \quad F^\top 1 = q^p / \sum q^p

    Parameters
    ----------
    amplitude, true_amplitude : (locations,)
        Not negative; both are divided by their sums.
    positions : (locations, 3)
        Where the locations are, m.
    power : float
        What the amplitudes are raised to: 2 moves power instead.

    Returns
    -------
    distance : float
        In the unit of the positions; 0 is best, NaN where one of the maps is zero.

    Raises
    ------
    InputError
        If POT is not installed.

    References
    ----------
    Rubner, Tomasi and Guibas 2000, doi:10.1023/A:1026543900054; of source maps: Haufe et al.
    2008, doi:10.1016/j.neuroimage.2008.05.006.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> line, one = np.array([[0.0, 0, 0], [3.0, 0, 0]]), np.array([1.0, 0])
    >>> ej.metrics.earth_mover(np.array([1.0, 1]), one, line)  # doctest: +SKIP
    1.5
    """
    from scipy.spatial.distance import cdist

    try:
        import ot
    except ImportError as error:
        raise InputError(
            "the earth mover's distance needs POT: pip install esijax[emd]."
        ) from error
    positions = np.asarray(positions)
    a, q = (np.asarray(x, dtype=float) ** power for x in (amplitude, true_amplitude))
    if not (a.sum() > 0 and q.sum() > 0):
        return float("nan")
    here, there = np.flatnonzero(a), np.flatnonzero(q)
    cost = cdist(positions[here], positions[there])
    plan = ot.emd2(a[here] / a.sum(), q[there] / q.sum(), cost, numItermax=10_000_000)
    return float(plan)
