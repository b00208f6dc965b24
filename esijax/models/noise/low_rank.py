"""A variance per channel and a few common noise sources."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float

from esijax._checks import warn
from esijax._types import InputError, check_positive, scalar
from esijax.models.noise.noise import Noise, Square, draw_variances, start_variances, variance_prior
from esijax.problem import Problem, Whitener


class LowRank(Noise):
    r"""Independent noise per channel and k common noise sources with unknown fields.

    .. math:: N = D^{1/2} (\operatorname{diag}(v) + L L^\top) D^{1/2}, \qquad
              L_{cj} \sim N(0, s^2), \qquad D = \operatorname{diag}(C)

    Without a baseline the fields L cannot be told from sources: only the prior keeps them apart.

    Parameters
    ----------
    k : int
        Number of common noise sources.
    scale : float
        s, standard deviation of the entries of L relative to the channel's noise.
    variance : numpyro distribution | None
        Prior of v; InverseGamma(2, 1) by default.
    n_channels : int
        Set by `prepare`.

    Raises
    ------
    InputError
        If k is not a positive number or the scale is not positive.

    References
    ----------
    Cai et al. 2021, doi:10.1016/j.neuroimage.2020.117411.

    Examples
    --------
    >>> import esijax as ej
    >>> noise = ej.models.noise.LowRank(2)
    """

    k: int = eqx.field(static=True, default=1)
    scale: Any = eqx.field(converter=scalar, default=0.3)
    variance: Any = eqx.field(converter=variance_prior, default="around one")
    n_channels: int = eqx.field(static=True, default=0)

    def __check_init__(self):
        if not isinstance(self.k, int) or isinstance(self.k, bool) or self.k < 1:
            raise InputError(f"noise.LowRank needs a positive number of sources, got {self.k!r}.")
        check_positive(self.scale, "noise.LowRank: scale")

    def prepare(self, problem: Problem) -> "LowRank":
        """Count the channels; say what cannot be learned."""
        if self.n_channels:
            return self
        warn(
            "noise.LowRank: without a baseline its fields are told from sources by their prior "
            "alone; keep `scale` small, or estimate the noise covariance from a baseline."
        )
        return LowRank(self.k, self.scale, self.variance, problem.whitener.matrix.shape[1])

    def hyper(self) -> dict[str, Array]:
        """Draw the variances and the fields."""
        own = draw_variances(self.variance, self.n_variances)
        white = dist.Normal(jnp.zeros((self.n_channels, self.k)), 1.0).to_event(2)
        fields: Any = numpyro.sample("noise/fields", white)
        return {**own, "noise_fields": self.scale * fields}

    @property
    def n_variances(self) -> int:
        """Number of channels."""
        if not self.n_channels:
            raise InputError("noise.LowRank has not seen a problem: noise.prepare(problem) first.")
        return self.n_channels

    @property
    def proper(self) -> bool:
        """Ask the prior of the variances."""
        return self.variance.proper

    def start(self, variance: Float[Array, " variances"]) -> dict[str, Array]:
        """Fields that are small, and not zero: there the slope of L L' is zero."""
        waves = jnp.cos(
            jnp.pi * jnp.outer(jnp.arange(self.n_channels) + 0.5, jnp.arange(self.k) + 1)
        )
        fields = 0.1 * jnp.where(jnp.abs(waves) > 0.01, waves, 0.01)
        return {**start_variances(self.variance, variance), "noise/fields": fields}

    def covariance(self, hyper: dict[str, Array], whitener: Whitener) -> Square:
        """Diagonal plus low rank, whitened."""
        std = jnp.sqrt(jnp.sum(whitener.colorer**2, axis=1))
        scaled = whitener.matrix * std[None]
        fields = scaled @ hyper["noise_fields"]
        return (scaled * hyper["noise_var"][None]) @ scaled.T + fields @ fields.T
