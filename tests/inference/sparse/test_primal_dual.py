"""Total variation, SISSY and one's own maps: against a dense ADMM, proofs, bounds, refusals."""

import dataclasses

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest
import scipy.sparse

import esijax as ej
from esijax._ops.prox import tree_norm
from esijax.inference import MAP, select
from esijax.models import SISSY, TV, Analysis
from esijax.models.penalties import InTime, Term

TIGHT = MAP(tol=1e-9)
CHAIN = np.diff(np.eye(30), axis=0)
pytestmark = pytest.mark.filterwarnings("ignore:the map explains:esijax.EsijaxWarning")


@pytest.fixture(scope="module")
def problem():
    """A patch on a sheet of 6 x 5."""
    rng = np.random.default_rng(0)
    sheet = np.stack(np.meshgrid(np.arange(6), np.arange(5), [0.0]), -1).reshape(-1, 3) * 0.01
    gain, z = rng.standard_normal((20, 30)), np.zeros((30, 4))
    z[[7, 8, 13, 14]] = 4.0
    data = gain @ z + rng.standard_normal((20, 4))
    return ej.from_arrays(gain, data, noise_cov=1.0, positions=sheet)


def dense(problem, operator, n_rows):
    """Matrix of a map over locations, by columns."""
    eye = jnp.eye(problem.n_locations)[:, None, :]
    return np.asarray(operator(eye)).reshape(n_rows, -1)


def admm(problem, matrices, bounds, n=4000):
    """Textbook ADMM on dense matrices, rows of each under their norm: the least objective."""
    gain = np.asarray(problem.gain[..., 0] * problem.prior_scale[:, 0])
    data, m = np.asarray(problem.data), np.concatenate(matrices)
    bound = np.concatenate([np.full(len(a), b) for a, b in zip(matrices, bounds, strict=True)])
    rho = bound.max()
    inverse = np.linalg.inv(gain.T @ gain + rho * m.T @ m)
    u = w = np.zeros((len(m), data.shape[1]))
    for _ in range(n):
        z = inverse @ (gain.T @ data + rho * m.T @ (u - w))
        v = m @ z + w
        size = np.linalg.norm(v, axis=1)
        u = v * np.maximum(1 - bound / rho / np.maximum(size, 1e-300), 0)[:, None]
        w = v - u
    return 0.5 * np.sum((data - gain @ z) ** 2) + bound @ np.linalg.norm(m @ z, axis=1)


@pytest.mark.parametrize("name", [pytest.param("TV", marks=pytest.mark.slow), "SISSY"])
def test_on_the_sheet(problem, name):
    """Gap, distance, the same minimum as ADMM; flat or zero from the bound on, at once."""
    make = {"TV": TV, "SISSY": lambda a: SISSY(a, 0.4)}[name]
    bound = float(select.alpha_max(problem, make(1.0)))
    penalty = make(0.15 * bound).prepare(problem)
    estimate = ej.solve(problem, penalty, TIGHT)
    proof = estimate.diagnostics
    assert bool(proof.converged)
    assert -1e-12 <= float(proof.relative_gap) <= 1e-9
    alpha = 0.15 * bound
    edges = dense(problem, penalty.terms[0].operator, len(problem.geometry.edges))
    parts = [(edges, alpha), (np.eye(30), 0.4 * alpha)][: 1 + (name == "SISSY")]
    slow = admm(problem, *zip(*parts, strict=True))
    assert float(proof.primal) == pytest.approx(slow, rel=1e-7)
    beyond = dataclasses.replace(penalty, alpha=bound * 1.001)
    if name == "TV":
        far = ej.solve(problem, beyond, MAP())
    else:
        with pytest.warns(ej.EsijaxWarning, match="every source is zero"):
            far = ej.solve(problem, beyond, MAP())
        assert not far.mean.any()
    assert int(far.diagnostics.iterations) == 0
    z = np.asarray(far.posterior.sources / problem.prior_scale[..., None])
    np.testing.assert_allclose(z, np.broadcast_to(z[:1], z.shape), atol=1e-9)


def test_the_rim_counts_as_the_middle(problem):
    """On the mesh each border has at least the length that its rarer neighbours leave it."""
    edges = np.asarray(problem.geometry.edges)
    degree = np.bincount(edges.ravel(), minlength=30)
    weights = TV(1.0).prepare(problem).terms[0].operator.weights
    naive = [degree.mean() / min(degree[a], degree[b]) for a, b in edges]
    np.testing.assert_allclose(weights, naive, rtol=1e-12)
    few = edges[~np.any(edges == 3, axis=1)]
    rng = np.random.default_rng(1)
    alone = ej.from_arrays(
        rng.standard_normal((20, 30)), rng.standard_normal((20, 4)), noise_cov=1.0, edges=few
    )
    with pytest.raises(ej.InputError, match="1 locations have no neighbours"):
        ej.solve(alone, TV(1.0), MAP())


def test_zero_up_to_rounding_is_converged(problem):
    """Below the bound the answer may be zero all the same: rounding is not measured as a source."""
    bound = float(select.alpha_max(problem, SISSY(1.0, 0.4)))
    proof = ej.solve(problem, SISSY(0.9 * bound, 0.4), TIGHT).diagnostics
    assert bool(proof.converged)
    assert int(proof.iterations) <= 2000
    assert float(proof.primal) == pytest.approx(0.5 * float(jnp.sum(problem.data**2)), rel=1e-12)


@pytest.mark.slow
def test_what_no_map_sees(problem):
    """A gap for a matrix of which nothing is known, whose null space are the constants."""
    found = ej.solve(problem, Analysis(3.0, CHAIN), MAP(tol=1e-8)).diagnostics
    assert bool(found.converged)
    assert -1e-12 <= float(found.relative_gap) <= 1e-8
    slow = admm(problem, [CHAIN], [3.0])
    assert float(found.primal) == pytest.approx(slow, rel=1e-7)


@pytest.mark.slow
def test_the_dual_point_is_feasible_near_the_minimum(problem):
    """There the part of the gradient that no map sees is the small rest of a large number."""
    penalty = Analysis(3.0, CHAIN)
    fit = penalty.least_squares(problem, problem.data)
    shape = (30, 1, 4)

    @jax.jit
    def lack(residual):
        right = fit.adjoint(residual - fit.predict(penalty.unseen_fit(fit, residual)))
        u = penalty.restore(penalty.images(jnp.zeros(shape)), right)
        return tree_norm(right - penalty.transposed(u, shape)) / tree_norm(right)

    rng, minimum = np.random.default_rng(0), penalty.unseen_fit(fit, problem.data)
    for size in 10.0 ** rng.uniform(-13, -5, 80):
        z = minimum + size * jnp.asarray(rng.standard_normal(shape))
        assert float(lack(problem.data - fit.predict(z))) < 1e-12


@pytest.mark.slow
def test_operators_of_ones_own(problem):
    """Matrix, sparse matrix, callable and lineax operator are the same map."""
    shape = jax.ShapeDtypeStruct((30, 1, 4), jnp.float64)

    def chained(z):
        return z[1:] - z[:-1]

    found = []
    for operator in (
        CHAIN,
        scipy.sparse.csr_array(CHAIN),
        chained,
        lx.FunctionLinearOperator(chained, shape),
    ):
        estimate = ej.solve(problem, Analysis(3.0, operator), MAP(tol=1e-8))
        assert bool(estimate.diagnostics.converged)
        found.append(float(estimate.diagnostics.primal))
    np.testing.assert_allclose(found, found[0], rtol=1e-7)


@pytest.mark.slow
def test_in_time(problem):
    """Squares of differences in time and sparse locations; a large weight makes courses flat."""
    for share, flat in ((1e-6, False), (1e4, True)):
        terms = (Term(lambda z: z, 1.0), Term(InTime(), share, norm="squares"))
        estimate = ej.solve(problem, Analysis(3.0, terms), MAP(tol=1e-7))
        assert bool(estimate.diagnostics.converged)
        assert float(estimate.diagnostics.relative_gap) <= 1e-7
        rough = np.abs(np.diff(np.asarray(estimate.mean), axis=-1)).max()
        assert (rough < 1e-2 * np.abs(estimate.mean).max()) == flat
    fused = Analysis(3.0, (Term(lambda z: z, 0.5), Term(InTime(), 1.0, norm="entries")))
    estimate = ej.solve(problem, fused, MAP(tol=1e-8))
    again = sum(float(t.value(estimate.posterior.sources, 3.0)) for t in fused.terms)
    assert again > 0
    assert bool(estimate.diagnostics.converged)


def test_refusals(problem):
    gain = np.random.default_rng(0).standard_normal((6, 9))
    bare = ej.from_arrays(gain, np.ones((6, 2)), noise_cov=1.0)
    for penalty in (TV(1.0), SISSY(1.0)):
        with pytest.raises(ej.InputError, match="needs neighbours"):
            ej.solve(bare, penalty, MAP())
    with pytest.raises(ej.InputError, match="ratio"):
        SISSY(1.0, -0.1)
    with pytest.raises(ej.InputError, match="norm must be"):
        Term(CHAIN, norm="huber")
    with pytest.raises(ej.InputError, match="share"):
        Term(CHAIN, 0.0)
    with pytest.raises(ej.InputError, match="finite matrix"):
        Analysis(1.0, np.full((2, 3), np.nan))
    with pytest.raises(ej.InputError, match="one term at least"):
        Analysis(1.0)
    with pytest.raises(ej.InputError, match="does not take sources"):
        ej.solve(problem, Analysis(1.0, np.eye(4)), MAP())
    with pytest.raises(ej.InputError, match='"primal-dual", "condat-vu", "admm"'):
        ej.solve(problem, TV(1.0), MAP(solver="fista"))


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["condat-vu", "admm"])
@pytest.mark.parametrize("penalty", [TV(3.0), SISSY(3.0, 0.4)], ids=["TV", "SISSY"])
def test_three_ways_to_one_minimum(problem, penalty, solver):
    """Condat and Vu's iteration and ADMM have a gap too, and the objective of the default."""
    found = [
        ej.solve(problem, penalty, MAP(solver, tol=1e-9)).diagnostics for solver in ("auto", solver)
    ]
    assert all(bool(f.converged) and -1e-12 <= float(f.relative_gap) <= 1e-9 for f in found)
    assert float(found[0].primal) == pytest.approx(float(found[1].primal), rel=2e-9)


@pytest.mark.slow
@pytest.mark.parametrize("make", [TV, lambda a: SISSY(a, 0.4)], ids=["TV", "SISSY"])
def test_derivative(problem, make):
    """Along alpha and along the data, forwards and backwards: central differences, 1e-6."""
    rng = np.random.default_rng(3)
    into, along = jnp.asarray(rng.standard_normal((30, 1, 4))), jnp.asarray(problem.data)

    @jax.jit
    def seen(alpha, more):
        moved = dataclasses.replace(problem, data=problem.data + more * along)
        return jnp.sum(into * ej.solve(moved, make(alpha), MAP(tol=1e-12)).posterior.sources)

    at, h = (jnp.asarray(3.0), jnp.zeros(())), 1e-5
    slopes = jax.jit(jax.grad(seen, argnums=(0, 1)))(*at)
    for i, slope in enumerate(slopes):
        step = [h * (j == i) for j in range(2)]
        up, down = seen(at[0] + step[0], at[1] + step[1]), seen(at[0] - step[0], at[1] - step[1])
        assert float(slope) == pytest.approx(float(up - down) / (2 * h), rel=1e-6)
        forward = jax.jit(lambda a, b, i=i: jax.jvp(seen, (a, b), (1.0 * (i == 0), 1.0 * (i == 1))))
        assert float(forward(*at)[1]) == pytest.approx(float(slope), rel=1e-8)
