"""Proper scores of whole distributions: closed form for normals, from draws otherwise."""

import jax
import jax.numpy as jnp
from jax.scipy.special import erf, logsumexp, ndtr
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from esijax._ops.safe import divisor

LOG_TWO_PI = 1.8378770664093453


@jax.jit
def crps_gaussian(
    mean: Float[ArrayLike, "..."], std: Float[ArrayLike, "..."], truth: Float[ArrayLike, "..."]
) -> Float[Array, "..."]:
    r"""Continuous ranked probability score of a normal distribution.

    .. math:: \int (F(x) - 1_{x \ge q})^2 dx
              = \sigma \left[ z (2 \Phi(z) - 1) + 2 \phi(z) - \pi^{-1/2} \right],
              \qquad z = (q - m) / \sigma

    Parameters
    ----------
    mean, std, truth : (...)
        Broadcast against each other; a std of zero is a point, whose score is the absolute error.

    Returns
    -------
    score : (...)
        In the unit of the truth, not negative; smaller is better.

    References
    ----------
    Gneiting and Raftery 2007, doi:10.1198/016214506000001437.

    Examples
    --------
    >>> import jax.numpy as jnp, esijax as ej
    >>> round(float(ej.metrics.crps_gaussian(jnp.array(0.0), jnp.array(1.0), jnp.array(0.0))), 4)
    0.2337
    """
    mean, std, truth = map(jnp.asarray, (mean, std, truth))
    safe = divisor(std)
    z = (truth - mean) / safe
    density = jnp.exp(-0.5 * z**2 - 0.5 * LOG_TWO_PI)
    value = safe * (z * erf(z / 2**0.5) + 2 * density - 1 / jnp.sqrt(jnp.pi))
    return jnp.where(std > 0, value, jnp.abs(truth - mean))


@jax.jit
def crps_sample(
    draws: Float[ArrayLike, "draws *shape"], truth: Float[ArrayLike, "*shape"]
) -> Float[Array, "*shape"]:
    r"""Continuous ranked probability score of a distribution known by its draws.

    .. math:: \frac{1}{n} \sum_i |x_i - q| - \frac{1}{2 n (n - 1)} \sum_{ij} |x_i - x_j|

    Unbiased for the score of the distribution that was drawn from, whatever n is.

    Parameters
    ----------
    draws : (draws, ...)
        At least two.
    truth : (...)
        What is true.

    Returns
    -------
    score : (...)
        In the unit of the truth; smaller is better; may fall below 0 by chance.

    References
    ----------
    Gneiting and Raftery 2007, doi:10.1198/016214506000001437; unbiased form: Zamo and Naveau
    2018, doi:10.1007/s11004-017-9709-7.

    Examples
    --------
    >>> import jax.numpy as jnp, esijax as ej
    >>> float(ej.metrics.crps_sample(jnp.array([0.0, 2.0]), jnp.array(0.0)))
    0.0
    """
    draws, truth = jnp.asarray(draws), jnp.asarray(truth)
    n = draws.shape[0]
    # sum over pairs of |x_i - x_j| from the sorted draws: n log n instead of n^2
    weights = (2 * jnp.arange(n) - n + 1).reshape(-1, *[1] * truth.ndim)
    pairs = 2 * jnp.sum(weights * jnp.sort(draws, axis=0), axis=0)
    return jnp.mean(jnp.abs(draws - truth), axis=0) - pairs / (2 * n * (n - 1))


def log_score_gaussian(
    mean: Float[ArrayLike, "..."], std: Float[ArrayLike, "..."], truth: Float[ArrayLike, "..."]
) -> Float[Array, "..."]:
    r"""Negative log density of the truth under a normal distribution.

    .. math:: \log \sigma + \tfrac{1}{2} \log 2 \pi + \tfrac{1}{2} z^2

    Parameters
    ----------
    mean, std, truth : (...)
        Broadcast against each other.

    Returns
    -------
    score : (...)
        nats, relative to the unit of the truth; smaller is better. A std of zero scores minus
        infinity where it is right and infinity where it is wrong.

    References
    ----------
    Good 1952, doi:10.1111/j.2517-6161.1952.tb00104.x; Gneiting and Raftery 2007,
    doi:10.1198/016214506000001437.

    Examples
    --------
    >>> import jax.numpy as jnp, esijax as ej
    >>> x = jnp.array(0.0)
    >>> round(float(ej.metrics.log_score_gaussian(x, jnp.array(1.0), x)), 4)
    0.9189
    """
    mean, std, truth = map(jnp.asarray, (mean, std, truth))
    safe = divisor(std)
    value = jnp.log(safe) + 0.5 * LOG_TWO_PI + 0.5 * ((truth - mean) / safe) ** 2
    return jnp.where(std > 0, value, jnp.where(truth == mean, -jnp.inf, jnp.inf))


@jax.jit
def log_score_sample(
    draws: Float[ArrayLike, "draws *shape"], truth: Float[ArrayLike, "*shape"]
) -> Float[Array, "*shape"]:
    r"""Negative log density of the truth under a kernel estimate from draws.

    A normal kernel of Silverman's width, :math:`1.06\, s\, n^{-1/5}`: smoother than the
    distribution where that is far from normal, and unsure in the tails. Prefer the CRPS.

    Parameters
    ----------
    draws : (draws, ...)
        At least two that differ; some hundreds to be of use.
    truth : (...)
        What is true.

    Returns
    -------
    score : (...)
        nats, relative to the unit of the truth; smaller is better; NaN where all draws are equal.

    References
    ----------
    Krueger et al. 2021, doi:10.1111/insr.12405; Silverman 1986, doi:10.1201/9781315140919.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, esijax as ej
    >>> draws = jax.random.normal(jax.random.key(0), (1000,))
    >>> abs(float(ej.metrics.log_score_sample(draws, jnp.array(0.0))) - 0.92) < 0.1
    True
    """
    draws, truth = jnp.asarray(draws), jnp.asarray(truth)
    n = draws.shape[0]
    width = 1.06 * jnp.std(draws, axis=0, ddof=1) * n**-0.2
    width = jnp.where(width > 0, width, jnp.nan)
    kernel = -0.5 * ((truth - draws) / width) ** 2 - jnp.log(width) - 0.5 * LOG_TWO_PI
    return jnp.log(n) - logsumexp(kernel, axis=0)


def pit_gaussian(
    mean: Float[ArrayLike, "..."], std: Float[ArrayLike, "..."], truth: Float[ArrayLike, "..."]
) -> Float[Array, "..."]:
    r"""Probability integral transform under a normal distribution, :math:`\Phi((q - m)/\sigma)`.

    Parameters
    ----------
    mean, std, truth : (...)
        Broadcast against each other; a std of zero gives 0, 0.5 (right) or 1.

    Returns
    -------
    pit : (...)
        Between 0 and 1; uniform for a calibrated posterior when the truth comes from its prior.

    References
    ----------
    Dawid 1984, doi:10.2307/2981683.

    Examples
    --------
    >>> import jax.numpy as jnp, esijax as ej
    >>> float(ej.metrics.pit_gaussian(jnp.array(1.0), jnp.array(2.0), jnp.array(1.0)))
    0.5
    """
    mean, std, truth = map(jnp.asarray, (mean, std, truth))
    point = (1 + jnp.sign(truth - mean)) / 2
    return jnp.where(std > 0, ndtr((truth - mean) / divisor(std)), point)


def pit_sample(
    draws: Float[ArrayLike, "draws *shape"], truth: Float[ArrayLike, "*shape"]
) -> Float[Array, "*shape"]:
    r"""Probability integral transform from draws.

    .. math:: \left( |\{x_i < q\}| + \tfrac{1}{2} |\{x_i = q\}| + \tfrac{1}{2} \right) / (n + 1)

    Parameters
    ----------
    draws : (draws, ...)
        Posterior draws.
    truth : (...)
        What is true.

    Returns
    -------
    pit : (...)
        Between 0 and 1, in steps of 1 / (n + 1); uniform over them for a calibrated posterior.

    References
    ----------
    Dawid 1984, doi:10.2307/2981683.

    Examples
    --------
    >>> import jax.numpy as jnp, esijax as ej
    >>> float(ej.metrics.pit_sample(jnp.array([0.0, 1.0, 2.0]), jnp.array(1.5)))
    0.625
    """
    draws, truth = jnp.asarray(draws), jnp.asarray(truth)
    below = jnp.sum(draws < truth, axis=0) + 0.5 * jnp.sum(draws == truth, axis=0)
    return (below + 0.5) / (draws.shape[0] + 1)
