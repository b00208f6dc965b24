r"""Derivatives of the log-evidence with respect to the variances that the covariance is linear in.

With sensor factors B, :math:`M = B^\top \Sigma^{-1} B` and
:math:`Q = B^\top \Sigma^{-1} S \Sigma^{-1} B`,

.. math::
   \frac{\partial^2 \log p(Y)}{\partial v_j \partial v_k}
   = \sum_{a \in j,\, b \in k} M_{ab} \left( \tfrac n2 M_{ab} - Q_{ab} \right)

one product of matrices instead of one derivative per unknown. A few components of many columns
are matrices :math:`C_k = B_k B_k^\top` of sensors x sensors instead,

.. math:: \operatorname{tr}\left( \Sigma^{-1} C_k \left( \tfrac n2 I - \Sigma^{-1} S \right)
          \Sigma^{-1} C_j \right)
"""

from typing import Any

import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
from jaxtyping import Array, Float, Int

from esijax._ops.grams import few_and_large, grams
from esijax._types import Scalar, Square

COLUMNS_AT_ONCE = 512  # columns of sensor factors that are multiplied together


def variance_derivatives(
    marginal: Any, hyper: dict[str, Array]
) -> tuple[Float[Array, " owners"], Float[Array, "owners owners"]]:
    """Gradient and second derivatives of the log-evidence of a LinearMarginal."""
    factors, data = marginal.columns(), marginal.data
    found = _derivatives(*factors, data.power, data.n_columns, marginal.sigma(hyper))
    basis = marginal.problem.basis
    if basis is None or not marginal.n_noise:
        return found
    # columns of noise alone
    own = marginal.noise.factor(marginal.problem.whitener)
    noise = marginal.noise_cov(hyper)
    more = _derivatives(*own, marginal.n_noise, basis.power, basis.n_columns, noise)
    n = marginal.n_sources
    return found[0].at[n:].add(more[0]), found[1].at[n:, n:].add(more[1])


def _derivatives(
    factor: Float[Array, "rank columns"],
    owner: Int[Array, " columns"],
    n_owners: int,
    power: Square,
    n: Scalar,
    sigma: Square,
) -> tuple[Float[Array, " owners"], Float[Array, "owners owners"]]:
    """The same for some factors and the columns that have them."""
    chol = jnp.linalg.cholesky(sigma)
    inverse = jsl.cho_solve((chol, True), factor)
    m, q = jnp.sum(factor * inverse, axis=0), jnp.sum(inverse * (power @ inverse), axis=0)
    gradient = jnp.zeros(n_owners).at[owner].add(0.5 * (q - n * m))
    if few_and_large(*factor.shape, n_owners):
        white = jsl.cho_solve((chol, True), jnp.eye(len(chol), dtype=chol.dtype))
        return gradient, _by_matrices(grams(factor, owner, n_owners), white, power, n)
    return gradient, _by_columns(factor, inverse, owner, n_owners, power, n)


def _by_matrices(matrices, white, power, n) -> Float[Array, "owners owners"]:
    """Second derivatives with respect to the variances of few components."""
    left = white @ matrices
    right = left @ (n / 2 * jnp.eye(len(white), dtype=white.dtype) - white @ power)
    return jnp.einsum("kxy,jyx->jk", right, left)


def _by_columns(factor, inverse, owner, n_owners: int, power, n) -> Float[Array, "owners owners"]:
    """Second derivatives with respect to the variances of many components, in bounded memory."""
    columns = factor.shape[1]
    width = min(columns, COLUMNS_AT_ONCE)
    n_chunks = -(-columns // width)
    weighed = power @ inverse

    def summed(rows):  # over the columns of each component
        return jnp.zeros((n_owners, rows.shape[1])).at[owner].add(rows)

    def chunk(start):
        a, b = (jax.lax.dynamic_slice_in_dim(x, start, width, 1) for x in (factor, inverse))
        m, q = inverse.T @ a, weighed.T @ b
        return summed(m * (n / 2 * m - q))

    if n_chunks == 1:
        return summed(chunk(0).T)
    starts = jnp.minimum(jnp.arange(n_chunks) * width, columns - width)
    each = jax.lax.map(chunk, starts)  # the last chunk overlaps the one before: it starts late
    each = jnp.moveaxis(each, 0, 1).reshape(n_owners, -1)
    late = columns - (n_chunks - 1) * width
    return summed(jnp.concatenate([each[:, : columns - late], each[:, -late:]], axis=1).T)
