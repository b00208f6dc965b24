"""Kronecker under the methods: what it is without time, and what it learns of it."""

import jax
import numpy as np
import numpyro.distributions as dist
import pytest

import esijax as ej
from esijax.models.marginals.marginal import seeded_hyper

KEY = jax.random.key(1)
time = ej.models.time


@pytest.fixture(scope="module")
def problem(problem_factory):
    return problem_factory(1, n_channels=6, n_locations=5, n_times=8)


def test_independent_samples_are_todays_model(problem):
    """T = I, phi = 0, no remainder: the prior in space alone."""
    prior, noise = ej.models.ARD(dist.HalfCauchy(1.0)), ej.models.noise.Scalar()
    white = ej.models.noise.InTime(noise, time.Autoregressive(1, [0.0]))
    for own, of_noise in ((time.White(), noise), (time.Autoregressive(1, [0.0]), white)):
        model = ej.models.Kronecker(prior, own, rest=None).prepare(problem)
        marginal = model.marginal(problem, of_noise.prepare(problem))
        pooled = prior.marginal(problem, noise)
        hyper = seeded_hyper(pooled, KEY)
        value = float(marginal.log_evidence(hyper))
        assert value == pytest.approx(float(pooled.log_evidence(hyper)), rel=1e-12)
        one, other = marginal.posterior(hyper), pooled.posterior(hyper)
        np.testing.assert_allclose(one.mean(), other.mean(), atol=1e-10)
        np.testing.assert_allclose(
            one.variance(), np.broadcast_to(other.variance(), one.mean().shape), atol=1e-10
        )


@pytest.mark.filterwarnings("ignore::esijax.EsijaxWarning")
def test_learns_a_smooth_course():
    """The truth is smooth: the evidence says so, and the map is nearer to it."""
    rng = np.random.default_rng(3)
    gain, t = rng.standard_normal((10, 15)), np.arange(40)
    truth = np.zeros((15, 40))
    truth[[2, 9]] = np.exp(-0.5 * ((t - 15) / 4) ** 2), -np.exp(-0.5 * ((t - 25) / 5) ** 2)
    data = gain @ truth + 0.7 * rng.standard_normal((10, 40))
    problem = ej.from_arrays(gain, data, noise_cov=0.49, sfreq=100.0)
    prior = ej.models.ARD(dist.HalfCauchy(0.3))
    smooth = ej.models.Kronecker(prior, time.SquaredExponential(dist.LogNormal(-3.5, 0.5)))
    static = ej.solve(problem, prior, ej.inference.Evidence(), noise=ej.models.noise.Scalar())
    found = ej.solve(problem, smooth, ej.inference.Evidence())
    error = [np.linalg.norm(np.asarray(e.mean)[:, 0] - truth) for e in (static, found)]
    assert error[1] < 0.8 * error[0]  # the noise in time and the remainder are learned too
    assert float(found.log_evidence) > float(static.log_evidence) + 10
    assert 0.02 < float(found.hyper["time/length"]) < 0.09
    assert any("noise learned: one factor" in note for note in found.notes)
    lower, upper = found.interval(0.9)
    inside = (np.asarray(lower)[[2, 9], 0] <= truth[[2, 9]]) & (
        truth[[2, 9]] <= np.asarray(upper)[[2, 9], 0]
    )
    assert inside.mean() > 0.75
