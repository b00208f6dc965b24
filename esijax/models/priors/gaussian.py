r"""The minimum norm family: Gaussian priors whose covariance is fixed up to one number.

.. math:: X \sim N(0, R / \lambda^2), \qquad \operatorname{tr}(G R G^\top) = \text{rank}

so that ``lambda2`` is 1 / SNR\ :sup:`2` for each of them, as in MNE-Python.
"""

import abc
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from esijax._types import InputError, Scalar, check_positive, is_traced, scalar
from esijax.models.posteriors.local_moments import LocalMoments, scaled_moments
from esijax.models.priors._eloreta import eloreta_blocks
from esijax.models.priors.prior import Prior
from esijax.models.source_cov import BlockDiagonal, Diagonal, GraphSmooth, SourceCov
from esijax.problem import Problem

CHOICES = ("evidence", "gcv", "lcurve")


def _lambda2(value: Any) -> Any:
    """A positive number, or the name of a rule that finds one."""
    if isinstance(value, str):
        if value not in CHOICES:
            raise InputError(f"lambda2 must be a positive number or one of {CHOICES}: {value!r}.")
        return value
    check_positive(value, "lambda2 (= 1 / SNR^2)")
    return scalar(value)


class GaussianPrior(Prior):
    """A Gaussian prior of the minimum norm family; subclasses give its shape.

    Implement `shape`, the source covariance up to a factor; `rescaled` tells whether the factor
    is still to be found.
    """

    rescaled: ClassVar[bool] = True
    lambda2: eqx.AbstractVar[Any]

    def hyper(self, sizes: dict[str, int]) -> dict[str, Scalar]:  # noqa: ARG002
        """Hyper-parameters: lambda2 alone, and it is given."""
        return {"lambda2": self.lambda2}

    @abc.abstractmethod
    def shape(self, problem: Problem) -> SourceCov:
        """R up to a factor."""

    def normalised(self, problem: Problem) -> tuple[SourceCov, Float[Array, "rank rank"]]:
        """R with tr(G R G') = rank, and G R G': together, as a product may cost sparse solves."""
        shape = self.shape(problem)
        sensor = shape.sensor(problem.gain)
        if not self.rescaled:
            return shape, sensor
        factor = problem.rank / jnp.trace(sensor)
        return shape.scaled(factor), sensor * factor

    def normalised_cov(self, problem: Problem) -> SourceCov:
        """R with tr(G R G') = rank."""
        return self.normalised(problem)[0]

    def source_cov(self, hyper: dict[str, Scalar], problem: Problem) -> SourceCov:
        """R / lambda2."""
        return self.normalised_cov(problem).scaled(1.0 / hyper["lambda2"])

    def local_moments(self, problem: Problem) -> LocalMoments:
        """Prior moments of single locations: they are known up to lambda2."""
        return scaled_moments(self.normalised_cov(problem), problem)


class MinimumNorm(GaussianPrior):
    r"""Minimum norm: independent sources, weighted by depth and orientation.

    .. math:: R = P^2, \qquad P = \texttt{problem.prior\_scale}

    Parameters
    ----------
    lambda2 : float | "evidence" | "gcv" | "lcurve"
        1 / SNR^2, or the rule that finds it from the data.

    Raises
    ------
    InputError
        If lambda2 is neither positive nor a known rule.

    References
    ----------
    Hämäläinen and Ilmoniemi 1994, doi:10.1007/BF02512476; Lin et al. 2006 (depth),
    doi:10.1016/j.neuroimage.2005.11.054.

    Examples
    --------
    >>> import esijax as ej
    >>> float(ej.models.MinimumNorm(lambda2=1 / 4).lambda2)
    0.25
    """

    # the problem has normalised its scale, and another head must not change it
    rescaled: ClassVar[bool] = False
    lambda2: Any = eqx.field(converter=_lambda2, default=1 / 9)

    def shape(self, problem: Problem) -> SourceCov:
        """P squared."""
        return Diagonal(problem.prior_scale**2)


class WeightedMinimumNorm(GaussianPrior):
    r"""Minimum norm with the user's own weights instead of depth weighting.

    .. math:: R = \operatorname{diag}(w)^{-2}

    Parameters
    ----------
    weights : (locations,) or (locations, orients)
        Penalty on each source (large: improbable); positive. With (locations,) the orientation
        constraint of the problem stays in force.
    lambda2 : float | "evidence" | "gcv" | "lcurve"
        As in `MinimumNorm`.

    Raises
    ------
    InputError
        For weights that are not positive or do not fit the problem.

    References
    ----------
    Lin et al. 2006, doi:10.1016/j.neuroimage.2005.11.054.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> prior = ej.models.WeightedMinimumNorm(np.ones(5), lambda2="evidence")
    """

    # ty takes the abstract lambda2 of the base class for a field with a default
    weights: Float[Array, "..."] = eqx.field(  # ty: ignore[invalid-dataclass-field-order]
        converter=lambda w: jnp.asarray(w, dtype=float)
    )
    lambda2: Any = eqx.field(converter=_lambda2, default=1 / 9)

    def __check_init__(self):
        if isinstance(self.weights, np.ndarray | jnp.ndarray) and self.weights.ndim not in (1, 2):
            raise InputError(f"weights must have 1 or 2 axes, got {self.weights.shape}.")
        if eqx.is_array(self.weights) and not is_traced(self.weights):
            weights = np.asarray(self.weights)
            if not (np.isfinite(weights).all() and (weights > 0).all()):
                raise InputError("weights must be positive and finite.")

    def shape(self, problem: Problem) -> SourceCov:
        """One over the squared weights."""
        n, orients = problem.n_locations, problem.n_orients
        weights = self.weights
        if weights.shape == (n,):
            return Diagonal((problem.orient_scale / weights[:, None]) ** 2)
        if weights.shape == (n, orients):
            return Diagonal(weights**-2.0)
        raise InputError(f"weights must be ({n},) or ({n}, {orients}), got {weights.shape}.")


class LORETA(GaussianPrior):
    r"""LORETA: neighbours on the mesh are active together.

    .. math:: R = P\,B^{-2} P, \qquad B = (1 + \epsilon) I - D^{-1/2} A D^{-1/2}

    The penalty :math:`\lVert B P^{-1} x \rVert^2` is the squared graph Laplacian of the
    depth-weighted sources; :math:`\epsilon` keeps it definite on a closed surface, and
    :math:`1/\sqrt{\epsilon}` is the reach of the smoothing in mesh edges.

    Parameters
    ----------
    lambda2 : float | "evidence" | "gcv" | "lcurve"
        As in `MinimumNorm`.
    ridge : float
        :math:`\epsilon`. On simulated data (oct5 grid, EEG and MEG) 0.2 had the highest evidence:
        among 0.05, 0.2, 0.5, 1 and 3 for dipoles, among 0.2, 0.5 and 1 for patches.

    Raises
    ------
    InputError
        If the problem knows no neighbours.

    References
    ----------
    Pascual-Marqui, Michel and Lehmann 1994, doi:10.1016/0167-8760(84)90014-X.

    Examples
    --------
    >>> import esijax as ej
    >>> prior = ej.models.LORETA(lambda2="evidence", ridge=0.02)
    """

    lambda2: Any = eqx.field(converter=_lambda2, default=1 / 9)
    ridge: Any = eqx.field(converter=scalar, default=0.2)

    def __check_init__(self):
        check_positive(self.ridge, "ridge")

    def shape(self, problem: Problem) -> SourceCov:
        """P B^{-2} P on the mesh of the problem."""
        edges = problem.geometry.edges
        if edges is None or len(edges) == 0:
            raise InputError(
                "LORETA needs to know which sources are neighbours: give positions or edges to "
                "from_arrays, or a forward with a surface or volume source space."
            )
        return GraphSmooth(problem.prior_scale, edges, self.ridge)


class ELORETA(GaussianPrior):
    r"""The source covariance that localises any single dipole without error (eLORETA).

    .. math:: R_l \propto \left( G_l^\top (G R G^\top + \lambda^2 I)^{-1} G_l \right)^{-1/2}

    solved by fixed-point iteration. Depth weighting is ignored, it emerges; the orientation
    constraint is kept.

    Parameters
    ----------
    lambda2 : float | "evidence" | "gcv" | "lcurve"
        As in `MinimumNorm`.
    eps : float
        Relative change of R at which the iteration stops.
    max_iter : int
        Iterations at most.
    force_equal : bool
        One weight for the three orients of a location instead of a 3 x 3 block.

    References
    ----------
    Pascual-Marqui 2011, doi:10.1098/rsta.2011.0081.

    Examples
    --------
    >>> import esijax as ej
    >>> prior = ej.models.ELORETA(lambda2=1 / 9, max_iter=50)
    """

    rescaled: ClassVar[bool] = False  # the fixed point is normalised already
    lambda2: Any = eqx.field(converter=_lambda2, default=1 / 9)
    eps: Any = eqx.field(converter=scalar, default=1e-6)
    max_iter: int = eqx.field(static=True, default=20)
    force_equal: bool = eqx.field(static=True, default=False)

    def __check_init__(self):
        check_positive(self.eps, "eps")
        if self.max_iter < 1:
            raise InputError(f"max_iter must be at least 1, got {self.max_iter}.")

    def shape(self, problem: Problem) -> SourceCov:
        """Blocks of the fixed point (lambda2 must be a number)."""
        if isinstance(self.lambda2, str):
            raise InputError(f"ELORETA's covariance depends on lambda2; resolve {self.lambda2!r}.")
        blocks = eloreta_blocks(
            problem.gain,
            problem.orient_scale * (problem.prior_scale > 0),
            self.lambda2,
            self.eps,
            max_iter=self.max_iter,
            force_equal=self.force_equal,
        )
        if problem.n_orients == 1:
            return Diagonal(blocks[..., 0])
        return BlockDiagonal(blocks)
