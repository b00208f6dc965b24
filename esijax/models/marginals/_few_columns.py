"""Evidence with covariances in time where the sensor factors are few."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from esijax._ops.gaussian import pooled_log_density
from esijax._ops.separable import Modes, Separable, separable_log_density
from esijax._types import Scalar, Square
from esijax.models.marginals._evidence import FEW_COLUMNS
from esijax.models.marginals.linear import LinearMarginal
from esijax.models.marginals.pooled import PooledMarginal
from esijax.models.noise import Scalar as OneFactor
from esijax.models.noise import White
from esijax.problem import Problem


class FewColumns(eqx.Module):
    r"""Few sensor factors under noise of one variance: their span, and what is noise alone.

    .. math:: \log p(Y) = \log p(Q^\top Y) + \log p(Y_\perp), \qquad
              Y_\perp \sim N(0,\; v I \otimes T_n)

    Parameters
    ----------
    prior : LinearPrior
    factor : (columns, columns)
        In the span of the sensor factors.
    group : (columns,)
    data : (trials, columns, times)
    silent : (times, times)
        Sum of products over the dimensions that no factor reaches, and trials.
    n_silent : ()
        Their number, over all trials.
    """

    prior: Any
    factor: Float[Array, "columns columns"]
    group: Int[Array, " columns"]
    data: Float[Array, "trials columns times"]
    silent: Float[Array, "times times"]
    n_silent: Scalar

    def log_density(
        self,
        gamma: Float[Array, " components"],
        variance: Scalar,
        signal_time: Square,
        noise_time: Square,
        known: Modes | None,
    ) -> Scalar:
        """Of the whitened data."""
        signal = (self.factor * gamma[self.group][None]) @ self.factor.T
        noise = variance * jnp.eye(len(signal), dtype=signal.dtype)
        cov = Separable(signal, noise, signal_time, noise_time)
        value = separable_log_density(cov, known, self.data)
        return value + pooled_log_density(variance * noise_time, self.silent, self.n_silent)


def few_columns(spatial: PooledMarginal, problem: Problem) -> FewColumns | None:
    """The span of the sensor factors, where they are few and all dimensions have one variance."""
    if not isinstance(spatial, LinearMarginal) or not isinstance(spatial.noise, White | OneFactor):
        return None
    rank, columns = spatial.factor.shape
    if columns > FEW_COLUMNS * rank:
        return None
    p = problem
    basis, factor = jnp.linalg.qr(spatial.factor)
    data = p.data.reshape(-1, rank, p.n_times)
    inside = jnp.swapaxes(basis, 0, 1) @ data
    left = data - basis @ inside
    silent = jnp.tensordot(left, left, axes=((0, 1), (0, 1)))
    n_silent = jnp.asarray(len(data) * (rank - columns), dtype=data.dtype)
    return FewColumns(spatial.prior, factor, spatial.group, inside, silent, n_silent)
