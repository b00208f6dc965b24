"""Cortical patches: what a real source looks like, an area of cortex and not a point."""

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import dijkstra

from esijax._types import InputError
from esijax.problem import Geometry


def patch(geometry: Geometry, seed: int, area: float, *, smooth: bool = True) -> np.ndarray:
    r"""Grow a patch along the mesh from a seed to a given area.

    Locations join in the order of their distance along mesh edges. With ``smooth`` the
    moment density falls as :math:`\cos^2(\tfrac{\pi}{2} d / d_{max})`, else it is flat.

    Parameters
    ----------
    geometry : Geometry
        With positions, edges and areas.
    seed : int
        Location in the middle.
    area : float
        m2; a cortical source that EEG sees takes 6 to 10 cm2.
    smooth : bool
        Whether the density falls towards the rim.

    Returns
    -------
    profile : (locations,)
        Relative dipole moment of each location (density times area), its maximum 1; zero
        outside the patch.

    Raises
    ------
    InputError
        If the geometry has no cortical mesh, the area is not positive, or there is no such seed.

    References
    ----------
    Tao et al. 2005, doi:10.1111/j.1528-1167.2005.11404.x (6 to 20 cm2 for scalp-visible spikes).

    Examples
    --------
    >>> import esijax as ej
    >>> profile = ej.simulate.patch(problem.geometry, seed=120, area=8e-4)  # doctest: +SKIP
    """
    if geometry.areas is None or geometry.edges is None or geometry.positions is None:
        raise InputError("patches grow on a cortical mesh: this geometry has none.")
    if not area > 0:
        raise InputError(f"the area of a patch must be positive, got {area} m2.")
    if not 0 <= seed < len(geometry.positions):
        raise InputError(f"there is no location {seed}: there are {len(geometry.positions)}.")
    positions, edges = np.asarray(geometry.positions), np.asarray(geometry.edges)
    lengths = np.linalg.norm(positions[edges[:, 0]] - positions[edges[:, 1]], axis=1)
    n = len(positions)
    graph = sparse.csr_array((lengths, (edges[:, 0], edges[:, 1])), shape=(n, n))
    distance = dijkstra(graph, directed=False, indices=seed)
    areas = np.asarray(geometry.areas)
    order = np.argsort(distance)
    reached = order[np.isfinite(distance[order])]
    count = int(np.searchsorted(np.cumsum(areas[reached]), area)) + 1
    inside = reached[:count]
    density = np.zeros(n)
    rim = distance[inside].max() * 1.1 or 1.0
    density[inside] = np.cos(np.pi / 2 * distance[inside] / rim) ** 2 if smooth else 1.0
    moment = density * areas
    return moment / moment.max()
