"""Laplace's approximation against quadrature and naive second derivatives."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.integrate
import scipy.stats

import esijax as ej
from esijax.estimate import RESULT
from esijax.inference.collapsed._weights import k_hat, k_limit
from esijax.inference.collapsed.evidence import Evidence
from esijax.inference.collapsed.laplace import Laplace

KEY = jax.random.key(3)
REGIONS = [np.arange(7), np.arange(7, 13), np.arange(13, 20)]


def one_variance(n_times=30):
    """Orthonormal fields: the covariance is (1 + gamma) I, and the posterior one integral."""
    rng = np.random.default_rng(0)
    gain = np.linalg.qr(rng.standard_normal((8, 8)))[0]
    problem = ej.from_arrays(gain, 2.0 * rng.standard_normal((8, n_times)), noise_cov=1.0)
    power = float(np.sum(np.asarray(problem.data) ** 2))
    n = 8 * n_times

    def log_joint(u):
        """Density of u = log gamma and the data."""
        likelihood = -0.5 * (power / (1 + np.exp(u)) + n * np.log(2 * np.pi * (1 + np.exp(u))))
        return likelihood + scipy.stats.norm(0.0, 1.0).logpdf(u)

    offset = float(problem.n_times * problem.whitener.log_pdet)
    return problem, ej.models.Components(["iid"], dist.LogNormal(0.0, 1.0)), log_joint, offset


def quadrature(log_joint):
    grid = np.linspace(-4, 6, 20001)
    values = log_joint(grid)
    weights = np.exp(values - values.max())
    total = scipy.integrate.simpson(weights, grid)
    mean = scipy.integrate.simpson(weights * grid, grid) / total
    var = scipy.integrate.simpson(weights * (grid - mean) ** 2, grid) / total
    return values.max() + np.log(total), mean, np.sqrt(var), grid[values.argmax()]


def test_mode_spread_and_evidence_of_one_variance():
    problem, prior, log_joint, offset = one_variance()
    estimate = ej.solve(problem, prior, Laplace(num_samples=4000), key=KEY)
    evidence, mean, std, mode = quadrature(log_joint)
    h = 1e-4
    curvature = -(log_joint(mode + h) - 2 * log_joint(mode) + log_joint(mode - h)) / h**2
    want = log_joint(mode) + 0.5 * np.log(2 * np.pi / curvature) + offset
    np.testing.assert_allclose(estimate.log_evidence, want, atol=1e-6)
    # the approximation's own error is of the order of 1 / n
    assert abs(float(estimate.log_evidence) - offset - evidence) < 0.02
    weighted = estimate.verdict()["importance_log_evidence"]
    assert abs(weighted - offset - evidence) < 0.005
    draws = np.log(np.asarray(estimate.hyper["gamma"])[:, 0])
    assert abs(draws.mean() - mean) < 4 * std / np.sqrt(4000) + 0.02
    assert abs(draws.std() / std - 1) < 0.1


@pytest.mark.slow
def test_map_is_the_average_over_draws():
    problem, prior, *_ = one_variance()
    estimate = ej.solve(problem, prior, Laplace(num_samples=200, num_maps=200), key=KEY)
    gamma = np.asarray(estimate.hyper["gamma"])[:, 0]
    # orthonormal fields: the mean is the data times gamma / (1 + gamma)
    back = np.asarray(problem.gain)[:, :, 0].T @ np.asarray(problem.data)
    scale = float(problem.prior_scale[0, 0])
    single = ej.solve(problem, prior, Evidence())
    g = float(single.hyper["gamma"][0])
    want = np.asarray(single.mean)[:, 0] * np.mean(gamma / (1 + gamma)) / (g / (1 + g))
    assert back.shape == want.shape
    assert scale > 0
    np.testing.assert_allclose(estimate.mean[:, 0], want, rtol=1e-9)


@pytest.mark.slow
def test_agrees_with_an_exact_gaussian():
    """Where the posterior of u is the prior (no data to speak of), nothing is approximated."""
    rng = np.random.default_rng(0)
    gain = rng.standard_normal((6, 9))
    problem = ej.from_arrays(gain, rng.standard_normal((6, 2)), noise_cov=1.0)
    tiny = dist.LogNormal(-60.0, 0.5)  # variances far below the noise
    prior = ej.models.Components([np.arange(4), np.arange(4, 9)], tiny)
    estimate = ej.solve(problem, prior, Laplace(), key=KEY)
    white = scipy.stats.norm().logpdf(problem.data).sum()
    offset = problem.n_times * problem.whitener.log_pdet
    np.testing.assert_allclose(estimate.log_evidence, white + offset, rtol=1e-10)
    draws = np.log(np.asarray(estimate.hyper["gamma"]))
    np.testing.assert_allclose(draws.mean(0), -60.0, atol=4 * 0.5 / np.sqrt(1000))
    assert estimate.verdict()["k_hat"] < 0
    assert RESULT[estimate.result] == "done"


def test_doubts(fixed):
    prior = ej.models.Horseshoe()
    with pytest.warns(ej.EsijaxWarning, match="k-hat"):
        estimate = ej.solve(fixed, prior, Laplace(), key=KEY)
    assert RESULT[estimate.result].startswith("the computation did not meet")
    verdict = estimate.verdict()
    assert verdict["k_hat"] > verdict["k_hat_limit"]
    assert verdict["n_unknowns"] == 21


@pytest.mark.slow
def test_a_ridge_is_said(fixed, monkeypatch):
    """Second derivatives that are not negative definite are lifted, and said."""
    from esijax.inference.collapsed import laplace

    true = laplace.log_density_hessian
    monkeypatch.setattr(laplace, "log_density_hessian", lambda *a, **k: -true(*a, **k))
    jax.clear_caches()
    prior = ej.models.Components(REGIONS, dist.LogNormal(-1.0, 1.0))
    with pytest.warns(ej.EsijaxWarning, match="not negative definite"):
        estimate = ej.solve(fixed, prior, Laplace(), key=KEY)
    jax.clear_caches()
    assert np.isfinite(estimate.mean).all()


def test_k_hat():
    rng = np.random.default_rng(0)
    assert k_hat(rng.standard_normal(1000) * 0.1) < k_limit(1000)
    assert k_hat(np.full(1000, 3.0)) == -np.inf
    assert k_hat(np.array([0.0, np.nan] * 50)) == np.inf
    assert k_hat(scipy.stats.expon(scale=2.0).rvs(1000, random_state=rng)) > 1.0
    assert k_limit(100) == 0.5
    assert k_limit(10**6) == 0.7


@pytest.mark.slow
def test_starts_from_an_earlier_estimate(fixed):
    prior = ej.models.Components(REGIONS, dist.LogNormal(-1.0, 1.0))
    first = ej.solve(fixed, prior, Evidence())

    @eqx.filter_jit  # compiled, a solution does not warn of its k-hat
    def solve(init):
        return ej.solve(fixed, prior, Laplace(), key=KEY, init=init)

    fresh, again = solve(None), solve(first)
    np.testing.assert_allclose(again.hyper["gamma"], fresh.hyper["gamma"], rtol=1e-6)
    third = solve(fresh)
    np.testing.assert_allclose(third.hyper["gamma"], fresh.hyper["gamma"], rtol=1e-6)


@pytest.mark.slow
def test_gradient(fixed):
    @eqx.filter_jit
    def value(s):
        problem = fixed.with_data(fixed.recording * s)
        prior = ej.models.Components(REGIONS, dist.LogNormal(-s, 1.0 / s))
        method = Laplace(num_samples=100, num_maps=5)
        estimate = ej.solve(problem, prior, method, key=KEY)
        return estimate.log_evidence + jnp.sum(jnp.sin(10 * estimate.mean / problem.source_unit))

    want = (value(1 + 1e-6) - value(1 - 1e-6)) / 2e-6
    np.testing.assert_allclose(jax.grad(value)(1.0), want, rtol=1e-6)


def test_refused(fixed):
    with pytest.raises(ej.InputError, match="flat hyper-prior"):
        ej.solve(fixed, ej.models.ARD(None), Laplace(), key=KEY)
    with pytest.warns(ej.EsijaxWarning, match="without a baseline"):
        flat = ej.models.noise.LowRank(1, variance=None).prepare(fixed)
    with pytest.raises(ej.InputError, match="flat hyper-prior"):
        ej.solve(fixed, ej.models.Horseshoe(), Laplace(), noise=flat, key=KEY)
    with pytest.raises(ej.InputError, match="use Linear"):
        ej.solve(fixed, ej.models.MinimumNorm(), Laplace(), key=KEY)
    with pytest.raises(ej.InputError, match="pass key="):
        ej.solve(fixed, ej.models.Horseshoe(), Laplace())
    with pytest.raises(ej.InputError, match="num_samples"):
        Laplace(num_samples=10)
    gain = np.random.default_rng(0).standard_normal((4, 2100))
    many = ej.from_arrays(gain, gain[:, :3], noise_cov=1.0)
    with pytest.raises(ej.InputError, match="2101 are more than 2000"):
        ej.solve(many, ej.models.Horseshoe(), Laplace(), key=KEY)
