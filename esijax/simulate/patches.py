"""Cortical patches: what a real source looks like, an area of cortex and not a point."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy import sparse
from scipy.sparse.csgraph import connected_components, dijkstra

from esijax._ops.safe import divisor
from esijax._types import InputError
from esijax.problem import Geometry

PATCHES_AT_A_TIME = 500  # seeds at a time: distances to all locations are held for so many
ROW = np.dtype([("member", int), ("distance", float)])


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
    graph, areas = _mesh(geometry)
    _check_area(area)
    n = len(areas)
    if not 0 <= seed < n:
        raise InputError(f"there is no location {seed}: there are {n}.")
    if not areas[seed] > 0:
        raise InputError(f"location {seed} has no area: patches grow on the cortical mesh alone.")
    distance = dijkstra(graph, indices=seed)
    order = np.argsort(distance)
    reached = order[np.isfinite(distance[order])]
    count = int(np.searchsorted(np.cumsum(areas[reached]), area)) + 1
    inside = reached[:count]
    density = np.zeros(n)
    rim = distance[inside].max() * 1.1 or 1.0
    density[inside] = np.cos(np.pi / 2 * distance[inside] / rim) ** 2 if smooth else 1.0
    moment = density * areas
    return moment / moment.max()


class PatchTable(eqx.Module):
    r"""The nearest neighbours of every location, so that patches can be drawn inside jit and vmap.

    Row by row the locations in the order of their distance along mesh edges, up to the largest
    area that is asked for; made once on the host by `patch_table`.

    Parameters
    ----------
    members : (locations, members)
        Indices, the seed first; padded by the seed.
    distance : (locations, members)
        m along the mesh; infinite in the padding.
    areas : (locations, members)
        m2 of each member; zero in the padding.
    max_area : float
        Largest area (m2) that every row reaches, or its piece of mesh ends.
    """

    members: Int[Array, "locations members"]
    distance: Float[Array, "locations members"]
    areas: Float[Array, "locations members"]
    max_area: float = eqx.field(static=True)

    def grow(
        self, seed: Int[Array, ""], area: Any, *, smooth: bool = True
    ) -> tuple[Int[Array, " members"], Float[Array, " members"]]:
        r"""Patch of an area around a seed: the same that `patch` grows, its moments summing to 1.

        Parameters
        ----------
        seed : ()
        area : float
            m2, at most ``max_area``.
        smooth : bool
            Density :math:`\cos^2(\tfrac{\pi}{2} d / d_{max})`, else flat.

        Returns
        -------
        members : (members,)
        moment : (members,)
            Share of the patch's moment (density times area); zero for members outside.
        """
        members, distance, areas = self.members[seed], self.distance[seed], self.areas[seed]
        before = jnp.cumsum(areas) - areas
        inside = (before < area) & jnp.isfinite(distance)
        reach = jnp.where(inside, distance, 0.0)
        rim = 1.1 * jnp.max(reach)
        fall = jnp.cos(jnp.pi / 2 * reach / divisor(rim)) ** 2
        moment = jnp.where(inside, areas * (fall if smooth else 1.0), 0.0)
        return members, moment / jnp.sum(moment)


def patch_table(geometry: Geometry, max_area: float = 12e-4) -> PatchTable:
    """Make the table from which patches of any area up to `max_area` are drawn.

    Parameters
    ----------
    geometry : Geometry
        With positions, edges and areas.
    max_area : float
        m2.

    Returns
    -------
    table : PatchTable
        14 MB for 8,003 locations (oct6, 0.23 cm2 each) and 12 cm2, made in a second.

    Raises
    ------
    InputError
        If the geometry has no cortical mesh or the area is not positive.

    Examples
    --------
    >>> import esijax as ej
    >>> table = ej.simulate.patch_table(head.geometry, 10e-4)  # doctest: +SKIP
    >>> sources = ej.simulate.Patches(table, 2, area=(6e-4, 10e-4))  # doctest: +SKIP
    """
    graph, areas = _mesh(geometry)
    _check_area(max_area)
    _, piece = connected_components(graph, directed=False)
    room = np.bincount(piece)[piece]  # a piece of mesh may be smaller than the area
    n, radius = len(areas), 1.5 * float(np.sqrt(max_area / np.pi))
    rows: list[np.ndarray] = []
    for seeds in np.array_split(np.arange(n), -(-n // PATCHES_AT_A_TIME)):
        rows += _neighbourhoods(graph, areas, room, seeds, radius, max_area)
    width = max(len(row) for row in rows)
    index, distance, own = np.repeat(np.arange(n)[:, None], width, axis=1), *np.zeros((2, n, width))
    distance += np.inf
    for seed, row in enumerate(rows):
        index[seed, : len(row)] = row["member"]
        distance[seed, : len(row)] = row["distance"]
        own[seed, : len(row)] = areas[row["member"]]
    return PatchTable(jnp.asarray(index), jnp.asarray(distance), jnp.asarray(own), float(max_area))


def _neighbourhoods(graph, areas, room, seeds, radius: float, max_area: float) -> list[np.ndarray]:
    """Members of each seed in the order of distance, until `max_area` or the end of the piece."""
    distance = dijkstra(graph, indices=seeds, limit=radius)
    width = int(np.isfinite(distance).sum(axis=1).max())
    near = np.argpartition(distance, width - 1, axis=1)[:, :width]
    reach = np.take_along_axis(distance, near, axis=1)
    order = np.argsort(reach, axis=1)
    near, reach = (np.take_along_axis(a, order, axis=1) for a in (near, reach))
    known = np.isfinite(reach)
    grown = np.cumsum(np.where(known, areas[near], 0.0), axis=1)
    count = np.minimum((grown < max_area).sum(axis=1) + 1, known.sum(axis=1))
    short = (grown[:, -1] < max_area) & (known.sum(axis=1) < room[seeds])
    wider = {}
    if short.any():
        again = _neighbourhoods(graph, areas, room, seeds[short], 2.0 * radius, max_area)
        wider = dict(zip(np.flatnonzero(short).tolist(), again, strict=True))
    rows = []
    for i, n in enumerate(count):
        row = np.empty(n, dtype=ROW)
        row["member"], row["distance"] = near[i, :n], reach[i, :n]
        rows.append(wider.get(i, row))
    return rows


def _mesh(geometry: Geometry) -> tuple[sparse.csr_array, np.ndarray]:
    """Edge lengths as a symmetric graph, and areas; InputError where there is no mesh."""
    no_mesh = geometry.areas is None or geometry.edges is None or geometry.positions is None
    if no_mesh or not np.any(geometry.areas):
        raise InputError("patches grow on a cortical mesh: this geometry has no mesh.")
    positions, edges = np.asarray(geometry.positions), np.asarray(geometry.edges)
    lengths = np.linalg.norm(positions[edges[:, 0]] - positions[edges[:, 1]], axis=1)
    both = np.concatenate([edges, edges[:, ::-1]])
    n = len(positions)
    graph = sparse.csr_array((np.r_[lengths, lengths], (both[:, 0], both[:, 1])), shape=(n, n))
    return graph, np.asarray(geometry.areas)


def _check_area(area: float) -> None:
    if not (area > 0 and np.isfinite(area)):
        raise InputError(f"the area of a patch must be positive, got {area} m2.")
