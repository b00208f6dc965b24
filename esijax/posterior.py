"""What a method hands over: the distribution of the sources, in normalised units."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray


class Posterior(eqx.Module):
    """Distribution of X given the data, in normalised units; X is (locations, orients, times)."""

    @abc.abstractmethod
    def mean(self, scale: Any = 1.0) -> Float[Array, "*trials locations orients times"]:
        """Posterior mean times a scale, () or (locations, 1, 1): folded in, it costs nothing."""

    @abc.abstractmethod
    def kernel(self) -> Float[Array, "locations orients rank"]:
        """Linear map from whitened data to the posterior mean."""

    @abc.abstractmethod
    def cov(self) -> Float[Array, "locations orients orients"]:
        """Orients x orients covariance of each location, the same at all times."""

    def variance(self) -> Float[Array, "*trials locations orients some"]:
        """Variance of each component, (..., locations, orients, 1 or times)."""
        return jnp.diagonal(self.cov(), axis1=1, axis2=2)[..., None]

    @abc.abstractmethod
    def draw(
        self, key: PRNGKeyArray, n: int, locations: Any, times: Any
    ) -> Float[Array, "n *trials some orients moments"]:
        """Joint draws at the chosen locations and times."""

    @abc.abstractmethod
    def combine(
        self, weights: Float[Array, "courses locations orients"]
    ) -> tuple[Float[Array, "*trials courses times"], Float[Array, " courses"]]:
        """Mean and variance of linear combinations of the sources."""

    @abc.abstractmethod
    def fitted(self) -> Float[Array, "*trials rank times"] | None:
        """Whitened data that the mean predicts; None where the parts do not add up to the data."""

    def probe(self) -> Float[Array, ""]:
        """One number in which every part of the posterior mean has its share: finite if it is."""
        return _probe(self)


@eqx.filter_jit
def scaled_mean(posterior: Posterior, scale: Array) -> Array:
    """Posterior mean times a scale."""
    return posterior.mean(scale)


@eqx.filter_jit
def scaled_kernel(posterior: Posterior, whitener: Array, scale: Array) -> Array:
    """Linear map from channels to the scaled mean."""
    return posterior.kernel() @ whitener * scale


@eqx.filter_jit
def _probe(posterior: Posterior) -> Array:
    shape = jax.eval_shape(posterior.cov).shape[:2]
    return jnp.sum(posterior.combine(jnp.ones((1, *shape)))[0])


@eqx.filter_jit
def scaled_variance(posterior: Posterior, scale: Array) -> Array:
    """Variances of the scaled sources."""
    return posterior.variance() * scale**2


@eqx.filter_jit
def scaled_cov(posterior: Posterior, scale: Array) -> Array:
    """Covariance blocks of the scaled sources."""
    return posterior.cov() * jnp.reshape(scale, (-1, 1, 1)) ** 2


@eqx.filter_jit
def scaled_exceedance(function, posterior: Posterior, scale: Array, threshold: Array) -> Array:
    """Exceedance probability of the scaled sources by the given rule."""
    mean = posterior.mean(scale)
    cov = posterior.cov() * jnp.reshape(scale, (-1, 1, 1)) ** 2
    return function(mean, cov, threshold)
