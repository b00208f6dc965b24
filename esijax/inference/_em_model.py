r"""The objective of expectation maximisation and one update of all variances.

.. math:: F(\theta) = \log p(Y \mid \theta) + \log p(\theta), \qquad \theta = (\gamma, v)

Variances of sources and of the noise are components alike: one covariance, one rule.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
from jaxtyping import Array, Bool, Float

from esijax._types import Scalar
from esijax.inference._em_sensor import Filter, Terms, terms
from esijax.inference._em_update import Shape, prior_shape, shape_of, updated
from esijax.models.collapsed import Marginal
from esijax.models.noise import LinearNoise

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
    root, power : (rank, columns), (rank, rank)
        Y / sqrt(n), or Y Y' / n where there are more samples than dimensions.
    n_columns, log_pdet : ()
    prior : Shape
        Log hyper-prior of all variances.
    limit : (n,), optional
        z0, for the update "lowsnr".
    update : str
    """

    source: Terms
    noise: Terms | None
    root: Float[Array, "rank columns"] | None
    power: Float[Array, "rank rank"] | None
    n_columns: Scalar
    log_pdet: Scalar
    prior: Shape
    limit: Per | None
    update: str = eqx.field(static=True)

    @property
    def rank(self) -> int:
        """Dimensions of the data."""
        known = self.power if self.root is None else self.root
        return known.shape[0]

    def sigma(self, theta: Per) -> Float[Array, "rank rank"]:
        """Covariance of the data."""
        signal = self.source.cov(theta[: self.source.n])
        if self.noise is None:
            return signal + jnp.eye(self.rank, dtype=signal.dtype)
        return signal + self.noise.cov(theta[self.source.n :])

    def filter(self, theta: Per) -> Filter:
        """Factorise the covariance."""
        chol = jnp.linalg.cholesky(self.sigma(theta))
        if self.root is not None:
            return Filter(chol, jsl.solve_triangular(chol, self.root, lower=True), None)
        half = jsl.solve_triangular(chol, self.power, lower=True)
        return Filter(chol, None, jsl.solve_triangular(chol, half.T, lower=True))

    def energy(self, filt: Filter) -> tuple[Per, Per]:
        """q and z of all components."""
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
        if self.limit is None:
            log_det = 2 * jnp.sum(jnp.log(jnp.diag(filt.chol)))
        else:
            log_det = jnp.sum(self.limit * theta)
        misfit = jnp.trace(filt.inner) if filt.white is None else jnp.sum(filt.white**2)
        spread = log_det + misfit + self.rank * jnp.log(2 * jnp.pi)
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
    prior, noise, data = marginal.prior, marginal.noise, marginal.data
    whitener = marginal.problem.whitener
    shape = prior_shape(prior, marginal.sizes)
    source = terms(marginal.factor, marginal.group, prior.n_components(marginal.sizes))
    own = None
    if isinstance(noise, LinearNoise):
        own = terms(*noise.factor(whitener), noise.n_variances)
        more = shape_of(noise.variance, noise.n_variances, {})
        shape = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), shape, more)
    rank, n = marginal.problem.rank, marginal.sizes["n_times"]
    root = power = None
    if n < rank:
        columns = jnp.moveaxis(marginal.problem.data, -2, 0).reshape(rank, -1)
        root = columns / jnp.sqrt(data.n_columns)
    else:
        power = data.power / data.n_columns
    limit = None
    if update == "lowsnr":
        eye = jnp.eye(rank, dtype=data.power.dtype)
        limit = source.energy(Filter(eye, eye[:, :1], None))[1]
    return EMModel(
        source, own, root, power, data.n_columns, whitener.log_pdet, shape, limit, update
    )
