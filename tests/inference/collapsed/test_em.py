"""Expectation maximisation: updates against the textbook, monotone, stationary, differentiable."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import esijax as ej
from esijax.inference.collapsed.em._hyperprior import DensityPrior, log_hyperprior
from esijax.inference.collapsed.target import Target
from esijax.models._variance_blocks import variance_blocks

EM = ej.inference.EM
PRIORS = {
    "flat": None,
    "gamma": dist.Gamma(1.5, 1.0),
    "inverse gamma": dist.InverseGamma(1.0, 0.1),
}
NOISES = {
    "scalar": ej.models.noise.Scalar,
    "per type": ej.models.noise.PerType,
    "diagonal": ej.models.noise.Diagonal,
}


def slow(*values):
    """Parameters of the longer runs."""
    return pytest.param(*values, marks=pytest.mark.slow)


def sum_of_all():
    """One prior that is a sum of one per hyper-prior."""
    return ej.models.Sum(*(ej.models.ARD(local) for local in PRIORS.values()))


@pytest.fixture(scope="module")
def problem(problem_factory):
    return problem_factory(1, n_times=40)


def plain(n, update="mm", **kwargs):
    return EM(update, tol=None, max_iter=n, accelerate=False, **kwargs)


def textbook(problem, update, prior, n):
    """Dense, one component after the other."""
    marginal = ej.models.ARD(prior).marginal(problem)
    factor, gamma = np.asarray(marginal.factor), np.asarray(marginal.start_variances(None))
    data = np.asarray(problem.data)
    n_times = data.shape[1]
    cov = data @ data.T / n_times
    for _ in range(n):
        sigma = (factor * gamma) @ factor.T + np.eye(len(data))
        inverse = np.linalg.inv(sigma)
        new = []
        for g, a in zip(gamma, factor.T, strict=True):
            q, z, z0 = a @ inverse @ cov @ inverse @ a, a @ inverse @ a, a @ a
            half = n_times / 2
            pole, line, power = half * g**2 * q, 0.0, 0.0
            if update == "em":
                power, pole = half, half * (g + g**2 * (q - z))
            elif update == "mackay":
                power = half * g * z
            else:
                line = half * (z if update == "mm" else z0)
            if isinstance(prior, dist.Gamma):
                power, line = power + 1 - float(prior.concentration), line + float(prior.rate)
            if isinstance(prior, dist.InverseGamma):
                power, pole = power + 1 + float(prior.concentration), pole + float(prior.rate)
            roots = np.roots([line, power, -pole]) if line else np.array([pole / power])
            new.append(roots[roots > 0].max())
        gamma = np.array(new)
    return gamma


@pytest.mark.parametrize("update", ["em", "mackay", "mm", "lowsnr"])
@pytest.mark.parametrize("prior", ["gamma", slow("flat"), slow("inverse gamma")])
def test_updates_are_those_of_the_textbook(problem, update, prior):
    # the first evaluation is that of the start, so that n iterations leave n updates
    got = ej.solve(problem, ej.models.ARD(PRIORS[prior]), plain(4, update)).hyper["gamma"]
    want = textbook(problem, update, PRIORS[prior], 4)
    np.testing.assert_allclose(got, want, rtol=1e-10)


@pytest.mark.parametrize("noise", ["diagonal", slow(None), slow("scalar"), slow("per type")])
@pytest.mark.parametrize("prior", ["sum", *map(slow, PRIORS)])
@pytest.mark.parametrize("update", [slow("em"), "mm"])
@pytest.mark.parametrize("accelerate", [slow(False), True])
def test_em_and_mm_never_fall(problem, update, prior, noise, accelerate):
    method = EM(update, tol=None, max_iter=40, accelerate=accelerate)
    own = None if noise is None else NOISES[noise]()
    model = sum_of_all() if prior == "sum" else ej.models.ARD(PRIORS[prior])
    estimate = ej.solve(problem, model, method, noise=own)
    trace = np.asarray(estimate.diagnostics.trace)
    assert np.diff(trace).min() > -1e-10 * abs(trace[-1])
    assert trace[-1] > trace[0] + 0.1


@pytest.mark.parametrize("noise", [slow("diagonal"), None, slow("scalar"), slow("per type")])
def test_objective_is_the_log_joint(problem, noise):
    model = ej.models.ARD(PRIORS["gamma"])
    own = None if noise is None else NOISES[noise]()
    estimate = ej.solve(problem, model, EM(), noise=own)
    sites = {"gamma": estimate.hyper["gamma"]}
    if own is not None:
        sites["noise/gamma"] = estimate.hyper["noise_var"]
    target = Target(model.marginal(problem, own))
    value, slope = jax.value_and_grad(lambda s: target.log_joint(target.free(s)))(sites)
    assert estimate.verdict()["objective"] == pytest.approx(float(value), rel=1e-12)
    steep = sum(float(jnp.sum(jnp.abs(slope[k] * sites[k]))) for k in sites)
    assert steep <= 1e-4 * problem.data.size / 2 * (1 + 1e-9)


@pytest.mark.parametrize("update", ["mackay", slow("em")])
def test_same_stationary_point(problem, update):
    model = ej.models.GroupLaplace(2.0)
    want = ej.solve(problem, model, EM("mm", tol=1e-9)).hyper["gamma"]
    got = ej.solve(problem, model, EM(update, tol=1e-9))
    assert bool(got.diagnostics.converged)
    np.testing.assert_allclose(got.hyper["gamma"], want, rtol=1e-5)


def test_accelerated_equals_plain(problem):
    model = ej.models.ARD(PRIORS["gamma"])
    fast = ej.solve(problem, model, EM(tol=1e-8))
    slow = ej.solve(problem, model, EM(tol=1e-8, max_iter=20000, accelerate=False))
    assert int(fast.diagnostics.iterations) < int(slow.diagnostics.iterations) / 2
    np.testing.assert_allclose(fast.verdict()["objective"], slow.verdict()["objective"], rtol=1e-9)


def test_evidence_is_the_density_of_the_data(problem):
    estimate = ej.solve(problem, ej.models.ARD(), EM())
    marginal = ej.models.ARD().marginal(problem)
    sigma = np.asarray(marginal.sigma({"gamma": estimate.hyper["gamma"]}))
    data = np.asarray(problem.data)
    _, log_det = np.linalg.slogdet(2 * np.pi * sigma)
    want = -0.5 * (np.sum(data * np.linalg.solve(sigma, data)) + data.shape[1] * log_det)
    want += data.shape[1] * float(problem.whitener.log_pdet)
    assert float(estimate.log_evidence) == pytest.approx(want, rel=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("accelerate", [False, True])
def test_gradient_is_the_finite_difference(problem_factory, accelerate):
    """Of data, lead field (a direction of change) and hyper-prior."""
    problem = problem_factory(1, n_channels=6, n_locations=8)
    method = EM(tol=None, max_iter=6, accelerate=accelerate)
    other = jnp.asarray(np.random.default_rng(3).standard_normal(problem.gain.shape))

    @jax.jit
    def loss(amplitude, rate, bend):
        scaled = problem.with_data(amplitude * problem.recording)
        bent = dataclasses.replace(scaled, gain=problem.gain + bend * other)
        model = ej.models.ARD(dist.Gamma(1.5, rate))
        return jnp.sum(jnp.log(ej.solve(bent, model, method).hyper["gamma"]))

    at = (jnp.asarray(1.1), jnp.asarray(0.8), jnp.asarray(0.05))
    got = jax.jit(jax.grad(loss, (0, 1, 2)))(*at)
    assert min(abs(float(g)) for g in got) > 1e-2
    for i, step in enumerate(np.eye(3) * 1e-5):
        above, below = (loss(*(a + s * d for a, d in zip(at, step, strict=True))) for s in (1, -1))
        assert float(got[i]) == pytest.approx(float(above - below) / 2e-5, rel=1e-5)


@pytest.mark.slow
def test_vmap_equals_loop(problem):
    method, model = EM(tol=None, max_iter=8), ej.models.ARD()
    data = jnp.stack([problem.recording, 2 * problem.recording])

    @jax.jit
    def run(recording):
        return ej.solve(problem.with_data(recording), model, method).hyper["gamma"]

    for got, one in zip(jax.vmap(run)(data), data, strict=True):
        np.testing.assert_allclose(got, run(one), rtol=1e-8)


def test_few_components_become_matrices(problem):
    """The same model as factors and as matrices."""
    parts = [np.arange(10), np.arange(10, 20)]
    model = ej.models.Components(parts, None)
    got = ej.solve(problem, model, plain(5, "em"))
    marginal = model.marginal(problem)
    factor, group = np.asarray(marginal.factor), np.asarray(marginal.group)
    gamma, data = np.asarray(marginal.start_variances(None)), np.asarray(problem.data)
    cov = data @ data.T / data.shape[1]
    for _ in range(5):
        inverse = np.linalg.inv((factor * gamma[group]) @ factor.T + np.eye(len(data)))
        slope = inverse @ cov @ inverse - inverse
        each = [np.trace(factor[:, group == k].T @ slope @ factor[:, group == k]) for k in (0, 1)]
        dims = [np.linalg.matrix_rank(factor[:, group == k]) for k in (0, 1)]
        gamma = gamma + gamma**2 * np.array(each) / dims
    np.testing.assert_allclose(got.hyper["gamma"], gamma, rtol=1e-10)


def test_too_few_iterations_are_said(problem):
    with pytest.warns(ej.EsijaxWarning, match="not converged after 3 iterations"):
        estimate = ej.solve(problem, ej.models.ARD(), EM(max_iter=3))
    assert "stopped before convergence" in estimate.verdict()["result"]


def test_variances_that_are_tied(problem):
    with pytest.raises(ej.InputError, match="Evidence"):
        ej.solve(problem, ej.models.Horseshoe(), EM())


DENSITIES = {
    "log-normal": dist.LogNormal(-1.0, 1.0),
    "half-Cauchy": dist.HalfCauchy(1.0),
    "Weibull": dist.Weibull(2.0, concentration=1.5),
    "truncated normal": dist.TruncatedNormal(0.5, 0.5, low=0.2, high=0.9),
}


@pytest.mark.parametrize(
    "name", [slow(n) if n in ("Weibull", "truncated normal") else n for n in DENSITIES]
)
def test_any_density_has_the_optimum_of_the_evidence(problem, name):
    model = ej.models.ARD(DENSITIES[name])
    estimate = ej.solve(problem, model, EM(tol=1e-8))
    assert bool(estimate.diagnostics.converged)
    trace = np.asarray(estimate.diagnostics.trace)
    trace = trace[np.isfinite(trace)]
    assert np.diff(trace).min() > -1e-10 * abs(trace[-1])
    # there are several optima: the search that starts at this one ends there
    want = ej.solve(problem, model, ej.inference.Evidence(), init=estimate)
    np.testing.assert_allclose(estimate.hyper["gamma"], want.hyper["gamma"], rtol=1e-3, atol=1e-5)
    assert float(estimate.log_evidence) == pytest.approx(float(want.log_evidence), rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("update", ["em", "mackay"])
def test_other_updates_with_any_density(problem, update):
    model = ej.models.ARD(DENSITIES["log-normal"])
    # there are several optima, and each is one of every update
    want = ej.solve(problem, model, EM("mm", tol=1e-9))
    got = ej.solve(problem, model, EM(update, tol=1e-9), init=want)
    np.testing.assert_allclose(got.hyper["gamma"], want.hyper["gamma"], rtol=1e-5)
    other = ej.solve(problem, model, EM(update, tol=1e-9))
    again = ej.solve(problem, model, EM("mm", tol=1e-9), init=other)
    np.testing.assert_allclose(other.hyper["gamma"], again.hyper["gamma"], rtol=1e-4)


@pytest.mark.parametrize(
    "law", [dist.Gamma(1.5, 0.7), dist.InverseGamma(1.0, 0.1), dist.Exponential(0.4)]
)
def test_newton_steps_find_the_closed_form(law):
    """Where the bound has a root in closed form, and from far away."""
    rng = np.random.default_rng(0)
    a, b, c, start = (jnp.asarray(rng.lognormal(0, 2, 200)) for _ in range(4))
    block = variance_blocks((law.expand((200,)),))[0]
    closed = log_hyperprior((law.expand((200,)),))
    want = closed.maximum(a, b, c, start)

    def found(a, b, c):
        return DensityPrior(block).maximum(a, b, c, start)

    np.testing.assert_allclose(found(a, b, c), want, rtol=1e-7)
    # the derivative is that of the maximiser, not of the steps towards it
    for i in range(3):
        got = jax.grad(lambda *x: jnp.sum(found(*x)), i)(a, b, c)
        exact = jax.grad(lambda *x: jnp.sum(closed.maximum(*x, start)), i)(a, b, c)
        np.testing.assert_allclose(got, exact, rtol=1e-6)


def test_what_em_refuses(problem):
    with pytest.raises(ej.InputError, match="linear in its variances"):
        ej.solve(problem, ej.models.MinimumNorm(), EM())
    with pytest.raises(ej.InputError, match="unbounded at zero"):
        ej.solve(problem, ej.models.ARD(dist.Gamma(0.5, 1.0)), EM())
    for law in (dist.Weibull(1.0, concentration=0.5), dist.Beta(0.5, 2.0)):
        with pytest.raises(ej.InputError, match="unbounded at zero"):
            ej.solve(problem, ej.models.ARD(law), EM())
    with pytest.raises(ej.InputError, match="unbounded at 1,"):
        ej.solve(problem, ej.models.ARD(dist.Beta(2.0, 0.5)), EM())
    with pytest.raises(ej.InputError, match="not linear"), pytest.warns(ej.EsijaxWarning):
        ej.solve(problem, ej.models.ARD(), EM(), noise=ej.models.noise.LowRank(1))
    with pytest.raises(ej.InputError, match="known"):
        ej.solve(problem, ej.models.ARD(), EM("lowsnr"), noise=ej.models.noise.Scalar())
    with pytest.raises(ej.InputError, match="update"):
        EM("newton")
    with pytest.raises(ej.InputError, match="max_iter"):
        EM(max_iter=0)
    with pytest.raises(ej.InputError, match="tol"):
        EM(tol=0.0)


def test_checkpoint_resumes_bitwise(problem, tmp_path, monkeypatch):
    # steps of five iterations, so that there is something to resume
    monkeypatch.setattr("esijax.inference.collapsed.em.em.iterations_per_step", lambda *_: 5)
    model, method, path = ej.models.ARD(), EM(tol=1e-8, max_iter=301), tmp_path / "em.ckpt"
    whole = ej.solve(problem, model, method)
    done, calls = EM.done, []

    def interrupt(self, state):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return done(self, state)

    with monkeypatch.context() as patch:
        patch.setattr(EM, "done", interrupt)
        part = ej.solve(problem, model, method, checkpoint=path)
    assert part.verdict()["result"].startswith("interrupted")
    assert 0 < int(part.diagnostics.iterations) < int(whole.diagnostics.iterations)
    resumed = ej.solve(problem, model, method, checkpoint=path)
    np.testing.assert_array_equal(resumed.hyper["gamma"], whole.hyper["gamma"])


def test_not_above_mne_gamma_map(problem):
    """At the same noise and lead field, MNE-Python's solution has no higher evidence."""
    pytest.importorskip("mne")
    from mne.inverse_sparse._gamma_map import _gamma_map_opt

    marginal = ej.models.ARD().marginal(problem)
    factor, data = np.asarray(marginal.factor), np.asarray(problem.data)
    _, active = _gamma_map_opt(data, factor, 1.0, tol=1e-9, maxit=5000, verbose="ERROR")
    # X = gamma A' Sigma^-1 Y: at a fixed point gamma_k is what its update gives
    ours = ej.solve(problem, ej.models.ARD(), EM(tol=1e-8))
    gamma = np.zeros(factor.shape[1])
    gamma[active] = 1.0
    for _ in range(3000):
        inverse = np.linalg.inv((factor * gamma) @ factor.T + np.eye(len(data)))
        z = np.sum(factor * (inverse @ factor), axis=0)
        q = np.mean((factor.T @ inverse @ data) ** 2, axis=1)
        gamma *= q / z
    theirs = float(marginal.log_evidence({"gamma": jnp.asarray(gamma)}))
    assert float(ours.log_evidence) >= theirs - 1e-5 * abs(theirs)
    strong = np.flatnonzero(np.asarray(ours.hyper["gamma"]) > 1e-3)
    assert set(strong) == set(np.flatnonzero(gamma > 1e-3))


def test_new_data_do_not_retrace(problem, monkeypatch):
    from esijax.inference.collapsed.em import em

    traced, right = [], em.iterations_per_step
    monkeypatch.setattr(em, "iterations_per_step", lambda *given: traced.append(1) or right(*given))
    ej.solve(problem, ej.models.ARD(), EM(max_iter=457))
    once = len(traced)
    ej.solve(problem.with_data(1.5 * problem.recording), ej.models.ARD(), EM(max_iter=457))
    assert once == len(traced) == 1


def test_low_signal_is_the_optimum_of_its_own_objective(problem):
    """Log det Sigma replaced by its tangent: convex, so that derivatives tell."""
    marginal = ej.models.ARD().marginal(problem)
    factor, data = np.asarray(marginal.factor), np.asarray(problem.data)
    estimate = ej.solve(problem, ej.models.ARD(), EM("lowsnr", tol=1e-9, max_iter=5000))
    gamma, limit, n = np.asarray(estimate.hyper["gamma"]), np.sum(factor**2, axis=0), data.shape[1]

    def objective(gamma):
        sigma = (factor * gamma) @ factor.T + np.eye(len(data))
        misfit = np.sum(data * np.linalg.solve(sigma, data)) / n
        return -0.5 * n * (misfit + limit @ gamma)

    inverse = np.linalg.inv((factor * gamma) @ factor.T + np.eye(len(data)))
    q = np.mean((factor.T @ inverse @ data) ** 2, axis=1)
    assert np.max(q / limit - 1) < 1e-3
    assert np.sum(gamma * np.abs(q - limit)) < 1e-7 * len(data)
    rng = np.random.default_rng(0)
    for size in (1e-3, 1e-1, 1.0):
        moved = gamma * np.exp(size * rng.standard_normal(gamma.shape)) + size * 1e-4
        assert objective(moved) < objective(gamma)
