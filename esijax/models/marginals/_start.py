"""Variances to start from: an earlier estimate's, minimum norm's, and a few sure updates."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from numpyro import handlers

from esijax._ops.grams import few_and_large, grams
from esijax._ops.safe import divisor
from esijax._types import Scalar, Square
from esijax.models.noise import Noise

N_RAISES = 10
LEAST_SHARE = 1e-4  # of the largest variance


def analytic_variances(marginal: Any) -> Float[Array, " components"]:
    """Variances of the components of a `LinearMarginal` that the minimum norm solution implies."""
    power, columns = marginal.data.power, marginal.data.n_columns
    return implied_variances(marginal.factor, marginal.group, marginal.n_sources, power, columns)


def implied_variances(
    factor: Float[Array, "rank columns"],
    group: Int[Array, " columns"],
    n: int,
    power: Square,
    columns: Scalar,
) -> Float[Array, " components"]:
    r"""Variances of n components that the minimum norm solution implies.

    One step of expectation maximisation from equal variances,

    .. math:: \gamma_k = \frac{1}{n\,r_k} \sum_t \mathbb{E} \lVert z_{kt} \rVert^2

    their common level the best of a few by evidence.

    Parameters
    ----------
    factor : (rank, columns)
        Sensor factors of all components side by side.
    group : (columns,)
        Component of each column.
    n : int
        How many.
    power : (rank, rank)
        Sum of products of the data over samples.
    columns : ()
        Number of samples.

    Returns
    -------
    gamma : (components,)
        One variance each.
    """
    eye = jnp.eye(len(power), dtype=power.dtype)
    spread, modes = jnp.linalg.eigh(factor @ factor.T)  # the same for all levels
    energy = jnp.einsum("ri,rs,si->i", modes, power, modes)
    levels = 10.0 ** jnp.arange(-4.0, 4.0, dtype=power.dtype)
    total = levels[:, None] * jnp.maximum(spread, 0.0) + 1.0
    fits = -0.5 * jnp.sum(columns * jnp.log(total) + energy / total, axis=1)
    level = levels[jnp.argmax(fits)]
    inverse = jnp.linalg.inv(level * factor @ factor.T + eye)
    gradient = inverse @ power @ inverse / columns - inverse
    zeros = jnp.zeros(n, power.dtype)
    gain = zeros.at[group].add(jnp.sum(factor * (gradient @ factor), axis=0))
    size = zeros.at[group].add(1.0)
    return jnp.maximum(level + level**2 * gain / size, 1e-3 * level)


def earlier_gamma(marginal: Any, hyper: dict[str, Any] | None) -> Array | None:
    """Variances of an earlier estimate of the same components, draws averaged; None for others."""
    named = {k: v for k, v in (hyper or {}).items() if k.endswith("gamma")}
    means = {k: jnp.mean(v.reshape(-1, v.shape[-1]), axis=0) for k, v in named.items()}
    try:
        gamma = marginal.prior.gamma(means)
    except (KeyError, ValueError):
        return None
    return gamma if gamma.shape == (marginal.n_sources,) else None


def earlier_noise(noise: Noise, hyper: dict[str, Any] | None) -> Float[Array, " variances"]:
    """Noise variances of an earlier estimate, draws averaged; 1 where it had other ones."""
    n = noise.n_variances
    variance = (hyper or {}).get("noise_var", jnp.ones(n))
    if n == 0 or variance.shape[-1:] != (n,):
        return jnp.ones(n)
    return jnp.mean(variance.reshape(-1, n), axis=0)


def raised_variances(marginal: Any, sites: dict[str, Array]) -> Float[Array, " variances"]:
    r"""Updates :math:`v_k \leftarrow v_k \sqrt{q_k / (n m_k)}` of flat variances.

    with :math:`q_k = \operatorname{tr} B_k^\top \Sigma^{-1} S \Sigma^{-1} B_k` and
    :math:`m_k = \operatorname{tr} B_k^\top \Sigma^{-1} B_k`, each of which raises the evidence
    (Wipf and Nagarajan 2009, doi:10.1016/j.neuroimage.2008.02.059). None falls to zero.

    Parameters
    ----------
    marginal : LinearMarginal
        With noise that is linear in variances, or known.
    sites : dict
        Where to begin.
    """
    with handlers.substitute(data=sites), handlers.seed(rng_seed=0):
        hyper = marginal.hyper()
    factor, owner, n_owners = marginal.columns()
    variance, n = marginal.pack(hyper), marginal.n_sources
    known = marginal.noise_cov(hyper)
    fixed = jnp.zeros_like(known) if marginal.n_noise else known
    large = few_and_large(*factor.shape, n_owners)
    matrices = grams(factor, owner, n_owners) if large else None

    def energies(variance):
        if matrices is not None:
            inverse = jnp.linalg.inv(jnp.tensordot(variance, matrices, 1) + fixed)
            seen = inverse @ marginal.data.power @ inverse
            return jnp.tensordot(matrices, inverse, 2), jnp.tensordot(matrices, seen, 2)
        solved = jnp.linalg.solve((factor * variance[owner]) @ factor.T + fixed, factor)
        bound = jnp.zeros(n_owners).at[owner].add(jnp.sum(factor * solved, axis=0))
        seen = jnp.sum(solved * (marginal.data.power @ solved), 0)
        return bound, jnp.zeros(n_owners).at[owner].add(seen)

    def update(_, variance):
        bound, power = energies(variance)
        ratio = power / (marginal.data.n_columns * divisor(bound))
        return variance * jnp.sqrt(jnp.where(bound > 0, ratio, 1.0))

    variance = jax.lax.fori_loop(0, N_RAISES, update, variance)
    gamma = jnp.maximum(variance[:n], LEAST_SHARE * jnp.max(variance[:n]))
    return jnp.concatenate([gamma, jnp.maximum(variance[n:], LEAST_SHARE)])
