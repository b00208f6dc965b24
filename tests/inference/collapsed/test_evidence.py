"""Type-II maximisation against closed forms, scipy on the dense objective, and EM."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import optax
import pytest
import scipy.optimize
import scipy.stats

import esijax as ej
from esijax.estimate import RESULT
from esijax.inference.collapsed import _search
from esijax.inference.collapsed._curvature import log_density_hessian
from esijax.inference.collapsed._search import Search
from esijax.inference.collapsed.evidence import Evidence
from esijax.inference.method import Setup
from esijax.models.marginals import _hessian

REGIONS = [np.arange(7), np.arange(7, 13), np.arange(13, 20)]


def regions(local):
    return ej.models.Components(REGIONS, local)


def orthonormal(seed=0):
    """Eight sensors, as many sources, orthonormal fields: the covariance is (1 + gamma) I."""
    rng = np.random.default_rng(seed)
    gain = np.linalg.qr(rng.standard_normal((8, 8)))[0]
    return ej.from_arrays(gain, 2.0 * rng.standard_normal((8, 30)), noise_cov=1.0)


def dense_objective(problem, prior, density):
    """Log joint density of log variances, with dense matrices, written anew."""
    factor, group = (
        Search(
            Evidence(), Setup(problem, prior.prepare(problem)), jacobian=False
        ).target.marginal.factor,
        np.repeat(np.arange(3), [len(r) for r in REGIONS]),
    )
    data, factor = np.asarray(problem.data), np.asarray(factor)

    def value(log_gamma):
        gamma = np.exp(log_gamma)
        cov = (factor * gamma[group]) @ factor.T + np.eye(len(data))
        normal = scipy.stats.multivariate_normal(np.zeros(len(data)), cov)
        return normal.logpdf(data.T).sum() + density.logpdf(gamma).sum()

    return value


def test_one_variance_in_closed_form():
    problem = orthonormal()
    estimate = ej.solve(problem, ej.models.Components(["iid"], None), Evidence())
    power = np.mean(np.asarray(problem.data) ** 2)
    np.testing.assert_allclose(estimate.hyper["gamma"], [power - 1.0], rtol=1e-10)
    want = scipy.stats.norm(0, np.sqrt(power)).logpdf(problem.data).sum()
    want += problem.n_times * problem.whitener.log_pdet
    np.testing.assert_allclose(estimate.log_evidence, want, rtol=1e-12)


def test_equals_scipy_on_the_dense_objective(fixed):
    prior = regions(dist.InverseGamma(2.0, 0.3))
    got = ej.solve(fixed, prior, Evidence())
    value = dense_objective(fixed, prior, scipy.stats.invgamma(2.0, scale=0.3))
    best = scipy.optimize.minimize(
        lambda u: -value(u),
        np.zeros(3),
        method="Nelder-Mead",
        options={"fatol": 1e-13, "xatol": 1e-9},
    )
    np.testing.assert_allclose(got.hyper["gamma"], np.exp(best.x), rtol=1e-6)
    verdict = got.verdict()
    assert verdict["converged"]
    np.testing.assert_allclose(
        verdict["log_density_of_starts"][0] - fixed.n_times * fixed.whitener.log_pdet,
        -best.fun,
        rtol=1e-10,
    )


@pytest.mark.parametrize("solver", [pytest.param("bfgs", marks=pytest.mark.slow), "lbfgs"])
def test_equals_em(free, solver):
    prior = regions(dist.InverseGamma(2.0, 0.3))
    noise = ej.models.noise.Scalar()
    got = ej.solve(free, prior, Evidence(solver=solver), noise=noise)
    want = ej.solve(free, prior, ej.inference.EM(tol=1e-11, max_iter=20000), noise=noise)
    np.testing.assert_allclose(got.hyper["gamma"], want.hyper["gamma"], rtol=1e-6)
    np.testing.assert_allclose(got.hyper["noise_var"], want.hyper["noise_var"], rtol=1e-6)
    np.testing.assert_allclose(got.mean, want.mean, rtol=1e-5, atol=1e-6 * abs(want.mean).max())


@pytest.mark.slow
def test_optax_comes_to_the_same(fixed):
    prior = regions(dist.InverseGamma(2.0, 0.3))
    want = ej.solve(fixed, prior, Evidence())
    got = ej.solve(fixed, prior, Evidence(solver=optax.adam(0.05), max_steps=3000))
    np.testing.assert_allclose(got.hyper["gamma"], want.hyper["gamma"], rtol=1e-6)


@pytest.mark.parametrize("orients", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_flat_sparse_optimum_meets_its_conditions(problem_factory, orients):
    """Slope zero where a variance is positive, not positive where it is zero."""
    problem = problem_factory(orients)
    estimate = ej.solve(problem, ej.models.ARD(None), Evidence())
    assert estimate.verdict()["at_bound"] > 0
    assert RESULT[estimate.result] == "done"
    gamma = np.asarray(estimate.hyper["gamma"])
    gain = np.asarray(problem.gain * problem.prior_scale)
    cov = np.einsum("rlo,l,slo->rs", gain, gamma, gain) + np.eye(len(gain))
    inverse = np.linalg.inv(cov)
    power = np.asarray(problem.data @ problem.data.T)
    slope = inverse @ power @ inverse - problem.n_times * inverse
    slope = np.einsum("rlo,rs,slo->l", gain, slope, gain)
    on = gamma > 1e-8 * gamma.max()
    assert 0 < on.sum() < len(gamma)
    assert np.abs(slope * gamma).max() < 1e-4
    assert slope[~on].max() < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("jacobian", [True, False])
@pytest.mark.parametrize("noise", [None, ej.models.noise.PerType()])
def test_second_derivatives(free, jacobian, noise):
    prior = ej.models.Horseshoe()
    noise = None if noise is None else noise.prepare(free)
    search = Search(Evidence(), Setup(free, prior, noise), jacobian=jacobian)
    point = search.begin().point[0]
    want = jax.hessian(search.objective)(point)
    got = log_density_hessian(search.target, search.unravel, point, jacobian=jacobian)
    np.testing.assert_allclose(got, want, atol=1e-10 * abs(want).max())


@pytest.mark.slow
@pytest.mark.parametrize("large", [True, False])
def test_second_derivatives_of_many_columns(problem_factory, monkeypatch, large):
    """Matrices of few large components; columns some at a time, the last of them fewer."""
    monkeypatch.setattr(_hessian, "COLUMNS_AT_ONCE", 5)
    problem = problem_factory(1, n_locations=72 if large else 23)
    parts = [np.arange(36), np.arange(36, 72)] if large else [np.array([i]) for i in range(23)]
    prior = ej.models.Components(parts, dist.Gamma(2.0, 1.0))
    search = Search(Evidence(), Setup(problem, prior.prepare(problem)), jacobian=True)
    point = search.begin().point[0]
    want = jax.hessian(search.objective)(point)
    got = log_density_hessian(search.target, search.unravel, point, jacobian=True)
    np.testing.assert_allclose(got, want, atol=1e-10 * abs(want).max())


@pytest.mark.slow
def test_several_starts(fixed):
    prior = ej.models.ARD(dist.InverseGamma(1.0, 0.1))
    many = ej.solve(fixed, prior, Evidence(n_starts=4), key=jax.random.key(1))
    one = ej.solve(fixed, prior, Evidence())
    verdict = many.verdict()
    values = verdict["log_density_of_starts"]
    assert len(values) == 4
    assert values[verdict["best_start"]] == max(values)
    assert verdict["spread_of_starts"] == max(values) - min(values)
    np.testing.assert_allclose(values[0], one.verdict()["log_density_of_starts"][0], rtol=1e-9)


@pytest.mark.slow
def test_an_earlier_estimate_is_where_it_starts(fixed):
    prior = ej.models.ARD(dist.InverseGamma(1.0, 0.1))
    first = ej.solve(fixed, prior, Evidence())
    again = ej.solve(fixed, prior, Evidence(), init=first)
    assert again.verdict()["n_steps"] < 0.5 * first.verdict()["n_steps"]
    np.testing.assert_allclose(again.hyper["gamma"], first.hyper["gamma"], rtol=1e-6)


def test_too_few_steps_are_said(fixed):
    with pytest.warns(ej.EsijaxWarning, match="raise max_steps"):
        estimate = ej.solve(fixed, regions(None), Evidence(max_steps=2))
    assert RESULT[estimate.result].startswith("stopped before convergence")


def test_a_noise_scale_alone(fixed):
    estimate = ej.solve(
        fixed, ej.models.MinimumNorm(), Evidence(), noise=ej.models.noise.Scalar(None)
    )
    v = float(estimate.hyper["noise_var"][0])
    lambda2 = jnp.asarray(1 / 9)
    sensor = ej.models.MinimumNorm().source_cov({"lambda2": lambda2}, fixed).sensor(fixed.gain)

    def value(w):
        cov = np.asarray(sensor) + w * np.eye(fixed.rank)
        normal = scipy.stats.multivariate_normal(np.zeros(fixed.rank), cov)
        return -normal.logpdf(np.asarray(fixed.data).T).sum()

    assert value(v) <= min(value(v * 1.001), value(v * 0.999))


@pytest.mark.slow
def test_gradient_by_the_implicit_function_theorem(fixed):
    @eqx.filter_jit
    def value(s):
        problem = fixed.with_data(fixed.recording * s)
        prior = regions(dist.InverseGamma(2.0 * s, 0.3 / s))
        estimate = ej.solve(problem, prior, Evidence(), noise=ej.models.noise.Scalar())
        out = jnp.sum(jnp.sin(10 * estimate.mean / problem.source_unit))
        return out + estimate.log_evidence + estimate.hyper["gamma"][1]

    want = (value(1 + 1e-5) - value(1 - 1e-5)) / 2e-5
    np.testing.assert_allclose(jax.grad(value)(1.0), want, rtol=1e-6)
    np.testing.assert_allclose(jax.jvp(value, (1.0,), (1.0,))[1], want, rtol=1e-6)


@pytest.mark.slow
def test_jit_and_vmap(fixed):
    prior = regions(dist.InverseGamma(2.0, 0.3))
    data = jnp.stack([fixed.recording, 2.0 * fixed.recording])

    def gamma(d):
        return ej.solve(fixed.with_data(d), prior, Evidence()).hyper["gamma"]

    want = np.stack([gamma(d) for d in data])
    np.testing.assert_allclose(jax.jit(jax.vmap(gamma))(data), want, rtol=1e-7)


@pytest.fixture
def small_chunks(monkeypatch):
    """Five evaluations a chunk; compiled functions of other chunks are forgotten."""
    jax.clear_caches()
    monkeypatch.setattr(_search, "WORK_PER_STEP", 5 * 8 * 12**2 * (12 + 20))
    yield
    jax.clear_caches()


@pytest.mark.slow
def test_ctrl_c_and_checkpoint(fixed, small_chunks, monkeypatch, tmp_path):
    prior = ej.models.ARD(dist.InverseGamma(1.0, 0.1))
    whole = ej.solve(fixed, prior, Evidence())
    advance, calls = Evidence.advance, []

    def interrupted(self, state):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return advance(self, state)

    monkeypatch.setattr(Evidence, "advance", interrupted)
    with pytest.warns(ej.EsijaxWarning, match="raise max_steps"):
        part = ej.solve(fixed, prior, Evidence(), checkpoint=tmp_path / "e")
    assert RESULT[part.result].startswith("interrupted")
    assert part.verdict()["n_steps"] == 10
    resumed = ej.solve(fixed, prior, Evidence(), checkpoint=tmp_path / "e")
    assert resumed.verdict()["n_steps"] == whole.verdict()["n_steps"]
    np.testing.assert_array_equal(resumed.hyper["gamma"], whole.hyper["gamma"])


def test_compiles_once(fixed, monkeypatch):
    traced = []
    step = Evidence.step
    monkeypatch.setattr(Evidence, "step", lambda *a: (traced.append(1), step(*a))[1])
    ej.solve(fixed, regions(dist.InverseGamma(2.0, 0.3)), Evidence())
    before = len(traced)
    other = fixed.with_data(2 * fixed.recording)
    ej.solve(other, regions(dist.InverseGamma(3.0, 0.2)), Evidence(rtol=1e-7))
    assert len(traced) == before


def test_refused(fixed):
    with pytest.raises(ej.InputError, match="solver must be"):
        Evidence(solver="newton")
    with pytest.raises(ej.InputError, match="n_starts must be a positive whole number, got 0"):
        Evidence(n_starts=0)
    with pytest.raises(ej.InputError, match="rtol must be positive"):
        Evidence(rtol=-1.0)
    with pytest.raises(ej.InputError, match="use Linear"):
        ej.solve(fixed, ej.models.MinimumNorm(), Evidence())
    with pytest.raises(ej.InputError, match="prior with a source covariance"):
        ej.solve(fixed, None, Evidence())
