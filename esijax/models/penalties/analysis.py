"""Penalties of linear maps of the sources, and the equation M' U = K' R of their dual variables."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.sparse.linalg import cg
from jaxtyping import Array

from esijax._ops.prox import tree_norm
from esijax._types import Data, InputError, Scalar, Sources
from esijax.models.penalties.least_squares import LeastSquares
from esijax.models.penalties.penalty import Penalty, weight_of
from esijax.models.penalties.terms import Differences, Identity, Matrix, Term
from esijax.problem import Problem

SEEN = 1e-13  # of a norm: below it, rounding


class Analysis(Penalty):
    r"""Norms of linear maps of the sources, added up.

    .. math:: \alpha \sum_i s_i\, g_i(M_i Z)

    Solved by a primal-dual iteration with a duality gap; what is zero in :math:`M Z` is zero up to
    the tolerance. Differences in time and along the cortex are terms of their own (`Term`), and any
    matrix, callable or lineax operator is one.

    Parameters
    ----------
    alpha : float
        Weight, absolute.
    terms : Term | operator | sequence of them
        What is added up.
    weights : None
        Not used: what is weighted are the terms.

    Raises
    ------
    InputError
        For an alpha that is not positive, something that is no term, an operator that does
        not fit the problem.

    References
    ----------
    Chambolle and Pock 2011, doi:10.1007/s10851-010-0251-1; Condat 2013,
    doi:10.1007/s10957-012-0245-9.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> gain = np.random.default_rng(0).standard_normal((12, 8))
    >>> steps = np.repeat([0.0, 5.0], 4)[:, None]
    >>> problem = ej.from_arrays(gain, gain @ steps, noise_cov=1.0)
    >>> chain = ej.models.Analysis(1.0, np.diff(np.eye(8), axis=0))
    >>> estimate = ej.solve(problem, chain, ej.inference.MAP(tol=1e-8))
    >>> jumps = np.diff(estimate.mean[:, 0, 0])
    >>> int(abs(jumps).argmax())
    3
    """

    terms: tuple[Term, ...] = ()

    def __init__(self, alpha: Any, terms: Any = (), weights: None = None):
        self.alpha, self.weights = weight_of(alpha), weights
        several = terms if isinstance(terms, tuple | list) else (terms,)
        self.terms = tuple(t if isinstance(t, Term) else Term(t) for t in several)
        if not self.terms:
            raise InputError("an analysis penalty needs one term at least.")

    @property
    def whole_times(self) -> bool:
        """Whether all maps are of locations, and none is taken by its entries."""
        return all(
            isinstance(t.operator, Identity | Differences | Matrix) and t.norm != "entries"
            for t in self.terms
        )

    def prepare(self, problem: Problem) -> Penalty:
        """Check that the maps take sources of the problem's shape."""
        zero = jnp.zeros((problem.n_locations, problem.n_orients, problem.n_times))
        for term in self.terms:
            try:
                image = eqx.filter_eval_shape(term.operator, zero)
            except (TypeError, ValueError, IndexError) as error:
                raise InputError(
                    f"an operator does not take sources of shape {zero.shape}: {error}"
                ) from error
            if len(image.shape) != 3 or 0 in image.shape:
                raise InputError(
                    "an operator must give (rows, orients, columns) of the sources, and some of "
                    f"each; it gives {image.shape}."
                )
        return self

    def unseen(self, x: Sources) -> Sources:
        """Part of the sources that no map sees: constants, for differences."""

        def normal(v):
            return self.transposed(self.images(v), x.shape)

        rest = x
        for _ in range(2):  # the second to the digits of a small rest
            seen, _ = cg(normal, normal(rest), tol=1e-13, maxiter=2000)
            rest = rest - seen
        return jnp.where(jnp.linalg.norm(rest) > SEEN * jnp.linalg.norm(x), rest, 0.0)

    # ------------------------------------------------------------------ maps and their adjoint
    def images(self, z: Sources) -> tuple[Array, ...]:
        """M Z, map by map."""
        return tuple(term.operator(z) for term in self.terms)

    def transposed(self, u: tuple[Array, ...], shape: tuple[int, ...]) -> Sources:
        """M' U, for sources of the given shape."""
        parts = (t.operator.transpose(v, shape) for t, v in zip(self.terms, u, strict=True))
        return sum(parts, jnp.zeros(shape))

    def restore(self, u: tuple[Array, ...], right: Sources) -> tuple[Array, ...]:
        r"""Change U least, such that :math:`M^\top U` is `right`, but for what no map sees."""
        shape = right.shape

        def normal(v):
            return self.transposed(self.images(v), shape)

        lack = right - self.transposed(u, shape)
        lack = lack - self.unseen(lack)
        enough = 1e-12 * jnp.linalg.norm(right)  # below it, rounding in what no map sees
        v, _ = cg(normal, lack, tol=0.0, atol=enough, maxiter=2000)
        return jax.tree.map(jnp.add, u, self.images(v))

    def unseen_fit(self, fit: LeastSquares, data: Data) -> Sources:
        """Fit sources that no map sees by least squares; in passes, or it would chase rounding."""

        def normal(z):
            return self.unseen(fit.adjoint(fit.predict(self.unseen(z))))

        z = jnp.zeros((*fit.scale.shape, data.shape[1]))
        for _ in range(3):
            right = self.unseen(fit.adjoint(data - fit.predict(z)))
            more, _ = cg(normal, right, tol=1e-6, maxiter=20)
            z = z + self.unseen(more)
        return z

    def alpha_max(self, fit: LeastSquares) -> Scalar:
        """Alpha from which on the maps surely see nothing; infinite where there is none.

        The least U with the equation is within the balls. A true alpha_max may be lower.
        """
        shape = (*fit.scale.shape, fit.data.shape[1])
        residual = fit.data - fit.predict(self.unseen_fit(fit, fit.data))
        right = fit.adjoint(residual)
        least = self.restore(self.images(jnp.zeros(shape)), right)
        largest = jnp.zeros(())
        for t, v in zip(self.terms, least, strict=True):
            if t.norm == "squares":
                largest = largest + jnp.where(jnp.any(v != 0), jnp.inf, 0.0)
            else:
                largest = jnp.maximum(largest, jnp.max(t.sizes(v)) / t.share)
        left = tree_norm(right - self.transposed(least, shape))
        return jnp.where(left <= 1e-9 * jnp.maximum(tree_norm(right), 1e-300), largest, jnp.inf)

    # ------------------------------------------------------------------ the penalty
    def value(self, x: Sources) -> Scalar:
        """Sum of the terms."""
        return sum((term.value(x, self.alpha) for term in self.terms), jnp.zeros(()))

    def prox(self, x: Sources, step: Scalar) -> Sources:  # noqa: ARG002
        """Raise InputError: there is no closed form."""
        raise InputError("an analysis penalty has no prox in closed form: MAP() solves it.")
