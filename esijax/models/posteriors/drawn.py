r"""The mixture of any model's posteriors over draws of its hyper-parameters.

.. math::
   p(X \mid Y) \approx \frac1S \sum_s p(X \mid Y, \theta_s), \qquad
   \operatorname{Var} X = \overline{C_s} + \overline{m_s m_s^\top} - \bar m \bar m^\top

Members are made one at a time, from their hyper-parameters; mean and variance once and for all.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from esijax._ops.normals import mixture_quantile
from esijax.models.noise import Noise
from esijax.models.posteriors.over_time import exceedance_over_time, no_kernel
from esijax.posterior import Courses, Posterior
from esijax.problem import Problem

LOCATIONS_AT_ONCE = 256  # where values of all members are held side by side


class DrawnPosterior(Posterior):
    """Equal mixture over draws of the hyper-parameters.

    Parameters
    ----------
    problem, prior, noise
        `prior.marginal(problem, noise)` makes the posterior of a draw, a `SeparablePosterior`.
    hyper : dict of (draws, ...)
    first, second : (..., locations, orients, times)
        Mean and variance of the mixture, of `Problem.samples`.
    mix : (columns, some), optional
        Combinations of the columns that are asked for.
    """

    steady: ClassVar[bool] = False
    mixture: ClassVar[bool] = True

    problem: Problem
    prior: Any  # a Prior: it stands below in the reading order
    noise: Noise
    hyper: dict[str, Array]
    first: Float[Array, "*trials locations orients times"]
    second: Float[Array, "*trials locations orients times"]
    mix: Float[Array, "columns some"] | None = None

    def of_columns(self, mix: Float[Array, "times some"]) -> "DrawnPosterior":
        """Other combinations of the columns; `first` and `second` are those of the samples."""
        mix = mix if self.mix is None else self.mix @ mix
        return dataclasses.replace(self, mix=mix)

    @property
    def _member(self) -> Callable[[dict[str, Array]], Any]:
        """From a draw of the hyper-parameters to its posterior; what they share is made once."""
        marginal = self.prior.marginal(self.problem, self.noise)

        def at(hyper):
            member = marginal.posterior(hyper)
            return member if self.mix is None else member.of_columns(self.mix)

        return at

    @property
    def n_draws(self) -> int:
        """Draws of the hyper-parameters."""
        return len(jax.tree.leaves(self.hyper)[0])

    def _each(self, function: Callable) -> Any:
        """Stack what a function finds of each member."""
        member = self._member
        return jax.lax.map(lambda h: function(member(h)), self.hyper)

    def _average(self, function: Callable) -> Any:
        """Average over members, one at a time."""
        member = self._member
        shape = jax.eval_shape(lambda h: function(member(h)), self._one)
        zero = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shape)

        def add(total, hyper):
            new = function(member(hyper))
            return jax.tree.map(jnp.add, total, new), None

        total, _ = jax.lax.scan(add, zero, self.hyper)
        return jax.tree.map(lambda x: x / self.n_draws, total)

    @property
    def _one(self) -> dict[str, Array]:
        return jax.tree.map(lambda x: x[0], self.hyper)

    def mean(self, scale=1.0) -> Float[Array, "*trials locations orients times"]:
        """Average of the means."""
        return self.first * scale

    def variance(self) -> Float[Array, "*trials locations orients times"]:
        """Law of total variance."""
        return self.second

    def kernel(self) -> Float[Array, "locations orients rank"]:
        """There is none."""
        raise no_kernel()

    def cov(self) -> Float[Array, "*trials locations orients orients times"]:
        """Law of total variance, for blocks of orients."""

        def total(member):
            left = member.mean() - self.first
            return member.cov() + left[..., :, None, :] * left[..., None, :, :]

        return self._average(total)

    def members(self, locations: Any, times: Any):
        """Means and variances of all members."""
        return self._each(lambda m: jax.tree.map(lambda x: x[0], m.members(locations, times)))

    def quantiles(self, probabilities: Float[Array, " p"], locations: Any, times: Any):
        """Exact quantiles of each component, (p, ..., locations, orients, times)."""
        n = self.first.shape[-3]
        index = jnp.arange(n) if locations is None else locations
        size = min(len(index), LOCATIONS_AT_ONCE)
        n_chunks = -(-len(index) // size)
        padded = jnp.minimum(jnp.arange(n_chunks * size), len(index) - 1).reshape(n_chunks, size)

        def chunk(chosen):
            mean, variance = self.members(index[chosen], times)
            lead = mean.ndim - variance.ndim
            std = jnp.sqrt(variance).reshape(len(mean), *[1] * lead, *variance.shape[1:])
            found = jnp.stack([mixture_quantile(mean, std, p) for p in probabilities])
            return jnp.moveaxis(found, -3, 0)

        found = jax.lax.map(chunk, padded)
        found = found.reshape(-1, *found.shape[2:])[: len(index)]
        return jnp.moveaxis(found, 0, -3)

    def exceedance(self, scale: Array, threshold: Array, along: str, locations: Any, times: Any):
        """Average of the members' probabilities."""
        scale = jnp.broadcast_to(scale, (self.first.shape[-3], 1, 1))
        scale = scale if locations is None else scale[locations]
        towards = self.first if locations is None else self.first[..., locations, :, :]
        towards = towards if times is None else towards[..., times]

        def one(member):
            (mean,), _ = member.members(locations, times)
            cov = member.blocks(locations, times) * scale[..., None] ** 2
            return exceedance_over_time(
                mean * jnp.broadcast_to(scale, mean.shape), cov, threshold, along, towards
            )

        return self._average(one)

    def courses(self, weights: Float[Array, "courses locations orients"]) -> Courses:
        """Linear combinations, member by member."""
        return self._each(lambda m: Courses(*(x[0] for x in m.courses(weights))))

    def combined(self, weights: Float[Array, "courses locations orients"]):
        """Means and variances of linear combinations, member by member."""
        found = self.courses(weights)
        return found.mean, found.at_times

    def combine(self, weights: Float[Array, "courses locations orients"]):
        """Mean and variance of linear combinations, both (..., courses, times)."""
        mean, variance = self.combined(weights)
        total = jnp.mean(mean, axis=0)
        return total, jnp.mean(variance, axis=0) + jnp.mean((mean - total[None]) ** 2, axis=0)

    def draw(self, key: PRNGKeyArray, n: int, locations, times):
        """Choose members, then draw from each."""
        k_member, k_draw = jax.random.split(key)
        chosen = jax.random.randint(k_member, (n,), 0, self.n_draws)

        member = self._member

        def one(args):
            index, k = args
            hyper = jax.tree.map(lambda x: x[index], self.hyper)
            return member(hyper).draw(k, 1, locations, times)[0]

        return jax.lax.map(one, (chosen, jax.random.split(k_draw, n)))

    def fitted(self) -> Float[Array, "*trials rank times"]:
        """Average of the members' predictions."""
        return self._average(lambda m: m.fitted())

    def probe(self) -> Float[Array, ""]:
        """Sum of the moments."""
        return jnp.sum(self.first) + jnp.sum(self.second)


def drawn_posterior(
    problem: Problem, prior: Any, noise: Noise, hyper: dict[str, Array]
) -> DrawnPosterior:
    """Mixture over draws (draws, ...), its moments computed once, about the first one's mean."""
    stated = problem.noise_time
    turn = None if stated is None else stated.turn
    zero = jnp.zeros((1, 1, 1))
    raw = DrawnPosterior(problem, prior, noise, hyper, zero, zero, turn)
    origin = raw._member(raw._one).mean()

    def about(member):
        left = member.mean() - origin
        return left, left**2 + member.variance()

    first, second = raw._average(about)
    spread = jnp.maximum(second - first**2, 0.0)
    return DrawnPosterior(problem, prior, noise, hyper, origin + first, spread)
