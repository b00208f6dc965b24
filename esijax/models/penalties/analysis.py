"""Penalties of linear maps of the sources: edges of the cortex, differences in time, one's own."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.sparse.linalg import cg
from jaxtyping import Array, Int

from esijax._types import InputError, Scalar, Sources, check_positive, is_traced, scalar
from esijax.models.penalties.penalty import Penalty, weight_of
from esijax.models.penalties.terms import Differences, Identity, Term
from esijax.problem import Problem

SEEN = 1e-13  # of a norm: below it, rounding


class Analysis(Penalty):
    r"""Norms of linear maps of the sources, added up.

    .. math:: \alpha \sum_i s_i\, g_i(M_i Z)

    Solved by a primal-dual iteration with a duality gap; what is zero in :math:`M Z` is zero up to
    the tolerance. Differences in time and along the cortex are `Term`s of their own, and any
    matrix, callable or lineax operator is one.

    Parameters
    ----------
    alpha : float
        Weight, absolute.
    terms : Term | operator | sequence of them

    Raises
    ------
    InputError
        For an alpha that is not positive, terms that are none, an operator that does not fit the
        problem.

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

    def prepare(self, problem: Problem) -> Penalty:
        """Try the maps on the problem's shape."""
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
            parts = (t.operator.transpose(t.operator(v), x.shape) for t in self.terms)
            return sum(parts, jnp.zeros(x.shape))

        rest = x
        for _ in range(2):  # the second to the digits of a small rest
            seen, _ = cg(normal, normal(rest), tol=1e-13, maxiter=2000)
            rest = rest - seen
        return jnp.where(jnp.linalg.norm(rest) > SEEN * jnp.linalg.norm(x), rest, 0.0)

    def value(self, x: Sources) -> Scalar:
        """Sum of the terms."""
        return sum((term.value(x, self.alpha) for term in self.terms), jnp.zeros(()))

    def prox(self, x: Sources, step: Scalar) -> Sources:  # noqa: ARG002
        """Not in closed form."""
        raise InputError("an analysis penalty has no prox in closed form: MAP() solves it.")


class _OnMesh(Analysis):
    """Analysis penalties whose edges are those of the problem."""

    def edges_of(self, problem: Problem) -> Differences:
        r"""Edges of the problem's mesh, :math:`w_{lm} = \bar d / \min(d_l, d_m)`.

        With d the number of neighbours: about 1 within a mesh; at its rim, where sources outside
        the skull are left out, a location with one neighbour has as long a border as any other.
        """
        edges = problem.geometry.edges
        if edges is None or len(edges) == 0:
            raise InputError(
                f"{type(self).__name__} needs neighbours: a surface source space (from_mne), or "
                "positions with from_arrays."
            )
        lonely = 0
        if not is_traced(edges):
            lonely = np.setdiff1d(np.arange(problem.n_locations), np.asarray(edges)).size
        if lonely:
            raise InputError(
                f"{lonely} locations have no neighbours, and so no border: {type(self).__name__} "
                "would not charge for them. Give edges to from_arrays that reach them."
            )
        degree = jnp.zeros(problem.n_locations).at[edges.ravel()].add(1.0)
        return Differences(edges, jnp.mean(degree) / jnp.min(degree[edges], axis=1))


class TV(_OnMesh):
    r"""Total variation on the cortex: patches with sharp borders (VB-SCCD).

    .. math:: \alpha \sum_{(l, m) \in E} w_{lm} \lVert Z_l - Z_m \rVert_F

    The weights w are about 1; they lengthen the border of locations at the rim of a mesh. A
    constant over a hemisphere costs nothing. With free or loose orientation the differences are
    those of the surface frames' axes.

    Parameters
    ----------
    alpha : float | relative
        Weight, absolute, or a share of a bound: the alpha from which on the answer is surely
        constant over each connected surface. The bound is far above the least such alpha: shares
        are hundredths.

    Raises
    ------
    InputError
        For an alpha that is not positive and finite, a problem without neighbours.

    References
    ----------
    Ding 2009, doi:10.1088/0031-9155/54/9/015.

    Examples
    --------
    >>> import esijax as ej
    >>> penalty = ej.models.TV(ej.relative(0.01))
    """

    def __init__(self, alpha: Any, terms: Any = (), weights: None = None):
        self.alpha, self.weights, self.terms = weight_of(alpha), weights, tuple(terms)

    def prepare(self, problem: Problem) -> Penalty:
        """Take the problem's edges."""
        return dataclasses.replace(self, terms=(Term(self.edges_of(problem)),))

    def unseen(self, x: Sources) -> Sources:
        """Means over connected surfaces."""
        labels = connected(self.terms[0].operator.edges, len(x))  # ty: ignore[missing-attribute]
        count = jnp.maximum(jnp.zeros(len(x)).at[labels].add(1.0), 1.0)
        total = jnp.zeros(x.shape).at[labels].add(x)
        return (total / count[:, None, None])[labels]


def connected(edges: Int[Array, "edges 2"], n_locations: int) -> Int[Array, " locations"]:
    """Smallest index that each location is connected with."""
    first, second = edges[:, 0], edges[:, 1]

    def spread(carry):
        labels, _ = carry
        new = labels.at[first].min(labels[second]).at[second].min(labels[first])
        new = new[new]  # labels of labels: paths halve
        return new, jnp.any(new != labels)

    start = jnp.arange(n_locations), jnp.asarray(True)
    return jax.lax.while_loop(lambda carry: carry[1], spread, start)[0]


class SISSY(_OnMesh):
    r"""Sparse patches: total variation on the cortex and the mixed norm of the sources.

    .. math:: \alpha \Big( \sum_{(l, m) \in E} w_{lm} \lVert Z_l - Z_m \rVert_F
       + \rho \sum_l \lVert Z_l \rVert_F \Big)

    Parameters
    ----------
    alpha : float | relative
        Weight, absolute, or a share of a bound: the alpha from which on the answer is surely zero.
        The bound is far above the least such alpha: shares are thousandths to hundredths.
    ratio : float
        :math:`\rho`: small for large patches, large for few locations.

    Raises
    ------
    InputError
        For numbers that are not positive and finite, a problem without neighbours.

    References
    ----------
    Becker et al. 2017, doi:10.1016/j.neuroimage.2017.05.046.

    Examples
    --------
    >>> import esijax as ej
    >>> penalty = ej.models.SISSY(ej.relative(0.003), ratio=0.3)
    """

    ratio: Scalar = eqx.field(default=0.2)

    def __init__(self, alpha: Any, ratio: Any = 0.2, terms: Any = (), weights: None = None):
        self.alpha, self.weights, self.terms = weight_of(alpha), weights, tuple(terms)
        self.ratio = scalar(ratio)
        check_positive(self.ratio, "ratio")

    def prepare(self, problem: Problem) -> Penalty:
        """Take the problem's edges."""
        terms = (Term(self.edges_of(problem)), Term(Identity(), self.ratio))
        return dataclasses.replace(self, terms=terms)

    def unseen(self, x: Sources) -> Sources:
        """Nothing."""
        return jnp.zeros_like(x)
