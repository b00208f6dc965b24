"""What samples are worth that go together."""

import numpy as np
import pytest

import esijax as ej
from esijax.inference._oversampled import effective_samples


def autoregression(phi, shape, seed=0):
    out = np.random.default_rng(seed).standard_normal(shape)
    for k in range(1, shape[-1]):
        out[..., k] = phi * out[..., k - 1] + np.sqrt(1 - phi**2) * out[..., k]
    return out


@pytest.mark.parametrize("phi", [0.0, 0.6, 0.9])
def test_samples_of_an_autoregression(phi):
    """Sums of squares vary as those of n (1 - phi^2) / (1 + phi^2) independent samples do."""
    n = 400
    draws = autoregression(phi, (2000, n))
    power = np.mean(draws**2, axis=1)
    measured = 2 / np.var(power)  # of n independent ones: n
    assert effective_samples(draws) == pytest.approx(n * (1 - phi**2) / (1 + phi**2), rel=0.05)
    assert effective_samples(draws) == pytest.approx(measured, rel=0.15)


@pytest.mark.filterwarnings("ignore::esijax.EsijaxWarning")
def test_a_static_model_that_learns_says_so():
    gain = np.random.default_rng(1).standard_normal((6, 5))
    prior, method = ej.models.ARD(), ej.inference.EM(tol=None, max_iter=3)

    def notes(phi, model=prior, method=method, **kwargs):
        data = autoregression(phi, (6, 60), 2)
        problem = ej.from_arrays(gain, data, noise_cov=1.0, sfreq=100.0, **kwargs)
        estimate = ej.solve(problem, model, method, noise=ej.models.noise.White())
        return " ".join(estimate.notes)

    assert "as if they were independent" in notes(0.95)
    assert "as if they were independent" not in notes(0.0)
    omega = 0.95 ** np.abs(np.subtract.outer(np.arange(60), np.arange(60)))
    assert "as if they were independent" not in notes(0.95, noise_time=omega)
    known = ej.models.MinimumNorm(1.0)
    assert "as if they were independent" not in notes(0.95, known, ej.inference.Linear())
    own = ej.models.Kronecker(prior, ej.models.time.Matern(0.5, 0.2), rest=None)
    assert "as if they were independent" not in notes(0.95, own)
