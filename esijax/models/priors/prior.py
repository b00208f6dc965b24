"""What every prior of the sources has: hyper-parameters, and a source covariance given them."""

import abc

import equinox as eqx
from jaxtyping import Array

from esijax.models.marginals.marginal import Marginal
from esijax.models.marginals.pooled import PooledMarginal
from esijax.models.noise import Noise
from esijax.models.posteriors.local_moments import LocalMoments, generic_moments
from esijax.models.source_cov import SourceCov
from esijax.problem import Problem


class Prior(eqx.Module):
    r"""A prior of the sources that is Gaussian once its hyper-parameters are known.

    .. math:: \theta \sim p(\theta), \qquad X \mid \theta \sim N(0, R(\theta))

    A new prior is one class with the two methods `hyper` and `source_cov`; every inference that
    integrates the sources out (`esijax.inference.NUTS`, `SVI`, `Laplace`, `Evidence`) takes it.
    """

    def prepare(self, problem: Problem) -> "Prior":  # noqa: ARG002
        """Do once, on the host, what depends on where the sources are; jit sees only arrays."""
        return self

    def default_noise(self, problem: Problem) -> Noise | None:  # noqa: ARG002
        """Noise model, prepared, where `solve` is given none; None: as the covariance says."""
        return None

    @abc.abstractmethod
    def hyper(self, sizes: dict[str, int]) -> dict[str, Array]:
        """Draw the hyper-parameters with `numpyro.sample`.

        `sizes` holds n_locations, n_orients and n_times (of all trials together).
        """

    @abc.abstractmethod
    def source_cov(self, hyper: dict[str, Array], problem: Problem) -> SourceCov:
        """R in normalised units, never locations x locations."""

    @property
    def proper(self) -> bool:
        """Whether the hyper-prior is a distribution (a flat one is none)."""
        return True

    def marginal(self, problem: Problem, noise: Noise | None = None) -> Marginal:
        """Integrate the sources out of prior, noise and data.

        What depends on neither hyper-parameter is computed here, once.

        Parameters
        ----------
        problem : Problem
        noise : Noise | None
            None is `White`.
        """
        return PooledMarginal(problem, self.prepare(problem), noise)

    def local_moments(self, problem: Problem) -> LocalMoments:
        """Prior moments of single locations, which posteriors over draws are made of."""
        return generic_moments(self, problem)
