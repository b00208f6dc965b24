"""Stated probability of large sources against what is true."""

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import scipy.stats

import esijax as ej
from esijax.metrics.large import EDGES, large_scores, prob_large


def test_probability_is_that_of_the_normal_and_of_the_mixture():
    rng = np.random.default_rng(0)
    mean, std = rng.standard_normal((3, 30)), rng.uniform(0.1, 2.0, (3, 30))
    truth = rng.standard_normal(30)
    threshold = 0.25 * np.abs(truth).max()
    normal = scipy.stats.norm(mean, std)
    want = (normal.sf(threshold) + normal.cdf(-threshold)).mean(axis=0)
    got, large = prob_large(jnp.asarray(mean), jnp.asarray(std), jnp.asarray(truth))
    np.testing.assert_allclose(got, want, atol=1e-12)
    np.testing.assert_array_equal(large, np.abs(truth) > threshold)


def test_sums_in_bins():
    probability = np.array([0.0, 0.01, 0.02, 0.5, 0.95, 1.0])
    large = np.array([False, False, True, True, True, False])
    got = large_scores(jnp.asarray(probability), jnp.asarray(large))
    bins = np.digitize(probability, EDGES)
    for k in range(len(EDGES) + 1):
        here = bins == k
        assert float(got[f"large_count_{k}"]) == here.sum()
        assert float(got[f"large_stated_{k}"]) == pytest.approx(probability[here].sum())
        assert float(got[f"large_true_{k}"]) == large[here].sum()
    assert float(got["large_brier"]) == pytest.approx(np.sum((probability - large) ** 2))
    assert float(got["large_brier_never"]) == 3


@pytest.mark.statistical
def test_a_model_that_is_true_states_what_comes_true():
    """Truth from the prior: stated equals true in each bin; halved spreads are caught."""
    rng = np.random.default_rng(1)
    n = 200_000
    std = rng.uniform(0.2, 1.0, n)
    mean = rng.standard_normal(n)
    truth = mean + std * rng.standard_normal(n)
    truth[0] = 4.0
    for factor, calibrated in ((1.0, True), (0.5, False)):
        stated = jnp.asarray(factor * std)[None]
        sums = large_scores(*prob_large(jnp.asarray(mean)[None], stated, jnp.asarray(truth)))
        gaps = [
            abs(float(sums[f"large_stated_{k}"] - sums[f"large_true_{k}"]))
            / max(float(sums[f"large_count_{k}"]), 1.0)
            for k in range(len(EDGES) + 1)
        ]
        assert (max(gaps) < 0.02) is calibrated


def test_the_table_puts_maps_together():
    from esijax.benchmark.page import exceedance, markdown

    rows = []
    for seed, (count, stated, true) in enumerate([(4, 1.0, 2), (6, 2.0, 1)]):
        for k in range(len(EDGES) + 1):
            here = k == 2
            rows += [("one", "MNE", seed, f"large_count_{k}", count * here)]
            rows += [("one", "MNE", seed, f"large_stated_{k}", stated * here)]
            rows += [("one", "MNE", seed, f"large_true_{k}", true * here)]
    results = pd.DataFrame(rows, columns=["scenario", "method", "seed", "metric", "value"])
    table = exceedance(results, "one")
    assert list(table.loc["MNE"]) == ["-", "-", "0.30 -> 0.30 (5)", "-", "-", "-", "-"]
    assert "| MNE | - | - | 0.30 -> 0.30 (5) |" in markdown(results)
    assert len(exceedance(results, "two")) == 0


def test_the_card_has_them():
    rng = np.random.default_rng(0)
    gain, truth = rng.standard_normal((8, 12)), np.zeros((12, 1, 3))
    truth[4] = 1.0
    places = 0.03 * rng.standard_normal((12, 3))
    problem = ej.from_arrays(gain, gain @ truth[:, 0], noise_cov=0.1, positions=places)
    estimate = ej.solve(problem, ej.models.MinimumNorm(), ej.inference.Linear())
    card = ej.metrics.score(estimate, truth, np.arange(12) == 4, places[4:5])
    assert sum(card[f"large_count_{k}"] for k in range(len(EDGES) + 1)) == 12
    assert card["large_brier_never"] == 1
