r"""What data are worth to a Gaussian model, sample by sample, its sources integrated out.

.. math:: \operatorname{vec} Y \sim N(0,\; M \otimes T + N \otimes T_n)

Data are whitened over sensors, (trials, rank, times), at their own samples. Where samples are
independent (:math:`T = T_n = I`) one has the density :math:`N(y_t;\, 0,\, M + N)`; where they go
together it has that given all others.
"""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
from jaxtyping import Array, Float, PRNGKeyArray

from esijax._ops.gaussian import symmetric_power
from esijax._ops.separable import Modes, Pair, Trials, modes
from esijax._types import Square

PerSample = Float[Array, "trials times"]
PerTrial = Float[Array, " trials"]


class DataLaw(eqx.Module):
    """Distribution of the data at one value of the hyper-parameters."""

    @abc.abstractmethod
    def by_time(self, white: Trials) -> PerSample:
        """Log density of each sample, given the others of its trial where they go together."""

    @abc.abstractmethod
    def by_trial(self, white: Trials) -> PerTrial:
        """Log density of each trial."""

    @abc.abstractmethod
    def draw(self, key: PRNGKeyArray, like: Trials) -> Trials:
        """Draw data of the same shape."""

    @abc.abstractmethod
    def again(self, key: PRNGKeyArray, white: Trials) -> Trials:
        """The same sources measured again: their posterior prediction with noise of its own."""


class Independent(DataLaw):
    r"""Samples are independent, each :math:`N(0, \Sigma)`, of which N is noise.

    Parameters
    ----------
    cov, noise : (rank, rank)
        :math:`\Sigma = M + N`, and N.
    """

    cov: Square
    noise: Square

    def by_time(self, white: Trials) -> PerSample:
        """Log density of each sample."""
        chol = jnp.linalg.cholesky(self.cov)
        half = _solved(chol, white)
        log_det = 2.0 * jnp.sum(jnp.log(jnp.diag(chol))) + len(chol) * jnp.log(2 * jnp.pi)
        return -0.5 * (jnp.sum(half**2, axis=1) + log_det)

    def by_trial(self, white: Trials) -> PerTrial:
        """Sum over the samples."""
        return jnp.sum(self.by_time(white), axis=1)

    def draw(self, key: PRNGKeyArray, like: Trials) -> Trials:
        """Draw each sample."""
        normal = jax.random.normal(key, like.shape, like.dtype)
        return jnp.linalg.cholesky(self.cov) @ normal

    def again(self, key: PRNGKeyArray, white: Trials) -> Trials:
        r"""Mean :math:`Y - N \Sigma^{-1} Y`, covariance :math:`2 N - N \Sigma^{-1} N`."""
        half = jsl.solve_triangular(jnp.linalg.cholesky(self.cov), self.noise, lower=True)
        root = jnp.linalg.cholesky(2 * self.noise - half.T @ half)
        noise = half.T @ _solved(jnp.linalg.cholesky(self.cov), white)
        return white - noise + root @ jax.random.normal(key, white.shape, white.dtype)


class Together(DataLaw):
    r"""Samples of a trial go together.

    Parameters
    ----------
    pair : Pair
        Modes of M against N, and of T against T_n at the samples.
    noise : (rank, rank)
        Root of the sensor noise; N may hold sources too.
    """

    pair: Pair
    noise: Square

    def by_time(self, white: Trials) -> PerSample:
        r"""Log density of each sample given the others of its trial.

        With :math:`P = \Sigma^{-1}`, :math:`\alpha = P \operatorname{vec} Y` and the blocks
        :math:`P_{tt}` of a sample,

        .. math:: \log p(y_t \mid y_{-t}) = \tfrac12 \left( \log\det P_{tt} - r \log 2\pi
                  - \alpha_t^\top P_{tt}^{-1} \alpha_t \right)

        In the modes of space the blocks are diagonal.

        References
        ----------
        Bürkner, Gabry and Vehtari 2021, doi:10.1007/s00180-020-01045-4.
        """
        space, time = self.pair.space, self.pair.time
        precision = self.pair.weights @ (time.inverse**2).T  # (rank, times)
        alpha = self.pair.solved(white) @ time.inverse.T
        log_det = jnp.sum(jnp.log(precision), axis=0) - space.log_det
        rank = len(precision)
        distance = jnp.sum(alpha**2 / precision[None], axis=1)
        return 0.5 * (log_det[None] - rank * jnp.log(2 * jnp.pi) - distance)

    def by_trial(self, white: Trials) -> PerTrial:
        """Log density of each trial."""
        w = self.pair.weights
        solved, (rank, times) = self.pair.solved(white), w.shape
        log_det = times * self.pair.space.log_det + rank * self.pair.time.log_det
        log_det += w.size * jnp.log(2 * jnp.pi) - jnp.sum(jnp.log(w))
        return -0.5 * (jnp.sum(solved**2 / w[None], axis=(1, 2)) + log_det)

    def _back(self, in_modes: Trials) -> Trials:
        return self.pair.space.root @ in_modes @ self.pair.time.root.T

    def draw(self, key: PRNGKeyArray, like: Trials) -> Trials:
        """Draw each trial."""
        normal = jax.random.normal(key, (len(like), *self.pair.weights.shape), like.dtype)
        return self._back(normal / jnp.sqrt(self.pair.weights)[None])

    def again(self, key: PRNGKeyArray, white: Trials) -> Trials:
        """Perturb and solve, in the modes: the noise given the data, taken off and put anew."""
        w = self.pair.weights
        root = self.pair.space.inverse.T @ self.noise
        own = root @ root.T
        rest = symmetric_power(jnp.eye(len(own)) - own, 0.5, rtol=1e-10)
        keys = jax.random.split(key, 4)
        shape = (len(white), *w.shape)
        signal, other, noise, new = (jax.random.normal(k, shape, white.dtype) for k in keys)
        signal = signal * jnp.sqrt(1.0 / w - 1.0)[None] + rest @ other
        z = self.pair.space.inverse.T @ white @ self.pair.time.inverse
        noise = root @ noise
        noise = noise + own @ (w[None] * (z - signal - noise))
        return self._back(z - noise + root @ new)


def together(
    signal: Square, noise: Square, in_time: Modes, sensor_noise: Square | None = None
) -> Together:
    """Law of the four covariances; `sensor_noise` where N holds more than that."""
    own = noise if sensor_noise is None else sensor_noise
    return Together(Pair(modes(signal, noise), in_time), jnp.linalg.cholesky(own))


def spanned(rows: Float[Array, "columns times"]) -> Modes:
    r"""Modes of sources within a basis, :math:`T = \Phi^\top \Phi`, under independent noise."""
    return modes(rows.T @ rows, jnp.eye(rows.shape[1]))


def at_their_samples(time: Modes | None, root: Square, inverse: Square, log_det) -> Modes:
    r"""Modes in time where the columns are :math:`Y \Omega^{-1/2}`; None: those of the identity."""
    if time is None:
        return Modes(jnp.ones(len(root)), root, inverse, log_det)
    return Modes(time.value, root @ time.root, inverse @ time.inverse, time.log_det + log_det)


def _solved(chol: Square, white: Trials) -> Trials:
    """Solve with a lower triangle for each trial."""
    columns = jnp.moveaxis(white, 0, 1)
    flat = jsl.solve_triangular(chol, columns.reshape(len(chol), -1), lower=True)
    return jnp.moveaxis(flat.reshape(columns.shape), 1, 0)
