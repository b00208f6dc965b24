r"""The log-evidence of linear priors where it is cheapest: sensors, columns, few matrices.

.. math:: \Sigma = \sum_k \gamma_k A_k A_k^\top + W N W^\top

Everything that does not depend on the hyper-parameters is computed once.
"""

import abc

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from esijax._ops.components import column_terms, factored_log_density
from esijax._ops.gaussian import pooled_log_density, symmetric_power
from esijax._ops.grams import few_and_large, grams
from esijax._types import Scalar
from esijax.models.noise import LinearNoise, Noise, White
from esijax.problem import Problem

# below this share of the sensors the columns are the cheaper space
FEW_COLUMNS = 0.7


class SensorEvidence(eqx.Module):
    """Log density of the whitened data as a function of the variances."""

    @abc.abstractmethod
    def __call__(self, gamma: Float[Array, " _"], noise: Float[Array, "*_"]) -> Scalar:
        """Log density for variances of components, and those of linear noise or a covariance."""


class SensorSpace(SensorEvidence):
    """A Cholesky factorisation of the sensors' covariance.

    Parameters
    ----------
    factor, group
        Columns of components, then those of a noise that is not diagonal; their variances.
    member : (rank,)
        Noise variance of each dimension; the number of variances where it has none of its own.
    root, n_columns
        Root of the data's sum of products, and their number.
    """

    factor: Float[Array, "rank columns"]
    group: Int[Array, " columns"]
    member: Int[Array, " rank"]
    root: Float[Array, "rank some"]
    n_columns: Scalar

    def __call__(self, gamma: Float[Array, " _"], noise: Float[Array, " _"]) -> Scalar:
        """Log density."""
        weights = jnp.concatenate([gamma, noise])[self.group]
        own = jnp.append(noise, 0.0)[self.member]
        return factored_log_density(weights, own, self.factor, self.root, self.n_columns)


class MatrixSpace(SensorEvidence):
    """The sensors' covariance as a sum of few matrices, each of a component of many columns.

    Parameters
    ----------
    matrices : (n, rank, rank)
        Of components, then of a noise that is not diagonal.
    member : (rank,)
        Noise variance of each dimension; the number of variances where it has none of its own.
    power, n_columns
        Sum of products of the data, and their number.
    """

    matrices: Float[Array, "n rank rank"]
    member: Int[Array, " rank"]
    power: Float[Array, "rank rank"]
    n_columns: Scalar

    def signal(self, gamma: Float[Array, " _"]) -> Float[Array, "rank rank"]:
        """Covariance that the components make."""
        return jnp.tensordot(gamma, self.matrices[: len(gamma)], 1)

    def __call__(self, gamma: Float[Array, " _"], noise: Float[Array, " _"]) -> Scalar:
        """Log density."""
        variance = jnp.concatenate([gamma, noise])[: len(self.matrices)]
        own = jnp.append(noise, 0.0)[self.member]
        sigma = jnp.tensordot(variance, self.matrices, 1) + jnp.diag(own)
        return pooled_log_density(sigma, self.power, self.n_columns)


class ColumnSpace(SensorEvidence):
    r"""A Cholesky factorisation in the space of few columns, the noise diagonal.

    Parameters
    ----------
    group : (columns,)
    gram : (types, columns, columns)
        :math:`F_t^\top F_t`, of the dimensions of each noise variance.
    power : (types, types, columns, columns)
        :math:`F_t^\top S_{tu} F_u`.
    size, energy : (types,)
        Dimensions of each noise variance and the sum of squares there.
    n_columns : ()
    """

    group: Int[Array, " columns"]
    gram: Float[Array, "types columns columns"]
    power: Float[Array, "types types columns columns"]
    size: Float[Array, " types"]
    energy: Float[Array, " types"]
    n_columns: Scalar

    def __call__(self, gamma: Float[Array, " _"], noise: Float[Array, " _"]) -> Scalar:
        """Log density."""
        weight = 1.0 / noise
        gram = jnp.tensordot(weight, self.gram, 1)
        power = jnp.tensordot(weight, jnp.tensordot(weight, self.power, 1), 1)
        log_det, explained = column_terms(gamma[self.group], gram, power)
        log_det += jnp.sum(self.size * jnp.log(2 * jnp.pi * noise))
        left = jnp.sum(self.energy * weight) - explained
        return -0.5 * (left + self.n_columns * log_det)


class AnyNoise(SensorEvidence):
    """A noise covariance that is not linear in variances: it is given whole.

    Parameters
    ----------
    factor, group
        Columns of components, and the variance of each.
    power, n_columns
        Sum of products of the data, and their number.
    """

    factor: Float[Array, "rank columns"]
    group: Int[Array, " columns"]
    power: Float[Array, "rank rank"]
    n_columns: Scalar

    def __call__(self, gamma: Float[Array, " _"], noise: Float[Array, "rank rank"]) -> Scalar:
        """Log density."""
        signal = (self.factor * gamma[self.group][None]) @ self.factor.T
        return pooled_log_density(signal + noise, self.power, self.n_columns)


def sensor_evidence(
    problem: Problem,
    noise: Noise,
    data: Float[Array, "rank samples"],
    factor: Float[Array, "rank columns"],
    group: Int[Array, " columns"],
    n_components: int,
) -> SensorEvidence:
    """Choose the space that is cheapest for these factors and this noise."""
    rank, n = problem.rank, jnp.asarray(data.shape[1], dtype=data.dtype)
    if not isinstance(noise, White | LinearNoise):
        return AnyNoise(factor, group, data @ data.T, n)
    member = noise.dimensions(problem.whitener)
    n_variances = noise.n_variances if isinstance(noise, LinearNoise) else 1
    if member is not None and factor.shape[1] <= FEW_COLUMNS * rank:
        own = (member[None] == jnp.arange(n_variances)[:, None]).astype(factor.dtype)
        parts, seen = own[:, :, None] * factor[None], own[:, :, None] * data[None]
        projected = jnp.einsum("trc,trn->tcn", parts, seen)
        return ColumnSpace(
            group,
            jnp.einsum("trc,trd->tcd", parts, parts),
            jnp.einsum("tcn,udn->tucd", projected, projected),
            jnp.sum(own, axis=1),
            jnp.sum(seen**2, axis=(1, 2)),
            n,
        )
    n_groups = n_components
    if member is None:
        assert isinstance(noise, LinearNoise)  # White has a variance for each dimension
        columns, index = noise.factor(problem.whitener)
        factor = jnp.concatenate([factor, columns], axis=1)
        group = jnp.concatenate([group, n_components + index])
        member, n_groups = jnp.full(rank, n_variances), n_components + n_variances
    if few_and_large(*factor.shape, n_groups):
        return MatrixSpace(grams(factor, group, n_groups), member, data @ data.T, n)
    root = data if data.shape[1] <= rank else symmetric_power(data @ data.T, 0.5, rtol=1e-14)
    return SensorSpace(factor, group, member, root, n)
