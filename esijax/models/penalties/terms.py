r"""Linear maps of the sources under a norm: what analysis penalties are sums of.

.. math:: g(M Z), \qquad M: \text{locations} \times \text{orients} \times \text{times} \to
   \text{rows} \times \dots
"""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jaxtyping import Array, Float, Int

from esijax._ops.prox import block_norms
from esijax._types import InputError, Scalar, Sources, check_positive, scalar

TERM_NORMS = ("rows", "entries", "squares")
Image = Float[Array, "rows orients columns"]


class Map(eqx.Module):
    """A linear map of the sources with its transpose."""

    @abc.abstractmethod
    def __call__(self, z: Sources) -> Image:
        """M Z."""

    def transpose(self, u: Image, shape: tuple[int, ...]) -> Sources:
        """M' U, for sources of the given shape."""
        like = jax.ShapeDtypeStruct(shape, u.dtype)
        return jax.linear_transpose(self.__call__, like)(u)[0]


class Identity(Map):
    """The sources themselves."""

    def __call__(self, z: Sources) -> Image:
        """Z."""
        return z


class Differences(Map):
    """Differences along edges, weighted: (edges, orients, times).

    Parameters
    ----------
    edges : (edges, 2)
        Pairs of locations.
    weights : (edges,), optional
        One each; 1 by default.
    """

    edges: Int[Array, "edges 2"]
    weights: Float[Array, " edges"] | None = None

    def _weighted(self, u: Image) -> Image:
        return u if self.weights is None else u * self.weights[:, None, None]

    def __call__(self, z: Sources) -> Image:
        """Value at the second end of each edge less that at the first."""
        return self._weighted(z[self.edges[:, 1]] - z[self.edges[:, 0]])

    def transpose(self, u: Image, shape: tuple[int, ...]) -> Sources:
        """Sums at the ends of the edges."""
        out, u = jnp.zeros(shape, dtype=u.dtype), self._weighted(u)
        return out.at[self.edges[:, 1]].add(u).at[self.edges[:, 0]].add(-u)


class InTime(Map):
    """Differences of neighbouring times: (locations, orients, times - 1)."""

    def __call__(self, z: Sources) -> Image:
        """Later less earlier."""
        return z[..., 1:] - z[..., :-1]


class Matrix(Map):
    """A matrix over locations.

    Parameters
    ----------
    matrix : (rows, locations)
        What is applied to each orient and time.
    """

    matrix: Float[Array, "rows locations"]

    def __call__(self, z: Sources) -> Image:
        """Product with the matrix, for each orient and time."""
        return jnp.tensordot(self.matrix, z, axes=1)


class Own(Map):
    """A callable of the sources, linear."""

    function: Callable[[Array], Array] = eqx.field(static=True)

    def __call__(self, z: Sources) -> Image:
        """Call the function."""
        return self.function(z)


class Operator(Map):
    """A lineax operator on sources."""

    arrays: Any
    rest: Any = eqx.field(static=True)

    def __init__(self, operator: lx.AbstractLinearOperator):
        self.arrays, self.rest = eqx.partition(operator, eqx.is_array)

    def __call__(self, z: Sources) -> Image:
        """Product with the operator."""
        return eqx.combine(self.arrays, self.rest).mv(z)


def map_of(operator: Any) -> Map:
    """Bring what a user gives to a `Map`."""
    if isinstance(operator, Map):
        return operator
    if isinstance(operator, lx.AbstractLinearOperator):
        return Operator(operator)
    if callable(operator):
        return Own(operator)
    dense = operator.toarray() if hasattr(operator, "toarray") else operator
    dense = np.asarray(dense, dtype=float)
    if dense.ndim != 2 or not np.isfinite(dense).all():
        raise InputError(
            "an operator is a finite matrix (rows, locations), sparse or not, a linear callable of "
            f"(locations, orients, times), or a lineax operator; got shape {dense.shape}."
        )
    return Matrix(jnp.asarray(dense))


class Term(eqx.Module):
    r"""One map, its share of alpha, and its norm.

    Parameters
    ----------
    operator : Map | matrix | callable | lineax operator
        The linear map.
    share : float
        Weight beside alpha.
    norm : "rows" | "entries" | "squares"
        Sum of the norms of rows (over what follows the first axis), of absolute values, or half
        the sum of squares.

    Raises
    ------
    InputError
        For a share that is not positive, an unknown norm, something that is no operator.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> term = ej.models.penalties.Term(np.diff(np.eye(4), axis=0), norm="entries")
    >>> float(term.value(np.arange(4.0).reshape(4, 1, 1), 2.0))
    6.0
    """

    operator: Map = eqx.field(converter=map_of)
    share: Scalar = eqx.field(converter=scalar, default=1.0)
    norm: str = eqx.field(static=True, default="rows")

    def __check_init__(self):
        if self.norm not in TERM_NORMS:
            raise InputError(f"norm must be one of {TERM_NORMS}, got {self.norm!r}.")
        check_positive(self.share, "share")

    def value(self, z: Any, alpha: Any) -> Scalar:
        """Weighted norm of M Z."""
        image = self.operator(jnp.asarray(z))
        if self.norm == "squares":
            return 0.5 * alpha * self.share * jnp.sum(image**2)
        return alpha * self.share * jnp.sum(self.sizes(image))

    def sizes(self, image: Image) -> Array:
        """What is bounded in the dual: norms of rows, or absolute values."""
        return block_norms(image) if self.norm == "rows" else jnp.abs(image)

    def dual_step(self, u: Image, alpha: Scalar, step: Scalar) -> Image:
        """Proximal map of the conjugate."""
        bound = alpha * self.share
        if self.norm == "squares":
            return u / (1.0 + step / bound)
        sizes = self.sizes(u)
        factor = jnp.where(sizes > bound, bound / jnp.where(sizes > bound, sizes, 1.0), 1.0)
        return u * (factor[:, None, None] if self.norm == "rows" else factor)
