r"""Activity that is smooth along the cortex: LORETA, "COH", a Matern field."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from esijax._types import InputError, check_positive
from esijax.models.components._mesh import check_concrete, mesh_of
from esijax.models.components.component import Component
from esijax.models.parts import Part, Whole
from esijax.models.source_cov import GraphSmooth
from esijax.problem import Problem


class Smooth(Component):
    r"""Smooth along the mesh, everywhere alike (LORETA, SPM's "COH").

    .. math:: C = B^{-2}, \qquad B = (1 + \epsilon) I - D^{-1/2} A D^{-1/2}

    On a surface with edges of length h this is the Matern field of smoothness 1, and
    :math:`\epsilon = 2 h^2 / \rho^2` gives it the reach :math:`\rho`, the distance at which
    correlations have fallen to 0.14.

    Parameters
    ----------
    ridge : float
        :math:`\epsilon`, as in `esijax.models.LORETA`.
    reach : float, optional
        :math:`\rho` in m, instead of `ridge`.

    Raises
    ------
    InputError
        If the problem knows no neighbours, or a parameter is not positive.

    References
    ----------
    Pascual-Marqui, Michel and Lehmann 1994, doi:10.1016/0167-8760(84)90014-X; Lindgren, Rue and
    Lindström 2011, doi:10.1111/j.1467-9868.2011.00777.x (Matern fields by B).

    Examples
    --------
    >>> import esijax as ej
    >>> prior = ej.models.Components(["iid", ej.models.components.Smooth(reach=0.02)])
    """

    ridge: float = eqx.field(static=True, default=0.2)
    reach: float | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        check_positive(self.ridge, "Smooth: ridge")
        if self.reach is not None:
            check_positive(self.reach, "Smooth: reach (m)")

    def build(self, problem: Problem) -> Part:
        """Sparse solves with B."""
        edges = problem.geometry.edges
        if edges is None or len(edges) == 0:
            raise InputError(
                "Smooth needs to know which sources are neighbours: give positions or edges to "
                "from_arrays, or a forward with a surface or volume source space."
            )
        check_concrete(edges, "Smooth")
        ridge = self.ridge
        if self.reach is not None:
            mesh = mesh_of(problem, "Smooth with a reach in m")
            step = np.subtract(*mesh.positions[np.asarray(edges).T])
            ridge = 2.0 * float(np.mean(np.sum(step**2, axis=1))) / self.reach**2
        cov = GraphSmooth(problem.prior_scale, edges, jnp.asarray(ridge, dtype=float))
        return Whole(cov, problem.rank)
