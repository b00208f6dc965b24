"""Every penalty with every method that takes it: the promises of `test_contract.py`.

finite answers of the right shapes; jit = eager; vmap over data = loop; gradients = finite
differences, along data, lead field, alpha, weights and the prior's scale; new numbers compile
nothing anew; files bring everything back.
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from promises import check_gradients, close, finite, small_problems, traces_of

import esijax as ej
from esijax.inference import MAP, Reweighted, select
from esijax.models import L1, L21, Lrq

TOL = 1e-13
PENALTIES = {"L21": L21, "L1": L1, "power": lambda alpha, weights: Lrq(alpha, 2, 0.5, weights)}
METHODS = {
    "MAP": MAP(tol=TOL),
    "fista": MAP(solver="fista", tol=TOL),
    "Reweighted": Reweighted(3, tol=TOL),
}
FORBIDDEN = {("power", "fista"): "Lrq is majorised"}
DAILY = {"free-L21-MAP", "fixed-L1-MAP", "free-power-MAP", "free-L21-Reweighted", "fixed-L21-fista"}
DAILY_GRADIENTS = {"free-L21-MAP", "free-power-MAP"}


def pairs(daily):
    return list(_pairs(daily))


def _pairs(daily):
    for orients in ("fixed", "free"):
        for penalty in PENALTIES:
            for method in METHODS:
                name = f"{orients}-{penalty}-{method}"
                if (penalty, method) not in FORBIDDEN:
                    marks = () if name in daily else pytest.mark.slow
                    yield pytest.param((orients, penalty, method), id=name, marks=marks)


@pytest.fixture(scope="module")
def problems(problem_factory):
    return small_problems(problem_factory, 5)


def parts(case, problems):
    orients, penalty, method = case
    problem = problems[orients]
    weights = jnp.linspace(0.8, 1.3, problem.n_locations)
    alpha = 0.3 * select.alpha_max(problem, L21(1.0))
    return problem, PENALTIES[penalty](alpha, weights), METHODS[method]


@pytest.mark.parametrize("case", pairs(DAILY))
def test_the_promises(case, problems, tmp_path, monkeypatch):
    problem, model, method = parts(case, problems)
    estimate = ej.solve(problem, model, method)
    shape = (problem.n_locations, problem.n_orients, problem.n_times)
    assert estimate.mean.shape == shape
    assert estimate.std is None
    assert estimate.log_evidence is None
    finite(estimate.mean, estimate.predicted)
    assert bool(estimate.diagnostics.converged)
    assert 0 < int(estimate.diagnostics.n_active) < problem.n_locations

    # jit = eager
    inside = eqx.filter_jit(lambda p, m: ej.solve(p, m, method).posterior.sources)
    close(inside(problem, model), estimate.posterior.sources, 1e-8)

    # vmap over data = loop
    data = jnp.stack([problem.recording, problem.recording[:, ::-1] * 1.5])
    solve = jax.jit(
        jax.vmap(lambda d: ej.solve(problem.with_data(d), model, method).posterior.sources)
    )
    for got, d in zip(solve(data), data, strict=True):
        close(got, ej.solve(problem.with_data(d), model, method).posterior.sources, 1e-8)

    # files
    back = ej.load(ej.save(estimate, tmp_path / "sparse.npz"))
    np.testing.assert_array_equal(back.mean, estimate.mean)
    assert back.verdict() == estimate.verdict()

    # new numbers compile nothing
    counts = traces_of(monkeypatch, {type(method)}, ("finish",))
    counts += traces_of(monkeypatch, {type(method)}, ("finish",))
    ej.solve(problem.with_data(2 * problem.recording), model, method)
    other = dataclasses.replace(model, alpha=1.1 * model.alpha)
    counts.clear()
    ej.solve(problem.with_data(3 * problem.recording), other, method)
    assert not counts


@pytest.mark.parametrize("case", pairs(DAILY_GRADIENTS))
def test_gradients(case, problems):
    """Equal to central finite differences; forward and reverse agree."""
    problem, model, method = parts(case, problems)

    @jax.jit
    def loss(data, gain, log_alpha, weights, scale):
        p = eqx.tree_at(lambda p: (p.gain, p.prior_scale), problem.with_data(data), (gain, scale))
        m = dataclasses.replace(model, alpha=jnp.exp(log_alpha), weights=weights)
        posterior = ej.solve(p, m, method).posterior
        return jnp.sum(posterior.sources**2 * jnp.arange(1.0, 6)) + jnp.sum(posterior.prediction)

    at = (
        problem.recording,
        problem.gain,
        jnp.log(model.alpha),
        model.weights,
        problem.prior_scale,
    )
    grads = jax.jit(jax.grad(loss, argnums=(0, 1, 2, 3, 4)))(*at)
    check_gradients(loss, grads, at, rel=1e-6)
    tangents = tuple(jnp.ones_like(x) * jnp.mean(jnp.abs(x)) for x in at)
    forward = jax.jit(lambda at, t: jax.jvp(loss, at, t)[1])(at, tangents)
    back = sum(float(jnp.sum(g * t)) for g, t in zip(grads, tangents, strict=True))
    assert float(forward) == pytest.approx(back, rel=1e-9)


@pytest.mark.slow
def test_second_derivatives(problems):
    """Forward over reverse, where the support does not change."""
    problem, model, method = parts(("free", "L21", "MAP"), problems)

    @jax.jit
    def loss(data, log_alpha):
        m = dataclasses.replace(model, alpha=jnp.exp(log_alpha))
        sources = ej.solve(problem.with_data(data), m, method).posterior.sources
        return jnp.sum(sources**2)

    at = (problem.recording, jnp.log(model.alpha))
    check_grads(loss, at, order=2, modes=["fwd", "rev"], eps=1e-5, rtol=1e-4)


@pytest.mark.parametrize("pair", FORBIDDEN)
def test_the_forbidden_say_why(pair, problems):
    penalty, method = pair
    problem, model, solver = parts(("fixed", penalty, method), problems)
    with pytest.raises(ej.InputError, match=FORBIDDEN[pair]):
        ej.solve(problem, model, solver)


def test_a_derivative_that_is_not_there(problems):
    problem = problems["fixed"]
    model = Lrq(0.3 * select.alpha_max(problem, L1(1.0)), 1, 0.5)

    def loss(data):
        return jnp.sum(ej.solve(problem.with_data(data), model, MAP()).posterior.sources)

    with pytest.raises(ej.InputError, match=r"Reweighted\(n\)"):
        jax.grad(loss)(problem.recording)
