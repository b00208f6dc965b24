"""A user's own covariance, factor or map as a component."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from esijax._types import InputError
from esijax.models.components._arrays import check_rows, psd_root, real
from esijax.models.components.component import Component
from esijax.models.parts import LowRank, Part, Separate, Whole
from esijax.models.source_cov import Factored
from esijax.problem import Problem


class Covariance(Component):
    """A covariance between locations, the same for each orient.

    It stands between the problem's scales: the sources have the covariance P C P with P the depth
    weighting, and the factor in front is irrelevant. It is held as a factor.

    Parameters
    ----------
    matrix : (locations, locations)
        The covariance.

    Raises
    ------
    InputError
        If it is not square, symmetric, finite and positive semi-definite, or for other sources.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> near = np.exp(-0.5 * np.subtract.outer(np.arange(12), np.arange(12)) ** 2 / 4)
    >>> prior = ej.models.Components(ej.models.components.Covariance(near))
    """

    root: Float[Array, "locations columns"]

    def __init__(self, matrix: Any):
        self.root = jnp.asarray(psd_root(real(matrix, "a covariance", 2), "a covariance"))

    def build(self, problem: Problem) -> Part:
        """Its factor."""
        check_rows(self.root, problem.n_locations, "the covariance")
        return _one_component(self.root, problem)


class Factor(Component):
    """A factor F of a covariance F F' between locations.

    Parameters
    ----------
    columns : (locations, columns)
        Columns of the factor.
    tied : bool
        One variance for all columns (F F' is one component), or one for each.

    Raises
    ------
    InputError
        If it is not finite, or for other sources.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> modes = np.cos(np.outer(np.arange(12), np.arange(3)) / 4)
    >>> prior = ej.models.Components(ej.models.components.Factor(modes, tied=False))
    """

    columns: Float[Array, "locations columns"]
    tied: bool = eqx.field(static=True)

    def __init__(self, columns: Any, tied: bool = True):
        self.columns = jnp.asarray(real(columns, "a factor", 2))
        self.tied = tied

    def build(self, problem: Problem) -> Part:
        """The columns."""
        check_rows(self.columns, problem.n_locations, "the factor")
        if self.tied:
            return _one_component(self.columns, problem)
        n = self.columns.shape[1]
        return LowRank(self.columns, jnp.arange(n), n)


class Map(Component):
    r"""A map of fMRI, an atlas or an earlier answer: where activity is expected, and how much.

    As a factor in a product, a coherent map scales rows and columns: ``Map(m) * Smooth()`` is
    smooth activity where the map is.

    Parameters
    ----------
    values : (locations,) or an MNE source estimate of one time
        m, relative amplitudes in units of the problem's scale; zero excludes a location.
    coherent : bool
        Whether the map is active as one, with this pattern: :math:`C = m m^\top`. Else sources are
        independent with standard deviations m: :math:`C = \operatorname{diag}(m^2)`.

    Raises
    ------
    InputError
        For NaN, another number of locations, or vertices of another source space.

    References
    ----------
    Henson et al. 2010, doi:10.1002/hbm.20943 (fMRI clusters as components).

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> prior = ej.models.Components(ej.models.components.Map(np.linspace(0, 1, 12)))
    """

    values: Float[Array, " locations"]
    coherent: bool = eqx.field(static=True)
    vertices: Any = eqx.field(static=True)

    def __init__(self, values: Any, coherent: bool = True):
        self.vertices = None
        if hasattr(values, "vertices") and hasattr(values, "data"):
            self.vertices = _vertices(values.vertices)
            values = np.asarray(values.data)
            if values.ndim == 2 and values.shape[1] == 1:
                values = values[:, 0]
        self.values = jnp.asarray(real(values, "a map", 1))
        self.coherent = coherent

    def build(self, problem: Problem) -> Part:
        """One column, or a variance for each location."""
        known = _vertices(problem.labels.vertices)
        if self.vertices is not None and known and self.vertices != known:
            raise InputError(
                "the map has other vertices than the source space: morph it, or sample it there."
            )
        check_rows(self.values, problem.n_locations, "the map")
        if self.coherent:
            return LowRank(self.values[:, None], jnp.zeros(1, dtype=int), 1)
        n = problem.n_locations
        return Separate(self.values**2, jnp.zeros(n, dtype=int), 1)


def _vertices(given: Any) -> tuple[bytes, ...]:
    """Vertex numbers of each source space, so that they compare and hash."""
    spaces = given if isinstance(given, list | tuple) else [given]
    return tuple(np.ascontiguousarray(v, dtype=np.int64).tobytes() for v in spaces)


def _one_component(columns: Float[Array, "locations columns"], problem: Problem) -> Part:
    """Factors as one component: many columns are, at the sensors, `rank` of them."""
    n = columns.shape[1]
    if n * problem.n_orients > problem.rank:
        return Whole(Factored(problem.prior_scale, columns, jnp.ones(n)), problem.rank)
    return LowRank(columns, jnp.zeros(n, dtype=int), 1)
