"""EM of models with covariances in time: its bounds, its steps in time, where it ends."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import esijax as ej
from esijax.inference.collapsed.em._separable import separable_model

pytestmark = pytest.mark.filterwarnings("ignore::esijax.EsijaxWarning")
time, noise = ej.models.time, ej.models.noise
AUTOREGRESSIVE = noise.InTime(noise.Diagonal(), time.Autoregressive(2))
LABELS = [np.arange(2), np.arange(2, 5)]


@pytest.fixture(scope="module")
def problem(problem_factory):
    return problem_factory(1, n_channels=6, n_locations=5, n_times=8)


@pytest.fixture(scope="module")
def trials(problem_factory):
    return problem_factory(3, trials=2, loose=0.3, n_channels=6, n_locations=5, n_times=8)


def model(rest="iid", prior=None):
    ard = ej.models.ARD(dist.InverseGamma(1.5, 0.2)) if prior is None else prior
    return ej.models.Kronecker(ard, time.SquaredExponential(dist.LogNormal(-3.5, 0.5)), rest)


def cases(problem, trials):
    """Models whose covariances are laid out differently: span of few factors, remainder, trials."""
    one, all_ = noise.Scalar(), noise.White()
    stated = problem.with_noise_time(0.6 ** np.abs(np.subtract.outer(np.arange(8), np.arange(8))))
    few = ej.models.Components(LABELS, dist.InverseGamma(1.5, 0.2))
    return {
        "remainder": (problem, model(), AUTOREGRESSIVE),
        "few, learned": (problem, model(None, few), noise.InTime(one, time.Autoregressive(1))),
        "few, white": (problem, model(None, few), all_),
        "trials": (trials, model(), noise.InTime(one, time.Autoregressive(1))),
        "stated": (stated, model(), one),
        "basis": (problem, ej.models.TemporalBasis(few, "dct:3"), AUTOREGRESSIVE),
    }


DAILY = {"remainder", "few, learned"}
CASES = [
    pytest.param(name, marks=() if name in DAILY else pytest.mark.slow)
    for name in ("remainder", "few, learned", "few, white", "trials", "stated", "basis")
]


def prepared(case, update="mm"):
    problem, given, of_noise = case
    own = given.prepare(problem)
    marginal = own.marginal(problem, of_noise.prepare(problem))
    return marginal, separable_model(marginal, update, None)


@pytest.mark.parametrize("name", CASES)
def test_the_objective_and_its_derivatives_are_those_of_the_evidence(problem, trials, name):
    marginal, em = prepared(cases(problem, trials)[name])
    start = marginal.start_variances(None)
    rng = np.random.default_rng(1)
    log = jnp.log(start) + 0.3 * rng.standard_normal(len(start))
    free = em.now.free + 0.3 * rng.standard_normal(len(em.now.free))

    @jax.jit
    def both(em, marginal, log, free):
        def objective(log, free):
            hyper = marginal.unpack(jnp.exp(log)) | em.times.hyper(free)
            prior = em.prior.value(jnp.exp(log)) + em.times.log_prior(free)
            return marginal.log_evidence(hyper) + prior

        want, slopes = jax.value_and_grad(objective, argnums=(0, 1))(log, free)
        now = em.times.at(free, jnp.ones(()), jnp.ones(()))
        point = em.at_times(now).at(log)
        theta = jnp.exp(log)
        level = theta[em.n_sources] if em.noise else jnp.ones(())
        step = em.times.stepped(now, em.space(theta), level)
        return want, slopes, point, step

    want, (in_space, in_time), point, step = both(em, marginal, log, free)
    assert float(point.value) == pytest.approx(float(want), rel=1e-12)
    np.testing.assert_allclose(point.gradient, in_space, rtol=1e-8, atol=1e-9)
    if len(free):  # the expected gain is half the step along the gradient
        moved = np.asarray(step.free - free)
        assert float(step.gain) == pytest.approx(0.5 * float(moved @ np.asarray(in_time)), rel=1e-8)


def test_q_and_z_are_those_of_the_dense_covariance(problem):
    """One by one, sensors x times."""
    marginal, em = prepared(cases(problem, None)["remainder"])
    theta = np.linspace(0.4, 1.6, len(marginal.start_variances(None)))
    signal, of_noise = (np.asarray(x) for x in marginal.in_time(em.times.hyper(em.now.free)))
    gain, factor = np.asarray(problem.gain)[..., 0], np.asarray(marginal.spatial.factor)
    n = len(factor)
    matrices = [np.kron(np.outer(f, f), signal) for f in factor.T]
    own, member = marginal.spatial.noise.factor(problem.whitener)
    own, member = np.asarray(own), np.asarray(member)
    for j in range(member.max() + 1):
        matrices.append(np.kron(own[:, member == j] @ own[:, member == j].T, of_noise))
    rest = gain * np.asarray(problem.prior_scale)[:, 0] ** 2 @ gain.T
    matrices.append(np.kron(rest, of_noise))
    sigma = sum(t * m for t, m in zip(theta, matrices, strict=True))
    y = np.asarray(problem.data).ravel()
    inverse = np.linalg.inv(sigma)
    solved, columns = inverse @ y, 8  # samples
    fit = jax.jit(lambda m, t: m.fit(t))(em, jnp.asarray(theta))
    assert n == 6
    np.testing.assert_allclose(fit.q, [solved @ m @ solved / columns for m in matrices], rtol=1e-8)
    np.testing.assert_allclose(fit.z, [np.sum(inverse * m) / columns for m in matrices], rtol=1e-8)
    dims = [np.linalg.matrix_rank(m) / 8 for m in matrices]
    np.testing.assert_allclose(em.size, dims)


@pytest.mark.parametrize(
    ("name", "update"),
    [
        ("few, learned", "mm"),
        pytest.param("remainder", "em", marks=pytest.mark.slow),
        pytest.param("trials", "mm", marks=pytest.mark.slow),
        pytest.param("few, learned", "em", marks=pytest.mark.slow),
    ],
)
def test_no_iteration_lowers_the_objective(problem, trials, name, update):
    """Plain updates, each with a step in time or without one."""
    given, prior, of_noise = cases(problem, trials)[name]
    method = ej.inference.EM(update, tol=None, max_iter=20, accelerate=False)
    trace = np.asarray(ej.solve(given, prior, method, noise=of_noise).diagnostics.trace)
    assert np.diff(trace).min() >= -1e-9 * abs(trace[-1])
    assert trace[-1] > trace[0]


@pytest.mark.parametrize(
    "name", [pytest.param("remainder", marks=pytest.mark.slow), "few, learned"]
)
def test_ends_where_the_evidence_is_largest(problem, trials, name):
    given, prior, of_noise = cases(problem, trials)[name]
    em = ej.solve(given, prior, ej.inference.EM(tol=1e-8), noise=of_noise)
    best = ej.solve(given, prior, ej.inference.Evidence(rtol=1e-10, atol=1e-10), noise=of_noise)
    assert em.verdict()["converged"]
    assert em.hyper.keys() == best.hyper.keys() | {"noise_scale"}
    assert float(em.log_evidence) == pytest.approx(float(best.log_evidence), abs=1e-4)
    np.testing.assert_allclose(em.hyper["time/length"], best.hyper["time/length"], rtol=1e-3)
    np.testing.assert_allclose(em.mean, best.mean, atol=1e-3 * float(jnp.max(jnp.abs(best.mean))))


def test_independent_samples_are_todays_updates(problem):
    prior = ej.models.ARD(dist.InverseGamma(1.5, 0.2))
    method = ej.inference.EM(tol=None, max_iter=12)
    static = ej.solve(problem, prior, method, noise=noise.Scalar())
    own = ej.models.Kronecker(prior, time.White(), rest=None)
    found = ej.solve(problem, own, method, noise=noise.Scalar(), init=static)
    again = ej.solve(problem, prior, method, noise=noise.Scalar(), init=static)
    np.testing.assert_allclose(found.hyper["gamma"], again.hyper["gamma"], rtol=1e-10)
    np.testing.assert_allclose(found.mean, again.mean, atol=1e-10)
    assert float(found.log_evidence) == pytest.approx(float(again.log_evidence), rel=1e-12)


def test_what_it_refuses(problem):
    with pytest.raises(ej.InputError, match='use update="mm"'):
        ej.solve(problem, model(), ej.inference.EM("lowsnr"))
    with pytest.raises(ej.InputError, match="linear in its variances"):
        ej.solve(problem, model(prior=ej.models.MinimumNorm(1.0)), ej.inference.EM())
    with pytest.raises(ej.InputError, match="rule for lambda2"):
        ej.solve(problem, model(prior=ej.models.MinimumNorm("evidence")), ej.inference.EM())
    with pytest.raises(ej.InputError, match="unbounded at zero"):
        ej.solve(problem, model(prior=ej.models.ARD(dist.Gamma(0.5, 1.0))), ej.inference.EM())
    low_rank = noise.InTime(noise.LowRank(1), time.Autoregressive(1))
    with pytest.raises(ej.InputError, match=r"use noise\.Diagonal"):
        ej.solve(problem, model(), ej.inference.EM(), noise=low_rank)
