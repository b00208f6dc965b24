r"""The posterior of the Gaussian linear model, from one Cholesky factor in sensor space.

.. math::
   \Sigma = G R G^\top + N, \qquad
   \mathbb{E}[X \mid Y] = R G^\top \Sigma^{-1} Y, \qquad
   \operatorname{Cov}[x_t \mid Y] = R - R G^\top \Sigma^{-1} G R

Draws are made by perturb-and-solve (Papandreou and Yuille 2010): with :math:`x \sim N(0, R)`,
:math:`e \sim N(0, N)`, the vector :math:`\mathbb{E}[x \mid y] + x - R G^\top \Sigma^{-1}(G x + e)`
is an exact posterior draw, and no locations x locations matrix is ever formed.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
from jaxtyping import Array, Float, PRNGKeyArray

from esijax._ops.chunked import filtered_blocks
from esijax._ops.trials import trials_as_columns
from esijax._types import Blocks, Data, Gain
from esijax.models.source_cov import SourceCov
from esijax.posterior import Posterior


class GaussianPosterior(Posterior):
    """N(0, R) prior and Gaussian noise.

    Parameters
    ----------
    gain : (rank, locations, orients)
        Lead field of these unknowns, whitened.
    source_cov : SourceCov
        R.
    chol : (rank, rank)
        Lower Cholesky factor of G R G' + N.
    data : (..., rank, times)
        Whitened data.
    noise : (rank, rank), optional
        Lower Cholesky factor of the noise covariance N; the identity if None.
    """

    gain: Gain
    source_cov: SourceCov
    chol: Float[Array, "rank rank"]
    data: Data
    noise: Float[Array, "rank rank"] | None = None

    def mean(self, scale=1.0) -> Float[Array, "*trials locations orients times"]:
        """R G' Sigma^-1 Y."""
        return self._mean(self.data, scale)

    def of_columns(self, mix: Float[Array, "times some"]) -> "GaussianPosterior":
        """The same of other data."""
        return dataclasses.replace(self, data=self.data @ mix)

    def _mean(self, data, scale=1.0):
        return _map_columns(lambda y: self._back_project(y, scale), data)

    def _back_project(self, columns: Float[Array, "rank columns"], scale=1.0):
        solved = jsl.cho_solve((self.chol, True), columns)
        return self.source_cov.back_project(self.gain, solved, scale)

    def kernel(self) -> Float[Array, "locations orients rank"]:
        """R G' Sigma^-1."""
        return self._back_project(jnp.eye(len(self.chol)))

    def explained(self, *, squared: bool = False) -> Blocks:
        r"""Blocks of :math:`R G^\top \Sigma^{-1} G R`, the variance that the data explain.

        With `squared`, of :math:`R G^\top \Sigma^{-2} G R`: the sensor noise in the estimate.
        """
        inverse = jsl.cho_solve((self.chol, True), jnp.eye(len(self.chol)))
        if not self.source_cov.local:
            return filtered_blocks(inverse, self.source_cov.apply_gain(self.gain), squared=squared)
        blocks = self.source_cov.blocks()
        return blocks @ filtered_blocks(inverse, self.gain, squared=squared) @ blocks

    def cov(self) -> Blocks:
        """Blocks of R - R G' Sigma^-1 G R."""
        left = self.source_cov.blocks() - self.explained()
        left = (left + jnp.swapaxes(left, 1, 2)) / 2
        # rounding may leave a variance of -1e-17 where the data determine a source
        diagonal = jnp.maximum(jnp.diagonal(left, axis1=1, axis2=2), 0.0)
        eye = jnp.eye(left.shape[-1])
        return left * (1 - eye) + diagonal[..., None] * eye

    def draw(self, key: PRNGKeyArray, n: int, locations, times):
        """Perturb and solve, a few hundred columns at a time."""
        data = self.data[..., times]
        lead = (n, *data.shape[:-2], len(times))
        n_columns = math.prod(lead)
        n_sources = self.gain.shape[1] * self.gain.shape[2]
        chunk = max(1, min(n_columns, 8_000_000 // n_sources))
        keys = jax.random.split(key, -(-n_columns // chunk))
        noise = _perturbations(self, keys, chunk, jnp.asarray(locations))
        noise = jnp.moveaxis(noise, 0, 2).reshape(*noise.shape[1:3], -1)[..., :n_columns]
        noise = noise.reshape(*noise.shape[:2], *lead)
        noise = jnp.moveaxis(noise, (0, 1), (-3, -2))
        return noise + self._mean(data)[..., locations, :, :]

    def combine(self, weights: Float[Array, "courses locations orients"]):
        """Mean and variance of w'x, with one back-projection per combination."""
        prior = self.source_cov.apply(jnp.moveaxis(weights, 0, -1))  # R w
        sensor = jnp.tensordot(self.gain, prior, axes=2)  # G R w
        half = jsl.solve_triangular(self.chol, sensor, lower=True)
        mean = jnp.swapaxes(half, 0, 1) @ _map_columns(
            lambda y: jsl.solve_triangular(self.chol, y, lower=True), self.data
        )
        variance = jnp.einsum("klo,lok->k", weights, prior) - jnp.sum(half**2, axis=0)
        return mean, jnp.maximum(variance, 0.0)

    def fitted(self) -> Data:
        """G E[X | Y] = Y - N Sigma^-1 Y."""

        def noise_part(y):
            solved = jsl.cho_solve((self.chol, True), y)
            return solved if self.noise is None else self.noise @ (self.noise.T @ solved)

        return self.data - _map_columns(noise_part, self.data)


def _map_columns(function, data):
    """Apply a map of (rank, columns) to (..., rank, times), trials side by side."""
    if data.ndim == 2:
        return function(data)
    lead, times = data.shape[:-2], data.shape[-1]
    columns = trials_as_columns(data)
    out = function(columns)
    out = out.reshape(*out.shape[:-1], *lead, times)
    n_front = out.ndim - len(lead) - 1
    return jnp.moveaxis(out, tuple(range(n_front)), tuple(range(len(lead), len(lead) + n_front)))


@jax.jit
def _perturbation(posterior, key, locations, template):
    k_prior, k_noise = jax.random.split(key)
    chunk = template.shape[0]
    x = posterior.source_cov.draw(k_prior, chunk)
    e = jax.random.normal(k_noise, (len(posterior.chol), chunk))
    e = e if posterior.noise is None else posterior.noise @ e
    u = jnp.tensordot(posterior.gain, x, axes=2) + e
    return (x - posterior._back_project(u))[locations]


def _perturbations(posterior, keys, chunk: int, locations):
    """Zero-mean posterior draws, (chunks, locations, orients, chunk)."""
    template = jnp.zeros(chunk)
    return jax.lax.map(lambda k: _perturbation(posterior, k, locations, template), keys)
