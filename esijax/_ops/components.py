r"""Log density of covariance components, known by their sensor factors.

.. math:: \Sigma = F \operatorname{diag}(w) F^\top + \operatorname{diag}(d), \qquad
          M = \Sigma^{-1} S \Sigma^{-1} - n \Sigma^{-1}, \qquad
          \frac{\partial \log p}{\partial w_i} = \tfrac12 F_i^\top M F_i

Derivatives are written out, in sensor space or in the space of the columns of F, whichever is
smaller; neither knows the number of samples in time.
"""

from functools import partial

import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float

from esijax._types import Scalar

Square = Float[Array, "rank rank"]


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
    chol, white = _whitened(weights, noise, factor, root)
    return _value(chol, white, n_columns)


def _whitened(weights, noise, factor, root):
    chol = jnp.linalg.cholesky((factor * weights[None]) @ factor.T + jnp.diag(noise))
    return chol, jsl.solve_triangular(chol, root, lower=True)


def _value(chol, white, n_columns):
    return -0.5 * (jnp.sum(white**2) + n_columns * _log_det(chol))


def _log_det(chol):
    return 2.0 * jnp.sum(jnp.log(jnp.diag(chol))) + len(chol) * jnp.log(2 * jnp.pi)


@partial(factored_log_density.defjvp, symbolic_zeros=True)
def _factored_jvp(primals, tangents):
    weights, noise, factor, root, n = primals
    d_weights, d_noise, d_factor, d_root, d_n = tangents
    chol, white = _whitened(weights, noise, factor, root)
    value, change = _value(chol, white, n), jnp.zeros(())
    if _given(d_weights) or _given(d_factor):
        whitened = jsl.solve_triangular(chol, factor, lower=True)
        seen = white.T @ whitened
        if _given(d_weights):
            slope = jnp.sum(seen**2, axis=0) - n * jnp.sum(whitened**2, axis=0)
            change += 0.5 * jnp.sum(slope * d_weights)
        if _given(d_factor):
            inner = (white @ seen - n * whitened) * weights[None]
            pulled = jsl.solve_triangular(chol, inner, lower=True, trans=1)
            change += jnp.sum(pulled * d_factor)
    if _given(d_noise):
        inverse = jsl.solve_triangular(chol, jnp.eye(len(chol), dtype=chol.dtype), lower=True)
        left = inverse.T @ white
        slope = jnp.sum(left**2, axis=1) - n * jnp.sum(inverse**2, axis=0)
        change += 0.5 * jnp.sum(slope * d_noise)
    if _given(d_root):
        change -= jnp.sum(jsl.solve_triangular(chol, white, lower=True, trans=1) * d_root)
    if _given(d_n):
        change -= 0.5 * _log_det(chol) * d_n
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
    """Log determinant, and P."""
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
