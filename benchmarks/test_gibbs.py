r"""Thousands of variances: Gibbs against NUTS, effective draws per CPU second.

Gibbs draws the sources too, NUTS has them integrated out. One chain of each, as far apart in
kind as the two are: a sweep is cheap and moves little, a trajectory is dear and moves far.

    env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE OPENBLAS_NUM_THREADS=1 taskset -c 0 uv run pytest \
        benchmarks/test_gibbs.py -o addopts= -m bench -s
"""

import time
import warnings

import jax
import numpy as np
import numpyro.distributions as dist
import pytest

import esijax as ej

pytestmark = pytest.mark.bench
SENSORS, SOURCES, SHAPE, RATE = 300, 2000, 1.5, 0.05
LENGTHS = {"Gibbs": (1000, 2000), "NUTS": (150, 150)}  # warm-up, draws


def simulated(n_times):
    """Twenty sources on, the rest off."""
    rng = np.random.default_rng(0)
    gain = rng.standard_normal((SENSORS, SOURCES)) / np.sqrt(SENSORS / 20)
    sources = np.zeros((SOURCES, n_times))
    sources[:20] = rng.standard_normal((20, n_times))
    return gain, gain @ sources + rng.standard_normal((SENSORS, n_times))


def made(state):
    """Transitions of the chain so far."""
    chain = state.carry.chains[0]
    return int(chain.i if hasattr(chain, "i") else chain.state.i)


def timed(name):
    """Make the method, and a list of (transitions, CPU seconds) after its warm-up."""
    base, spent = getattr(ej.inference, name), []

    class Timed(base):
        def advance(self, state):
            start, before = time.process_time(), made(state)
            state = jax.block_until_ready(base.advance(self, state))
            if before >= self.num_warmup:
                spent.append((made(state) - before, time.process_time() - start))
            return state

    options = {"chunk": 50} if name == "NUTS" else {}
    return Timed(*LENGTHS[name], 1, num_maps=2, **options), spent


def sampled(name, gain, data):
    """Log variances (draws, sources), and the CPU seconds of these draws."""
    problem = ej.from_arrays(gain, data, noise_cov=1.0)
    unit = float(problem.prior_scale[0, 0] * problem.source_unit)  # gamma is relative to it
    prior = ej.models.ARD(dist.InverseGamma(SHAPE, RATE / unit**2))
    method, spent = timed(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one chain, few draws: the verdict says so
        estimate = ej.solve(problem, prior, method, key=jax.random.key(0))
    draws = np.log(np.asarray(estimate.diagnostics.draws["gamma"])[0] * unit**2)
    transitions, seconds = np.sum(spent, axis=0)
    return draws, len(draws) * seconds / transitions


@pytest.mark.parametrize("n_times", [1, 20, 200])
def test_effective_samples(n_times):
    """Effective draws per CPU second in the median variance, and of those that are on."""
    from arviz_stats.base import array_stats

    gain, data = simulated(n_times)
    found = {}
    for name in LENGTHS:
        draws, seconds = sampled(name, gain, data)
        ess = array_stats.ess(np.moveaxis(draws[None], 2, 0), method="bulk")
        found[name] = np.array([np.median(ess), np.median(ess[:20])]) / seconds
        level = draws[:, 20:].mean(), draws[:, :20].mean()
        print(
            f"\nT = {n_times}, {name}: {found[name][0]:.2f} a second in the median, "
            f"{found[name][1]:.2f} of those that are on; {len(draws)} draws in {seconds:.0f} s, "
            f"{np.median(ess):.0f} effective; mean log variance off {level[0]:.2f}, "
            f"on {level[1]:.2f}"
        )
    print("Gibbs / NUTS: {:.2f} in the median, {:.2f} on".format(*(found["Gibbs"] / found["NUTS"])))
