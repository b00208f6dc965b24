r"""Temporal covariance of the noise, where it is stated beforehand: NoiseTime.

.. math:: E \sim MN(0, I, \Omega), \quad X \sim MN(0, R, \Omega)
   \quad\Rightarrow\quad Y \Omega^{-1/2} \text{ has independent columns}

Everything is computed on those columns; `esijax.at_samples` brings the answers back.
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from esijax import _checks
from esijax._types import Data, InputError, Scalar, is_traced

SINGULAR = 1e-10  # of the largest eigenvalue of the correlations


class NoiseTime(eqx.Module):
    r"""Covariance :math:`\Omega` of the whitened noise between samples, with what is made of it.

    The root is the symmetric one: each column of :math:`Y \Omega^{-1/2}` stays near its sample.

    Parameters
    ----------
    cov : (times, times)
        :math:`\Omega`; the identity is what the noise covariance states by itself.
    root, inverse : (times, times)
        :math:`\Omega^{1/2}` and :math:`\Omega^{-1/2}`.
    log_det : ()
    """

    cov: Float[Array, "times times"]
    root: Float[Array, "times times"]
    inverse: Float[Array, "times times"]
    log_det: Scalar

    @classmethod
    def of(cls, cov) -> "NoiseTime":
        """Factorise a covariance.

        Raises
        ------
        InputError
            For what is no symmetric positive definite matrix.
        """
        if not is_traced(cov):
            cov = _checked(cov)
        cov = jnp.asarray(cov, dtype=float)
        values, vectors = jnp.linalg.eigh(cov)
        size = jnp.sqrt(values)
        root, inverse = (vectors * size) @ vectors.T, (vectors / size) @ vectors.T
        return cls(cov, root, inverse, jnp.sum(jnp.log(values)))

    @property
    def std(self) -> Float[Array, " times"]:
        """Standard deviation of the noise at each sample, in those that the covariance states."""
        return jnp.sqrt(jnp.diagonal(self.cov))

    @property
    def turn(self) -> Float[Array, "times times"]:
        """From columns to samples, in standard deviations of the noise at each."""
        return self.root / self.std[None]


def in_columns(white: Data, noise_time: NoiseTime | None) -> Data:
    """Independent columns, from data that are whitened over sensors."""
    return white if noise_time is None else white @ noise_time.inverse


def _checked(cov) -> np.ndarray:
    """The covariance as an array; InputError where it is none, with the way out."""
    cov = _checks.real_array(cov, "noise_time", (2,))
    if cov.shape[0] != cov.shape[1]:
        raise InputError(f"noise_time must be (times, times), got {cov.shape}.")
    if not np.isfinite(cov).all():
        raise InputError("noise_time holds NaN or Inf.")
    if not np.allclose(cov, cov.T, rtol=1e-6, atol=1e-8 * np.abs(cov).max(initial=0.0)):
        raise InputError("noise_time is not symmetric: pass (noise_time + noise_time.T) / 2.")
    cov, variance = (cov + cov.T) / 2, np.diag(cov)
    if not (variance > 0).all():
        at = int(np.argmin(variance))
        raise InputError(f"noise_time has the variance {variance[at]:g} at sample {at}.")
    deviation = np.sqrt(variance)
    least, *_, largest = np.linalg.eigvalsh(cov / np.outer(deviation, deviation))[[0, -1]]
    if least < -SINGULAR * largest:
        raise InputError(f"noise_time is no covariance: it has the eigenvalue {least:g}.")
    if least <= SINGULAR * largest:
        raise InputError(
            "noise_time is singular: some samples follow from the others (low-pass filtered, or a "
            "baseline whose mean was subtracted). Decimate the data, take fewer times, or state "
            "it for bins (problem.binned)."
        )
    return cov
