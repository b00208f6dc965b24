r"""One sweep of the Gibbs sampler: latent sources given variances, variances given them.

With all factors side by side, those of linear noise among them, :math:`Y = F Z + E`,
:math:`Z_{ct} \sim N(0, v_{k(c)})`, E the noise that is known. A draw of Z given Y is a draw of the
prior, put right,

.. math:: Z = Z_0 + V F^\top \Sigma^{-1} (Y - F Z_0 - E_0), \qquad \Sigma = F V F^\top + C_E

and the variances are independent given Z, with :math:`n_k` latent values whose squares sum to
:math:`s_k`:

.. math:: p(v_k \mid Z) \propto v_k^{-n_k / 2} e^{-s_k / 2 v_k} p(v_k)

an inverse gamma where the prior is one, else drawn by slice sampling in :math:`\log v_k`.
"""

import itertools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
import numpyro.distributions as dist
from jaxtyping import Array, Float, Int, PRNGKeyArray

from esijax._ops.trials import trials_as_columns
from esijax._types import Scalar
from esijax.models._variance_blocks import LogVariances, VarianceBlock, variance_blocks
from esijax.models.marginals import LinearMarginal
from esijax.problem import Problem

Counts = Float[Array, " n"]
STEP_OUT = 2.0  # of a step outwards, in log variance
MAX_STEPS_OUT = 16
SHRINKINGS = 60


def draw_block(
    block: VarianceBlock, key: PRNGKeyArray, log: LogVariances, count: Counts, square: Counts
) -> LogVariances:
    """Log variances of a block given `count` latent values and the sum of their squares."""
    law = block.law
    if isinstance(law, dist.InverseGamma):
        shape = law.concentration + 0.5 * count
        return jnp.log(law.rate + 0.5 * square) - jnp.log(jax.random.gamma(key, shape))

    def density(u: LogVariances) -> LogVariances:
        inside = law.support(jnp.exp(u))
        value = law.log_prob(jnp.where(inside, jnp.exp(u), jnp.exp(log)))
        own = u - 0.5 * (count * u + square * jnp.exp(-u))
        return jnp.where(inside, value + own, -jnp.inf)

    return sliced(key, density, log)


class SweepModel(eqx.Module):
    """Sensor factors, data and hyper-priors: all that a sweep reads."""

    factor: Float[Array, "rank columns"]
    owner: Int[Array, " columns"]
    data: Float[Array, "rank times"]
    # columns of noise alone, and the factors of noise: the last ones
    alone: Float[Array, "rank others"] | None
    blocks: tuple[VarianceBlock, ...]
    known: bool = eqx.field(static=True)  # the noise is N(0, I), not among the factors
    n_noise_columns: int = eqx.field(static=True)

    @property
    def n(self) -> int:
        """Number of variances."""
        return sum(block.n for block in self.blocks)

    @property
    def count(self) -> LogVariances:
        """Latent values of each variance."""
        each = jnp.full(len(self.owner), float(self.data.shape[1]))
        if self.alone is not None:
            each = each.at[self._noise].add(float(self.alone.shape[1]))
        return jnp.zeros(self.n).at[self.owner].add(each)

    @property
    def _noise(self) -> slice:
        """Factors of noise that is learned: the last ones."""
        return slice(len(self.owner) - self.n_noise_columns, None)

    def inside(self, log: LogVariances) -> LogVariances:
        """Bring a start into the support of the hyper-priors."""
        pieces = zip(self.blocks, self._split(log), strict=True)
        return jnp.concatenate([own.inside(u) for own, u in pieces])

    def sweep(self, key: PRNGKeyArray, log: LogVariances) -> tuple[LogVariances, Scalar]:
        """Next log variances; log posterior of the last ones."""
        k_latent, k_noise, *keys = jax.random.split(key, 2 + len(self.blocks))
        variance = jnp.exp(log)[self.owner]
        every = slice(None)
        latent, evidence = self._latent(variance, every, self.data, k_latent, k_noise)
        each = jnp.sum(latent**2, axis=1)
        if self.alone is not None:
            k_latent, k_noise = jax.random.split(k_latent)
            latent, more = self._latent(variance, self._noise, self.alone, k_latent, k_noise)
            each, evidence = each.at[self._noise].add(jnp.sum(latent**2, axis=1)), evidence + more
        square = jnp.zeros(self.n).at[self.owner].add(each)
        pieces = self._split(log), self._split(self.count), self._split(square)
        prior = sum(
            jnp.sum(own.log_density(u) + u) for own, u in zip(self.blocks, pieces[0], strict=True)
        )
        new = [
            draw_block(own, k, *piece)
            for own, k, *piece in zip(self.blocks, keys, *pieces, strict=True)
        ]
        return jnp.concatenate(new), evidence + prior

    def _latent(
        self,
        variance: Array,
        part: slice,
        data: Array,
        k_latent: PRNGKeyArray,
        k_noise: PRNGKeyArray,
    ) -> tuple[Array, Scalar]:
        """Draw the latent values of some factors; log density of the data."""
        factor, variance = self.factor[:, part], variance[part]
        cov = (factor * variance) @ factor.T
        shape = (len(variance), data.shape[1])
        first = jnp.sqrt(variance)[:, None] * jax.random.normal(k_latent, shape)
        rest = data - factor @ first
        if self.known:
            cov = cov + jnp.eye(len(cov))
            rest = rest - jax.random.normal(k_noise, rest.shape)
        chol = jnp.linalg.cholesky(cov)
        latent = first + variance[:, None] * (factor.T @ jsl.cho_solve((chol, True), rest))
        white = jsl.solve_triangular(chol, data, lower=True)
        density = -data.shape[1] * jnp.sum(jnp.log(jnp.diag(chol))) - 0.5 * jnp.sum(white**2)
        return latent, density

    def _split(self, values: Array) -> list[Array]:
        ends = [0]
        for block in self.blocks:
            ends.append(ends[-1] + block.n)
        return [values[a:b] for a, b in itertools.pairwise(ends)]


def sweep_model(marginal: LinearMarginal) -> SweepModel:
    """Read prior, noise and data of a model."""
    factor, owner, _ = marginal.columns()
    data = trials_as_columns(marginal.problem.data)
    blocks = variance_blocks(marginal.distributions() or ())
    known, n_noise = marginal.n_noise == 0, factor.shape[1] - marginal.factor.shape[1]
    alone = None if known else _columns_of_noise(marginal.problem)
    return SweepModel(factor, owner, data, alone, blocks, known, n_noise)


def _columns_of_noise(problem: Problem) -> Float[Array, "rank others"] | None:
    """Columns with the sum of products, and the number, of those of noise alone.

    What is drawn depends on nothing else of them: turned among each other they are as probable.
    """
    basis = problem.basis
    if basis is None:
        return None
    n_columns, n_times = basis.rows.shape
    n = (n_times - n_columns) * (problem.data.size // (problem.rank * n_columns))
    values, vectors = jnp.linalg.eigh(basis.power)
    root = (vectors * jnp.sqrt(jnp.maximum(values, 0.0))[None])[:, ::-1][:, :n]
    return jnp.pad(root, ((0, 0), (0, n - root.shape[1])))


def sliced(key: PRNGKeyArray, density: Any, at: LogVariances) -> LogVariances:
    """Slice sampling of many independent numbers at once (Neal 2003, doi:10.1214/aos/1056562461).

    The interval steps out until both ends lie below the level, or MAX_STEPS_OUT times, and shrinks
    to the point.
    """
    k_level, k_place, k_steps, k_shrink = jax.random.split(key, 4)
    level = density(at) + jnp.log(jax.random.uniform(k_level, at.shape, minval=1e-300))
    low = at - STEP_OUT * jax.random.uniform(k_place, at.shape)
    high = low + STEP_OUT
    left = jnp.floor(MAX_STEPS_OUT * jax.random.uniform(k_steps, at.shape))  # the rest to the right

    def out(i, ends):
        low, high = ends
        return (
            jnp.where((density(low) > level) & (i < left), low - STEP_OUT, low),
            jnp.where(
                (density(high) > level) & (i < MAX_STEPS_OUT - 1 - left), high + STEP_OUT, high
            ),
        )

    low, high = jax.lax.fori_loop(0, MAX_STEPS_OUT, out, (low, high))

    def shrink(i, state):
        low, high, value, found = state
        trial = low + (high - low) * jax.random.uniform(jax.random.fold_in(k_shrink, i), at.shape)
        good = density(trial) > level
        value = jnp.where(good & ~found, trial, value)
        narrow = ~good & ~found
        low = jnp.where(narrow & (trial < at), trial, low)
        high = jnp.where(narrow & (trial >= at), trial, high)
        return low, high, value, found | good

    def go(carry):
        i, state = carry
        return (i < SHRINKINGS) & ~jnp.all(state[3])

    start = (jnp.zeros((), int), (low, high, at, jnp.zeros(at.shape, bool)))
    return jax.lax.while_loop(go, lambda c: (c[0] + 1, shrink(*c)), start)[1][2]
