r"""Sources and noise independent in time: data enter as a sum of products.

.. math:: Y \mid \theta \sim N\left(0,\, \Sigma(\theta)\right), \qquad
          \Sigma(\theta) = G R(\theta) G^\top + W N(\theta) W^\top

No cost grows with time.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from esijax._ops.gaussian import pooled_log_density
from esijax._ops.trials import trials_as_columns
from esijax._types import Scalar, Square
from esijax.models.marginals.marginal import (
    Hyper,
    JointDraw,
    Marginal,
    Sites,
    seeded_hyper,
    sites_named_alike,
)
from esijax.models.noise import Noise, White
from esijax.models.posteriors.gaussian import GaussianPosterior
from esijax.models.posteriors.mixture import MixturePosterior, gaussian_posterior, mixture
from esijax.problem import Problem

MOST_TOGETHER = 8  # evaluations side by side


class Pooled(eqx.Module):
    """Data of independent columns: all that a covariance model needs.

    Parameters
    ----------
    power : (rank, rank)
        Y Y', summed over trials.
    n_columns : ()
        Samples of all trials.
    """

    power: Square
    n_columns: Scalar


def pooled(problem: Problem) -> Pooled:
    """Sum of squares and products of the whitened data."""
    columns = trials_as_columns(problem.data)
    return Pooled(columns @ columns.T, jnp.asarray(columns.shape[1], dtype=columns.dtype))


class PooledMarginal(Marginal):
    """Any prior with `hyper` and `source_cov`, any noise with `hyper` and `covariance`.

    Parameters
    ----------
    problem : Problem
        What was measured.
    prior : Prior
        Prepared (`prior.prepare(problem)`).
    noise : Noise | None
        None is `White`.
    """

    problem: Problem
    prior: Any  # a Prior: it stands below in the reading order, as it makes this
    noise: Noise
    data: Pooled

    def __init__(self, problem: Problem, prior: Any, noise: Noise | None = None):
        self.problem, self.prior, self.data = problem, prior, pooled(problem)
        self.noise = (White() if noise is None else noise).prepare(problem)

    @property
    def name(self) -> str:
        """Class of the prior."""
        return type(self.prior).__name__

    @property
    def proper(self) -> bool:
        """Whether both prior and noise are."""
        return self.prior.proper and self.noise.proper

    @property
    def work(self) -> float:
        """Operations of products and a factorisation in sensor space."""
        return 16.0 * self.problem.rank**3

    @property
    def side_by_side(self) -> int:
        """Several: what an evaluation holds is of the size of the sensors squared."""
        return MOST_TOGETHER

    def hyper(self) -> Hyper:
        """Draw the hyper-parameters of prior and noise."""
        return {**self.prior.hyper(self.sizes), **self.noise.hyper()}

    def noise_cov(self, hyper: Hyper) -> Square:
        """Covariance of the whitened noise."""
        return self.noise.covariance(hyper, self.problem.whitener)

    def signal_cov(self, hyper: Hyper) -> Square:
        """Covariance that the sources make at the sensors."""
        return self.prior.source_cov(hyper, self.problem).sensor(self.problem.gain)

    def sigma(self, hyper: Hyper) -> Square:
        """Covariance of the whitened data."""
        return self.signal_cov(hyper) + self.noise_cov(hyper)

    def log_evidence(self, hyper: Hyper) -> Scalar:
        """Log density of the data in their own units, the sources integrated out."""
        power, n = self.data.power, self.data.n_columns
        seen = pooled_log_density(self.sigma(hyper), power, n)
        return seen + self.log_noise_alone(hyper) + self.log_jacobian

    def log_noise_alone(self, hyper: Hyper) -> Scalar:
        """Log density of the columns that a temporal basis leaves to the noise."""
        basis = self.problem.basis
        if basis is None:
            return jnp.zeros(())
        if isinstance(self.noise, White):
            return basis.white_log_density
        return pooled_log_density(self.noise_cov(hyper), basis.power, basis.n_columns)

    @property
    def log_jacobian(self) -> Scalar:
        """Of the whitening of all columns."""
        basis = self.problem.basis
        more = 0.0 if basis is None else basis.n_columns
        return (self.data.n_columns + more) * self.problem.log_jacobian

    def posterior(self, hyper: Hyper) -> GaussianPosterior:
        """Gaussian posterior at one value of the hyper-parameters."""
        return gaussian_posterior(self.problem, self.prior, self.noise, hyper)

    def mixture(self, draws: Hyper) -> MixturePosterior:
        """Equal mixture over draws of the hyper-parameters."""
        chol = jax.lax.map(lambda h: jnp.linalg.cholesky(self._member_sigma(h)), draws)
        return mixture(self.problem, self.prior, self.noise, draws, chol)

    def _member_sigma(self, hyper: Hyper) -> Square:
        """Covariance of the data of one member of a mixture, by the faster of two equal ways."""
        cov = self.prior.source_cov(hyper, self.problem)
        if not cov.local:
            return self.sigma(hyper)
        return cov.sensor(self.problem.gain) + self.noise_cov(hyper)

    def simulate(self, key: PRNGKeyArray) -> JointDraw:
        """Draw hyper-parameters, sources and data."""
        problem = self.problem
        k_hyper, k_source, k_noise = jax.random.split(key, 3)
        hyper = seeded_hyper(self, k_hyper)
        sources = self.prior.source_cov(hyper, problem).draw(k_source, problem.n_times)
        white = jax.random.normal(k_noise, (problem.rank, problem.n_times))
        noise = jnp.linalg.cholesky(self.noise_cov(hyper)) @ white
        return JointDraw(hyper, sources, jnp.tensordot(problem.gain, sources, axes=2) + noise)

    def start_sites(self, earlier: Hyper | None, *, warm: bool) -> Sites:  # noqa: ARG002
        """Medians of the prior, noise as given, and what an earlier estimate has of the same."""
        sites = self.medians() | self.noise.start(jnp.ones(self.noise.n_variances))
        return sites | sites_named_alike(sites, earlier or {})

    def sites_of(self, hyper: Hyper) -> Sites:
        """Noise variances go by the name of their site too."""
        known = dict(hyper)
        if "noise_var" in known:
            known["noise/gamma"] = known["noise_var"]
        return known
