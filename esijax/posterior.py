"""What a method hands over: the distribution of the sources, in normalised units."""

import abc
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import ndtri
from jaxtyping import Array, Float, PRNGKeyArray

from esijax._ops.exceed import ball_exceedance, directed_exceedance


class Courses(NamedTuple):
    r"""Linear combinations of the sources over time, member by member of a mixture.

    The covariance over time of one is :math:`U \operatorname{diag}(v) U^\top`.

    Parameters
    ----------
    mean : (members, ..., courses, times)
    variance : (members, courses, modes)
        v; one mode where all samples have the same variance and are independent.
    root : (members, times, modes) | None
        U; None is the identity.
    """

    mean: Array
    variance: Array
    root: Array | None

    @property
    def at_times(self) -> Array:
        """Variance at each time, (members, courses, times or 1)."""
        if self.root is None:
            return self.variance
        return self.variance @ jnp.swapaxes(self.root**2, 1, 2)


class Posterior(eqx.Module):
    """Distribution of X given the data, in normalised units; X is (locations, orients, times)."""

    steady: ClassVar[bool] = True  # the spread is the same at all times
    mixture: ClassVar[bool] = False  # hyper-parameters are uncertain
    spread: ClassVar[bool] = True  # there is one
    # it says how far off the sources may be, not only how much noise passes a filter
    spread_is_posterior: ClassVar[bool] = True

    @abc.abstractmethod
    def mean(self, scale: Any = 1.0) -> Float[Array, "*trials locations orients times"]:
        """Posterior mean times a scale, () or (locations, 1, 1): folded in, it costs nothing."""

    @abc.abstractmethod
    def of_columns(self, mix: Float[Array, "times some"]) -> "Posterior":
        """The same for other combinations of the data's columns, each of unit noise: Y mix."""

    @abc.abstractmethod
    def kernel(self) -> Float[Array, "locations orients rank"]:
        """Linear map from whitened data to the posterior mean."""

    @abc.abstractmethod
    def cov(self) -> Float[Array, "..."]:
        """Orients x orients covariance of each location.

        (locations, orients, orients) where it is the same at all times, else
        (..., locations, orients, orients, times).
        """

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
    ) -> tuple[Float[Array, "*trials courses times"], Float[Array, "..."]]:
        """Mean and variance of linear combinations of the sources.

        The variance is (courses,) where it is the same at all times, else (..., courses, times).
        """

    def combined(
        self, weights: Float[Array, "courses locations orients"]
    ) -> tuple[Float[Array, "members *trials courses times"], Float[Array, "members courses _"]]:
        """Means and variances of linear combinations in each member of a mixture: here one.

        The last axis of the variances is 1 where they are the same at all times.
        """
        mean, variance = self.combine(weights)
        return mean[None], variance[None, :, None]

    def courses(self, weights: Float[Array, "courses locations orients"]) -> Courses:
        """Linear combinations with their covariance over time; by default samples are apart."""
        return Courses(*self.combined(weights), None)

    def members(
        self, locations: Any, times: Any
    ) -> tuple[
        Float[Array, "members *trials some orients moments"],
        Float[Array, "members some orients _"],
    ]:
        """Means and variances in each member of a mixture: here one. None: all.

        The last axis of the variances is 1 where they are the same at all times.
        """
        mean = _selected(self.mean(), locations, times)
        variance = self.variance()
        return mean[None], (variance if locations is None else variance[locations])[None]

    def quantiles(
        self, probabilities: Float[Array, " p"], locations: Any, times: Any
    ) -> Float[Array, "p *trials some orients moments"]:
        """Quantiles of each component at the chosen locations and times; None: all."""
        (mean,), (variance,) = self.members(locations, times)
        std = jnp.sqrt(variance)
        return jnp.stack([mean + z * std for z in ndtri(probabilities)])

    def exceedance(
        self, scale: Array, threshold: Array, along: str, locations: Any, times: Any
    ) -> Float[Array, "*trials some moments"]:
        """Probability that the scaled norm, or the component along the mean, is larger.

        The threshold is one number, or one for each of the chosen times.
        """
        mean = _selected(self.mean(scale), locations, times)
        cov = self.cov() * jnp.reshape(scale, (-1, 1, 1)) ** 2
        cov = cov if locations is None else cov[locations]
        return (ball_exceedance if along == "norm" else directed_exceedance)(mean, cov, threshold)

    @abc.abstractmethod
    def fitted(self) -> Float[Array, "*trials rank times"] | None:
        """Whitened data that the mean predicts; None where the parts do not add up to the data."""

    def probe(self) -> Float[Array, ""]:
        """One number in which every part of the posterior mean has its share: finite if it is."""
        return _probe(self)


def _selected(x: Array, locations: Any, times: Any) -> Array:
    """Some locations and times of (..., locations, orients, times)."""
    x = x if locations is None else x[..., locations, :, :]
    return x if times is None else x[..., times]


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
    shape = jax.eval_shape(posterior.mean).shape[-3:-1]
    return jnp.sum(posterior.combine(jnp.ones((1, *shape)))[0])


@eqx.filter_jit
def scaled_variance(posterior: Posterior, scale: Array) -> Array:
    """Variances of the scaled sources."""
    return posterior.variance() * scale**2


@eqx.filter_jit
def scaled_cov(posterior: Posterior, scale: Array) -> Array:
    """Covariance blocks of the scaled sources."""
    cov = posterior.cov()
    factor = jnp.reshape(scale, (-1, 1, 1)) ** 2
    return cov * (factor if cov.ndim == 3 else factor[..., None])


@eqx.filter_jit
def scaled_exceedance(
    posterior: Posterior, scale: Array, threshold: Array, along: str, locations: Any, times: Any
) -> Array:
    """Exceedance probability of the scaled sources."""
    return posterior.exceedance(scale, threshold, along, locations, times)


@eqx.filter_jit
def scaled_quantiles(
    posterior: Posterior, scale: Array, probabilities: Array, locations: Any, times: Any
) -> Array:
    """Quantiles of the scaled sources."""
    scale = scale if locations is None or scale.ndim == 0 else scale[locations]
    return posterior.quantiles(probabilities, locations, times) * scale


@eqx.filter_jit
def scaled_combined(posterior: Posterior, weights: Array) -> tuple[Array, Array]:
    """Means and variances of combinations, member by member."""
    return posterior.combined(weights)


@eqx.filter_jit
def drawn(posterior: Posterior, key: PRNGKeyArray, n: int, locations: Array, times: Array) -> Array:
    """Joint draws, compiled as a whole: a loop outside jit would be compiled at each call."""
    return posterior.draw(key, n, locations, times)


@eqx.filter_jit
def fitted_data(posterior: Posterior) -> Array | None:
    """Whitened data that the mean predicts, compiled as a whole; None of a beamformer."""
    return posterior.fitted()


@eqx.filter_jit
def scaled_members(
    posterior: Posterior, scale: Array, locations: Any, times: Any
) -> tuple[Array, Array]:
    """Means and standard deviations of the scaled sources, member by member."""
    mean, variance = posterior.members(locations, times)
    scale = scale if locations is None or scale.ndim == 0 else scale[locations]
    return mean * scale, jnp.sqrt(variance) * scale
