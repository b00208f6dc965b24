r"""The posterior of the sources when the hyper-parameters are uncertain: a mixture.

.. math::
   p(X \mid Y) \approx \frac1S \sum_s N\left(X;\, m(\theta_s),\, C(\theta_s)\right), \qquad
   \operatorname{Var} X = \overline{C_s} + \overline{m_s m_s^\top} - \bar m \bar m^\top

Mean and variance are streamed over the draws when it is made; every other question streams over
them again, for the locations and times that it is about.
"""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
from jaxtyping import Array, Float, PRNGKeyArray

from esijax._ops.exceed import along_exceedance, ball_exceedance
from esijax._ops.normals import mixture_quantile
from esijax.models.noise import Noise, White
from esijax.models.posteriors import mixture_chunks as chunks
from esijax.models.posteriors.gaussian import GaussianPosterior
from esijax.posterior import Posterior
from esijax.problem import Problem

DRAWN_AT_ONCE = 8_000_000  # values of draws that are made at once


def gaussian_posterior(
    problem: Problem, prior: Any, noise: Noise, hyper: dict[str, Array], chol: Any = None
) -> GaussianPosterior:
    """Posterior of the sources for known hyper-parameters; `chol` where it is known."""
    source_cov = prior.source_cov(hyper, problem)
    noise_cov = noise.covariance(hyper, problem.whitener)
    if chol is None:
        chol = jnp.linalg.cholesky(source_cov.sensor(problem.gain) + noise_cov)
    root = None if isinstance(noise, White) else jnp.linalg.cholesky(noise_cov)
    return GaussianPosterior(problem.gain, source_cov, chol, problem.data, root)


class MixturePosterior(Posterior):
    """Equal mixture of Gaussian posteriors over draws of the hyper-parameters.

    Parameters
    ----------
    problem, prior, noise : Problem, Prior, Noise
        What the members were made of.
    hyper : dict of (draws, ...)
        Draws of the hyper-parameters, one a member.
    chol : (draws, rank, rank)
        Lower Cholesky factors of the covariance of the data.
    first, second : (..., locations, orients, times)
        Mean and variance of the mixture, of `Problem.samples`: with noise in time no sum of those
        of columns has the variance of a sample.
    """

    steady: ClassVar[bool] = False
    mixture: ClassVar[bool] = True

    problem: Problem
    prior: Any  # a Prior: it stands below in the reading order
    noise: Noise
    hyper: dict[str, Array]
    chol: Float[Array, "draws rank rank"]
    first: Float[Array, "*trials locations orients times"]
    second: Float[Array, "*trials locations orients times"]

    @property
    def n_draws(self) -> int:
        """Draws of the hyper-parameters."""
        return len(self.chol)

    def at(self, hyper: dict[str, Array], chol: Array) -> GaussianPosterior:
        """One member of the mixture."""
        return gaussian_posterior(self.problem, self.prior, self.noise, hyper, chol)

    def of_columns(self, mix: Float[Array, "times some"]) -> "MixturePosterior":
        """The same of other data; `first` and `second` are those of the samples."""
        data = self.problem.data @ mix
        return eqx.tree_at(lambda m: m.problem.data, self, data)

    def _members(self, times: Any = None) -> chunks.Member:
        data = self.problem.data if times is None else self.problem.data[..., times]
        eye = jnp.eye(self.chol.shape[-1])

        def one(chol):
            root = jsl.solve_triangular(chol, eye, lower=True)
            return root, root @ data

        return chunks.Member(self.hyper, *jax.lax.map(one, self.chol))

    def _sums(self, function, *more: Array, locations: Any = None, times: Any = None):
        """Average of `function(moments of a member, more)` per location, in bounded memory."""
        members, index = self._members(times), self._index(locations)

        def chunk(local, *extra):
            return chunks.average(
                lambda m: function(chunks.member_moments(local, m), m, *extra), members
            )

        size = chunks.summed_size(len(index), self.problem.n_orients)
        return chunks.by_chunks(
            chunk, self.prior.local_moments(self.problem), index, size, *(x[index] for x in more)
        )

    def _index(self, locations: Any) -> Array:
        return jnp.arange(self.problem.n_locations) if locations is None else locations

    def mean(self, scale=1.0) -> Float[Array, "*trials locations orients times"]:
        """Average of the means."""
        return self.first * scale

    def variance(self) -> Float[Array, "*trials locations orients times"]:
        """Law of total variance."""
        return self.second

    def kernel(self) -> Float[Array, "locations orients rank"]:
        """Average of the kernels: hyper-parameters stay what these data made them."""
        return self._sums(lambda own, m: jnp.einsum("rlo,rs->los", own.half, m.root))

    def cov(self) -> Float[Array, "*trials locations orients orients times"]:
        """Law of total variance, (..., locations, orients, orients, times)."""

        def total(own, _, first):
            left = _last(own.mean) - first
            within = own.cov.reshape(*own.cov.shape, *[1] * (left.ndim - 2))
            return within + left[:, :, None] * left[:, None, :]

        # trials stand last while locations are in front
        return _front(self._sums(total, _last(self.first)), self._lead, 4)

    @property
    def _lead(self) -> tuple[int, ...]:
        return self.problem.data.shape[:-2]

    def quantiles(self, probabilities: Float[Array, " p"], locations: Any, times: Any):
        """Exact quantiles of each component, (p, ..., locations, orients, times)."""
        members, index = self._members(times), self._index(locations)

        def chunk(local):
            def one(member):
                own = chunks.member_moments(local, member)
                return own.mean, jnp.sqrt(chunks.block_variance(own.cov))[..., None]

            mean, std = jax.lax.map(one, members)
            std = std.reshape(len(std), *(1,) * len(self._lead), *std.shape[1:])
            found = [mixture_quantile(mean, std, p) for p in probabilities]
            return jnp.moveaxis(jnp.stack(found), -3, 0)

        size = chunks.together_size(members, len(index), self.problem.n_orients)
        local = self.prior.local_moments(self.problem)
        return jnp.moveaxis(chunks.by_chunks(chunk, local, index, size), 0, -3)

    def exceedance(self, scale: Array, threshold: Array, along: str, locations: Any, times: Any):
        """Average of the members' probabilities, (..., locations, times)."""
        scale = jnp.broadcast_to(scale, (self.problem.n_locations, 1, 1))
        first = self.first if times is None else self.first[..., times]

        def outside(own, _, factor, towards):
            cov = own.cov * factor**2
            mean = own.mean * factor
            if along == "norm":
                found = ball_exceedance(mean, cov, threshold)
            else:
                found = along_exceedance(jnp.moveaxis(towards, 0, -3), mean, cov, threshold)
            return jnp.moveaxis(found, -2, 0)

        front = jnp.moveaxis(first, -3, 0)
        found = self._sums(outside, scale, front, locations=locations, times=times)
        return jnp.moveaxis(found, 0, -2)

    def members(self, locations: Any, times: Any):
        """Means (draws, ..., locations, orients, times), variances (draws, ..., orients, 1)."""
        local = self.prior.local_moments(self.problem).at(self._index(locations))

        def one(member):
            own = chunks.member_moments(local, member)
            return own.mean, chunks.block_variance(own.cov)[..., None]

        return jax.lax.map(one, self._members(times))

    def draw(self, key: PRNGKeyArray, n: int, locations, times):
        """Choose members, then draw from each; several at once, so that they share a product."""
        k_member, k_draw = jax.random.split(key)
        chosen = jax.random.randint(k_member, (n,), 0, self.n_draws)

        def one(args):
            index, k = args
            hyper, chol = jax.tree.map(lambda x: x[index], (self.hyper, self.chol))
            return self.at(hyper, chol).draw(k, 1, locations, times)[0]

        p = self.problem
        columns = len(times) * p.data.size // (p.rank * p.n_times)
        together = max(1, min(n, DRAWN_AT_ONCE // (p.n_locations * p.n_orients * columns)))
        return jax.lax.map(one, (chosen, jax.random.split(k_draw, n)), batch_size=together)

    def combined(self, weights: Float[Array, "courses locations orients"]):
        """Mean (draws, ..., courses, times) and variance (draws, courses, 1) in each member."""
        together = max(1, min(self.n_draws, DRAWN_AT_ONCE // weights.size))

        def one(args):
            mean, variance = self.at(*args).combine(weights)
            return mean, variance[:, None]

        return jax.lax.map(one, (self.hyper, self.chol), batch_size=together)

    def combine(self, weights: Float[Array, "courses locations orients"]):
        """Mean and variance of linear combinations, both (..., courses, times)."""
        mean, variance = self.combined(weights)
        total = jnp.mean(mean, axis=0)
        spread = jnp.mean((mean - total) ** 2, axis=0)
        return total, jnp.mean(variance, axis=0) + spread

    def fitted(self) -> Float[Array, "*trials rank times"]:
        """Average of the members' predictions."""

        def left(args):  # N Sigma^-1, averaged before it meets the data
            hyper, chol = args
            noise = self.noise.covariance(hyper, self.problem.whitener)
            return jsl.cho_solve((chol, True), noise).T

        total = jnp.mean(jax.lax.map(left, (self.hyper, self.chol)), axis=0)
        return self.problem.data - total @ self.problem.data

    def probe(self) -> Float[Array, ""]:
        """Sum of the moments."""
        return jnp.sum(self.first) + jnp.sum(self.second)


def _last(x: Array) -> Array:
    """(..., locations, orients, times) to (locations, orients, times, ...)."""
    n_lead = x.ndim - 3
    return jnp.moveaxis(x, range(n_lead), range(3, 3 + n_lead))


def _front(x: Array, lead: tuple[int, ...], n_own: int) -> Array:
    """Move the axes of trials, behind the first `n_own`, back to the front."""
    return jnp.moveaxis(x, range(n_own, n_own + len(lead)), range(len(lead)))


def mixture(
    problem: Problem,
    prior: Any,
    noise: Noise,
    hyper: dict[str, Array],
    chol: Float[Array, "draws rank rank"],
) -> MixturePosterior:
    """Mixture over draws (draws, ...), its moments computed once.

    The second moments are taken about the first member's mean, so that nothing cancels.

    Parameters
    ----------
    problem, prior, noise
    hyper : dict of (draws, ...)
    chol : (draws, rank, rank)
        Lower Cholesky factors of the covariance of the data.
    """
    p = problem
    zero = jnp.zeros((*p.data.shape[:-2], p.n_locations, p.n_orients, p.n_times))
    samples = eqx.tree_at(lambda q: q.data, p, p.samples)
    raw = MixturePosterior(samples, prior, noise, hyper, chol, zero, zero)
    members = raw._members()
    one = jax.tree.map(lambda x: x[0], members)

    def chunk(local):
        origin = chunks.member_moments(local, one).mean

        def about(member):
            own = chunks.member_moments(local, member)
            left = own.mean - origin
            return left, left**2 + chunks.block_variance(own.cov)[..., None]

        first, second = chunks.average(about, members)
        spread = jnp.maximum(second - first**2, 0.0)
        return jnp.moveaxis(origin + first, -3, 0), jnp.moveaxis(spread, -3, 0)

    size = chunks.summed_size(p.n_locations, p.n_orients)
    found = chunks.by_chunks(chunk, prior.local_moments(p), jnp.arange(p.n_locations), size)
    first, second = (jnp.moveaxis(x, 0, -3) for x in found)
    return MixturePosterior(p, prior, noise, hyper, chol, first, second)
