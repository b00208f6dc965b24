r"""The Gaussian linear model in sensor space.

With whitened data :math:`Y = G X + E`, :math:`E \sim N(0, I)` and :math:`X \sim N(0, R)`,

.. math:: \Sigma = G R G^\top + I, \qquad
          \log p(Y) = -\tfrac12 \sum_t \left( y_t^\top \Sigma^{-1} y_t
                      + \log\det\Sigma + r \log 2\pi \right),

everything costs what the sensors cost (rank x rank), never what the sources cost squared.
"""

from functools import partial

import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
from jaxtyping import Array, Float

from esijax._ops.trials import trials_as_columns
from esijax._types import Scalar


def log_density(
    chol: Float[Array, "rank rank"], data: Float[Array, "*trials rank times"]
) -> Scalar:
    """Log density of independent columns under N(0, chol chol').

    Parameters
    ----------
    chol : (rank, rank)
        Lower Cholesky factor of the covariance.
    data : (..., rank, times)
        Columns, summed over times and any leading axis.
    """
    white = jsl.solve_triangular(chol, trials_as_columns(data), lower=True)
    n_columns = white.shape[1]
    log_det = 2.0 * jnp.sum(jnp.log(jnp.diag(chol)))
    rank = chol.shape[0]
    return -0.5 * (jnp.sum(white**2) + n_columns * (log_det + rank * jnp.log(2 * jnp.pi)))


@jax.custom_jvp
def pooled_log_density(
    sigma: Float[Array, "rank rank"], power: Float[Array, "rank rank"], n_columns: Scalar
) -> Scalar:
    r"""Log density of independent columns under N(0, sigma), from their sum of products.

    .. math::
       \log p = -\tfrac12 \left( \operatorname{tr}(\Sigma^{-1} S) + n \log\det 2\pi\Sigma \right),
       \qquad
       d \log p = \tfrac12 \operatorname{tr}\left[
           (\Sigma^{-1} S \Sigma^{-1} - n \Sigma^{-1})\, d\Sigma - \Sigma^{-1} dS \right]

    The derivative is written out: one inverse and two products instead of a differentiated
    Cholesky factorisation.

    Parameters
    ----------
    sigma : (rank, rank)
        Covariance of a column; NaN comes out where it is not positive definite.
    power : (rank, rank)
        S = Y Y'.
    n_columns : ()
        Number n of columns.
    """
    return _pooled(sigma, power, n_columns)[0]


def _pooled(sigma, power, n_columns):
    chol = jnp.linalg.cholesky(sigma)
    inverse = jsl.cho_solve((chol, True), jnp.eye(len(sigma), dtype=sigma.dtype))
    log_det = 2.0 * jnp.sum(jnp.log(jnp.diag(chol))) + len(sigma) * jnp.log(2 * jnp.pi)
    return -0.5 * (jnp.sum(inverse * power) + n_columns * log_det), inverse, log_det


@pooled_log_density.defjvp
def _pooled_jvp(primals, tangents):
    (sigma, power, n_columns), (d_sigma, d_power, d_n) = primals, tangents
    value, inverse, log_det = _pooled(sigma, power, n_columns)
    gradient = inverse @ power @ inverse - n_columns * inverse
    change = jnp.sum(gradient * d_sigma) - jnp.sum(inverse * d_power) - log_det * d_n
    return value, 0.5 * change


def symmetric_power(
    matrix: Float[Array, "*batch n n"], power: float, rtol: float = 1e-7
) -> Float[Array, "*batch n n"]:
    r"""Power of symmetric positive semi-definite matrices, the null space staying null.

    Eigenvalues below ``rtol`` times the largest count as zero (a sphere model has a silent
    radial direction, and MNE-Python draws the line at the same place). The derivative is that of
    Daleckii and Krein, finite where eigenvalues coincide:

    .. math:: dA^p = V \left( F \circ V^\top dA\, V \right) V^\top, \qquad
              F_{ij} = \frac{\lambda_i^p - \lambda_j^p}{\lambda_i - \lambda_j}
    """
    return _power(power, rtol, matrix)


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _power(power: float, rtol: float, matrix):
    values, vectors = jnp.linalg.eigh(matrix)
    return _rebuilt(vectors, _powered(values, power, rtol)[1][..., None, :])


@_power.defjvp
def _power_jvp(power: float, rtol: float, primals, tangents):
    (matrix,), (tangent,) = primals, tangents
    values, vectors = jnp.linalg.eigh(matrix)
    safe, powered = _powered(values, power, rtol)
    kept = jnp.where(powered > 0, safe, 0.0)
    left, right = kept[..., :, None], kept[..., None, :]
    gap, mean = left - right, (left + right) / 2
    close = (left > 0) & (right > 0) & (jnp.abs(gap) < 1e-5 * mean)
    quotient = (powered[..., :, None] - powered[..., None, :]) / jnp.where(gap == 0, 1.0, gap)
    quotient = jnp.where(close, power * jnp.where(close, mean, 1.0) ** (power - 1), quotient)
    tangent = (tangent + jnp.swapaxes(tangent, -1, -2)) / 2
    inner = jnp.swapaxes(vectors, -1, -2) @ tangent @ vectors
    out = vectors @ (quotient * inner) @ jnp.swapaxes(vectors, -1, -2)
    return _rebuilt(vectors, powered[..., None, :]), out


def _powered(values, power: float, rtol: float):
    """Eigenvalues with ones in place of zeros, and their powers with zeros kept."""
    keep = values > rtol * values[..., -1:]
    safe = jnp.where(keep, values, 1.0)
    return safe, jnp.where(keep, safe**power, 0.0)


def _rebuilt(vectors, values):
    return (vectors * values) @ jnp.swapaxes(vectors, -1, -2)
