"""Penalties of the differences between neighbours on the cortex: TV (VB-SCCD) and SISSY."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from esijax._types import InputError, Scalar, Sources, check_positive, is_traced, scalar
from esijax.models.penalties.analysis import Analysis
from esijax.models.penalties.penalty import Penalty, weight_of
from esijax.models.penalties.terms import Differences, Identity, Term
from esijax.problem import Problem


class _MeshAnalysis(Analysis):
    """Analysis penalties whose edges are those of the problem's mesh."""

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


class TV(_MeshAnalysis):
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
    terms : tuple of Term
        Set by `prepare`: the linear maps, once the neighbours are known.
    weights : None
        Not used: what is weighted are the terms.

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

    def propagate(carry):
        labels, _ = carry
        new = labels.at[first].min(labels[second]).at[second].min(labels[first])
        new = new[new]  # labels of labels: paths halve
        return new, jnp.any(new != labels)

    start = jnp.arange(n_locations), jnp.asarray(True)
    return jax.lax.while_loop(lambda carry: carry[1], propagate, start)[0]


class SISSY(_MeshAnalysis):
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
    terms : tuple of Term
        Set by `prepare`: the linear maps, once the neighbours are known.
    weights : None
        Not used: what is weighted are the terms.

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
        """Zero: the norm of the sources sees all of them."""
        return jnp.zeros_like(x)
