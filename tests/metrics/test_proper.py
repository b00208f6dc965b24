"""Proper scores against numerical integration, and what makes them proper."""

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad

import esijax as ej

CASES = [(0.0, 1.0, 0.3), (2.0, 0.5, -1.0), (-1.0, 3.0, 4.0)]


@pytest.mark.parametrize(("mean", "std", "truth"), CASES)
def test_crps_is_its_integral(mean, std, truth):
    cdf = stats.norm(mean, std).cdf
    below = quad(lambda x: cdf(x) ** 2, -np.inf, truth)[0]
    beyond = quad(lambda x: (1 - cdf(x)) ** 2, truth, np.inf)[0]
    found = ej.metrics.crps_gaussian(np.array(mean), np.array(std), np.array(truth))
    assert float(found) == pytest.approx(below + beyond, rel=1e-7)


@pytest.mark.parametrize(("mean", "std", "truth"), CASES)
def test_log_score_and_pit(mean, std, truth):
    args = np.array(mean), np.array(std), np.array(truth)
    law = stats.norm(mean, std)
    assert float(ej.metrics.log_score_gaussian(*args)) == pytest.approx(-law.logpdf(truth))
    assert float(ej.metrics.pit_gaussian(*args)) == pytest.approx(law.cdf(truth))


@pytest.mark.parametrize(("mean", "std", "truth"), CASES)
def test_interval_score_by_hand(mean, std, truth):
    """It is 2 / alpha times the sum of the quantile losses of the two limits."""
    lower, upper = ej.metrics.gaussian_interval(np.array(mean), np.array(std), 0.8)
    law = stats.norm(mean, std)
    assert (float(lower), float(upper)) == pytest.approx((law.ppf(0.1), law.ppf(0.9)))
    loss = sum(
        (float(truth <= q) - p) * (q - truth) for p, q in ((0.1, law.ppf(0.1)), (0.9, law.ppf(0.9)))
    )
    found = float(ej.metrics.interval_score(lower, upper, np.array(truth), 0.8))
    assert found == pytest.approx(2 / 0.2 * loss)


def test_points():
    zero, one = np.array(0.0), np.array(1.0)
    assert float(ej.metrics.crps_gaussian(one, zero, zero)) == 1.0
    assert float(ej.metrics.log_score_gaussian(one, zero, one)) == -np.inf
    assert float(ej.metrics.log_score_gaussian(one, zero, zero)) == np.inf
    assert [float(ej.metrics.pit_gaussian(one, zero, np.array(q))) for q in (0.0, 1.0, 2.0)] == [
        0.0, 0.5, 1.0,
    ]  # fmt: skip


def test_sample_scores_by_pairs():
    rng = np.random.default_rng(12)
    draws, truth = rng.standard_normal((9, 2, 3)).round(1), rng.standard_normal((2, 3)).round(1)
    draws[0] = truth  # a tie
    crps, pit = np.zeros((2, 3)), np.zeros((2, 3))
    for i, j in np.ndindex(2, 3):
        x, q = draws[:, i, j], truth[i, j]
        pairs = sum(abs(a - b) for a in x for b in x) / (9 * 8)
        crps[i, j] = sum(abs(x - q)) / 9 - pairs / 2
        pit[i, j] = (sum(x < q) + 0.5 * sum(x == q) + 0.5) / 10
    np.testing.assert_allclose(ej.metrics.crps_sample(draws, truth), crps, atol=1e-14)
    np.testing.assert_allclose(ej.metrics.pit_sample(draws, truth), pit, rtol=1e-12)
    kernel = [stats.norm(x, 1.06 * draws[:, 0, 0].std(ddof=1) * 9**-0.2).pdf(truth[0, 0])
              for x in draws[:, 0, 0]]  # fmt: skip
    found = np.asarray(ej.metrics.log_score_sample(draws, truth))
    assert found[0, 0] == pytest.approx(-np.log(np.mean(kernel)))


@pytest.mark.statistical
def test_sample_scores_tend_to_the_closed_form():
    rng = np.random.default_rng(13)
    draws, truth = 1 + 2 * rng.standard_normal((4000, 50)), rng.standard_normal(50)
    args = np.full(50, 1.0), np.full(50, 2.0), truth
    near = np.asarray(ej.metrics.crps_sample(draws, truth) - ej.metrics.crps_gaussian(*args))
    assert np.abs(near).max() < 4 * 2 / 4000**0.5
    near = ej.metrics.log_score_sample(draws, truth) - ej.metrics.log_score_gaussian(*args)
    assert np.abs(np.asarray(near)).max() < 0.15
    # unbiased: few draws, many times
    few = 1 + 2 * rng.standard_normal((3, 40_000))
    each = np.asarray(ej.metrics.crps_sample(few, np.zeros(40_000)))
    exact = float(ej.metrics.crps_gaussian(np.array(1.0), np.array(2.0), np.array(0.0)))
    assert each.mean() == pytest.approx(exact, abs=4 * each.std() / 200)


@pytest.mark.statistical
@pytest.mark.parametrize("score", ["crps", "log", "interval"])
def test_the_truth_scores_best(score):
    """Proper: stating the wrong mean or spread costs, in the mean over 20,000 truths."""
    truth = np.random.default_rng(14).standard_normal(20_000)

    def mean_score(m, s):
        m, s = np.full_like(truth, m), np.full_like(truth, s)
        if score == "crps":
            return float(ej.metrics.crps_gaussian(m, s, truth).mean())
        if score == "log":
            return float(ej.metrics.log_score_gaussian(m, s, truth).mean())
        low, high = ej.metrics.gaussian_interval(m, s, 0.9)
        return float(ej.metrics.interval_score(low, high, truth, 0.9).mean())

    best = mean_score(0.0, 1.0)
    assert all(mean_score(*wrong) > best for wrong in ((0.3, 1.0), (0.0, 0.7), (0.0, 1.4)))
