"""TF-MxNE and irTF-MxNE: the promises of `test_contract_sparse.py`."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from promises import check_gradients, close, finite, small_problems, traces_of

import esijax as ej
from esijax.inference import MAP, Reweighted, select
from esijax.models import TimeFrequency

N_TIMES = 12
METHODS = {"MAP": MAP(tol=1e-13), "Reweighted": Reweighted(3, tol=1e-12)}
CASES = [
    pytest.param((orients, method), id=f"{orients}-{method}", marks=marks)
    for orients, method, marks in (
        ("free", "MAP", ()),
        ("fixed", "MAP", pytest.mark.slow),
        ("fixed", "Reweighted", pytest.mark.slow),
        ("free", "Reweighted", pytest.mark.slow),
    )
]
pytestmark = pytest.mark.filterwarnings("ignore:the map explains:esijax.EsijaxWarning")


@pytest.fixture(scope="module")
def problems(problem_factory):
    return small_problems(problem_factory, N_TIMES)


def parts(case, problems):
    orients, method = case
    problem = problems[orients]
    weights = jnp.linspace(0.8, 1.3, problem.n_locations)
    alpha = 0.3 * select.alpha_max(problem, TimeFrequency(1.0, 0.2, 8, 4))
    return problem, TimeFrequency(alpha, 0.2, 8, 4, weights), METHODS[method]


@pytest.mark.parametrize("case", CASES)
def test_the_promises(case, problems, tmp_path, monkeypatch):
    problem, model, method = parts(case, problems)
    estimate = ej.solve(problem, model, method)
    assert estimate.mean.shape == (problem.n_locations, problem.n_orients, N_TIMES)
    assert estimate.std is None
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
    ej.solve(problem.with_data(2 * problem.recording), model, method)
    counts.clear()
    other = dataclasses.replace(model, alpha=1.1 * model.alpha)
    ej.solve(problem.with_data(3 * problem.recording), other, method)
    assert not counts


@pytest.mark.parametrize("case", CASES)
def test_gradients(case, problems):
    """Equal to central finite differences; forward and reverse agree."""
    problem, model, method = parts(case, problems)

    @jax.jit
    def loss(data, gain, log_alpha, weights, scale):
        p = eqx.tree_at(lambda p: (p.gain, p.prior_scale), problem.with_data(data), (gain, scale))
        m = dataclasses.replace(model, alpha=jnp.exp(log_alpha), weights=weights)
        posterior = ej.solve(p, m, method).posterior
        ramp = jnp.arange(1.0, N_TIMES + 1)
        return jnp.sum(posterior.sources**2 * ramp) + jnp.sum(posterior.prediction)

    at = (
        problem.recording,
        problem.gain,
        jnp.log(model.alpha),
        model.weights,
        problem.prior_scale,
    )
    grads = jax.jit(jax.grad(loss, argnums=(0, 1, 2, 3, 4)))(*at)
    check_gradients(loss, grads, at, rel=1e-6, step=3e-6)
    tangents = tuple(jnp.ones_like(x) * jnp.mean(jnp.abs(x)) for x in at)
    forward = jax.jit(lambda at, t: jax.jvp(loss, at, t)[1])(at, tangents)
    back = sum(float(jnp.sum(g * t)) for g, t in zip(grads, tangents, strict=True))
    assert float(forward) == pytest.approx(back, rel=1e-9)
