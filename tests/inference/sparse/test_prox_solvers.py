"""Penalties that are solved by proximal gradients: proofs, naive versions, derivatives."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import esijax as ej
from esijax.inference import MAP, Reweighted, select
from esijax.models import L1, L21, MCP, Elastic, LogSum, Lrq, SparseGroup

TIGHT = MAP(tol=1e-12)
GROUPS = np.arange(20) // 4
ENTRIES = np.random.default_rng(4).uniform(0.5, 2.0, (20, 7))
ONE = jnp.asarray(1.0)
CONVEX = {
    "elastic": lambda alpha: Elastic(alpha, 0.8),
    "groups": lambda alpha: SparseGroup(alpha, 0.0, GROUPS),
    "sparse-groups": lambda alpha: SparseGroup(alpha, 0.3, GROUPS, np.linspace(0.7, 1.4, 20)),
    "sparse-locations": lambda alpha: SparseGroup(alpha, 0.3, weights=ENTRIES),
    "entries": lambda alpha: L21(alpha, ENTRIES),
    "l1-entries": lambda alpha: L1(alpha, ENTRIES),
}
CONCAVE = {"MCP": MCP, "LogSum": LogSum, "power-entries": lambda a: Lrq(a, 2, 0.5, ENTRIES)}
pytestmark = pytest.mark.filterwarnings("ignore:the map explains:esijax.EsijaxWarning")


def objective(problem, penalty, z):
    """Written out."""
    gain = np.asarray(problem.gain * problem.prior_scale)
    residual = np.asarray(problem.data) - np.tensordot(gain, z, 2)
    return 0.5 * np.sum(residual**2) + float(penalty.value(jnp.asarray(z)))


def normalised(estimate):
    """Sources in units of the prior's scale."""
    return np.asarray(estimate.posterior.sources / estimate.problem.prior_scale[..., None])


def naive(problem, penalty, n=20_000):
    """Textbook proximal gradient of V, where Z = S o V."""
    spread = np.broadcast_to(np.asarray(penalty.spread())[:, None], (20, 1, 7))
    scaled = np.asarray(problem.gain * problem.prior_scale)
    n_orients = scaled.shape[2]
    bound = np.linalg.norm(scaled.reshape(len(scaled), -1), 2) ** 2 * spread.max() ** 2
    gain, spread, plain = jnp.asarray(scaled), jnp.asarray(spread), penalty.even()

    def body(_, v):
        residual = jnp.tensordot(gain, v * spread, axes=2) - problem.data
        slope = jnp.tensordot(gain, residual, axes=(0, 0)) * spread
        return plain.prox(v - slope / bound, jnp.asarray(1 / bound))

    v = jax.jit(lambda v: jax.lax.fori_loop(0, n, body, v))(jnp.zeros((20, n_orients, 7)))
    return np.asarray(v * spread)


def relative(problem, make, share):
    """Penalty with a share of its alpha_max, known as a number."""
    penalty = make(1.0).prepare(problem)
    return dataclasses.replace(penalty, alpha=share * select.alpha_max(problem, penalty))


@pytest.fixture(scope="module")
def problems(problem_factory):
    return {"fixed": problem_factory(1), "free": problem_factory(3)}


def _cases(names, daily):
    for name in names:
        for kind in ("fixed", "free"):
            marks = () if f"{name}-{kind}" in daily else pytest.mark.slow
            yield pytest.param(name, kind, marks=marks)


DAILY = {
    "groups-fixed",
    "sparse-groups-free",
    "entries-free",
    "MCP-fixed",
}


@pytest.mark.parametrize(("name", "kind"), list(_cases(CONVEX, DAILY)))
def test_convex(name, kind, problems):
    """Proof, textbook version, exact zero at alpha_max and only there."""
    problem = problems[kind]
    penalty = relative(problem, CONVEX[name], 0.3)
    estimate = ej.solve(problem, penalty, TIGHT)
    proof = estimate.diagnostics
    assert bool(proof.converged)
    assert -1e-12 <= float(proof.relative_gap) <= 1e-12
    assert float(proof.kkt) <= 1e-6
    z = normalised(estimate)
    assert objective(problem, penalty, z) == pytest.approx(float(proof.primal), rel=1e-12)
    slow = objective(problem, penalty, naive(problem, penalty))
    assert float(proof.primal) <= slow * (1 + 1e-12)
    assert 0 < (z != 0).sum() < z.size
    with pytest.warns(ej.EsijaxWarning, match="every source is zero"):
        zero = ej.solve(problem, relative(problem, CONVEX[name], 1 + 1e-9), TIGHT)
    assert not zero.mean.any()
    assert int(zero.diagnostics.iterations) == 0
    some = ej.solve(problem, relative(problem, CONVEX[name], 0.98), TIGHT)
    assert some.mean.any()


@pytest.mark.parametrize(("name", "kind"), list(_cases(CONCAVE, DAILY)))
def test_concave(name, kind, problems):
    """Nothing moves at the end; the objective is below that of the start, whichever it was."""
    problem = problems[kind]
    penalty = relative(problem, CONCAVE[name], 0.2)
    own = ej.solve(problem, penalty, MAP(tol=1e-11))
    assert bool(own.diagnostics.converged)
    assert float(own.diagnostics.kkt) <= 1e-8
    if name != "power-entries":  # whose gap is that of its last turn
        assert own.verdict()["gap"] is None
    mixed = ej.solve(problem, L21(penalty.alpha), TIGHT)
    dense = ej.solve(problem, ej.models.MinimumNorm(), ej.inference.Linear())
    starts = [(mixed, own)]
    if name != "power-entries":  # its turns begin with the majoriser at the start
        starts.append((dense, ej.solve(problem, penalty, MAP(tol=1e-11), init=dense)))
    for start, end in starts:
        z = np.asarray(start.posterior.mean() / problem.prior_scale[..., None])
        here = objective(problem, penalty, normalised(end))
        assert here <= objective(problem, penalty, z) * (1 + 1e-12)
        assert bool(end.diagnostics.converged)


@pytest.mark.slow
def test_limits(problems):
    """The elastic norm with ratio 1, one group each, weights that do not change: all are L21."""
    problem = problems["free"]
    plain = relative(problem, L21, 0.3)
    expected = ej.solve(problem, plain, TIGHT).diagnostics.primal
    alpha, every = plain.alpha, np.arange(20)
    same = [Elastic(alpha, 1.0), SparseGroup(alpha, 0.0, every), L21(alpha, np.ones((20, 7)))]
    for penalty in (*same, SparseGroup(alpha, 0.7, every)):
        found = ej.solve(problem, penalty, TIGHT).diagnostics.primal
        assert float(found) == pytest.approx(float(expected), rel=1e-11)
    flat = ej.solve(problem, LogSum(alpha, 1e9), TIGHT).diagnostics.primal
    assert float(flat) == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.slow
def test_reweighting_with_weights_of_entries(problems):
    """The objective of the power falls from turn to turn."""
    problem = problems["fixed"]
    penalty = relative(problem, CONCAVE["power-entries"], 0.3)
    values = []
    for n in (1, 2, 4, 8):
        z = normalised(ej.solve(problem, penalty, Reweighted(n, tol=1e-12)))
        values.append(objective(problem, penalty, z))
    assert all(b <= a * (1 + 1e-12) for a, b in itertools.pairwise(values))
    with pytest.raises(ej.InputError, match="no derivative rule"):
        jax.grad(lambda a: jnp.sum(ej.solve(problem, _with(penalty, a), MAP()).mean ** 2))(1.0)


def _with(penalty, alpha):
    return dataclasses.replace(penalty, alpha=alpha)


SLOW = [pytest.param(n, marks=pytest.mark.slow) for n in ("elastic", "LogSum")]


@pytest.mark.parametrize("name", ["sparse-groups", *SLOW])
def test_derivatives(name, problems):
    """Along alpha and data, against central differences."""
    problem = problems["fixed"]
    make = {**CONVEX, **CONCAVE}[name]
    penalty = relative(problem, make, 0.3)
    method = MAP(tol=1e-14)
    target = np.random.default_rng(3).standard_normal((20, 1, 7))
    move = np.random.default_rng(5).standard_normal(problem.recording.shape)

    def loss(alpha, t):
        moved = problem.with_data(problem.recording + t * move)
        return jnp.sum(ej.solve(moved, _with(penalty, alpha), method).mean * target)

    slopes = jax.jit(jax.grad(loss, argnums=(0, 1)))
    value = jax.jit(loss)
    alpha, eps = penalty.alpha, 1e-5
    by_alpha = (value(alpha + eps, 0.0) - value(alpha - eps, 0.0)) / (2 * eps)
    by_data = (value(alpha, eps) - value(alpha, -eps)) / (2 * eps)
    found = slopes(alpha, 0.0)
    np.testing.assert_allclose(found, (by_alpha, by_data), rtol=1e-6)


def test_a_working_set_is_enough(problem_factory):
    """Many locations, few of them active: the answer on a working set is that of all."""
    problem = problem_factory(1, n_locations=400, n_channels=30)
    for make in (lambda a: Elastic(a, 0.9), MCP):
        penalty = relative(problem, make, 0.4)
        estimate = ej.solve(problem, penalty, MAP(tol=1e-11))
        assert bool(estimate.diagnostics.converged)
        assert int(estimate.diagnostics.rounds) >= 1
        z = normalised(estimate)
        gain = np.asarray(problem.gain * problem.prior_scale)
        slope = np.tensordot(gain, np.asarray(problem.data) - np.tensordot(gain, z, 2), (0, 0))
        bound = np.linalg.norm(gain[..., 0], 2) ** 2
        again = penalty.prox(jnp.asarray(z + slope / bound), jnp.asarray(1 / bound))
        np.testing.assert_allclose(again, z, atol=1e-7)
