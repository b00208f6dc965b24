r"""Thousands of variances: NUTS with the sources integrated out, against a Gibbs sampler.

The Gibbs sampler draws the sources given the variances (Bhattacharya, Chakraborty and Mallick 2016,
doi:10.1093/biomet/asw042) and each variance given its source, an inverse gamma. It is what the
scale mixtures allow besides; esijax does not have it, because of what this prints.

    OPENBLAS_NUM_THREADS=1 taskset -c 0 uv run pytest benchmarks/test_gibbs.py -o addopts= \
        -m bench -s
"""

import time
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import esijax as ej

pytestmark = pytest.mark.bench
SENSORS, SOURCES, SHAPE, RATE = 300, 2000, 1.5, 0.05
SWEEPS = 2000


def simulated(n_times):
    """Twenty sources on, the rest off."""
    rng = np.random.default_rng(0)
    gain = rng.standard_normal((SENSORS, SOURCES)) / np.sqrt(SENSORS / 20)
    sources = np.zeros((SOURCES, n_times))
    sources[:20] = rng.standard_normal((20, n_times))
    return gain, gain @ sources + rng.standard_normal((SENSORS, n_times))


@jax.jit
def sweep(gamma, key, gain, data):
    """Sources given variances, variances given sources."""
    k_source, k_noise, k_gamma = jax.random.split(key, 3)
    free = jnp.sqrt(gamma)[:, None] * jax.random.normal(k_source, (SOURCES, data.shape[1]))
    noise = jax.random.normal(k_noise, data.shape)
    chol = jnp.linalg.cholesky((gain * gamma) @ gain.T + jnp.eye(SENSORS))
    right = jax.scipy.linalg.cho_solve((chol, True), data - gain @ free - noise)
    x = free + gamma[:, None] * (gain.T @ right)
    rate = RATE + 0.5 * jnp.sum(x**2, axis=1)
    shape = SHAPE + 0.5 * data.shape[1]
    return rate / jax.random.gamma(k_gamma, shape, gamma.shape)


def gibbs(gain, data):
    """Log variances (draws, sources), CPU seconds, the first half left out."""
    gain, data, gamma = jnp.asarray(gain), jnp.asarray(data), jnp.full(SOURCES, 0.1)
    keys = jax.random.split(jax.random.key(0), SWEEPS)
    draws = []
    for i, key in enumerate(keys):
        if i == SWEEPS // 2:
            start = time.process_time()
        gamma = jax.block_until_ready(sweep(gamma, key, gain, data))
        if i >= SWEEPS // 2:
            draws.append(np.log(gamma))
    return np.stack(draws), time.process_time() - start


def nuts(gain, data):
    """The same from NUTS."""
    spent = []

    class Timed(ej.inference.NUTS):
        def advance(self, state):
            start, before = time.process_time(), int(state.carry.chains[0].state.i)
            state = jax.block_until_ready(ej.inference.NUTS.advance(self, state))
            if before >= self.num_warmup:
                spent.append(time.process_time() - start)
            return state

    problem = ej.from_arrays(gain, data, noise_cov=1.0)
    unit = float(problem.prior_scale[0, 0] * problem.source_unit)  # gamma is relative to it
    prior = ej.models.ARD(dist.InverseGamma(SHAPE, RATE / unit**2))
    method = Timed(150, 150, 1, num_maps=2, chunk=50)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimate = ej.solve(problem, prior, method, key=jax.random.key(0))
    draws = np.log(np.asarray(estimate.diagnostics.draws["gamma"])[0] * unit**2)
    return draws, sum(spent)


@pytest.mark.parametrize("n_times", [1, 20, 200])
def test_effective_samples(n_times):
    """Effective samples per CPU second in the median variance, and of those that are on."""
    from arviz_stats.base import array_stats

    gain, data = simulated(n_times)
    found = {}
    for name, sampler in (("Gibbs", gibbs), ("NUTS", nuts)):
        draws, seconds = sampler(gain, data)
        ess = array_stats.ess(np.moveaxis(draws[None], 2, 0), method="bulk")
        found[name] = np.median(ess) / seconds, np.median(ess[:20]) / seconds
        level = draws[:, 20:].mean(), draws[:, :20].mean()
        print(
            f"\nT = {n_times}, {name}: {found[name][0]:.2f} a second in the median, "
            f"{found[name][1]:.2f} of those that are on; {len(draws)} draws in {seconds:.0f} s; "
            f"mean log variance off {level[0]:.2f}, on {level[1]:.2f}"
        )
