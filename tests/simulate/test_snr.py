"""One definition of the signal-to-noise ratio, and other people's numbers for it."""

import jax
import numpy as np
import pytest

import esijax as ej
from esijax import simulate as sim


def test_is_the_ratio_of_whitened_powers(problem):
    clean = np.random.default_rng(0).standard_normal((12, 40))
    cov = np.asarray(problem.whitener.colorer) @ np.asarray(problem.whitener.colorer).T
    # tr(B' C^-1 B) / (rank times), without any whitener
    power = np.einsum("ct,ct->", clean, np.linalg.solve(cov, clean)) / clean.size
    assert float(sim.snr_db(problem, clean)) == pytest.approx(10 * np.log10(power), rel=1e-10)
    assert float(sim.snr_db(problem, 0 * clean)) == -np.inf
    with pytest.raises(ej.InputError, match="12 channels"):
        sim.snr_db(problem, clean[:5])


def test_converters():
    """MNE's snr = 3 is lambda2 = 1/9; alpha mixes Frobenius norms."""
    snr = 3.0
    assert float(sim.lambda2_to_db(1 / snr**2)) == pytest.approx(20 * np.log10(snr))
    rng = np.random.default_rng(0)
    signal, noise = rng.standard_normal((2, 5, 30))
    for alpha in (0.01, 0.5, 0.8, 0.99):
        scaled = noise / np.linalg.norm(noise) * (1 - alpha) / alpha * np.linalg.norm(signal)
        db = 10 * np.log10(np.mean(signal**2) / np.mean(scaled**2))
        assert float(sim.alpha_to_db(alpha)) == pytest.approx(db, abs=1e-10)
    for db in (-20.0, 0.0, 13.0):
        assert float(sim.lambda2_to_db(sim.db_to_lambda2(db))) == pytest.approx(db, abs=1e-10)
        assert float(sim.alpha_to_db(sim.db_to_alpha(db))) == pytest.approx(db, abs=1e-10)
    slope = jax.grad(sim.alpha_to_db)(0.5)
    assert float(slope) == pytest.approx(20 / np.log(10) * 4)
    for bad in (0.0, 1.0, -1.0, 2.0):
        with pytest.raises(ej.InputError, match="alpha"):
            sim.alpha_to_db(bad)
    with pytest.raises(ej.InputError, match="lambda2"):
        sim.lambda2_to_db(0)
