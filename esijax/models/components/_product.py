r"""Elementwise products of covariances, as kernels multiply.

.. math:: (F F^\top) \circ (H H^\top) = K K^\top, \quad K = \text{all products of two columns};
          \qquad \operatorname{diag}(v) \circ C = \operatorname{diag}(v_l C_{ll});
          \qquad (m m^\top) \circ C = \operatorname{diag}(m)\, C \operatorname{diag}(m)
"""

import jax.numpy as jnp
import numpy as np

from esijax._types import InputError
from esijax.models.components._mesh import check_concrete
from esijax.models.parts import Joined, Listed, LowRank, Part, Scale, Separate, Whole
from esijax.models.source_cov import Added, Diagonal, Factored, GraphSmooth, SourceCov


def product(left: Part, right: Part, scale: Scale) -> Part:
    """Component by component; where one side has a single component it goes with all."""
    check_concrete((left, right), "a product of components")
    if left.n != right.n and 1 not in (left.n, right.n):
        raise InputError(
            f"{left.n} components times {right.n}: one side must be a single component, or both "
            "must have as many."
        )
    for a, b in ((left, right), (right, left)):
        if isinstance(a, Joined):
            terms = tuple(product(term, b, scale) for term in a.terms)
            return Joined(terms, terms[0].n)
    for a, b in ((left, right), (right, left)):
        if isinstance(a, Separate | Listed):
            return _with_diagonal(a, b, scale)
    for a, b in ((left, right), (right, left)):
        if isinstance(a, LowRank) and isinstance(b, Whole):
            return _windowed(a, b)
    if isinstance(left, LowRank) and isinstance(right, LowRank):
        return _product_of_columns(left, right)
    raise InputError("the product of two components that are full matrices is not supported.")


def _with_diagonal(diagonal: Separate | Listed, other: Part, scale: Scale) -> Part:
    """Anything times a diagonal is diagonal."""
    n = max(diagonal.n, other.n)
    both = variances(diagonal, scale) * variances(other, scale)
    member, location = np.nonzero(np.broadcast_to(both, (n, both.shape[1])))
    values = np.broadcast_to(both, (n, both.shape[1]))[member, location]
    return Listed(jnp.asarray(location), jnp.asarray(values), jnp.asarray(member), n)


def variances(part: Part, scale: Scale) -> np.ndarray:
    """Diagonal of each component's covariance over locations, (n, locations)."""
    out = np.zeros((part.n, scale.shape[0]))
    if isinstance(part, Separate):
        out[np.asarray(part.member), np.arange(out.shape[1])] = part.variance
    elif isinstance(part, Listed):
        np.add.at(out, (np.asarray(part.member), np.asarray(part.location)), part.variance)
    elif isinstance(part, LowRank):
        np.add.at(out, np.asarray(part.member), np.asarray(part.columns).T ** 2)
    elif isinstance(part, Whole):
        own = np.einsum("loo->lo", np.asarray(part.cov.blocks()))
        free = np.asarray(scale) ** 2
        out[0] = own.sum(axis=1) / np.where(free > 0, free, np.inf).sum(axis=1)
    return out


def _product_of_columns(left: LowRank, right: LowRank) -> LowRank:
    """Products of all pairs of columns of the same component."""
    own, other = np.asarray(left.member), np.asarray(right.member)
    pairs = np.ones((len(own), len(other)), dtype=bool)
    if left.n == right.n:
        pairs = own[:, None] == other[None]
    i, j = np.nonzero(pairs)
    columns = np.asarray(left.columns)[:, i] * np.asarray(right.columns)[:, j]
    member = own[i] if left.n > 1 else other[j]
    return LowRank(jnp.asarray(columns), jnp.asarray(member), max(left.n, right.n))


def _windowed(window: LowRank, whole: Whole) -> Part:
    """A full covariance, its rows and columns scaled by each column of the window."""
    if window.n > 1:
        raise InputError(
            f"a full covariance times a family of {window.n} components would be as many full "
            "matrices: multiply by one component, e.g. a map."
        )
    terms = [
        Whole(_rows_scaled(whole.cov, window.columns[:, i]), whole.rank)
        for i in range(window.columns.shape[1])
    ]
    return terms[0] if len(terms) == 1 else Joined(tuple(terms), 1)


def _rows_scaled(cov: SourceCov, by: jnp.ndarray) -> SourceCov:
    """diag(by) R diag(by)."""
    if isinstance(cov, Diagonal):
        return Diagonal(cov.variance * by[:, None] ** 2)
    if isinstance(cov, GraphSmooth):
        return GraphSmooth(cov.scale * by[:, None], cov.edges, cov.ridge)
    if isinstance(cov, Factored):
        return Factored(cov.scale * by[:, None], cov.columns, cov.variance)
    if isinstance(cov, Added):
        return Added(tuple(_rows_scaled(term, by) for term in cov.terms))
    raise InputError(f"a product with {type(cov).__name__} is not supported.")
