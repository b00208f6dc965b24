r"""Diffusion kernels of several widths: multiple sparse priors."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from scipy.sparse.linalg import expm_multiply

from esijax._types import InputError, check_positive
from esijax.models.components._mesh import mesh_of
from esijax.models.components.component import Component
from esijax.models.components.patches import check_positive_count, read_seeds, spread_seeds
from esijax.models.parts import LowRank, Part
from esijax.problem import Problem


class Kernels(Component):
    r"""Diffusion kernels on the mesh, each seed and width a component (multiple sparse priors).

    .. math:: C_{sw} = q_{sw} q_{sw}^\top, \qquad q_{sw} = e^{-\tfrac{w^2}{2} L} \delta_s

    with L minus the Laplacian of the mesh: on a flat cortex :math:`q_{sw}` is the Gaussian bump
    of standard deviation w around s. Components are ordered by width, then by seed.

    Parameters
    ----------
    n : int
        Number of seeds, spread evenly along the cortex.
    widths : sequence of float
        w, m.
    seeds : sequence of int, optional
        Locations in the middle, instead of `n`.

    Raises
    ------
    InputError
        Without a mesh, for a seed outside the source space, a width that is not positive.

    References
    ----------
    Friston et al. 2008, doi:10.1016/j.neuroimage.2007.09.048; Harrison et al. 2007,
    doi:10.1016/j.neuroimage.2007.07.032 (diffusion kernels).

    Examples
    --------
    >>> import esijax as ej
    >>> prior = ej.models.Components(ej.models.components.Kernels(100, widths=(0.005, 0.015)))
    """

    n: int = eqx.field(static=True, default=128)
    widths: tuple[float, ...] = eqx.field(
        static=True, default=(0.005, 0.01, 0.02), converter=lambda w: _widths(w)
    )
    seeds: tuple[int, ...] | None = eqx.field(static=True, default=None, converter=read_seeds)

    def __check_init__(self):
        check_positive_count(self.n, "Kernels: n")
        for width in self.widths:
            check_positive(width, "Kernels: a width (m)")

    def build(self, problem: Problem) -> Part:
        """One column for each width and seed."""
        mesh = mesh_of(problem, "Kernels")
        seeds, _ = spread_seeds(mesh, self.n, self.seeds, "Kernels")
        laplacian = mesh.laplacian
        spot = np.zeros((len(mesh.positions), len(seeds)))
        spot[seeds, np.arange(len(seeds))] = 1.0
        found, time = {}, 0.0
        for width in sorted(set(self.widths)):  # a wider kernel is a narrower one diffused further
            step = width**2 / 2 - time
            spot = expm_multiply(-step * laplacian, spot, traceA=-step * laplacian.trace())
            found[width], time = spot / np.linalg.norm(spot, axis=0), width**2 / 2
        columns = np.concatenate([found[width] for width in self.widths], axis=1)
        n = columns.shape[1]
        return LowRank(jnp.asarray(columns), jnp.arange(n), n)


def _widths(given: Any) -> tuple[float, ...]:
    values = np.atleast_1d(np.asarray(given))
    if values.ndim != 1 or values.dtype.kind not in "fiu" or not values.size:
        raise InputError(f"widths must be numbers (m), got {given!r:.60}.")
    return tuple(float(v) for v in values)
