r"""The objective of expectation maximisation and one update of all variances.

.. math:: F(\theta) = \log p(Y \mid \theta) + \log p(\theta), \qquad \theta = (\gamma, v)

Variances of sources and of the noise are components alike: one covariance, one rule.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from esijax._ops.trials import trials_as_columns
from esijax._types import Scalar, Square
from esijax.inference.collapsed.em._hyperprior import VariancePrior, log_hyperprior
from esijax.inference.collapsed.em._sensor import (
    SensorComponents,
    SensorFilter,
    Variances,
    floor,
    sensor_components,
    sensor_filter,
)
from esijax.inference.collapsed.em._update import bound_coefficients
from esijax.models.marginals import LinearMarginal
from esijax.models.noise import LinearNoise


class Evaluation(eqx.Module):
    """What is known at one value of the variances.

    Parameters
    ----------
    value : ()
        Objective.
    log : (n,)
        Logarithms of the variances.
    move : (n,)
        What the update adds to them.
    gradient : (n,)
        Derivative of the objective with respect to the logarithms.
    share : (n,)
        Part of each component's dimensions that the data determine, between 0 and 1.
    """

    value: Scalar
    log: Variances
    move: Variances
    gradient: Variances
    share: Variances


class EMModel(eqx.Module):
    """Everything that an iteration needs, computed once.

    Parameters
    ----------
    source : SensorComponents
        Components of the sources.
    noise : SensorComponents | None
        Of the noise; None: the identity.
    data : (rank, columns) or (rank, rank)
        Y / sqrt(n), or Y Y' / n where there are more samples than dimensions (`pooled`).
    n_columns, log_jacobian : ()
    prior : VariancePrior
        Log hyper-prior of all variances.
    alone : (rank, rank), optional
        Sum of products of columns of noise alone, over n.
    n_alone : ()
        Their number over n.
    limit : (n,), optional
        z0, for the update "lowsnr".
    n_sources : int
        Number of components of the sources; the others are the noise's.
    update : str
    pooled : bool
    """

    source: SensorComponents
    noise: SensorComponents | None
    data: Float[Array, "rank columns"]
    n_columns: Scalar
    log_jacobian: Scalar
    prior: VariancePrior
    limit: Variances | None
    alone: Square | None
    n_alone: Scalar
    n_sources: int = eqx.field(static=True)
    update: str = eqx.field(static=True)
    pooled: bool = eqx.field(static=True)

    @property
    def rank(self) -> int:
        """Dimensions of the data."""
        return self.data.shape[0]

    def sigma(self, theta: Variances) -> Float[Array, "rank rank"]:
        """Covariance of the data."""
        signal = self.source.cov(theta[: self.n_sources])
        if self.noise is None:
            return signal + jnp.eye(self.rank, dtype=signal.dtype)
        return signal + self.noise.cov(theta[self.n_sources :])

    def filter(self, theta: Variances) -> SensorFilter:
        """Factorise the covariance."""
        return sensor_filter(self.sigma(theta), self.data, pooled=self.pooled)

    def energy(self, filt: SensorFilter) -> tuple[Variances, Variances]:
        """Give q and z of all components."""
        q, z = self.source.energy(filt)
        if self.noise is None:
            return q, z
        more = self.noise.energy(filt)
        return jnp.concatenate([q, more[0]]), jnp.concatenate([z, more[1]])

    def filter_alone(self, theta: Variances) -> SensorFilter | None:
        """Factorise the noise, where it is learned from columns of noise alone too."""
        if self.alone is None or self.noise is None:
            return None
        return sensor_filter(self.noise.cov(theta[self.n_sources :]), self.alone, pooled=True)

    def energy_alone(self, filt: SensorFilter) -> tuple[Variances, Variances]:
        """What columns of noise alone add to q and z."""
        assert self.noise is not None
        q, z = (jnp.pad(x, (self.n_sources, 0)) for x in self.noise.energy(filt))
        return q, self.n_alone * z

    @property
    def size(self) -> Variances:
        """Dimensions of all components; columns of noise alone count for the noise."""
        if self.noise is None:
            return self.source.size
        return jnp.concatenate([self.source.size, self.noise.size * (1.0 + self.n_alone)])

    def value(self, theta: Variances, filt: SensorFilter) -> Scalar:
        """Objective."""
        log_det = filt.log_det if self.limit is None else jnp.sum(self.limit * theta)
        n = 1.0 + self.n_alone
        spread = log_det + filt.misfit + n * self.rank * jnp.log(2 * jnp.pi)
        if (alone := self.filter_alone(theta)) is not None:
            spread += self.n_alone * alone.log_det + alone.misfit
        elif self.alone is not None:
            spread += jnp.trace(self.alone)
        return self.n_columns * (n * self.log_jacobian - 0.5 * spread) + self.prior.value(theta)

    def at(self, log: Variances) -> Evaluation:
        """Evaluate the objective and its update."""
        low, high = self.prior.log_bounds(len(log))
        log = jnp.clip(log, low, high)
        theta = jnp.exp(log)
        filt = self.filter(theta)
        q, z = self.energy(filt)
        if (alone := self.filter_alone(theta)) is not None:
            more = self.energy_alone(alone)
            q, z = q + more[0], z + more[1]
        bound = z if self.limit is None else self.limit
        size = self.size
        data = bound_coefficients(self.update, theta, q, bound, size, self.n_columns)
        new = self.prior.maximum(*data, theta)
        gradient = 0.5 * self.n_columns * theta * (q - bound) + self.prior.gradient(theta)
        # at an end of the support only the way back counts
        outwards = ((log <= low) & (gradient < 0)) | ((log >= high) & (gradient > 0))
        gradient = jnp.where(outwards, 0.0, gradient)
        move = jnp.maximum(jnp.log(new), floor(log)) - log
        share = jnp.clip(theta * z / size, 0.0, 1.0)
        return Evaluation(self.value(theta, filt), log, move, gradient, share)


def em_model(marginal: LinearMarginal, update: str) -> EMModel:
    """Read prior, noise and data of a model."""
    problem, noise, n_sources = marginal.problem, marginal.noise, marginal.n_sources
    source = sensor_components(marginal.factor, marginal.group, n_sources)
    own = None
    if isinstance(noise, LinearNoise):
        own = sensor_components(*noise.factor(problem.whitener), noise.n_variances)
    prior = log_hyperprior(marginal.distributions() or ())
    pooled = marginal.sizes["n_times"] >= problem.rank
    n = marginal.data.n_columns
    if pooled:
        data = marginal.data.power / n
    else:
        data = trials_as_columns(problem.data) / jnp.sqrt(n)
    limit = None
    if update == "lowsnr":
        eye = jnp.eye(problem.rank, dtype=data.dtype)
        limit = source.energy(sensor_filter(eye, data[:, :1], pooled=False))[1]
    basis = problem.basis
    alone = (None, jnp.zeros(())) if basis is None else (basis.power / n, basis.n_columns / n)
    return EMModel(
        source, own, data, n, problem.log_jacobian, prior, limit, *alone, n_sources, update, pooled
    )
