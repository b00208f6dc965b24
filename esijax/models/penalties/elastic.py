"""A mixed norm with a little minimum norm: correlated locations come together."""

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp

from esijax._ops.prox import block_norms, block_soft_threshold
from esijax._ops.safe import divisor
from esijax._types import InputError, Scalar, Sources, is_traced, scalar
from esijax.models.penalties.penalty import Penalty, weight_of, weights_of


def share(value: Any, name: str) -> Scalar:
    """Check a number between 0 and 1."""
    if not is_traced(value) and not 0.0 <= float(value) <= 1.0:
        raise InputError(f"{name} must lie between 0 and 1, got {float(value):g}.")
    return scalar(value)


class Elastic(Penalty):
    r"""Mixed norm and squares: sparse maps whose correlated locations stay together.

    .. math:: \alpha \sum_l w_l \Big( \rho \lVert Z_l \rVert_F
       + \tfrac{1 - \rho}{2} \lVert Z_l \rVert_F^2 \Big)

    Parameters
    ----------
    alpha : float | relative
        Weight, absolute, or a share of alpha_max.
    ratio : float
        :math:`\rho`, above 0; 1 is `L21`. Sources are in normalised units (of the order of one).
    weights : (locations,) or (locations, times), optional
        Weight of each location, or of each of its times.

    Raises
    ------
    InputError
        For an alpha or weights that are not positive and finite, a ratio outside (0, 1].

    References
    ----------
    Zou and Hastie 2005, doi:10.1111/j.1467-9868.2005.00503.x.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> gain = np.random.default_rng(0).standard_normal((8, 12))
    >>> gain[:, 4] = gain[:, 3]  # two that no data can tell apart
    >>> problem = ej.from_arrays(gain, 5 * gain[:, [3]], noise_cov=1.0)
    >>> estimate = ej.solve(problem, ej.models.Elastic(ej.relative(0.5), 0.9), ej.inference.MAP())
    >>> [int(i) for i in np.flatnonzero(estimate.mean[:, 0, 0])]
    [3, 4]
    """

    ratio: Scalar = eqx.field(default=0.5)
    sums_locations: ClassVar[bool] = True

    def __init__(self, alpha: Any, ratio: Any = 0.5, weights: Any = None):
        self.alpha, self.weights = weight_of(alpha), weights_of(weights)
        self.ratio = share(ratio, "ratio")
        if not is_traced(ratio) and float(ratio) == 0:
            raise InputError("ratio must be above 0: without a norm it is MinimumNorm.")

    @property
    def whole_times(self) -> bool:
        """Whether there are no weights of times."""
        return not self.by_entry

    def value(self, x: Sources) -> Scalar:
        """Weighted sum of norms and squares."""
        norms = block_norms(self.weighted(x))
        both = self.ratio * norms + 0.5 * (1.0 - self.ratio) * norms**2
        return jnp.sum(self.location_weights(x.shape[-3]) * both)

    def prox(self, x: Sources, step: Scalar) -> Sources:
        """Shrink each location's block, then all of it."""
        weight = step * self.location_weights(x.shape[-3])
        shrunk = block_soft_threshold(x, weight * self.ratio)
        return shrunk / (1.0 + weight * (1.0 - self.ratio))[:, None, None]

    def polar(self, gradient: Sources) -> Scalar:
        """Largest norm of a location over its weight."""
        return jnp.max(self.per_weight(block_norms(gradient))) / self.ratio

    def conjugate(self, gradient: Sources) -> Scalar | None:
        """Squares of what exceeds the norm's share; infinite without squares."""
        weight = self.location_weights(gradient.shape[-3])
        excess = jnp.maximum(block_norms(gradient) - weight * self.ratio, 0.0)
        curved = weight * (1.0 - self.ratio)
        part = excess**2 / (2.0 * divisor(curved))
        return jnp.sum(jnp.where(curved > 0, part, jnp.where(excess > 0, jnp.inf, 0.0)))
