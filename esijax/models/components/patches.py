r"""Pieces of cortex that are active as one."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import scipy.linalg

from esijax._ops.geodesic import farthest_points, neighbourhoods
from esijax._types import InputError, check_positive
from esijax.models.components._mesh import Mesh, check_positions, mesh_of
from esijax.models.components.component import Component
from esijax.models.parts import LowRank, Part
from esijax.problem import Problem

OVERLAP = 1.3  # reach of a patch over the distance that it has to cover


class Patches(Component):
    r"""Geodesic patches that tile the cortex, one component each.

    .. math::
       C_k = \sum_{j=1}^{r} e^{-\lambda_j w^2 / 2}\, f_{kj} f_{kj}^\top, \qquad
       f_{kj}(l) = \cos^2\left( \tfrac{\pi}{2}\, d_k(l) / \rho_k \right) \phi_{kj}(l)

    with d the distance to the seed along the mesh, :math:`\rho` the reach, and
    :math:`\phi_j, \lambda_j` the smoothest eigenvectors of the patch's Laplacian
    (:math:`\phi_1 = 1`): rank 1 is one smooth bump, higher ranks let the activity vary within the
    patch over distances of w = reach / 2.

    Parameters
    ----------
    n : int
        Number of patches. Seeds are spread evenly: each is the location farthest from those before.
    seeds : sequence of int, optional
        Locations in the middle of the patches, instead of `n`.
    reach : float, optional
        Distance at which a patch ends, m. By default 1.3 times the distance that the seeds leave
        uncovered, so that neighbours meet at half their height.
    area : float, optional
        Area of each patch, m2 (6e-4 to 20e-4 is what EEG sees), instead of `reach`.
    rank : int
        r.

    Raises
    ------
    InputError
        Without a mesh, for a seed outside the source space, more patches than locations, a reach
        or area that is not positive.

    References
    ----------
    Limpiti et al. 2006, doi:10.1109/TBME.2006.873743; Friston et al. 2008,
    doi:10.1016/j.neuroimage.2007.09.048.

    Examples
    --------
    >>> import esijax as ej
    >>> prior = ej.models.Components(ej.models.components.Patches(200))
    """

    n: int = eqx.field(static=True, default=200)
    seeds: tuple[int, ...] | None = eqx.field(
        static=True, default=None, converter=lambda s: read_seeds(s)
    )
    reach: float | None = eqx.field(static=True, default=None, kw_only=True)
    area: float | None = eqx.field(static=True, default=None, kw_only=True)
    rank: int = eqx.field(static=True, default=1, kw_only=True)

    def __check_init__(self):
        check_positive_count(self.n, "Patches: n")
        check_positive_count(self.rank, "Patches: rank")
        if self.reach is not None and self.area is not None:
            raise InputError("Patches takes a reach (m) or an area (m2), not both.")
        for value, name in ((self.reach, "reach (m)"), (self.area, "area (m2)")):
            if value is not None:
                check_positive(value, f"Patches: {name}")

    def build(self, problem: Problem) -> Part:
        """One factor of `rank` columns around each seed."""
        mesh = mesh_of(problem, "Patches")
        seeds, gap = spread_seeds(mesh, self.n, self.seeds, "Patches")
        reach = self._reach(mesh, seeds, gap)
        columns = np.zeros((len(mesh.positions), len(seeds), self.rank))
        for k, (inside, distance) in enumerate(neighbourhoods(mesh.graph, seeds, reach)):
            bump = np.cos(np.pi / 2 * distance / reach[k]) ** 2
            modes = _modes(mesh, inside, self.rank, reach[k] / 2)
            columns[inside, k, : modes.shape[1]] = bump[:, None] * modes
        member = np.repeat(np.arange(len(seeds)), self.rank)
        flat = columns.reshape(len(columns), -1)
        return LowRank(jnp.asarray(flat), jnp.asarray(member), len(seeds))

    def _reach(self, mesh: Mesh, seeds: np.ndarray, gap: float) -> np.ndarray:
        if self.reach is not None:
            return np.full(len(seeds), float(self.reach))
        if self.area is None:
            return np.full(len(seeds), OVERLAP * gap)
        if mesh.areas is None:
            raise InputError("Patches: an area needs a cortical surface; give the reach (m).")
        # no location can be farther along the mesh than a few radii of a disc of this area
        start = np.full(len(seeds), 3.0 * np.sqrt(self.area / np.pi) + 0.01)
        reach = []
        for inside, distance in neighbourhoods(mesh.graph, seeds, start):
            order = np.argsort(distance)
            grown = np.cumsum(mesh.areas[inside[order]])
            last = min(int(np.searchsorted(grown, self.area)), len(order) - 1)
            reach.append(max(1.1 * distance[order[last]], 1e-6))
        return np.array(reach)


def spread_seeds(
    mesh: Mesh, n: int, seeds: tuple[int, ...] | None, who: str
) -> tuple[np.ndarray, float]:
    """Seeds, given or found, and how far a location may be from the nearest (m)."""
    n_locations = len(mesh.positions)
    if seeds is None:
        if n > n_locations:
            raise InputError(f"{who}: n is {n}, but there are {n_locations} locations.")
        found, distance = farthest_points(mesh.graph, n)
    else:
        found = check_positions(np.array(seeds, dtype=int), n_locations, f"{who}: seeds")
        everywhere = np.full(len(found), np.inf)
        distance = np.full(n_locations, np.inf)
        for inside, own in neighbourhoods(mesh.graph, found, everywhere):
            distance[inside] = np.minimum(distance[inside], own)
    gap = float(distance[np.isfinite(distance)].max())
    lengths = np.linalg.norm(np.subtract(*mesh.positions[mesh.edges.T]), axis=1)
    return found, max(gap, float(np.median(lengths)))


def _modes(mesh: Mesh, inside: np.ndarray, rank: int, width: float) -> np.ndarray:
    """Smoothest functions on a patch, damped as diffusion over `width` (m) damps them."""
    if rank == 1 or len(inside) == 1:
        return np.ones((len(inside), 1))
    own = mesh.laplacian[inside][:, inside].toarray()
    own -= np.diag(own.sum(axis=1))  # nothing flows over the rim
    values, vectors = scipy.linalg.eigh(own, subset_by_index=[0, min(rank, len(inside)) - 1])
    damped = vectors * np.exp(-np.maximum(values, 0.0) * width**2 / 4)
    return damped * np.sqrt(len(inside))


def check_positive_count(value: Any, name: str) -> None:
    """Raise InputError unless it is a positive integer."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InputError(f"{name} must be a positive integer, got {value!r}.")


def read_seeds(seeds: Any) -> tuple[int, ...] | None:
    """Whole numbers as a tuple, so that they may be static."""
    if seeds is None:
        return None
    index = np.asarray(seeds)
    if index.ndim != 1 or index.dtype.kind not in "iu" or index.size == 0:
        raise InputError(f"seeds must be a list of location numbers, got {seeds!r:.60}.")
    return tuple(int(i) for i in index)
