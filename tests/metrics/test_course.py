"""Time courses and values, by hand."""

import numpy as np
import pytest

import esijax as ej

RNG = np.random.default_rng(11)
TRUTH = RNG.standard_normal((4, 3, 20))
GUESS = TRUTH + RNG.standard_normal(TRUTH.shape)


def test_error_and_explained_variance():
    left = sum((x - q) ** 2 for x, q in zip(GUESS.flat, TRUTH.flat, strict=True))
    power = sum(q**2 for q in TRUTH.flat)
    assert float(ej.metrics.normalised_error(GUESS, TRUTH)) == pytest.approx((left / power) ** 0.5)
    assert float(ej.metrics.explained_variance(GUESS, TRUTH)) == pytest.approx(1 - left / power)
    assert float(ej.metrics.normalised_error(0 * TRUTH, TRUTH)) == 1.0
    assert float(ej.metrics.explained_variance(TRUTH, TRUTH)) == 1.0


def test_correlation():
    found = np.asarray(ej.metrics.correlation(GUESS, TRUTH))
    assert found.shape == (4, 3)
    for i in range(4):
        for j in range(3):
            assert found[i, j] == pytest.approx(np.corrcoef(GUESS[i, j], TRUTH[i, j])[0, 1])
    moved = np.asarray(ej.metrics.correlation(5 - 1e-9 * GUESS, TRUTH))
    np.testing.assert_allclose(moved, -found, rtol=1e-5)
    assert np.isnan(float(ej.metrics.correlation(np.ones(5), np.arange(5.0))))


def test_cosine():
    a, b = GUESS.ravel(), TRUTH.ravel()
    by_hand = a @ b / (a @ a * (b @ b)) ** 0.5
    assert float(ej.metrics.cosine(GUESS, TRUTH)) == pytest.approx(by_hand)
    assert float(ej.metrics.cosine(-3 * TRUTH, TRUTH)) == pytest.approx(-1)
    assert np.isnan(float(ej.metrics.cosine(0 * TRUTH, TRUTH)))
