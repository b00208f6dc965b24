"""Variogram, and the covariance of what is left after a baseline correction."""

import numpy as np
import pytest

from esijax._ops.time.variogram import autocovariance, corrected_cov, plateau, variogram

PHI = 0.8
RNG = np.random.default_rng(0)


def autoregressive(rows, n, rng=RNG):
    """AR(1) of unit variance, from its own distribution on."""
    x = np.empty((rows, n))
    x[:, 0] = rng.standard_normal(rows)
    for t in range(1, n):
        x[:, t] = PHI * x[:, t - 1] + np.sqrt(1 - PHI**2) * rng.standard_normal(rows)
    return x


def test_a_mean_that_was_subtracted_changes_nothing():
    x = autoregressive(7, 40).reshape(7, 40)
    g, pairs = variogram([x])
    moved, _ = variogram([x - x.mean(axis=1, keepdims=True) + 5.0])
    np.testing.assert_allclose(g, moved, atol=1e-12)
    by_hand = [0.5 * np.mean((x[:, k:] - x[:, : 40 - k]) ** 2) for k in range(40)]
    np.testing.assert_allclose(g, by_hand, atol=1e-14)
    np.testing.assert_array_equal(pairs, 7 * (40 - np.arange(40)))


def test_signals_count_by_their_pairs():
    one, two = autoregressive(3, 30), autoregressive(5, 20).reshape(5, 1, 20)
    g, pairs = variogram([one, two])
    (a, n), (b, m) = variogram([one]), variogram([two])
    m, b = np.pad(m, (0, 10)), np.pad(b, (0, 10))
    np.testing.assert_allclose(g, (a * n + b * m) / (n + m), atol=1e-12)
    np.testing.assert_array_equal(pairs, n + m)
    assert plateau(g, pairs) == pytest.approx(np.sum((g * pairs)[15:]) / np.sum(pairs[15:]))


def test_known_noise_after_a_baseline_correction():
    """Exact to Monte Carlo error; also for a baseline that lies outside of the samples."""
    rows, n, baseline = 40000, 60, np.arange(5, 25)
    x = autoregressive(rows, n)
    x = x - x[:, baseline].mean(axis=1, keepdims=True)
    c = PHI ** np.arange(n)
    for at in (np.arange(n), np.arange(30, 60)):
        cov = corrected_cov(c, at, baseline)
        seen = x[:, at].T @ x[:, at] / rows
        error = np.sqrt((np.outer(np.diag(cov), np.diag(cov)) + cov**2) / rows)
        assert np.abs((seen - cov) / error).max() < 5
    np.testing.assert_array_equal(corrected_cov(c, at, at[:0]), c[np.abs(at[:, None] - at)])
    # the plateau drops out of P C P'
    np.testing.assert_allclose(
        corrected_cov(c + 3.0, at, baseline), corrected_cov(c, at, baseline), atol=1e-12
    )


def test_an_estimate_from_baselines_is_near_the_truth_and_positive():
    x = autoregressive(300, 120)
    c = autocovariance(*variogram([x]), 400)
    np.testing.assert_allclose(c[:60], PHI ** np.arange(60), atol=0.06)
    np.testing.assert_allclose(c[130:], 0.0, atol=1e-2)
    values = np.linalg.eigvalsh(c[np.abs(np.subtract.outer(np.arange(400), np.arange(400)))])
    assert values[0] > 0
    # without power above some frequency, too
    smooth = np.apply_along_axis(np.convolve, 1, x, np.hanning(25), "valid")
    c = autocovariance(*variogram([smooth]), 200)
    values = np.linalg.eigvalsh(c[np.abs(np.subtract.outer(np.arange(200), np.arange(200)))])
    assert values[0] > 1e-4 * c[0]


def test_the_other_half_of_a_baseline_is_white_after_it():
    """Omega from one half, and the correction by it, foretell the half that is held out."""
    for _ in range(5):
        x = autoregressive(200, 120)
        x = x - x[:, :60].mean(axis=1, keepdims=True)
        c = autocovariance(*variogram([x[:, :60]]), 120)
        values, vectors = np.linalg.eigh(corrected_cov(c, np.arange(60, 120), np.arange(60)))
        white = x[:, 60:] @ vectors / np.sqrt(values)
        assert white.std() == pytest.approx(1.0, abs=0.1)
