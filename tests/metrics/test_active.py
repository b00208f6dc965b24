"""Pr(active): by hand, and an exact spike-and-slab posterior."""

import numpy as np
import pytest
from scipy import stats

import esijax as ej


@pytest.fixture(scope="module")
def spikes():
    """x = z g, z ~ Bernoulli(0.1), g ~ N(0, 1), y = x + N(0, 0.09): exact Pr(active) given y."""
    rng = np.random.default_rng(18)
    n, noise = 60_000, 0.3
    active = rng.random(n) < 0.1
    truth = active * rng.standard_normal(n)
    data = truth + noise * rng.standard_normal(n)
    on = 0.1 * stats.norm(0, (1 + noise**2) ** 0.5).pdf(data)
    off = 0.9 * stats.norm(0, noise).pdf(data)
    return active, truth, data, on / (on + off), noise


def test_by_hand():
    rng = np.random.default_rng(19)
    p, active = rng.random((5, 8)), rng.random((5, 8)) < 0.4
    p[0, 0], p[0, 1] = 1.0, 0.0
    curve = ej.metrics.reliability(p, active, bins=5)
    gap = 0.0
    for b in range(5):
        inside = (p >= b / 5) & ((p < (b + 1) / 5) | (b == 4))
        assert float(curve.count[b]) == inside.sum()
        assert float(curve.stated[b]) == pytest.approx(p[inside].mean())
        assert float(curve.observed[b]) == pytest.approx(active[inside].mean())
        gap += abs(p[inside].mean() - active[inside].mean()) * inside.mean()
    assert float(ej.metrics.calibration_error(p, active, bins=5)) == pytest.approx(gap)
    assert float(ej.metrics.brier(p, active)) == pytest.approx(((p - active) ** 2).mean())


def test_empty_bins():
    p, active = np.array([0.05, 0.95]), np.array([False, True])
    curve = ej.metrics.reliability(p, active)
    assert np.isnan(np.asarray(curve.observed)[1:-1]).all()
    assert float(ej.metrics.calibration_error(p, active)) == pytest.approx(0.05)


def test_brier_of_scikit_learn(spikes):
    from sklearn.metrics import brier_score_loss

    active, _, _, p, _ = spikes
    assert float(ej.metrics.brier(p, active)) == pytest.approx(brier_score_loss(active, p))


@pytest.mark.statistical
def test_exact_posterior_is_reliable(spikes):
    """Every bin within 4 standard errors; a sharpened probability is not."""
    active, _, _, p, _ = spikes
    curve = ej.metrics.reliability(p, active)
    stated, observed, count = (np.asarray(x) for x in (curve.stated, curve.observed, curve.count))
    assert (np.abs(stated - observed) < 4 * np.sqrt(stated * (1 - stated) / count)).all()
    assert float(ej.metrics.calibration_error(p, active)) < 0.005
    sharper = p**2 / (p**2 + (1 - p) ** 2)
    assert float(ej.metrics.calibration_error(sharper, active)) > 0.015
    assert float(ej.metrics.brier(sharper, active)) > float(ej.metrics.brier(p, active))


@pytest.mark.statistical
def test_reported_sources_are_covered(spikes):
    """Exact 90 % intervals of the mixture, nominal among the reported, not among the active."""
    active, truth, data, p, noise = spikes
    var = noise**2 / (1 + noise**2)
    mean = data / (1 + noise**2)

    def cdf(x):  # of the mixture of a spike at zero and the slab
        return p * stats.norm.cdf(x, mean, var**0.5) + (1 - p) * (x >= 0)

    def quantile(level):
        low, high = np.full_like(data, -9.0), np.full_like(data, 9.0)
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (np.where(cdf(middle) < level, middle, low),
                         np.where(cdf(middle) < level, high, middle))  # fmt: skip
        return high

    lower, upper = quantile(0.05), quantile(0.95)
    found = p > 0.98  # with a spike of more than 0.05 an interval holds more than it says
    share = float(ej.metrics.reported_coverage(lower, upper, truth, p, 0.98))
    hit = (lower <= truth) & (truth <= upper)
    assert share == pytest.approx(hit[found].mean())
    assert share == pytest.approx(0.9, abs=4 * (0.09 / found.sum()) ** 0.5 + 0.005)
    assert float(ej.metrics.coverage(lower, upper, truth, active)) < 0.75
    assert float(ej.metrics.coverage(lower, upper, truth)) > 0.95  # flattered by the many zeros


def test_reported_coverage_of_vectors():
    rng = np.random.default_rng(20)
    truth, p = rng.standard_normal((6, 3)), np.linspace(0, 1, 6)
    lower, upper = truth - rng.uniform(-0.5, 1, (6, 3)), truth + 1
    by_hand = ((lower <= truth) & (truth <= upper))[p > 0.5].mean()
    assert float(ej.metrics.reported_coverage(lower, upper, truth, p)) == pytest.approx(by_hand)
