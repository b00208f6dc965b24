"""Intervals of the sources hold the truth as often as they say, over all and in groups.

Truth drawn from the prior; groups chosen from the data (posterior mean large or small), for which
an exact posterior is nominal. Groups chosen by the truth are printed, never required.
"""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import esijax as ej
from esijax.metrics.calibration.sbc import Assumed, Simulate

pytestmark = [
    pytest.mark.slow,
    pytest.mark.statistical,
    pytest.mark.filterwarnings("ignore::esijax.EsijaxWarning"),
]
N = 1000
LEVELS = np.array([0.5, 0.8, 0.9, 0.95])
PRIORS = {
    "components": lambda: ej.models.Components(
        [np.arange(2 * k, 2 * k + 2) for k in range(3)], dist.LogNormal(-1.0, 1.5)
    ),
    "student-t": lambda: ej.models.StudentT(3.0, 0.5),
}


def covered(problem, prior, noise, method, n=N):
    """Whether each interval holds the truth (sets, levels, values); posterior mean; truth."""
    everywhere = tuple(range(problem.n_locations)), tuple(range(problem.n_times))
    simulate = Simulate(Assumed(problem, prior.prepare(problem), noise, *everywhere))

    def one(key):
        k_truth, k_solve = jax.random.split(key)
        theta, data = simulate(k_truth)
        known = problem.with_data(problem.whitener.colorer @ data)
        estimate = ej.solve(known, prior, method, noise=noise, key=k_solve)
        truth = theta["source"] * problem.source_unit
        ends = [estimate.interval(float(level)) for level in LEVELS]
        inside = [((low <= truth) & (truth <= high)).ravel() for low, high in ends]
        return jnp.stack(inside), estimate.mean.ravel(), truth.ravel()

    several = jax.jit(lambda keys: jax.lax.map(one, keys, batch_size=50))
    return [np.asarray(x) for x in several(jax.random.split(jax.random.key(7), n))]


def rows(inside, mean, truth):
    """(group, share covered, standard error clustered by data set) at each level."""

    def half(values, sign):
        middle = np.median(np.abs(values), axis=1, keepdims=True)
        return sign * np.abs(values) > sign * middle

    groups = {
        "all": np.ones(mean.shape, bool),
        "posterior mean high": half(mean, 1),
        "posterior mean low": half(mean, -1),
        "truth high": half(truth, 1),
        "truth low": half(truth, -1),
    }
    for name, group in groups.items():
        each = np.sum(inside * group[:, None], axis=2) / group.sum(axis=1)[:, None]
        yield name, each.mean(axis=0), each.std(axis=0, ddof=1) / np.sqrt(len(each))


@pytest.fixture(scope="module")
def small(problem_factory):
    return problem_factory(1, n_channels=6, n_locations=6, n_times=4)


@pytest.mark.parametrize("name", PRIORS)
def test_intervals_of_nuts_hold_the_truth(small, name):
    method = ej.inference.NUTS(150, 300, 1, num_maps=300)
    found = list(rows(*covered(small, PRIORS[name](), ej.models.noise.Scalar(), method)))
    for group, share, error in found:
        print(f"{name}, {group}: {np.round(100 * share, 1)} % +- {np.round(100 * error, 1)}")
    for group, share, error in found:
        if not group.startswith("truth"):
            assert (np.abs(share - LEVELS) < 3 * error).all(), group


def test_a_point_estimate_is_caught(small):
    """Variances held at their best values: too sure of itself where it sees something."""
    prior, noise = PRIORS["components"](), ej.models.noise.Scalar()
    method = ej.inference.Evidence(rtol=1e-4, atol=1e-4)
    found = {g: (s, e) for g, s, e in rows(*covered(small, prior, noise, method))}
    share, error = found["all"]
    print(np.round(100 * share, 1), np.round(100 * error, 1))
    assert (share[2:] < LEVELS[2:] - 3 * error[2:]).all()
