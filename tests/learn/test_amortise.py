"""Training of an amortised posterior: what it is fitted to, what it takes, the guard."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import esijax as ej
from esijax.inference.method import Setup
from esijax.learn.fit import fitted
from esijax.learn.hyper_simulations import draw_hyper_data, for_each

learner = sys.modules["esijax.learn.amortise"]
NOISE = ej.models.noise.Scalar(dist.LogNormal(0.0, 0.5))
PRIOR = ej.models.Components([np.arange(9), np.arange(9, 20)], dist.LogNormal(0.5, 1.0))


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    gain, data = rng.standard_normal((8, 20)), rng.standard_normal((8, 25))
    return ej.from_arrays(gain, data, noise_cov=0.5)


def _moments(setup, key):
    truth, target = draw_hyper_data(setup[0], key)
    model = target.marginal
    hyper = target.hyper({"gamma": truth[:2], "noise/gamma": truth[2:]})
    # whitened by the covariance at the truth, data are standard normal
    root = jnp.linalg.cholesky(model.sigma(hyper))
    white = jax.scipy.linalg.solve_triangular(root, model.problem.data, lower=True)
    return truth, jnp.sum(white**2), jnp.sum(white, axis=1)


@pytest.mark.statistical
def test_simulations_are_the_model(problem):
    setup = Setup(problem, PRIOR.prepare(problem), NOISE.prepare(problem))
    keys = jax.random.split(jax.random.key(0), 600)
    truth, power, total = for_each(_moments, (setup,), keys, what="", progress=False)
    assert truth.shape == (600, 3)  # the last call was filled up, and cut
    mean, std = np.array([0.5, 0.5, 0.0]), np.array([1.0, 1.0, 0.5])
    assert (np.abs(truth.mean(axis=0) - mean) < 4 * std / np.sqrt(600)).all()
    assert (np.abs(truth.std(axis=0) / std - 1) < 4 / np.sqrt(1200)).all()
    n = 8 * 25
    assert abs(float(power.mean()) - n) < 4 * np.sqrt(2 * n / 600)
    assert (np.abs(total.mean(axis=0)) < 4 * np.sqrt(25 / 600)).all()


@pytest.mark.slow
def test_training_lowers_the_losses_and_repeats(problem):
    made = [
        ej.learn.amortise(
            problem, PRIOR, NOISE, key=key, simulations=512, steps=150, progress=False
        )
        for key in (0, jax.random.key(0))
    ]
    for a, b in zip(*map(jax.tree.leaves, made), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b)) if hasattr(a, "dtype") else None
    about = made[0].about
    assert about["start_loss"] < 0.5 * about["start_loss_without"]
    assert about["start_loss_without"] == pytest.approx(1.0, abs=0.35)  # standardised
    assert about["correction_loss"] <= about["correction_loss_without"]


def test_a_network_that_does_not_help_is_left_out():
    """Those held out have the opposite of the relation that the others have."""
    inputs = jnp.asarray(np.random.default_rng(0).standard_normal((60, 1)))
    start = {"w": jnp.zeros((1, 1))}

    def loss(network, x, y):
        return jnp.mean((x @ network["w"] - y) ** 2)

    same = {"steps": 100, "rate": 0.3, "key": jax.random.key(0), "what": "", "progress": False}
    network, best, first = fitted(start, loss, inputs, inputs.at[:6].multiply(-1), **same)
    assert best == first
    np.testing.assert_array_equal(network["w"], start["w"])
    network, best, first = fitted(start, loss, inputs, inputs, **same)
    assert best < 0.01 * first
    np.testing.assert_allclose(network["w"], [[1.0]], atol=0.05)


@pytest.mark.parametrize(
    ("prior", "noise", "options", "said"),
    [
        (ej.models.ARD(), None, {}, "flat hyper-prior gives none: use a distribution"),
        (PRIOR, ej.models.noise.Scalar(None), {}, "flat hyper-prior gives none"),
        (ej.models.ARD(dist.InverseGamma(1.0, 0.1)), None, {"most": 10}, "more than 10.*NUTS"),
        (ej.models.MinimumNorm("evidence"), NOISE, {}, "lambda2 must be a number"),
        (ej.models.MinimumNorm(0.1), None, {}, "has none"),
        (ej.models.L21(0.1), None, {}, "L21 has none"),
        (PRIOR, None, {"simulations": 20}, "simulations must be a whole number of at least 100"),
        (PRIOR, None, {"steps": 0}, "steps must be"),
    ],
)
def test_what_it_does_not_take(problem, prior, noise, options, said, monkeypatch):
    options = dict(options)
    if "most" in options:
        monkeypatch.setattr("esijax.inference.learned.amortised.MOST", options.pop("most"))
    with pytest.raises(ej.InputError, match=said):
        ej.learn.amortise(problem, prior, noise, key=0, progress=False, **options)


def test_a_key_is_needed(problem):
    with pytest.raises(ej.InputError, match="key must be one PRNG key"):
        ej.learn.amortise(problem, PRIOR, key=None, progress=False)
