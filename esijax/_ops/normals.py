r"""Equal mixtures of normal distributions, members along the first axis.

.. math:: F(x) = \frac1S \sum_s \Phi\left( \frac{x - m_s}{\sigma_s} \right)
"""

import jax
import jax.numpy as jnp
from jax.scipy.special import erf, logsumexp, ndtr, ndtri
from jaxtyping import Array, Float

from esijax._ops.safe import divisor
from esijax._types import Scalar

MAX_NEWTON_STEPS = 100
LOG_2PI = 1.8378770664093453
ROOT_PI = 1.7724538509055159

Members = Float[Array, "members *shape"]
MemberSpread = Float[Array, "members ..."]


def mixture_cdf(
    x: Float[Array, "*shape"], mean: Members, std: MemberSpread
) -> Float[Array, "*shape"]:
    """Probability below x; std is broadcast to mean, zero is a step that counts half at itself."""
    return jnp.mean(_below(x, mean, std), axis=0)


def _below(x, mean, std):
    safe = divisor(std)
    step = (1.0 + jnp.sign(x - mean)) / 2
    return jnp.where(std > 0, ndtr((x - mean) / safe), step)


def _mixture_density(x, mean, std):
    safe = divisor(std)
    value = jnp.exp(-0.5 * ((x - mean) / safe) ** 2 - 0.5 * LOG_2PI) / safe
    return jnp.mean(jnp.where(std > 0, value, 0.0), axis=0)


@jax.jit  # a loop outside jit is compiled at each call
def mixture_quantile(
    mean: Members, std: MemberSpread, probability: Scalar
) -> Float[Array, "*shape"]:
    r"""Exact quantile, by Newton's method on the probit scale within a bracket that shrinks.

    The quantiles of the members hold that of the mixture between them. On the scale of
    :math:`\Phi^{-1} F(x)` a single normal is a straight line, so that few steps are needed; a step
    that leaves the bracket is replaced by its middle, and so is every fourth.

    Parameters
    ----------
    mean : (members, ...)
    std : broadcastable to mean
    probability : ()
        In (0, 1).
    """
    fixed_mean, fixed_std = jax.lax.stop_gradient((mean, std))
    found = _bracketed_newton(fixed_mean, fixed_std, jax.lax.stop_gradient(probability))
    # one more step carries the derivative of the implicit function
    slope = jax.lax.stop_gradient(_mixture_density(found, mean, std))
    left = mixture_cdf(found, mean, std) - probability
    left = left - jax.lax.stop_gradient(left)  # its value is rounding
    moved = found - left / divisor(slope)
    return jnp.where(slope > 0, moved, found)


def _bracketed_newton(mean, std, probability):
    z = ndtri(probability)
    ends = mean + z * std
    low, high = jnp.min(ends, axis=0), jnp.max(ends, axis=0)
    centre = jnp.mean(mean, axis=0)
    total = jnp.mean(std**2 + (mean - centre) ** 2, axis=0)
    start = jnp.clip(centre + z * jnp.sqrt(total), low, high)
    eps = 64 * jnp.finfo(mean.dtype).eps
    close = 10 * eps**0.75  # Newton's next step would be its square
    size = jnp.maximum(jnp.abs(low), jnp.abs(high)) + jnp.sqrt(total)

    def step(carry):
        i, x, low, high, done = carry
        value = mixture_cdf(x, mean, std)
        low = jnp.where(value <= probability, x, low)
        high = jnp.where(value >= probability, x, high)
        probit = ndtri(value)
        slope = _mixture_density(x, mean, std) * jnp.exp(0.5 * probit**2 + 0.5 * LOG_2PI)
        new = x - (probit - z) / slope
        middle = (low + high) / 2
        usable = (new >= low) & (new <= high) & (i % 4 != 3)
        new = jnp.where(usable, new, middle)
        new = jnp.where(done, x, new)  # what has converged stays
        done = done | usable & (jnp.abs(new - x) <= close * size) | (high - low <= eps * size)
        return i + 1, new, low, high, done

    def going(carry):
        return (carry[0] < MAX_NEWTON_STEPS) & ~jnp.all(carry[-1])

    none = jnp.zeros(low.shape, dtype=bool)
    _, x, low, high, _ = jax.lax.while_loop(going, step, (0, start, low, high, none))
    return jnp.clip(x, low, high)


def mixture_log_density(
    x: Float[Array, "*shape"], mean: Members, std: MemberSpread
) -> Float[Array, "*shape"]:
    """Log density at x; a member without spread counts where it is hit (infinite) or not at all."""
    safe = divisor(std)
    each = -0.5 * ((x - mean) / safe) ** 2 - jnp.log(safe) - 0.5 * LOG_2PI
    each = jnp.where(std > 0, each, jnp.where(x == mean, jnp.inf, -jnp.inf))
    hit = jnp.any(jnp.isposinf(each), axis=0)
    each = jnp.where(jnp.isposinf(each), -jnp.inf, each)
    return jnp.where(hit, jnp.inf, logsumexp(each, axis=0) - jnp.log(mean.shape[0]))


def mixture_crps(
    x: Float[Array, "*shape"], mean: Members, std: MemberSpread
) -> Float[Array, "*shape"]:
    r"""Continuous ranked probability score, in closed form.

    .. math:: \frac1S \sum_s A(x - m_s, \sigma_s^2)
              - \frac1{2S^2} \sum_{rs} A(m_r - m_s, \sigma_r^2 + \sigma_s^2), \qquad
              A(\mu, \sigma^2) = \mathbb{E} |N(\mu, \sigma^2)|

    References
    ----------
    Grimit et al. 2006, doi:10.1256/qj.05.235.
    """
    std = jnp.broadcast_to(std, mean.shape)
    first = jnp.mean(_mean_size(x - mean, std**2), axis=0)

    def pairs(total, member):
        m, s = member
        return total + jnp.mean(_mean_size(mean - m, std**2 + s**2), axis=0), None

    total, _ = jax.lax.scan(pairs, jnp.zeros(mean.shape[1:], mean.dtype), (mean, std))
    return first - total / (2 * mean.shape[0])


def _mean_size(mean, variance):
    """Expected absolute value of a normal variable."""
    std = jnp.sqrt(divisor(variance))
    z = mean / std
    value = std * (2 * jnp.exp(-0.5 * z**2) / (2**0.5 * ROOT_PI) + z * erf(z / 2**0.5))
    return jnp.where(variance > 0, value, jnp.abs(mean))
