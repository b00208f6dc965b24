"""Smoothed weights against ArviZ's, and draws by weights against counting."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from esijax._ops.pareto import drawn_by_weight, pareto_smoothed


@pytest.mark.parametrize(
    "log_weights",
    [
        scipy.stats.norm(scale=1.0).rvs(1000, random_state=0),
        scipy.stats.expon(scale=0.9).rvs(4000, random_state=1),  # k of 0.9
        scipy.stats.beta(2.0, 3.0).rvs(200, random_state=2),  # a bounded tail, few draws
        1e3 + 5.0 * scipy.stats.norm().rvs(500, random_state=3),
    ],
    ids=["normal", "heavy", "bounded", "far away"],
)
def test_smoothed_as_in_arviz(log_weights):
    from arviz_stats.base import array_stats

    want, _ = array_stats.psislw(-log_weights)
    got = pareto_smoothed(jnp.asarray(log_weights))
    np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9)
    assert float(jax.scipy.special.logsumexp(got)) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(
    "log_weights",
    [np.zeros(300), np.full(300, -np.inf), np.full(12, 3.0)],
    ids=["equal", "nothing", "few"],
)
def test_what_no_tail_fits_stays_as_it_is(log_weights):
    got = jnp.exp(pareto_smoothed(jnp.asarray(log_weights)))
    np.testing.assert_allclose(got, 1 / len(log_weights), rtol=1e-12)


def test_weights_that_are_not_finite_count_as_zero():
    log_weights = np.random.default_rng(0).standard_normal(400)
    log_weights[[3, 50]] = np.nan, np.inf
    got = jnp.exp(pareto_smoothed(jnp.asarray(log_weights)))
    assert float(got[3]) == float(got[50]) == 0.0
    assert float(jnp.sum(got)) == pytest.approx(1.0)


def test_each_is_drawn_as_often_as_its_weight_says():
    weights = np.random.default_rng(1).dirichlet(np.full(50, 0.3))
    taken = drawn_by_weight(jax.random.key(0), jnp.log(jnp.asarray(weights)), 1000)
    counts = np.bincount(np.asarray(taken), minlength=50)
    assert np.abs(counts - 1000 * weights).max() < 1.0
    # in random order: neighbours are no more alike than others
    assert np.mean(np.diff(np.asarray(taken)) == 0) < 2 * np.sum(weights**2)
