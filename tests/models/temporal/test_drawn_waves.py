"""Waves as hyper-parameters: the gauge changes no distribution, and what the data say is found."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from numpyro import handlers

import esijax as ej
from esijax.models.temporal._drawn_waves import drawn_waves

KEY = jax.random.key(0)
N_TIMES = 8
MATERN = ej.models.time.Matern(1.5, 0.05)
WHITE = ej.models.noise.White()


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(2)
    gain = rng.standard_normal((6, 5))
    course = np.exp(-0.5 * ((np.arange(N_TIMES) - 4) / 1.5) ** 2)
    data = 3 * gain[:, [0]] * course + rng.standard_normal((6, N_TIMES))
    return ej.from_arrays(gain, data, noise_cov=1.0, sfreq=100.0)


def model(k, time=MATERN, rest=None):
    prior = ej.models.ARD(dist.InverseGamma(2.0, 1.0))
    return ej.models.TemporalBasis(prior, ej.models.Waves(k, time), rest=rest)


@pytest.mark.parametrize("k", [1, 3])
def test_the_covariance_in_time_has_the_distribution_of_independent_waves(problem, k):
    """Phi' Phi of 20,000 draws: first and second moments of a Wishart distribution."""
    times = jnp.asarray(problem.times)
    waves = drawn_waves(MATERN, k, times, problem)

    @jax.jit
    @jax.vmap
    def draw(key):
        with handlers.seed(rng_seed=key):
            return waves.correlation(waves.hyper({}), times)

    found = np.asarray(draw(jax.random.split(KEY, 20_000)))
    cov = np.asarray(MATERN.cov({}, times).dense())
    np.testing.assert_allclose(found.mean(0), k * cov, atol=0.05 * k)
    variance = k * (cov**2 + np.outer(np.diag(cov), np.diag(cov)))
    np.testing.assert_allclose(found.var(0), variance, rtol=0.1)
    assert np.linalg.matrix_rank(found[0], tol=1e-8) == k


def test_given_the_waves_it_is_a_basis_that_is_given(problem):
    marginal = model(2).prepare(problem).marginal(problem, WHITE)
    with handlers.seed(rng_seed=KEY):
        hyper = marginal.hyper()
    rows = hyper["time/waves"]
    given = ej.models.TemporalBasis(
        ej.models.ARD(dist.InverseGamma(2.0, 1.0)), np.asarray(rows), rest=None, orthonormal=False
    )
    same = given.prepare(problem).marginal(problem, WHITE)
    own = {"gamma": hyper["gamma"]}
    assert float(marginal.log_evidence(hyper)) == pytest.approx(float(same.log_evidence(own)))
    np.testing.assert_allclose(
        marginal.posterior(hyper).mean(), same.posterior(own).mean(), atol=1e-10
    )


def test_methods_that_want_waves_in_closed_form_say_so(problem):
    for method in (ej.inference.EM(), ej.inference.Gibbs()):
        with pytest.raises(ej.InputError, match="SVI and NUTS"):
            ej.solve(problem, model(1), method, key=KEY)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::esijax.EsijaxWarning")
def test_draws_agree_with_variational_bayes(problem):
    """One wave: the means of map and variance are near, the draws' bands not narrower."""
    vb = ej.solve(problem, model(1), ej.inference.VB(), noise=WHITE)
    nuts = ej.solve(problem, model(1), ej.inference.NUTS(500, 500), noise=WHITE, key=KEY)
    assert nuts.verdict()["rhat"] < 1.02
    assert nuts.hyper["time/waves"].shape == (2000, 1, N_TIMES)
    size = float(jnp.max(jnp.abs(nuts.mean)))
    np.testing.assert_allclose(vb.mean, nuts.mean, atol=0.15 * size)
    assert float(jnp.mean(nuts.std) / jnp.mean(vb.std)) > 0.95
    svi = ej.solve(problem, model(1), ej.inference.SVI(steps=1500), noise=WHITE, key=KEY)
    np.testing.assert_allclose(svi.mean, nuts.mean, atol=0.2 * size)
