"""A variance per channel."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from esijax._types import InputError
from esijax.models.noise.noise import LinearNoise, variance_prior
from esijax.problem import Problem, Whitener


class Diagonal(LinearNoise):
    r"""Independent noise on each channel with unknown variances (heteroscedastic).

    .. math:: N = \operatorname{diag}(v_c\, C_{cc})

    Correlations of the given noise covariance are left aside; its projectors are kept.

    Parameters
    ----------
    variance : numpyro distribution | None
        Prior of each variance relative to the channel's own; InverseGamma(2, 1) by default.
    n_channels : int
        Set by `prepare`.

    Examples
    --------
    >>> import esijax as ej
    >>> noise = ej.models.noise.Diagonal()
    """

    variance: Any = eqx.field(converter=variance_prior, default="around one")
    n_channels: int = eqx.field(static=True, default=0)

    def prepare(self, problem: Problem) -> "Diagonal":
        """Count the channels."""
        return Diagonal(self.variance, problem.whitener.matrix.shape[1])

    @property
    def n_variances(self) -> int:
        """Number of channels."""
        if not self.n_channels:
            raise InputError("noise.Diagonal has not seen a problem: noise.prepare(problem) first.")
        return self.n_channels

    def factor(
        self, whitener: Whitener
    ) -> tuple[Float[Array, "rank columns"], Int[Array, " columns"]]:
        """Whitened channels."""
        std = jnp.sqrt(jnp.sum(whitener.colorer**2, axis=1))
        return whitener.matrix * std[None], jnp.arange(whitener.matrix.shape[1])
