"""NUTS is calibrated: truth drawn from the prior takes every rank among the draws equally often.

Long (a thousand data sets each): run with ``-m slow``; `-s` prints the p-values.
"""

import time

import jax
import numpy as np
import numpyro.distributions as dist
import pytest

import esijax as ej
from esijax.models.hyperpriors import HierarchicalLogNormal

pytestmark = [pytest.mark.slow, pytest.mark.statistical]
KEY = jax.random.key(4)
N = 1000


def halves(local):
    """Three components of two neighbours each."""
    return ej.models.Components([np.arange(2 * k, 2 * k + 2) for k in range(3)], local)


PRIORS = {
    "components, inverse gamma": lambda: halves(dist.InverseGamma(2.0, 0.5)),
    "components, log-normal": lambda: halves(dist.LogNormal(-1.0, 1.5)),
    "components, hierarchical": lambda: halves(HierarchicalLogNormal(-1.0, 1.0, 1.0)),
    "student-t": lambda: ej.models.StudentT(3.0, 0.5),
}
NOISES = {"white": ej.models.noise.White, "scalar": ej.models.noise.Scalar}
METHOD = ej.inference.NUTS(150, 297, 1, num_maps=99)


@pytest.fixture(scope="module")
def small(problem_factory):
    return problem_factory(1, n_channels=6, n_locations=6, n_times=4)


def check(problem, prior, noise, **options):
    """Print what was found: the numbers are worth more than a pass."""
    start = time.process_time()
    result = ej.metrics.sbc(
        prior, noise, METHOD, problem, N, key=KEY, thin=3, progress=False, **options
    )
    took = time.process_time() - start
    print(f"p = {result.p_value:.3g}, {took:.0f} CPU-s, lowest {min(result.ks.values()):.2g}")
    return result


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("prior", PRIORS)
def test_nuts_is_calibrated(small, prior, noise):
    result = check(small, PRIORS[prior](), NOISES[noise]())
    assert {"log_evidence", "log_likelihood"} <= set(result.names)
    # one chance in a hundred for all of these tests together; a planted bug is below 1e-6
    assert result.p_value > 0.01 / (len(PRIORS) * len(NOISES))


WRONG = {
    "prior too wide": (halves, dist.LogNormal(-1.0, 1.5), dist.LogNormal(-1.0, 3.0), None),
    "prior too high": (halves, dist.LogNormal(-1.0, 1.5), dist.LogNormal(0.5, 1.5), None),
    "noise taken as known": (
        halves,
        dist.LogNormal(-1.0, 1.5),
        dist.LogNormal(-1.0, 1.5),
        ej.models.noise.White,
    ),
}


@pytest.mark.parametrize("bug", WRONG)
def test_planted_bugs_are_caught(small, bug):
    prior, right, wrong, noise = WRONG[bug]
    true_noise = ej.models.noise.Scalar()
    fitted = prior(wrong), true_noise if noise is None else noise()
    assert check(small, prior(right), true_noise, fitted=fitted).p_value < 1e-6
