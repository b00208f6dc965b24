r"""Covariance components in sensor space, in the form whose arithmetic is least.

.. math::
   \Sigma(\theta) = \sum_k \theta_k A_k A_k^\top, \qquad
   q_k = \operatorname{tr}(A_k^\top \Sigma^{-1} S \Sigma^{-1} A_k), \qquad
   z_k = \operatorname{tr}(A_k^\top \Sigma^{-1} A_k)

with S = Y Y' / n. Many components stay factors, a few (the noise, restricted maximum likelihood)
become rank x rank matrices: an iteration then costs what the sensors cost.
"""

import abc
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
from jaxtyping import Array, Float, Int

from esijax._ops.chunked import chunk_size, gram
from esijax._types import Scalar, Square

Variances = Float[Array, " n"]
FEW_COMPONENTS = 8


def floor(like: Array) -> float:
    """Logarithm below which a variance counts as zero."""
    return math.log(float(jnp.finfo(like.dtype).tiny)) / 2


class Energies(eqx.Module):
    """What gives q and z of any component: two matrices in sensor space."""

    @property
    @abc.abstractmethod
    def inverse(self) -> Square:
        """The matrix of z: Sigma^-1."""

    @abc.abstractmethod
    def sandwich(self) -> Square:
        """The matrix of q: Sigma^-1 S Sigma^-1."""

    @abc.abstractmethod
    def energy(self, part: Float[Array, "rank _"]) -> tuple[Array, Array]:
        """What each column of a factor adds to q and z."""


class SensorFilter(Energies):
    r"""What one covariance of the data asks of every component.

    Parameters
    ----------
    white : (rank, rank)
        W, lower triangular, with W' W = Sigma^-1. Products with it run faster than solves.
    log_det : ()
        log det Sigma.
    data : (rank, columns)
        W H for any H with H H' = S, where there are fewer columns than dimensions; else W S W'.
    pooled : bool
        Whether it is the latter.
    """

    white: Square
    log_det: Scalar
    data: Float[Array, "rank columns"]
    pooled: bool = eqx.field(static=True)

    @property
    def inverse(self) -> Square:
        """Sigma^-1."""
        return self.white.T @ self.white

    @property
    def misfit(self) -> Scalar:
        """Trace of Sigma^-1 S."""
        return jnp.trace(self.data) if self.pooled else jnp.sum(self.data**2)

    def sandwich(self) -> Square:
        """Sigma^-1 S Sigma^-1."""
        half = self.white.T @ self.data
        return half @ self.white if self.pooled else half @ half.T

    def energy(self, part: Float[Array, "rank _"]) -> tuple[Array, Array]:
        """What each column of a factor adds to q and z."""
        # the upper right quarter of W is zero
        half = len(self.white) // 2
        top, low = self.white[:half, :half] @ part[:half], self.white[half:] @ part
        z = jnp.sum(top**2, axis=0) + jnp.sum(low**2, axis=0)
        if self.pooled:
            own = jnp.concatenate([top, low])
            return jnp.sum(own * (self.data @ own), axis=0), z
        course = self.data[:half].T @ top + self.data[half:].T @ low
        return jnp.sum(course**2, axis=0), z


def sensor_filter(
    sigma: Square, data: Float[Array, "rank columns"], *, pooled: bool
) -> SensorFilter:
    """Factorise a covariance and whiten the data with it."""
    chol = jnp.linalg.cholesky(sigma)
    white = jsl.solve_triangular(chol, jnp.eye(len(chol), dtype=chol.dtype), lower=True)
    own = white @ data
    own = own @ white.T if pooled else own
    return SensorFilter(white, 2.0 * jnp.sum(jnp.log(jnp.diag(chol))), own, pooled)


class SensorComponents(eqx.Module):
    """Components of one kind (sources, or noise)."""

    @abc.abstractmethod
    def cov(self, theta: Variances) -> Square:
        """Sum of the components, each times its variance."""

    @abc.abstractmethod
    def energy(self, filt: Energies) -> tuple[Variances, Variances]:
        """Give q and z of each."""

    @property
    @abc.abstractmethod
    def size(self) -> Variances:
        """r, the dimensions of each component."""


class FactorComponents(SensorComponents):
    """Factors side by side.

    Parameters
    ----------
    factor : (rank, columns)
    group : (columns,)
        Component of each column; `n` where a column is padding.
    n : int
    """

    factor: Float[Array, "rank columns"]
    group: Int[Array, " columns"]
    n: int = eqx.field(static=True)

    def cov(self, theta: Variances) -> Square:
        """A diag(theta) A'."""
        padded = jnp.append(theta, 0.0)
        return gram(self.factor[:, :, None], padded[self.group][:, None])

    def energy(self, filt: Energies) -> tuple[Variances, Variances]:
        """Take a few hundred columns at a time."""
        columns = self.factor.shape[1]
        width = chunk_size(columns, 1)

        def put(out, start):
            part = jax.lax.dynamic_slice_in_dim(self.factor, start, width, axis=1)
            values = jnp.stack(filt.energy(part))
            return jax.lax.dynamic_update_slice_in_dim(out, values, start, axis=1), None

        # the last chunk overlaps the one before: the same values are written twice
        starts = jnp.minimum(jnp.arange(-(-columns // width)) * width, columns - width)
        each, _ = jax.lax.scan(put, jnp.zeros((2, columns), self.factor.dtype), starts)
        q, z = jnp.zeros((2, self.n + 1), each.dtype).at[:, self.group].add(each)[:, : self.n]
        return q, z

    @property
    def size(self) -> Variances:
        """Numbers of columns."""
        return jnp.zeros(self.n + 1, self.factor.dtype).at[self.group].add(1.0)[: self.n]


class MatrixComponents(SensorComponents):
    """A few components as matrices.

    Parameters
    ----------
    matrix : (n, rank, rank)
        A_k A_k'.
    dims : (n,)
        Their ranks.
    """

    matrix: Float[Array, "n rank rank"]
    dims: Variances

    def cov(self, theta: Variances) -> Square:
        """Weighted sum."""
        return jnp.tensordot(theta, self.matrix, axes=1)

    def energy(self, filt: Energies) -> tuple[Variances, Variances]:
        """Sums of element-wise products."""
        axes = ([1, 2], [0, 1])
        q = jnp.tensordot(self.matrix, filt.sandwich(), axes=axes)
        return q, jnp.tensordot(self.matrix, filt.inverse, axes=axes)

    @property
    def size(self) -> Variances:
        """Ranks."""
        return self.dims


def sensor_components(
    factor: Float[Array, "rank columns"], group: Int[Array, " columns"], n: int
) -> SensorComponents:
    """Choose the form: matrices where there are few components of many columns."""
    rank, columns = factor.shape
    if n > FEW_COMPONENTS or n * rank > 2 * columns:
        return FactorComponents(factor, group, n)

    def matrix(k):
        return gram(factor[:, :, None], (group == k).astype(factor.dtype)[:, None])

    matrices = jax.lax.map(matrix, jnp.arange(n))
    values = jnp.linalg.eigvalsh(jax.lax.stop_gradient(matrices))
    dims = jnp.sum(values > 1e-10 * values[:, -1:], axis=1)
    return MatrixComponents(matrices, dims.astype(factor.dtype))
