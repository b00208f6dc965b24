"""Coverage over groups: what is nominal for a calibrated posterior, and what is not."""

import numpy as np
import pytest
from scipy import stats

import esijax as ej

LEVELS = np.array(ej.metrics.LEVELS)


def test_card_by_hand():
    rng = np.random.default_rng(15)
    mean, truth = rng.standard_normal((2, 8, 3))
    std = rng.uniform(0.3, 1, (8, 1))
    groups = np.stack([np.ones(8, bool), np.arange(8) < 3, np.zeros(8, bool)])
    card = ej.metrics.interval_card(mean, std, truth, groups[..., None])
    for g in range(2):
        for i, level in enumerate(LEVELS):
            reach = stats.norm.ppf(0.5 + level / 2) * np.broadcast_to(std, mean.shape)[groups[g]]
            hit = np.abs(truth - mean)[groups[g]] <= reach
            assert float(card.coverage[g, i]) == pytest.approx(hit.mean())
            assert float(card.width[g, i]) == pytest.approx(2 * reach.mean())
    assert np.isnan(np.asarray(card.coverage[2])).all()


def test_width():
    lower, upper = np.zeros(4), np.arange(4.0)
    assert float(ej.metrics.mean_width(lower, upper)) == 1.5
    assert float(ej.metrics.mean_width(lower, upper, upper > 1)) == 2.5


@pytest.mark.parametrize("share", [0.001, 0.1, 0.37, 1.0])
def test_largest(share):
    amplitude = np.random.default_rng(16).random(200)
    amplitude[:30] = 0.0
    count = max(1, int(np.ceil(share * 200)))
    chosen = np.asarray(ej.metrics.largest(amplitude, share))
    assert chosen.tolist() == (amplitude >= np.sort(amplitude)[-count]).tolist()
    assert chosen.sum() == (200 if share == 1.0 else count)


@pytest.fixture(scope="module")
def calibrated():
    """Exact posterior of x ~ N(0, 1) from y = x + N(0, 0.25): 300 data sets of 400 sources."""
    rng = np.random.default_rng(17)
    truth = rng.standard_normal((300, 400))
    data = truth + 0.5 * rng.standard_normal(truth.shape)
    return truth, data * (1 / 1.25), (0.25 / 1.25) ** 0.5


@pytest.mark.statistical
def test_calibrated_posterior(calibrated):
    """Nominal over all and over groups chosen from the data, not over groups chosen by the truth.

    120,000 independent truths; tolerance 4 standard errors of each share.
    """
    truth, mean, std = calibrated
    chosen = np.stack([np.asarray(ej.metrics.largest(np.abs(m), 0.05)) for m in mean])
    strong = np.abs(truth) > np.quantile(np.abs(truth), 0.95)  # "truly active"
    groups = np.stack([np.ones_like(chosen), chosen, strong, ~strong])
    card = ej.metrics.interval_card(mean, np.full_like(mean, std), truth, groups)
    share = np.asarray(card.coverage)
    for g in (0, 1):
        error = (LEVELS * (1 - LEVELS) / groups[g].sum()) ** 0.5
        assert (np.abs(share[g] - LEVELS) < 4 * error).all()
    assert share[2, 2] < 0.8  # 90 % intervals of the truly active: shrinkage
    assert share[3, 2] > 0.9


@pytest.mark.statistical
def test_overconfidence_is_seen_over_all_and_chosen(calibrated):
    truth, mean, std = calibrated
    chosen = np.stack([np.asarray(ej.metrics.largest(np.abs(m), 0.05)) for m in mean])
    groups = np.stack([np.ones_like(chosen), chosen])
    card = ej.metrics.interval_card(mean, np.full_like(mean, std / 2**0.5), truth, groups)
    error = (LEVELS * (1 - LEVELS) / groups.sum(axis=(1, 2))[:, None]) ** 0.5
    assert (np.asarray(card.coverage) < LEVELS - 10 * error).all()
