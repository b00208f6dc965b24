r"""Probability that a Gaussian vector leaves a ball: Pr(||x|| > t), x ~ N(m, C).

One dimension: two normal tails. Three: along the principal axes of C the components are
independent. The axis of largest variance is integrated in closed form, the others by
Gauss-Legendre quadrature over 3.9 standard deviations on either side of the mean,

.. math::
   \Pr(\lVert x \rVert \le t) = \int \phi_1(x_1) \int \phi_2(x_2)
       \left[ \Phi_3(h) - \Phi_3(-h) \right] dx_2\, dx_1, \qquad h = \sqrt{t^2 - x_1^2 - x_2^2}

with :math:`x_1 = t u(v_1)`, :math:`x_2 = \sqrt{t^2 - x_1^2}\, u(v_2)` and :math:`u = (3v - v^3)/2`:
then :math:`\sqrt{1 - u^2} = (1 - v^2)\sqrt{4 - v^2}/2`, and the integrand is smooth up to the edge
of the ball.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import erf, ndtr
from jaxtyping import Array, Float

from esijax._ops.safe import divisor

_N_NODES, _REACH = 14, 3.9
_ROOT2 = math.sqrt(2.0)


def ball_exceedance(
    mean: Float[Array, "*trials locations orients times"],
    cov: Float[Array, "locations orients orients"],
    threshold: Float[Array, ""] | Float[Array, " times"],
) -> Float[Array, "*trials locations times"]:
    """Pr(norm over orients > threshold) for each location and time.

    Exact for one orient; for three within 5e-4 (in float64), however elongated C is.
    """
    if mean.shape[-2] == 1:
        std = jnp.sqrt(cov[:, 0])
        safe, threshold = divisor(std), _over_times(threshold, mean.ndim - 1)
        tails = ndtr((mean[..., 0, :] - threshold) / safe)
        tails = tails + ndtr(-(mean[..., 0, :] + threshold) / safe)
        sure = (jnp.abs(mean[..., 0, :]) > threshold).astype(mean.dtype)
        return jnp.where(std > 0, tails, sure)
    variance, axes = jnp.linalg.eigh(cov)
    std = jnp.sqrt(jnp.maximum(variance, 0.0))
    per_location = jnp.einsum("...lot,lok->l...tk", mean, axes)  # along the principal axes
    out = jax.lax.map(lambda args: _outside(*args, threshold), (per_location, std), batch_size=64)
    return jnp.moveaxis(out, 0, -2)


def _outside(mean, std, threshold):
    """One location: mean (..., times, 3) along axes of standard deviation std (3) -> (..., times).

    A threshold of zero is passed unless the vector is zero for certain.
    """
    eps = jnp.finfo(mean.dtype).eps
    threshold = _over_times(threshold, mean.ndim - 1)
    t = divisor(threshold)
    m1, m2, m3 = (m / t for m in jnp.moveaxis(mean, -1, 0))  # in units of the threshold
    # a point is blurred by 1e-8 of the threshold
    s1, s2, s3 = (jnp.maximum(s / t, jnp.sqrt(eps)) for s in std)
    rule = jnp.asarray(np.stack(np.polynomial.legendre.leggauss(_N_NODES), 1), dtype=mean.dtype)
    middle1, half1 = _limits(m1, s1, 1.0, eps)

    def outer(inside, node1):
        x1, c1, slope1 = _substitute(middle1 + half1 * node1[0])
        weight1 = node1[1] * half1 * slope1 * _normal_density(x1, m1, s1)
        middle2, half2 = _limits(m2, s2, c1, eps)

        def inner(total, node2):
            x2, h, slope2 = _substitute(middle2 + half2 * node2[0])
            weight2 = node2[1] * slope2 * _normal_density(c1 * x2, m2, s2)
            up, down = (c1 * h - m3) / (s3 * _ROOT2), (c1 * h + m3) / (s3 * _ROOT2)
            return total + weight2 * (erf(up) + erf(down)), None

        total, _ = jax.lax.scan(inner, jnp.zeros_like(m1), rule)
        return inside + weight1 * c1 * half2 * total / 2, None

    inside, _ = jax.lax.scan(outer, jnp.zeros_like(m1), rule)
    certainly_zero = (jnp.abs(mean).sum(axis=-1) + std.sum()) == 0
    at_zero = jnp.where(certainly_zero, 0.0, 1.0)
    return jnp.where(threshold > 0, jnp.clip(1.0 - inside, 0.0, 1.0), at_zero)


def _over_times(threshold, ndim: int):
    """One number, or an array of `ndim` axes whose last is that of times."""
    return threshold if threshold.ndim == 0 else threshold.reshape(*[1] * (ndim - 1), -1)


def _substitute(v):
    """Give u(v), sqrt(1 - u^2) and du/dv."""
    rest = 1.0 - v**2
    return v * (3.0 - v**2) / 2, rest * jnp.sqrt(4.0 - v**2) / 2, 1.5 * rest


def _limits(mean, std, radius, eps):
    """Middle and half width of v over the mean's neighbourhood in the ball."""
    edge = 1.0 - 4 * eps  # keeps the derivative of arcsin finite

    def solve(x):  # u(v) = x / radius
        return 2 * jnp.sin(jnp.arcsin(jnp.clip(x / radius, -edge, edge)) / 3)

    low, high = solve(mean - _REACH * std), solve(mean + _REACH * std)
    return (high + low) / 2, (high - low) / 2


def _normal_density(x, mean, std):
    return jnp.exp(-0.5 * ((x - mean) / std) ** 2) / (std * np.sqrt(2 * np.pi))


def directed_exceedance(
    mean: Float[Array, "*trials locations orients times"],
    cov: Float[Array, "locations orients orients"],
    threshold: Float[Array, ""] | Float[Array, " times"],
) -> Float[Array, "*trials locations times"]:
    """Pr(component of x along its mean > threshold) for each location and time; exact."""
    return along_exceedance(mean, mean, cov, threshold)


def along_exceedance(
    towards: Float[Array, "*trials locations orients times"],
    mean: Float[Array, "*trials locations orients times"],
    cov: Float[Array, "locations orients orients"],
    threshold: Float[Array, ""] | Float[Array, " times"],
) -> Float[Array, "*trials locations times"]:
    """Pr(component of x along `towards` > threshold) for each location and time; exact."""
    size = jnp.linalg.norm(towards, axis=-2)
    safe = divisor(size)
    direction = jnp.where(size[..., None, :] > 0, towards / safe[..., None, :], 0.0)
    variance = jnp.einsum("...lot,lop,...lpt->...lt", direction, cov, direction)
    # without a direction there is none to prefer: any, with the average variance
    average = jnp.trace(cov, axis1=1, axis2=2)[:, None] / cov.shape[-1]
    variance = jnp.where(size > 0, variance, average)
    component, threshold = jnp.sum(direction * mean, axis=-2), _over_times(threshold, mean.ndim - 1)
    std = jnp.sqrt(divisor(variance))
    sure = (component > threshold).astype(mean.dtype)
    return jnp.where(variance > 0, ndtr((component - threshold) / std), sure)
