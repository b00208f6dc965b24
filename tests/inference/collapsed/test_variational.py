"""Variational inference against quadrature; checkpoints, derivatives, refusals."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.integrate
import scipy.stats
from numpyro.infer import autoguide

import esijax as ej
from esijax.estimate import RESULT
from esijax.inference.collapsed import variational
from esijax.inference.collapsed.variational import SVI

KEY = jax.random.key(3)
REGIONS = [np.arange(7), np.arange(7, 13), np.arange(13, 20)]


def regions():
    return ej.models.Components(REGIONS, dist.LogNormal(-1.0, 1.0))


def one_variance():
    """Orthonormal fields: the covariance is (1 + gamma) I, and the posterior one integral."""
    rng = np.random.default_rng(0)
    gain = np.linalg.qr(rng.standard_normal((8, 8)))[0]
    problem = ej.from_arrays(gain, 2.0 * rng.standard_normal((8, 30)), noise_cov=1.0)
    power = float(np.sum(np.asarray(problem.data) ** 2))
    grid = np.linspace(-4, 6, 20001)
    total = 1 + np.exp(grid)
    values = -0.5 * (power / total + 240 * np.log(2 * np.pi * total))
    values += scipy.stats.norm(0.0, 1.0).logpdf(grid)
    weights = np.exp(values - values.max())
    norm = scipy.integrate.simpson(weights, grid)
    mean = scipy.integrate.simpson(weights * grid, grid) / norm
    var = scipy.integrate.simpson(weights * (grid - mean) ** 2, grid) / norm
    evidence = values.max() + np.log(norm) + problem.n_times * problem.whitener.log_pdet
    return problem, float(evidence), mean, np.sqrt(var)


@pytest.mark.statistical
def test_full_guide_has_the_moments_of_quadrature():
    problem, evidence, mean, std = one_variance()
    prior = ej.models.Components(["iid"], dist.LogNormal(0.0, 1.0))
    estimate = ej.solve(problem, prior, SVI("full", num_samples=4000), key=KEY)
    draws = np.log(np.asarray(estimate.hyper["gamma"])[:, 0])
    assert abs(draws.mean() - mean) < 0.1 * std
    assert abs(draws.std() / std - 1) < 0.1
    verdict = estimate.verdict()
    assert abs(float(estimate.log_evidence) - evidence) < 0.01
    assert verdict["elbo"] <= float(estimate.log_evidence)
    assert verdict["elbo"] < evidence + 0.01
    assert verdict["k_hat"] < verdict["k_hat_limit"]
    assert RESULT[estimate.result] == "done"


@pytest.mark.slow
@pytest.mark.statistical
@pytest.mark.parametrize("guide", ["mean-field", "low-rank", "flow", autoguide.AutoBNAFNormal])
def test_guides_agree_on_the_evidence(fixed, guide):
    def evidence(method):  # compiled, a solution does not warn of its k-hat
        return eqx.filter_jit(lambda p: ej.solve(p, regions(), method, key=KEY).log_evidence)(fixed)

    want, got = evidence(SVI("full")), evidence(SVI(guide, num_samples=4000))
    assert abs(float(got) - float(want)) < 0.1


@pytest.mark.slow
def test_a_poor_guide_is_flagged(fixed):
    with pytest.warns(ej.EsijaxWarning, match="k-hat"):
        estimate = ej.solve(fixed, ej.models.Horseshoe(), SVI(steps=300), key=KEY)
    assert RESULT[estimate.result].startswith("the computation did not meet")
    verdict = estimate.verdict()
    assert verdict["k_hat"] > verdict["k_hat_limit"]
    assert verdict["n_steps"] == 300


@pytest.mark.slow
def test_a_start_is_worth_steps(fixed):
    """Few steps with a small rate stay where they begin: the start is what `init` holds."""
    prior = ej.models.Components(REGIONS, dist.InverseGamma(2.0, 0.3))
    first = ej.solve(fixed, prior, ej.inference.EM(tol=None, max_iter=3))
    method = SVI(steps=1, lr=1e-9)
    with np.errstate(all="ignore"):
        got = eqx.filter_jit(lambda i: ej.solve(fixed, prior, method, key=KEY, init=i))(first)
    # mean-field guides begin with a spread of 0.1 in the logarithms
    log = np.log(np.asarray(got.hyper["gamma"]))
    want = np.log(np.asarray(first.hyper["gamma"]))
    np.testing.assert_allclose(log.mean(0), want, atol=4 * 0.1 / np.sqrt(1000))


@pytest.fixture
def small_chunks(monkeypatch):
    """Twenty updates a chunk; compiled functions of other chunks are forgotten."""
    jax.clear_caches()
    monkeypatch.setattr(variational, "WORK_PER_STEP", 20 * 8 * 12**2 * (12 + 20) * 4)
    yield
    jax.clear_caches()


@pytest.mark.slow
def test_ctrl_c_and_checkpoint(fixed, small_chunks, monkeypatch, tmp_path):
    method = SVI("full", steps=90)
    whole = eqx.filter_jit(lambda p: ej.solve(p, regions(), method, key=KEY))(fixed)
    advance, calls = SVI.advance, []

    def interrupted(self, state):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return advance(self, state)

    monkeypatch.setattr(SVI, "advance", interrupted)
    monkeypatch.setattr(variational.GuideChecks, "doubts", lambda _: ())
    part = ej.solve(fixed, regions(), method, key=KEY, checkpoint=tmp_path / "s")
    assert RESULT[part.result].startswith("interrupted")
    assert part.verdict()["n_steps"] == 40
    resumed = ej.solve(fixed, regions(), method, key=KEY, checkpoint=tmp_path / "s")
    straight = ej.solve(fixed, regions(), method, key=KEY)
    assert resumed.verdict()["n_steps"] == 90
    np.testing.assert_array_equal(resumed.hyper["gamma"], straight.hyper["gamma"])
    np.testing.assert_allclose(whole.hyper["gamma"], straight.hyper["gamma"], rtol=1e-9)


@pytest.mark.slow
def test_gradient_through_the_steps(fixed):
    method = SVI("mean-field", steps=30, num_particles=1, num_samples=100, num_maps=5)
    start = ej.solve(fixed, regions(), ej.inference.Evidence())  # held where differences are taken

    @eqx.filter_jit
    def value(s):
        problem = fixed.with_data(fixed.recording * s)
        prior = ej.models.Components(REGIONS, dist.LogNormal(-s, 1.0 / s))
        estimate = ej.solve(problem, prior, method, key=KEY, init=start)
        return estimate.log_evidence + jnp.sum(jnp.sin(10 * estimate.mean / problem.source_unit))

    want = (value(1 + 1e-5) - value(1 - 1e-5)) / 2e-5
    np.testing.assert_allclose(jax.grad(value)(1.0), want, rtol=1e-5)
    np.testing.assert_allclose(jax.jvp(value, (1.0,), (1.0,))[1], want, rtol=1e-5)


@pytest.mark.slow
def test_vmap_over_data(fixed):
    method = SVI("mean-field", steps=20, num_samples=100, num_maps=5)
    data = jnp.stack([fixed.recording, 2.0 * fixed.recording])

    @jax.jit
    def gamma(d):
        return ej.solve(fixed.with_data(d), regions(), method, key=KEY).hyper["gamma"]

    want = np.stack([gamma(d) for d in data])
    np.testing.assert_allclose(jax.vmap(gamma)(data), want, rtol=1e-9)


@pytest.mark.slow
def test_compiles_once(fixed, monkeypatch):
    traced = []
    step = SVI.step
    monkeypatch.setattr(SVI, "step", lambda *a: (traced.append(1), step(*a))[1])
    monkeypatch.setattr(variational.GuideChecks, "doubts", lambda _: ())
    ej.solve(fixed, regions(), SVI(steps=20), key=KEY)
    before = len(traced)
    prior = ej.models.Components(REGIONS, dist.LogNormal(-2.0, 1.5))
    other = fixed.with_data(2 * fixed.recording)
    ej.solve(other, prior, SVI(steps=20, lr=0.01), key=jax.random.key(8))
    assert len(traced) == before


def test_refused(fixed):
    with pytest.raises(ej.InputError, match="guide must be one of"):
        SVI("meanfield")
    with pytest.raises(ej.InputError, match="use Evidence"):
        SVI(autoguide.AutoDelta)
    with pytest.raises(ej.InputError, match="use Laplace"):
        SVI(autoguide.AutoLaplaceApproximation)
    with pytest.raises(ej.InputError, match="steps must be a positive whole number, got 0"):
        SVI(steps=0)
    with pytest.raises(ej.InputError, match="lr must be positive"):
        SVI(lr=-1.0)
    with pytest.raises(ej.InputError, match="flat hyper-prior"):
        ej.solve(fixed, ej.models.ARD(None), SVI(), key=KEY)
    with pytest.raises(ej.InputError, match="needs two unknowns"):
        ej.solve(fixed, ej.models.Components(["iid"]), SVI("flow"), key=KEY)
    gain = np.random.default_rng(0).standard_normal((4, 2100))
    many = ej.from_arrays(gain, gain[:, :3], noise_cov=1.0)
    with pytest.raises(ej.InputError, match="'low-rank' or 'mean-field'"):
        ej.solve(many, ej.models.Horseshoe(), SVI("full"), key=KEY)
