r"""Log density of covariance components, known by their sensor factors.

.. math:: \Sigma = F \operatorname{diag}(w) F^\top + \operatorname{diag}(d), \qquad
          M = \Sigma^{-1} S \Sigma^{-1} - n \Sigma^{-1}, \qquad
          \frac{\partial \log p}{\partial w_i} = \tfrac12 F_i^\top M F_i

Derivatives are written out, in sensor space or in the space of the columns of F, whichever is
smaller; neither knows the number of samples in time.
"""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float

from esijax._types import Scalar


def _given(tangent) -> bool:
    return not isinstance(tangent, SymbolicZero)


@jax.custom_jvp
def factored_log_density(
    weights: Float[Array, " columns"],
    noise: Float[Array, " rank"],
    factor: Float[Array, "rank columns"],
    root: Float[Array, "rank some"],
    n_columns: Scalar,
) -> Scalar:
    r"""Log density of independent columns under N(0, F diag(w) F' + diag(d)).

    With :math:`\Sigma = L L^\top`, :math:`U = L^{-1} F` and :math:`V = L^{-1} S^{1/2}`,

    .. math::
       \log p = -\tfrac12 \left( \lVert V \rVert^2 + n \log\det 2\pi\Sigma \right), \qquad
       \frac{\partial \log p}{\partial w_i}
       = \tfrac12 \left( \lVert V^\top U_i \rVert^2 - n \lVert U_i \rVert^2 \right)

    Parameters
    ----------
    weights : (columns,)
        w, not negative.
    noise : (rank,)
        d; NaN comes out where the sum is not positive definite.
    factor : (rank, columns)
        F.
    root : (rank, some)
        Any root of the sum of products, S = root root': the data themselves where they are few.
    n_columns : ()
        Number n of columns of data.
    """
    log_det, white = _eliminated(weights, noise, factor, root)
    return _log_density_of_whitened(white, log_det, n_columns)


BLOCK = 80  # sensors eliminated at once: products of matrices do the rest, several times faster


def _eliminated(weights, noise, factor, columns):
    r"""Log det Sigma and :math:`L^{-1}` times columns, :math:`\Sigma = L L^\top`, block by block.

    Only the lower half of Sigma is formed; the blocks on the diagonal are inverted (each is as
    well conditioned as Sigma), and all else are products.
    """
    rank = len(factor)
    n_blocks = max(1, round(rank / BLOCK))
    cuts = [round(i * rank / n_blocks) for i in range(n_blocks + 1)]
    weighted = factor * weights[None]
    below: list = []  # columns of L under the blocks on the diagonal
    white: list = []
    log_det = rank * jnp.log(2 * jnp.pi)
    for start, end in itertools.pairwise(cuts):
        size = end - start
        left = weighted[start:] @ factor[start:end].T
        right = columns[start:end]
        for (first, panel), solved in zip(below, white, strict=True):
            rows = panel[start - first : end - first]
            left -= panel[start - first :] @ rows.T
            right -= rows @ solved
        block = left[:size] + jnp.diag(noise[start:end])
        chol = jnp.linalg.cholesky(block, symmetrize_input=False)
        inverse = jsl.solve_triangular(chol, jnp.eye(size, dtype=chol.dtype), lower=True)
        below.append((end, left[size:] @ inverse.T))
        white.append(inverse @ right)
        log_det += 2.0 * jnp.sum(jnp.log(jnp.diag(chol)))
    return log_det, jnp.concatenate(white)


def _log_density_of_whitened(white, log_det, n_columns):
    return -0.5 * (jnp.sum(white**2) + n_columns * log_det)


@partial(factored_log_density.defjvp, symbolic_zeros=True)
def _factored_jvp(primals, tangents):
    weights, noise, factor, root, n = primals
    d_weights, d_noise, d_factor, d_root, d_n = tangents
    back = any(_given(d) for d in (d_noise, d_factor, d_root))
    columns = [root, factor, jnp.eye(len(factor), dtype=factor.dtype)][: 3 if back else 2]
    log_det, solved = _eliminated(weights, noise, factor, jnp.concatenate(columns, axis=1))
    n_seen, n_factor = root.shape[1], factor.shape[1]
    white, whitened = solved[:, :n_seen], solved[:, n_seen : n_seen + n_factor]
    inverse = solved[:, n_seen + n_factor :]
    value, change = _log_density_of_whitened(white, log_det, n), jnp.zeros(())
    if _given(d_weights):
        # the transpose is laid out anew: the product is twice as fast
        seen = jax.lax.optimization_barrier(whitened.T) @ white
        gradient = jnp.sum(seen**2, axis=1) - n * jnp.sum(whitened**2, axis=0)
        change += 0.5 * jnp.sum(gradient * d_weights)
    if _given(d_factor):
        inner = (white @ (white.T @ whitened) - n * whitened) * weights[None]
        change += jnp.sum((inverse.T @ inner) * d_factor)
    if _given(d_noise):
        left = inverse.T @ white
        gradient = jnp.sum(left**2, axis=1) - n * jnp.sum(inverse**2, axis=0)
        change += 0.5 * jnp.sum(gradient * d_noise)
    if _given(d_root):
        change -= jnp.sum((inverse.T @ white) * d_root)
    if _given(d_n):
        change -= 0.5 * log_det * d_n
    return value, change


@jax.custom_jvp
def column_terms(
    weights: Float[Array, " columns"],
    gram: Float[Array, "columns columns"],
    power: Float[Array, "columns columns"],
) -> tuple[Scalar, Scalar]:
    r"""What components add to a white log density, in the space of their columns.

    With :math:`K = F^	op D^{-1} F`, :math:`H = F^	op D^{-1} S D^{-1} F` and
    :math:`P = (\operatorname{diag}(w)^{-1} + K)^{-1}`,

    .. math::
       \log\det\Sigma = \log\det D + \log\det(I + K \operatorname{diag}(w)), \qquad
       \operatorname{tr}\Sigma^{-1} S = \operatorname{tr} D^{-1} S - \operatorname{tr} P H

    Parameters
    ----------
    weights : (columns,)
        w, not negative.
    gram, power : (columns, columns)
        K and H.

    Returns
    -------
    log_det, explained : ()
        :math:`\log\det(I + K \operatorname{diag}(w))` and :math:`\operatorname{tr} P H`.
    """
    log_det, inner = _column(weights, gram)
    return log_det, jnp.sum(inner * power)


def _column(weights, gram):
    """Log determinant of I + K diag(w), and P."""
    root = jnp.sqrt(weights)
    eye = jnp.eye(len(weights), dtype=gram.dtype)
    chol = jnp.linalg.cholesky(eye + root[:, None] * gram * root[None])
    inner = root[:, None] * jsl.cho_solve((chol, True), jnp.diag(root))
    return 2.0 * jnp.sum(jnp.log(jnp.diag(chol))), inner


@partial(column_terms.defjvp, symbolic_zeros=True)
def _column_jvp(primals, tangents):
    weights, gram, power = primals
    d_weights, d_gram, d_power = tangents
    log_det, inner = _column(weights, gram)
    d_log_det = d_explained = jnp.zeros(())
    if _given(d_weights):
        left = jnp.eye(len(weights), dtype=gram.dtype) - gram @ inner
        d_log_det += jnp.sum(jnp.sum(left * gram, axis=1) * d_weights)
        d_explained += jnp.sum(jnp.sum((left @ power) * left, axis=1) * d_weights)
    if _given(d_gram):
        d_log_det += jnp.sum(inner * d_gram)
        d_explained -= jnp.sum((inner @ power @ inner) * d_gram)
    if _given(d_power):
        d_explained += jnp.sum(inner * d_power)
    value = log_det, jnp.sum(inner * power)
    return value, (d_log_det, d_explained)
