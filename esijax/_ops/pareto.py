r"""Importance weights with a smoothed tail, and draws by their weights, within compiled code.

The largest weights are replaced by quantiles of a generalised Pareto distribution fitted to them,

.. math:: p(w) = \frac1\sigma \left( 1 + k \frac{w - u}{\sigma} \right)^{-1 / k - 1}

u the largest of the others, k and sigma by the empirical Bayes estimate of Zhang and Stephens.

References
----------
Vehtari et al. 2024, https://jmlr.org/papers/v25/19-556.html; Zhang and Stephens 2009,
doi:10.1198/tech.2009.08017.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

LogWeights = Float[Array, " draws"]
FEWEST = 5  # weights in a tail that can be fitted
PRIOR_SHAPE, PRIOR_DRAWS = 0.5, 10  # what k is drawn towards, and how strongly


def pareto_smoothed(log_weights: LogWeights) -> LogWeights:
    """Logarithms of weights that sum to one, the tail of the largest smoothed.

    Weights that are not finite count as zero; a tail that no such distribution fits stays.
    """
    log_weights = jnp.where(jnp.isfinite(log_weights), log_weights, -jnp.inf)
    largest = jnp.max(log_weights)
    log_weights = jnp.where(jnp.isfinite(largest), log_weights - largest, 0.0)
    n = len(log_weights)
    n_tail = math.floor(3 * math.sqrt(n)) if n > 225 else n // 5
    if n_tail < FEWEST:
        return log_weights - jax.scipy.special.logsumexp(log_weights)
    order = jnp.argsort(log_weights)
    tail = jnp.exp(log_weights[order[-n_tail:]])
    cutoff = jnp.exp(log_weights[order[-n_tail - 1]])
    shape, scale = _pareto_fit(tail - cutoff)
    share = (jnp.arange(n_tail) + 0.5) / n_tail
    quantiles = cutoff + scale * jnp.expm1(-shape * jnp.log1p(-share)) / shape
    fits = jnp.isfinite(shape) & (scale > 0)
    smooth = jnp.where(fits, jnp.minimum(quantiles, 1.0), tail)
    log_weights = log_weights.at[order[-n_tail:]].set(jnp.log(smooth))
    return log_weights - jax.scipy.special.logsumexp(log_weights)


def _pareto_fit(excess: Float[Array, " tail"]):
    """Shape and scale of a generalised Pareto distribution of sorted excesses; NaN if none fits."""
    n = len(excess)
    quartile = excess[int(n / 4 + 0.5) - 1]
    n_grid = 30 + math.isqrt(n)
    grid = 1.0 - jnp.sqrt(n_grid / (jnp.arange(n_grid) + 0.5))
    grid = grid / (3.0 * quartile) + 1.0 / excess[-1]
    shapes = jnp.mean(jnp.log1p(-grid[:, None] * excess[None]), axis=1)
    weights = jax.nn.softmax(n * (jnp.log(-grid / shapes) - shapes - 1.0))
    weights = jnp.where(weights >= 10 * jnp.finfo(weights.dtype).eps, weights, 0.0)
    slope = jnp.sum(grid * weights) / jnp.sum(weights)
    shape = jnp.mean(jnp.log1p(-slope * excess))
    scale = -shape / slope
    shape = (n * shape + PRIOR_DRAWS * PRIOR_SHAPE) / (n + PRIOR_DRAWS)
    far = quartile <= excess[0]  # many equal weights: no such distribution
    return jnp.where(far, jnp.nan, shape), scale


def drawn_by_weight(key: PRNGKeyArray, log_weights: LogWeights, n: int) -> Int[Array, " n"]:
    """Numbers of n draws, each taken in proportion to its weight, in random order.

    Systematic: a draw of weight w is taken n w times, rounded up or down at random.
    """
    k_first, k_order = jax.random.split(key)
    total = jnp.cumsum(jnp.exp(log_weights))
    places = (jnp.arange(n) + jax.random.uniform(k_first)) / n
    taken = jnp.searchsorted(total / total[-1], places, side="right")
    taken = jnp.minimum(taken, len(log_weights) - 1)
    return jax.random.permutation(k_order, taken)
