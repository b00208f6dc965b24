"""Recalibration fitted on one half of the data, judged on the other."""

import jax
import numpy as np
import pytest
from scipy import stats

import esijax as ej


@pytest.mark.statistical
def test_levels_of_an_overconfident_posterior():
    """Half the spread was stated: 90 % intervals hold 59 %, after recalibration 90 %."""
    rng = np.random.default_rng(24)
    truth, other = rng.standard_normal((2, 20_000))
    mean, std = np.zeros(20_000), np.full(20_000, 0.5)
    fit = ej.metrics.recalibrate_levels(ej.metrics.pit_gaussian(mean, std, other))
    before = ej.metrics.coverage(*ej.metrics.gaussian_interval(mean, std, 0.9), truth)
    assert float(before) == pytest.approx(2 * stats.norm.cdf(0.8224) - 1, abs=0.015)
    for level in (0.5, 0.9):
        after = ej.metrics.coverage(*ej.metrics.recalibrated_interval(mean, std, level, fit), truth)
        error = (2 * level * (1 - level) / 20_000) ** 0.5  # of the fit and of the judgement
        assert float(after) == pytest.approx(level, abs=4 * error)
    pit = ej.metrics.pit_gaussian(mean, std, truth)
    assert stats.kstest(np.asarray(pit), "uniform").pvalue < 1e-10
    assert stats.kstest(np.asarray(fit(pit)), "uniform").statistic < 0.02


def test_probability_is_isotonic_regression():
    """Pool adjacent violators, written out."""
    rng = np.random.default_rng(25)
    stated = np.sort(rng.random(30))
    active = rng.random(30) < stated**2
    blocks = [[float(a), 1] for a in active]
    i = 0
    while i < len(blocks) - 1:
        if blocks[i][0] > blocks[i + 1][0]:
            (a, n), (b, m) = blocks[i], blocks.pop(i + 1)
            blocks[i] = [(a * n + b * m) / (n + m), n + m]
            i = max(i - 1, 0)
        else:
            i += 1
    by_hand = np.repeat([b[0] for b in blocks], [b[1] for b in blocks])
    fit = ej.metrics.recalibrate_probability(stated, active)
    np.testing.assert_allclose(fit(stated), by_hand, atol=1e-12)
    np.testing.assert_allclose(jax.jit(lambda f, p: f(p))(fit, stated), by_hand, atol=1e-12)


@pytest.mark.statistical
def test_probability_on_other_data():
    rng = np.random.default_rng(26)
    p = rng.random((2, 20_000))
    active = rng.random(p.shape) < p**2  # stated p, true p squared
    fit = ej.metrics.recalibrate_probability(p[0], active[0])
    before = float(ej.metrics.calibration_error(p[1], active[1]))
    assert before == pytest.approx(1 / 6, abs=0.01)
    assert float(ej.metrics.calibration_error(fit(p[1]), active[1])) < 0.02


def test_inverse():
    fit = ej.metrics.recalibrate_levels(np.random.default_rng(27).random(500) ** 2)
    levels = np.linspace(0.01, 0.99, 9)
    np.testing.assert_allclose(fit(fit.inverse(levels)), levels, atol=1e-9)
    assert np.asarray(fit(np.array([0.0, 1.0]))).tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ej.metrics.recalibrate_levels(np.array([0.5])), "needs two"),
        (lambda: ej.metrics.recalibrate_levels(np.array([0.5, 1.5])), "between 0 and 1"),
        (
            lambda: ej.metrics.recalibrate_probability(np.ones(3), np.ones(2, bool)),
            "3 probabilities for 2 sources",
        ),
    ],
)
def test_refused(call, message):
    with pytest.raises(ej.InputError, match=message):
        call()
