r"""What every penalty has: a value and a proximal map; convex norms have a polar too.

.. math:: \min_Z \; \tfrac12 \lVert Y - G P Z \rVert_F^2 + \alpha\, \Omega(Z), \qquad X = P Z

with P the scale of the problem (depth weighting, loose orientation), as for the priors.
"""

import abc
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from esijax._types import Data, InputError, Scalar, Sources, check_positive, is_traced, scalar
from esijax.models.penalties.least_squares import LeastSquares
from esijax.problem import Problem

GivenWeights = Float[Array, " locations"] | Float[Array, "locations times"]


class Relative(eqx.Module):
    r"""A share of :math:`\alpha_{max}`; `solve` replaces it by a number. Made by `relative`.

    Parameters
    ----------
    fraction : float
        Between 0 and 1.
    """

    fraction: Scalar = eqx.field(converter=scalar)

    def __check_init__(self):
        check_positive(self.fraction, "the fraction of alpha_max")
        if not is_traced(self.fraction) and float(self.fraction) > 1:
            raise InputError(
                f"relative({float(self.fraction):g}): a share of alpha_max lies between 0 and 1, "
                "and 1 leaves no source (MNE-Python's alpha=40 is relative(0.4))."
            )


def relative(fraction: Any) -> Relative:
    r"""Weight of a penalty as a share of the smallest one at which every source is zero.

    .. math:: \alpha = \text{fraction} \cdot \alpha_{max}

    Parameters
    ----------
    fraction : float
        Between 0 and 1; MNE-Python's ``alpha=40`` is 0.4 here.

    Returns
    -------
    Relative
        To be given as alpha.

    Raises
    ------
    InputError
        If it is not between 0 and 1.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> gain = np.random.default_rng(0).standard_normal((8, 12))
    >>> problem = ej.from_arrays(gain, 9 * gain[:, 3:4], noise_cov=1.0)
    >>> estimate = ej.solve(problem, ej.models.L21(ej.relative(0.4)), ej.inference.MAP())
    >>> int(abs(estimate.mean[:, 0, 0]).argmax())
    3
    """
    return Relative(fraction)


def weight_of(value: Any) -> Any:
    """Give alpha as a strong float; a share of alpha_max, which `solve` resolves, as it is."""
    return value if isinstance(value, Relative) else scalar(value)


def weights_of(value: Any) -> Any:
    """Give the weights of locations (and times) as an array of floats."""
    return None if value is None else jnp.asarray(value, dtype=float)


class Penalty(eqx.Module):
    r"""A penalty of the normalised sources Z; a new one is one class with `value` and `prox`.

    Parameters
    ----------
    alpha : float | relative
        Weight, absolute (it grows with the data), or a share of alpha_max.
    weights : (locations,) or (locations, times), optional
        Weight of each location beside alpha; the larger, the less a source is expected. With
        times, :math:`\Omega(W \circ Z)` is taken.

    Raises
    ------
    InputError
        For an alpha or weights that are not positive and finite.
    """

    alpha: Any = eqx.field(converter=weight_of)
    weights: GivenWeights | None = eqx.field(converter=weights_of, default=None)
    convex: ClassVar[bool] = True
    # whether it is a sum over locations: `MAP` then works on few of them
    sums_locations: ClassVar[bool] = False
    # of what the plain norms are added up: a "location" or an "entry"; None: it is another sum
    block: ClassVar[str | None] = None

    def __check_init__(self):
        if not isinstance(self.alpha, Relative):
            check_positive(self.alpha, "alpha (absolute, or relative(0.4))")
        if self.weights is None or is_traced(self.weights):
            return
        weights = np.asarray(self.weights)
        if weights.ndim not in (1, 2) or not (np.isfinite(weights).all() and (weights > 0).all()):
            raise InputError(
                "weights must be positive and finite, one for each location (and time)."
            )

    def prepare(self, problem: Problem) -> "Penalty":
        """Check the sizes against a problem."""
        n, n_times = problem.n_locations, problem.n_times
        if self.weights is not None and self.weights.shape not in ((n,), (n, n_times)):
            raise InputError(
                f"weights must be ({n},) or ({n}, {n_times}), got {self.weights.shape}."
            )
        return self

    def least_squares(self, problem: Problem, data: Data) -> LeastSquares:
        """Pose the problem of one recording under this penalty."""
        weight = self.location_weights(problem.n_locations)
        return LeastSquares(problem.gain, problem.prior_scale, data, weight, self.spread())

    def alpha_max(self, fit: LeastSquares) -> Scalar | None:
        """Smallest alpha at which every source is zero; None where it is unknown."""
        return self.even().polar(fit.adjoint(fit.data))

    @abc.abstractmethod
    def value(self, x: Sources) -> Scalar:
        """Weight times norm, alpha included."""

    @abc.abstractmethod
    def prox(self, x: Sources, step: Scalar) -> Sources:
        r""":math:`\arg\min_z \tfrac12 \lVert z - x \rVert^2 + step \cdot value(z)`."""

    def polar(self, gradient: Sources) -> Scalar | None:  # noqa: ARG002
        r"""Smallest alpha at which zero is the answer to this gradient; None where unknown.

        The dual norm of a norm: with it `MAP` gives a duality gap.
        """
        return None

    def conjugate(self, gradient: Sources) -> Scalar | None:  # noqa: ARG002
        r""":math:`\max_z \langle gradient, z \rangle - value(z)`; None where unknown or infinite.

        For penalties that are no norms, beside `polar`; with both `MAP` gives a duality gap.
        """
        return None

    def location_weights(self, n_locations: int) -> Float[Array, " locations"]:
        """Alpha times the weights of locations."""
        none = self.weights is None or self.by_entry
        return self.alpha * (jnp.ones(n_locations) if none else self.weights)

    def per_weight(self, sizes: Float[Array, "*lead locations"]) -> Float[Array, "*lead locations"]:
        """Divide sizes by the weights of locations, alpha left out."""
        none = self.weights is None or self.by_entry
        return sizes if none else sizes / self.weights

    def weighted(self, x: Sources) -> Sources:
        """Sources times the weights of entries, where there are any."""
        return x if self.weights is None or not self.by_entry else x * self.weights[:, None]

    def at(self, index: Int[Array, " w"]) -> "Penalty":
        """The penalty of some locations; for those that are sums over locations."""
        if self.weights is None:
            return self
        return eqx.tree_at(lambda p: p.weights, self, self.weights[index])

    @property
    def separable(self) -> bool:
        """Whether it is a sum over locations, so that `at` gives the penalty of some of them."""
        return self.sums_locations

    @property
    def by_entry(self) -> bool:
        """Whether the weights change from time to time."""
        return self.weights is not None and self.weights.ndim == 2

    @property
    def whole_times(self) -> bool:
        """Whether times may be turned (Z Q, Q orthogonal): of a location their norm alone counts.

        Only then it goes with `Problem.noise_time`.
        """
        return False

    def spread(self) -> Float[Array, "#locations #times"]:
        r"""S with :math:`Z = S \circ V`, where :math:`\Omega(V)` has no weights of entries."""
        if self.weights is None or not self.by_entry:
            return jnp.ones((1, 1))
        return 1.0 / self.weights

    def even(self) -> "Penalty":
        r"""The penalty of V: without weights of entries."""
        if not self.by_entry:
            return self
        return eqx.tree_at(lambda p: p.weights, self, None)
