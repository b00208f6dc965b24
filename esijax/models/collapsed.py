r"""The sources integrated out: one NumPyro model that every sampler and optimiser reads.

.. math::
   \theta \sim p(\theta), \qquad
   Y \mid \theta \sim N\left(0,\, \Sigma(\theta)\right), \qquad
   \Sigma(\theta) = G R(\theta) G^\top + W N(\theta) W^\top

X and E are independent in time, so the data enter as :math:`Y Y^\top` and the number of columns:
no cost grows with time.
"""

import equinox as eqx
import jax.numpy as jnp
import numpyro
from jaxtyping import Array, Float, Int

from esijax._ops.gaussian import pooled_log_density
from esijax._ops.trials import trials_as_columns
from esijax._types import Scalar, Square
from esijax.models._evidence import Evidence, MatrixSpace, linear_evidence
from esijax.models.noise import Noise, White
from esijax.models.parts import stacked
from esijax.models.priors.linear import LinearPrior
from esijax.models.priors.prior import Prior
from esijax.problem import Problem


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


TOGETHER = 2e8  # bytes of the sensor factors that evaluations side by side may hold


class Marginal(eqx.Module):
    """Prior, noise and data with the sources integrated out; what is fixed is computed once.

    Parameters
    ----------
    problem, prior, noise
        Prepared (`prior.prepare(problem)`).
    data : Pooled
    factor, group
        Sensor factors of a linear prior, and the component of each column; None for others.
    evidence : Evidence
        Of a linear prior with linear noise: the log-evidence in the smaller of two spaces.
    """

    problem: Problem
    prior: Prior
    noise: Noise
    data: Pooled
    factor: Float[Array, "rank columns"] | None
    group: Int[Array, " columns"] | None
    evidence: Evidence | None

    def __init__(self, problem: Problem, prior: Prior, noise: Noise | None = None):
        self.problem, self.data = problem, pooled(problem)
        self.prior = prior.prepare(problem)
        self.noise = (White() if noise is None else noise).prepare(problem)
        self.factor = self.group = self.evidence = None
        if isinstance(self.prior, LinearPrior):
            parts = self.prior.parts(problem)
            self.factor, self.group = stacked(parts, problem.gain, problem.prior_scale)
            columns, n = trials_as_columns(problem.data), self.prior.n_components(self.sizes)
            self.evidence = linear_evidence(
                problem, self.noise, columns, self.factor, self.group, n
            )

    @property
    def sizes(self) -> dict[str, int]:
        """Sizes that hyper-priors ask for."""
        p = self.problem
        n_columns = p.data.size // p.rank
        return {"n_locations": p.n_locations, "n_orients": p.n_orients, "n_times": n_columns}

    @property
    def work(self) -> float:
        """Operations of one log-evidence and its gradient, about."""
        rank = self.problem.rank
        if isinstance(self.evidence, MatrixSpace):
            columns = len(self.evidence.matrices)
        else:
            columns = rank if self.factor is None else self.factor.shape[1]
        return 8.0 * rank**2 * (rank + columns)

    @property
    def side_by_side(self) -> int:
        """Evaluations that may run together: each holds copies of the sensor factors."""
        size = 1 if self.factor is None else self.factor.size
        return int(min(max(TOGETHER // (8 * size), 1), 8))

    def hyper(self) -> dict[str, Array]:
        """Draw the hyper-parameters of prior and noise."""
        return {**self.prior.hyper(self.sizes), **self.noise.hyper()}

    def noise_cov(self, hyper: dict[str, Array]) -> Square:
        """Covariance of the whitened noise."""
        return self.noise.covariance(hyper, self.problem.whitener)

    def sigma(self, hyper: dict[str, Array]) -> Square:
        """Covariance of the whitened data."""
        if isinstance(self.evidence, MatrixSpace) and isinstance(self.prior, LinearPrior):
            signal = self.evidence.signal(self.prior.gamma(hyper))
        elif isinstance(self.prior, LinearPrior):
            assert self.factor is not None
            weighted = self.factor * self.prior.gamma(hyper)[self.group][None]
            signal = weighted @ self.factor.T
        else:
            signal = self.prior.source_cov(hyper, self.problem).sensor(self.problem.gain)
        return signal + self.noise_cov(hyper)

    def log_evidence(self, hyper: dict[str, Array]) -> Scalar:
        """Log density of the data in their own units, the sources integrated out."""
        power, n = self.data.power, self.data.n_columns
        jacobian = n * self.problem.whitener.log_pdet
        if self.evidence is None or not isinstance(self.prior, LinearPrior):
            return pooled_log_density(self.sigma(hyper), power, n) + jacobian
        noise_var = hyper.get("noise_var", jnp.ones(1))  # White has none of its own
        return self.evidence(self.prior.gamma(hyper), noise_var) + jacobian

    def __call__(self) -> dict[str, Array]:
        """Declare the NumPyro model."""
        hyper = self.hyper()
        numpyro.factor("log_evidence", self.log_evidence(hyper))
        return hyper


def collapsed(problem: Problem, prior: Prior, noise: Noise | None = None) -> dict[str, Array]:
    r"""NumPyro model of the hyper-parameters, the sources integrated out.

    .. math:: \theta \sim p(\theta), \qquad Y \mid \theta \sim N(0, G R(\theta) G^\top + W N W^\top)

    It is a model like any other: hand it to NumPyro's own algorithms, with its three arguments.

    Parameters
    ----------
    problem : Problem
    prior : Prior
    noise : Noise | None
        None is `White`.

    Returns
    -------
    hyper : dict
        The hyper-parameters, as `prior.source_cov` and `noise.covariance` take them.

    Examples
    --------
    >>> import jax, numpy as np, esijax as ej, numpyro.distributions as dist
    >>> from numpyro.infer.util import log_density
    >>> gain = np.random.default_rng(0).standard_normal((8, 12))
    >>> problem = ej.from_arrays(gain, gain[:, :3], noise_cov=0.1)
    >>> prior = ej.models.ARD(dist.InverseGamma(1.0, 0.1))
    >>> at = {"gamma": np.ones(12)}
    >>> value, _ = log_density(ej.models.collapsed, (problem, prior), {}, at)
    """
    return Marginal(problem, prior, noise)()
