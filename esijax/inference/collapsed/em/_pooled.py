"""Independent samples: one covariance of the data, with all components in it."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from esijax._ops.trials import trials_as_columns
from esijax._types import Scalar, Square
from esijax.inference.collapsed.em._hyperprior import log_hyperprior
from esijax.inference.collapsed.em._model import DataFit, EMModel
from esijax.inference.collapsed.em._sensor import (
    SensorComponents,
    SensorFilter,
    Variances,
    sensor_components,
    sensor_filter,
)
from esijax.models.marginals import LinearMarginal
from esijax.models.noise import LinearNoise


class PooledEMModel(EMModel):
    """Independent samples.

    Parameters
    ----------
    source : SensorComponents
        Components of the sources.
    noise : SensorComponents | None
        Of the noise; None: the identity.
    data : (rank, columns) or (rank, rank)
        Y / sqrt(n), or Y Y' / n where there are more samples than dimensions (`pooled`).
    log_jacobian : ()
    alone : (rank, rank), optional
        Sum of products of columns of noise alone, over n.
    n_alone : ()
        Their number over n.
    pooled : bool
    """

    source: SensorComponents
    noise: SensorComponents | None
    data: Float[Array, "rank columns"]
    log_jacobian: Scalar
    alone: Square | None
    n_alone: Scalar
    pooled: bool = eqx.field(static=True)

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

    @property
    def operations(self) -> float:
        """A factorisation, and products with all factors."""
        leaves = jax.tree.leaves((self.source, self.noise))
        columns = sum(leaf.size for leaf in leaves) / self.rank
        return self.rank**2 * (4 * columns + 4 * self.rank)

    def fit(self, theta: Variances) -> DataFit:
        """Through one factorisation, and one more where columns are noise alone."""
        filt = self.filter(theta)
        q, z = self.energy(filt)
        if (alone := self.filter_alone(theta)) is not None:
            more = self.energy_alone(alone)
            q, z = q + more[0], z + more[1]
        return DataFit(self.log_density(theta, filt), q, z)

    def log_density(self, theta: Variances, filt: SensorFilter) -> Scalar:
        """Of the data."""
        log_det = filt.log_det if self.limit is None else jnp.sum(self.limit * theta)
        n = 1.0 + self.n_alone
        spread = log_det + filt.misfit + n * self.rank * jnp.log(2 * jnp.pi)
        if (alone := self.filter_alone(theta)) is not None:
            spread += self.n_alone * alone.log_det + alone.misfit
        elif self.alone is not None:
            spread += jnp.trace(self.alone)
        return self.n_columns * (n * self.log_jacobian - 0.5 * spread)


def pooled_model(marginal: LinearMarginal, update: str) -> PooledEMModel:
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
    parts = (source, own, data, problem.log_jacobian, *alone, pooled)
    return PooledEMModel(prior, n, limit, problem.rank, n_sources, update, *parts)
