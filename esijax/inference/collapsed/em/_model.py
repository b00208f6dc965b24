r"""The objective of expectation maximisation and one update of all variances.

.. math:: F(\theta) = \log p(Y \mid \theta) + \log p(\theta), \qquad \theta = (\gamma, v)

Variances of sources and of the noise are components alike: one covariance, one rule.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from esijax._ops.trials import trials_as_columns
from esijax._types import Scalar
from esijax.inference.collapsed.em._sensor import Filter, Terms, terms, whitened
from esijax.inference.collapsed.em._update import Shape, prior_shape, shape_of, updated
from esijax.models.collapsed import Marginal
from esijax.models.noise import LinearNoise
from esijax.models.priors.linear import LinearPrior

Per = Float[Array, " n"]


class Point(eqx.Module):
    """What is known at one value of the variances.

    Parameters
    ----------
    value : ()
        Objective.
    log : (n,)
        Logarithms of the variances.
    move : (n,)
        What the update adds to them.
    slope : (n,)
        Derivative of the objective with respect to the logarithms.
    share : (n,)
        Part of each component's dimensions that the data determine, between 0 and 1.
    """

    value: Scalar
    log: Per
    move: Per
    slope: Per
    share: Per


class EMModel(eqx.Module):
    """Everything that an iteration needs, computed once.

    Parameters
    ----------
    source : Terms
        Components of the sources.
    noise : Terms | None
        Of the noise; None: the identity.
    data : (rank, columns) or (rank, rank)
        Y / sqrt(n), or Y Y' / n where there are more samples than dimensions (`pooled`).
    n_columns, log_pdet : ()
    prior : Shape
        Log hyper-prior of all variances.
    limit : (n,), optional
        z0, for the update "lowsnr".
    n_sources : int
        Number of components of the sources; the others are the noise's.
    update : str
    pooled : bool
    """

    source: Terms
    noise: Terms | None
    data: Float[Array, "rank columns"]
    n_columns: Scalar
    log_pdet: Scalar
    prior: Shape
    limit: Per | None
    n_sources: int = eqx.field(static=True)
    update: str = eqx.field(static=True)
    pooled: bool = eqx.field(static=True)

    @property
    def rank(self) -> int:
        """Dimensions of the data."""
        return self.data.shape[0]

    def sigma(self, theta: Per) -> Float[Array, "rank rank"]:
        """Covariance of the data."""
        signal = self.source.cov(theta[: self.n_sources])
        if self.noise is None:
            return signal + jnp.eye(self.rank, dtype=signal.dtype)
        return signal + self.noise.cov(theta[self.n_sources :])

    def filter(self, theta: Per) -> Filter:
        """Factorise the covariance."""
        return whitened(self.sigma(theta), self.data, pooled=self.pooled)

    def energy(self, filt: Filter) -> tuple[Per, Per]:
        """Give q and z of all components."""
        q, z = self.source.energy(filt)
        if self.noise is None:
            return q, z
        more = self.noise.energy(filt)
        return jnp.concatenate([q, more[0]]), jnp.concatenate([z, more[1]])

    @property
    def size(self) -> Per:
        """Dimensions of all components."""
        if self.noise is None:
            return self.source.size
        return jnp.concatenate([self.source.size, self.noise.size])

    def value(self, theta: Per, filt: Filter) -> Scalar:
        """Objective."""
        log_det = filt.log_det if self.limit is None else jnp.sum(self.limit * theta)
        spread = log_det + filt.misfit + self.rank * jnp.log(2 * jnp.pi)
        return self.n_columns * (self.log_pdet - 0.5 * spread) + self.prior.value(theta)

    def at(self, log: Per) -> Point:
        """Evaluate the objective and its update."""
        theta = jnp.exp(log)
        filt = self.filter(theta)
        q, z = self.energy(filt)
        bound = z if self.limit is None else self.limit
        size = self.size
        new = updated(self.update, theta, q, bound, size, self.n_columns, self.prior)
        slope = 0.5 * self.n_columns * theta * (q - bound) + self.prior.slope(theta)
        move = jnp.maximum(jnp.log(new), floor(log)) - log
        share = jnp.clip(theta * z / size, 0.0, 1.0)
        return Point(self.value(theta, filt), log, move, slope, share)

    def only(self, alive: Bool[Array, " n"], columns: int) -> "EMModel":
        """Leave out the columns of sources that are zero."""
        return eqx.tree_at(lambda m: m.source, self, self.source.only(alive, columns))


def floor(like: Array) -> float:
    """Logarithm below which a variance counts as zero."""
    return math.log(float(jnp.finfo(like.dtype).tiny)) / 2


def em_model(marginal: Marginal, update: str) -> EMModel:
    """Read prior, noise and data of a model."""
    problem, prior, noise = marginal.problem, marginal.prior, marginal.noise
    assert isinstance(prior, LinearPrior)
    assert marginal.factor is not None
    assert marginal.group is not None
    shape = prior_shape(prior, marginal.sizes)
    n_sources = prior.n_components(marginal.sizes)
    source = terms(marginal.factor, marginal.group, n_sources)
    own = None
    if isinstance(noise, LinearNoise):
        own = terms(*noise.factor(problem.whitener), noise.n_variances)
        more = shape_of(noise.variance, noise.n_variances, {})
        shape = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), shape, more)
    pooled = marginal.sizes["n_times"] >= problem.rank
    n = marginal.data.n_columns
    if pooled:
        data = marginal.data.power / n
    else:
        data = trials_as_columns(problem.data) / jnp.sqrt(n)
    limit = None
    if update == "lowsnr":
        eye = jnp.eye(problem.rank, dtype=data.dtype)
        limit = source.energy(whitened(eye, data[:, :1], pooled=False))[1]
    return EMModel(
        source, own, data, n, problem.whitener.log_pdet, shape, limit, n_sources, update, pooled
    )
