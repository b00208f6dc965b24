r"""The posterior of the sources when the hyper-parameters are uncertain: a mixture.

.. math::
   p(X \mid Y) \approx \frac1S \sum_s N\left(X;\, m(\theta_s),\, C(\theta_s)\right), \qquad
   \operatorname{Var} X = \overline{C_s} + \overline{m_s m_s^\top} - \bar m \bar m^\top

Moments are streamed over the draws: one map at a time is in memory.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from esijax.inference.gaussian_posterior import GaussianPosterior
from esijax.models.collapsed import Marginal
from esijax.models.noise import Noise, White
from esijax.models.priors.prior import Prior
from esijax.posterior import Posterior
from esijax.problem import Problem


def gaussian_posterior(
    problem: Problem, prior: Prior, noise: Noise, hyper: dict[str, Array]
) -> GaussianPosterior:
    """Posterior of the sources for known hyper-parameters."""
    source_cov = prior.source_cov(hyper, problem)
    sensor = source_cov.sensor(problem.gain)
    if isinstance(noise, White):
        chol = jnp.linalg.cholesky(sensor + jnp.eye(problem.rank))
        return GaussianPosterior(problem.gain, source_cov, chol, problem.data)
    noise_cov = noise.covariance(hyper, problem.whitener)
    chol = jnp.linalg.cholesky(sensor + noise_cov)
    root = jnp.linalg.cholesky(noise_cov)
    return GaussianPosterior(problem.gain, source_cov, chol, problem.data, root)


class MixturePosterior(Posterior):
    """Equal mixture of Gaussian posteriors over draws of the hyper-parameters.

    Parameters
    ----------
    problem, prior, noise
    hyper : dict of (draws, ...)
    first, second : (..., locations, orients, times)
        Mean and variance of the mixture.
    """

    problem: Problem
    prior: Prior
    noise: Noise
    hyper: dict[str, Array]
    first: Float[Array, "*trials locations orients times"]
    second: Float[Array, "*trials locations orients times"]

    @property
    def n_draws(self) -> int:
        """Draws of the hyper-parameters."""
        return len(jax.tree.leaves(self.hyper)[0])

    def at(self, hyper: dict[str, Array]) -> GaussianPosterior:
        """One member of the mixture."""
        return gaussian_posterior(self.problem, self.prior, self.noise, hyper)

    def average(self, function):
        """Average of a function of the members, one at a time."""
        one = jax.tree.map(lambda x: x[0], self.hyper)
        shapes = eqx.filter_eval_shape(lambda h: function(self.at(h)), one)
        zero = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

        def add(total, hyper):
            return jax.tree.map(jnp.add, total, function(self.at(hyper))), None

        total, _ = jax.lax.scan(add, zero, self.hyper)
        return jax.tree.map(lambda x: x / self.n_draws, total)

    def mean(self, scale=1.0) -> Float[Array, "*trials locations orients times"]:
        """Average of the means."""
        return self.first * scale

    def variance(self) -> Float[Array, "*trials locations orients times"]:
        """Law of total variance."""
        return self.second

    def kernel(self) -> Float[Array, "locations orients rank"]:
        """Average of the kernels: hyper-parameters stay what these data made them."""
        return self.average(lambda p: p.kernel())

    def cov(self) -> Float[Array, "locations orients orients"]:
        """Average within, plus the spread of the means, averaged over times."""
        within = self.average(lambda p: p.cov())
        return within

    def draw(self, key: PRNGKeyArray, n: int, locations, times):
        """Choose a member, then draw from it."""
        k_member, k_draw = jax.random.split(key)
        member = jax.random.randint(k_member, (n,), 0, self.n_draws)

        def one(args):
            index, k = args
            posterior = self.at(jax.tree.map(lambda x: x[index], self.hyper))
            return posterior.draw(k, 1, locations, times)[0]

        return jax.lax.map(one, (member, jax.random.split(k_draw, n)))

    def combine(self, weights: Float[Array, "courses locations orients"]):
        """Mean and variance of linear combinations."""

        def moments(p):
            mean, variance = p.combine(weights)
            return mean, variance, mean**2

        mean, variance, square = self.average(moments)
        return mean, variance[:, None] + square - mean**2

    def fitted(self) -> Float[Array, "*trials rank times"]:
        """Average of the members' predictions."""
        return self.average(lambda p: p.fitted())


def mixture(marginal: Marginal, hyper: dict[str, Array]) -> MixturePosterior:
    """Mixture over draws (draws, ...), its moments computed once.

    The second moments are taken about the first member's mean, so that nothing cancels.
    """
    p = marginal.problem
    shape = (*p.data.shape[:-2], p.n_locations, p.n_orients, p.n_times)
    zero = jnp.zeros(shape)
    raw = MixturePosterior(p, marginal.prior, marginal.noise, hyper, zero, zero)
    origin = raw.at(jax.tree.map(lambda x: x[0], hyper)).mean()

    def moments(member):
        mean = member.mean() - origin
        return mean, mean**2 + member.variance()

    first, second = raw.average(moments)
    variance = jnp.maximum(second - first**2, 0.0)
    return MixturePosterior(p, marginal.prior, marginal.noise, hyper, origin + first, variance)
