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
from esijax.models import (
    L1,
    L21,
    MCP,
    SISSY,
    TV,
    Elastic,
    Learned,
    LogSum,
    Lrq,
    SparseGroup,
    TimeFrequency,
)
from esijax.models.noise import Huber, Lp, StudentTNoise

TOL = 1e-13
# the penalty of an alpha and weights of locations
PENALTIES = {
    "L21": L21,
    "L1": L1,
    "power": lambda alpha, weights: Lrq(alpha, 2, 0.5, weights),
    "TF": lambda alpha, weights: TimeFrequency(alpha, 0.2, 8, 4, weights),
    "elastic": lambda alpha, weights: Elastic(alpha, 0.8, weights),
    "groups": lambda alpha, weights: SparseGroup(alpha, 0.3, np.arange(9) // 3, weights),
    "MCP": lambda alpha, weights: MCP(alpha, 0.5, weights),
    "LogSum": lambda alpha, weights: LogSum(alpha, 0.5, weights),
    "learned": lambda alpha, weights: Learned(
        alpha, [1.2, 0.8, 0.4, 0.3], amplitude=0.5, weights=weights
    ),
    "TV": lambda alpha, _: TV(alpha),
    "SISSY": lambda alpha, _: SISSY(alpha, 0.4),
}
BY_PAIRS = ("TV", "SISSY")  # whose answers are as exact as the root of the gap
CONCAVE = ("MCP", "LogSum", "learned")
METHODS = {
    "MAP": MAP(tol=TOL),
    "fista": MAP(solver="fista", tol=TOL),
    "bcd": MAP(solver="bcd", tol=TOL),
    "Reweighted": Reweighted(3, tol=TOL),
    "pairs": MAP(tol=1e-10),
    "descent": MAP(tol=1e-10),  # distance 1e-8
}
# data terms that are no squares, for one penalty of each solver
NOISES = {"Huber": Huber(1.0), "Student": StudentTNoise(4.0), "Lp": Lp(1.0, 0.5)}
METHODS |= dict.fromkeys(NOISES, MAP(tol=1e-10))
ROBUST = ("L21", "L1", "power", "elastic", "LogSum", "SISSY")
N_TIMES = {"TF": 12}
FORBIDDEN = {
    ("power", "fista"): "Lrq takes",
    ("power", "bcd"): "Lrq takes",
    ("elastic", "bcd"): "Elastic takes",
    ("TF", "fista"): "TimeFrequency takes",
    ("SISSY", "fista"): "SISSY takes",
    ("elastic", "Reweighted"): "Reweighted is for",
    ("SISSY", "Reweighted"): "Reweighted is for",
}
DAILY = {
    "free-L21-MAP",
    "fixed-L1-MAP",
    "free-L21-Reweighted",
    "fixed-L21-fista",
    "fixed-elastic-MAP",
    "fixed-SISSY-pairs",
}
DAILY_GRADIENTS = {"free-L21-MAP"}


def _exists(penalty, method):
    if method in NOISES:
        return penalty in ROBUST[: None if method == "Huber" else 1]
    if method in ("pairs", "descent"):
        return penalty in (BY_PAIRS if method == "pairs" else CONCAVE)
    if penalty in (*BY_PAIRS, *CONCAVE):
        return False
    newton = penalty in ("L21", "L1", "power", "TF")
    other = method == "Reweighted" or (method in ("fista", "bcd") and penalty in ("L21", "L1"))
    return method == "MAP" or (newton and other)


def pairs(daily, without=()):
    return list(_pairs(daily, without))


def _pairs(daily, without):
    for orients in ("fixed", "free"):
        for penalty in PENALTIES:
            for method in METHODS:
                name = f"{orients}-{penalty}-{method}"
                refused = penalty in without or (
                    without and method in NOISES and penalty == "power"
                )
                if _exists(penalty, method) and not refused:
                    marks = () if name in daily else pytest.mark.slow
                    yield pytest.param((orients, penalty, method), id=name, marks=marks)


@pytest.fixture(scope="module")
def problems(problem_factory):
    return {n: small_problems(problem_factory, n) for n in (5, 12)}


def parts(case, problems):
    orients, penalty, method = case
    problem = problems[N_TIMES.get(penalty, 5)][orients]
    weights = jnp.linspace(0.8, 1.3, problem.n_locations)
    seen = problem
    if method in NOISES:
        noise = NOISES[method].prepare(problem)
        seen = dataclasses.replace(problem, data=noise.gradient(problem.data))
    if penalty in ("L21", "L1", "power"):
        largest = select.alpha_max(seen, L21(1.0))
    else:
        largest = select.alpha_max(seen, PENALTIES[penalty](1.0, weights))
    return problem, PENALTIES[penalty](0.3 * largest, weights), METHODS[method]


@pytest.mark.parametrize("case", pairs(DAILY))
def test_the_promises(case, problems, tmp_path, monkeypatch):
    problem, model, method = parts(case, problems)
    noise = NOISES.get(case[2])
    estimate = ej.solve(problem, model, method, noise=noise)
    shape = (problem.n_locations, problem.n_orients, problem.n_times)
    assert estimate.mean.shape == shape
    assert estimate.std is None
    assert estimate.log_evidence is None
    finite(estimate.mean, estimate.predicted)
    assert bool(estimate.diagnostics.converged)
    by_pairs = case[1] in BY_PAIRS
    assert by_pairs or 0 < int(estimate.diagnostics.n_active) < problem.n_locations
    rtol = 1e-4 if by_pairs else 1e-6 if case[1] in CONCAVE or noise is not None else 1e-8

    # under jit with the model traced, vmap over data = a loop of eager calls; there a thousand
    # turns for the last digits would take ten minutes
    some = MAP(tol=1e-7) if noise is not None and case[1] in CONCAVE else method

    @eqx.filter_jit
    def inside(problem, model, data):
        def sources(d):
            return ej.solve(problem.with_data(d), model, some, noise=noise).posterior.sources

        return jax.vmap(sources)(data)

    data = jnp.stack([problem.recording, problem.recording[:, ::-1] * 1.5])
    for got, d in zip(inside(problem, model, data), data, strict=True):
        alone = ej.solve(problem.with_data(d), model, some, noise=noise)
        close(got, alone.posterior.sources, rtol)

    # files
    back = ej.load(ej.save(estimate, tmp_path / "sparse.npz"))
    np.testing.assert_array_equal(back.mean, estimate.mean)
    assert back.verdict() == estimate.verdict()

    # new numbers compile nothing
    counts = traces_of(monkeypatch, {type(method)}, ("finish",))
    ej.solve(problem.with_data(2 * problem.recording), model, method, noise=noise)
    other = dataclasses.replace(model, alpha=1.1 * model.alpha)
    counts.clear()
    ej.solve(problem.with_data(3 * problem.recording), other, method, noise=noise)
    assert not counts


@pytest.mark.parametrize("case", pairs(DAILY_GRADIENTS, BY_PAIRS))
def test_gradients(case, problems):
    """Equal to central finite differences; forward and reverse agree."""
    problem, model, method = parts(case, problems)
    method = METHODS["MAP"] if case[2] == "descent" else method  # as far as it gets
    noise = NOISES.get(case[2])
    method = method if noise is None else MAP(tol=1e-12)

    def loss(data, gain, log_alpha, weights, scale):
        p = eqx.tree_at(lambda p: (p.gain, p.prior_scale), problem.with_data(data), (gain, scale))
        m = dataclasses.replace(model, alpha=jnp.exp(log_alpha), weights=weights)
        posterior = ej.solve(p, m, method, noise=noise).posterior
        return jnp.sum(posterior.sources**2 * jnp.arange(1.0, 1 + p.n_times)) + jnp.sum(
            posterior.prediction
        )

    at = (
        problem.recording,
        problem.gain,
        jnp.log(model.alpha),
        model.weights,
        problem.prior_scale,
    )
    both = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2, 3, 4)))  # one program for both
    # answers of robust noise are as exact as the root of the gap: longer steps
    step = 3e-6 if case[1] == "TF" else 3e-5 if noise is None else 1e-4
    grads = check_gradients(both, at, rel=1e-6, step=step)
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
    problem = problems[5]["fixed"]
    model = Lrq(0.3 * select.alpha_max(problem, L1(1.0)), 1, 0.5)

    def loss(data):
        return jnp.sum(ej.solve(problem.with_data(data), model, MAP()).posterior.sources)

    with pytest.raises(ej.InputError, match=r"Reweighted\(n\)"):
        jax.grad(loss)(problem.recording)
