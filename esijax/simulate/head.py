r"""The head that makes the data: another grid, and perhaps another model, than the one inverted.

.. math:: B = L S

To simulate and to invert with the same `L` is the inverse crime: it flatters every method
(Kaipio and Somersalo 2007, doi:10.1016/j.cam.2005.09.027).
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from esijax._types import InputError, is_traced
from esijax.problem import Geometry, Problem


class Head(eqx.Module):
    """A lead field in SI units with its own source grid.

    Parameters
    ----------
    gain : (channels, locations, orients)
        V / (A m), T / (A m); the channels in the order of the problem that is inverted.
    geometry : Geometry
        Of the locations, with positions; normals for fixed orientations, a mesh for patches.

    Raises
    ------
    InputError
        If shapes do not fit, positions are missing or the lead field is not finite.

    Examples
    --------
    >>> import jax.numpy as jnp, numpy as np, esijax as ej
    >>> rng = np.random.default_rng(0)
    >>> geometry = ej.Geometry(positions=jnp.asarray(rng.standard_normal((50, 3))))
    >>> ej.simulate.Head(rng.standard_normal((8, 50, 1)), geometry).n_locations
    50
    """

    gain: Float[Array, "channels locations orients"] = eqx.field(
        converter=lambda x: jnp.asarray(x, dtype=float)
    )
    geometry: Geometry = eqx.field(converter=lambda g: jax.tree.map(jnp.asarray, g))

    def __check_init__(self):
        if self.gain.ndim != 3 or self.gain.shape[2] not in (1, 3):
            raise InputError(
                f"gain must be (channels, locations, 1 or 3 orients), got {self.gain.shape}."
            )
        if self.geometry.positions is None:
            raise InputError("the geometry of a head needs positions: sources are placed by them.")
        if self.geometry.positions.shape != (self.n_locations, 3):
            raise InputError(
                f"gain has {self.n_locations} locations and the geometry "
                f"{len(self.geometry.positions)}."
            )
        if not is_traced(self.gain) and not bool(jnp.isfinite(jnp.sum(self.gain))):
            raise InputError("the lead field holds NaN or Inf: compute it again.")

    @classmethod
    def of(cls, problem: Problem) -> "Head":
        """Give the head that the problem itself inverts: the inverse crime.

        For calibration, where truth and model must agree; not to compare methods. Where
        projectors remove dimensions the lead field is the projected one.

        Parameters
        ----------
        problem : Problem
            With positions.

        Returns
        -------
        head : Head
        """
        gain = jnp.tensordot(problem.whitener.colorer, problem.gain, 1) / problem.source_unit
        return cls(gain, problem.geometry)

    @property
    def n_locations(self) -> int:
        """Number of source locations."""
        return self.gain.shape[1]

    @property
    def positions(self) -> Float[Array, "locations 3"]:
        """Head coordinates, m."""
        assert self.geometry.positions is not None
        return self.geometry.positions

    @property
    def n_orients(self) -> int:
        """Orientations per location: 1 or 3."""
        return self.gain.shape[2]

    def check(self, problem: Problem) -> None:
        """Raise InputError unless the channels are those of `problem`, as far as one can see."""
        n = problem.whitener.matrix.shape[1]
        if len(self.gain) != n:
            raise InputError(
                f"the head has {len(self.gain)} channels, the problem {n}: the head's lead field "
                "must have the channels of the problem, in its order."
            )

    def field(
        self, index: Int[Array, "sources members"], moment: Float[Array, "sources members orients"]
    ) -> Float[Array, "channels sources"]:
        """Topography of each source, V and T per unit of its wave."""
        columns = jnp.take(self.gain, index.ravel(), axis=1)
        columns = columns.reshape(len(self.gain), len(index), -1)
        return jnp.einsum("csm,sm->cs", columns, moment.reshape(len(index), -1))

    def nearest(self, problem: Problem) -> Int[Array, " locations"]:
        """Nearest location of a problem's grid for each of the head's; made once, on the host."""
        from scipy.spatial import KDTree

        grid = problem.geometry.positions
        if grid is None:
            raise InputError("the problem has no positions: nothing is near anything.")
        _, near = KDTree(np.asarray(grid)).query(np.asarray(self.positions))
        return jnp.asarray(near)


def depths(geometry: Geometry) -> Float[np.ndarray, " locations"]:
    """Distance of each location below the convex hull of all of them.

    The hull of the cortex stands for the inner skull: gyral crowns are at 0, the insula and the
    medial temporal lobe 2 to 4 cm deep.

    Parameters
    ----------
    geometry : Geometry
        With positions.

    Returns
    -------
    depth : (locations,)
        m, >= 0.

    Raises
    ------
    InputError
        Without positions.

    Examples
    --------
    >>> import jax.numpy as jnp, numpy as np, esijax as ej
    >>> corners = np.array([[x, y, z] for x in (0, 2.0) for y in (0, 2.0) for z in (0, 2.0)])
    >>> middle = ej.Geometry(positions=jnp.asarray(np.r_[corners, [[1.0, 1.0, 0.5]]]))
    >>> float(ej.simulate.depths(middle)[-1])
    0.5
    """
    from scipy.spatial import ConvexHull

    if geometry.positions is None:
        raise InputError("depth needs positions.")
    positions = np.asarray(geometry.positions)
    planes = ConvexHull(positions).equations  # outward unit normals, then offsets
    return np.maximum(-(positions @ planes[:, :3].T + planes[:, 3]).max(axis=1), 0.0)


def deep(geometry: Geometry, depth: Any = 0.03) -> Int[np.ndarray, " deep"]:
    """Find the locations at least so far below the convex hull of the source grid.

    Parameters
    ----------
    geometry : Geometry
        Where the sources are.
    depth : float
        m; see `depths`.

    Returns
    -------
    region : (deep,)
        Indices, for the ``region`` of sources.

    Raises
    ------
    InputError
        If none lies that deep.

    Examples
    --------
    >>> import esijax as ej
    >>> sources = ej.simulate.Dipoles(2, region=ej.simulate.deep(head.geometry))  # doctest: +SKIP
    """
    below = depths(geometry)
    found = np.flatnonzero(below >= depth)
    if len(found) == 0:
        raise InputError(
            f"no location lies {1e3 * depth:g} mm below the hull; the deepest is at "
            f"{1e3 * below.max():.0f} mm."
        )
    return found
