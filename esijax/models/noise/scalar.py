"""One factor for the whole noise covariance."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from esijax.models.noise.noise import LinearNoise, Square, variance_prior
from esijax.problem import Whitener


class Scalar(LinearNoise):
    r"""One unknown factor for the whole noise covariance: :math:`N = v\, C`.

    Parameters
    ----------
    variance : numpyro distribution | None
        Prior of v; InverseGamma(2, 1) by default (median 0.6); None is flat.

    Examples
    --------
    >>> import esijax as ej
    >>> noise = ej.models.noise.Scalar()
    """

    variance: Any = eqx.field(converter=variance_prior, default="around one")

    @property
    def n_variances(self) -> int:
        """One."""
        return 1

    def factor(
        self, whitener: Whitener
    ) -> tuple[Float[Array, "rank columns"], Int[Array, " columns"]]:
        """Identity."""
        rank = whitener.matrix.shape[0]
        return jnp.eye(rank), jnp.zeros(rank, dtype=int)

    def dimensions(self, whitener: Whitener) -> Int[Array, " rank"]:
        """Give all dimensions the same variance."""
        return jnp.zeros(whitener.matrix.shape[0], dtype=int)

    def covariance(self, hyper: dict[str, Array], whitener: Whitener) -> Square:
        """The variance on the diagonal."""
        return hyper["noise_var"][0] * jnp.eye(whitener.matrix.shape[0])
