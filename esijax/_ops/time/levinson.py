r"""Autoregressions by their partial autocorrelations: the recursion of Levinson and Durbin.

An autoregression of order p,

.. math:: x_t = \sum_{j=1}^p a_j x_{t-j} + e_t, \qquad e_t \sim N(0, v),

is stable if and only if all its partial autocorrelations :math:`\kappa_1, \dots, \kappa_p` lie
within (-1, 1), and each such row of numbers is one autoregression:

.. math::
   a^{(k)}_k = \kappa_k, \qquad a^{(k)}_j = a^{(k-1)}_j - \kappa_k\, a^{(k-1)}_{k-j}, \qquad
   v = \prod_k (1 - \kappa_k^2) \; \text{ for } \operatorname{var} x_t = 1

Barndorff-Nielsen and Schou 1973, doi:10.1016/0047-259X(73)90030-4; Durbin 1960,
doi:10.2307/1401322.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from esijax._types import Scalar

Order = Float[Array, " order"]


def coefficients(partial: Order) -> Order:
    """Coefficients a of the autoregression with these partial autocorrelations."""
    a = partial[:0]
    for k in range(len(partial)):
        a = _longer(a, partial[k])
    return a


def partials(coefficients: Order) -> Order:
    """Partial autocorrelations of an autoregression: the inverse of `coefficients`.

    One of them at or beyond 1 in size says that a pole lies on the circle or outside; what comes
    after it (the entries before it) means nothing then.
    """
    a, found = coefficients, []
    for _ in range(len(coefficients)):
        last, a = a[-1], a[:-1]
        found.append(last)
        a = (a + last * a[::-1]) / (1.0 - last**2)
    return jnp.stack(found[::-1]) if found else coefficients


def innovation(partial: Order) -> Scalar:
    """Variance v of the innovations for a series of unit variance."""
    return jnp.prod(1.0 - partial**2)


def autocorrelation(partial: Order, n: int) -> Float[Array, " lags"]:
    """Autocorrelation at the lags 0 to n - 1, exact.

    The recursion gives those up to the order, as sums without a linear system; from there on each
    is the prediction from the p before it.
    """
    rho, a, variance = jnp.ones(1, partial.dtype), partial[:0], jnp.ones((), partial.dtype)
    for k in range(len(partial)):
        following = a @ rho[:0:-1] + partial[k] * variance
        rho = jnp.append(rho, following)
        a, variance = _longer(a, partial[k]), variance * (1.0 - partial[k] ** 2)

    def predict(recent, _):
        following = a @ recent
        return jnp.roll(recent, 1).at[0].set(following), following

    beyond = max(n - len(rho), 0)
    if not beyond:
        return rho[:n]
    return jnp.append(rho, jax.lax.scan(predict, rho[:0:-1], None, length=beyond)[1])


def fitted(autocovariance: Float[Array, " lags"]) -> Order:
    """Partial autocorrelations of the autoregression with these autocovariances at lags 0 to p.

    The solution of the Yule-Walker equations, of the order (lags - 1).
    """
    a, variance, found = autocovariance[:0], autocovariance[0], []
    for k in range(1, len(autocovariance)):
        last = (autocovariance[k] - a @ autocovariance[k - 1 : 0 : -1]) / variance
        found.append(last)
        a, variance = _longer(a, last), variance * (1.0 - last**2)
    return jnp.stack(found) if found else a


def autocovariance(data: np.ndarray, n_lags: int) -> np.ndarray:
    """Autocovariances at the lags 0 to n_lags, pooled over all series (..., times).

    Sums are divided by the number of samples, not of pairs, so that the row is positive definite.
    """
    n = data.shape[-1]
    lags = [np.sum(data[..., k:] * data[..., : n - k]) for k in range(n_lags + 1)]
    return np.array(lags) / data.size


def order_by_evidence(autocovariance: np.ndarray, n_samples: int) -> int:
    r"""Order of an autoregression by the evidence, as Schwarz approximates it.

    .. math:: -\tfrac n2 \log v_p - \tfrac p2 \log n

    with :math:`v_p` the variance of the innovations (Schwarz 1978, doi:10.1214/aos/1176344136).

    Parameters
    ----------
    autocovariance : (lags,)
        At the lags 0 to the largest order.
    n_samples : int
        Of all series together.
    """
    partial = np.asarray(fitted(jnp.asarray(autocovariance)))
    log_v = np.append(0.0, np.cumsum(np.log1p(-np.minimum(partial**2, 1 - 1e-12))))
    orders = np.arange(len(log_v))
    return int(np.argmax(-0.5 * n_samples * log_v - 0.5 * orders * np.log(n_samples)))


def _longer(a: Array, last: Array) -> Array:
    """Coefficients of one order more, by its partial autocorrelation."""
    return jnp.append(a - last * a[::-1], last)
