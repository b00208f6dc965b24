"""MAP and Reweighted: proofs, equality of solvers, support recovery, derivatives, refusals."""

import dataclasses
import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

import esijax as ej
from esijax.inference import MAP, Reweighted, select
from esijax.models import L1, L21, Lrq

TIGHT = MAP(tol=1e-12)


def objective(problem, penalty, z):
    """Written out, dense."""
    gain = np.asarray(problem.gain * problem.prior_scale)
    residual = np.asarray(problem.data) - np.tensordot(gain, z, 2)
    return 0.5 * np.sum(residual**2) + float(penalty.value(jnp.asarray(z)))


def normalised(estimate):
    """Sources in units of the prior's scale."""
    return np.asarray(estimate.posterior.sources / estimate.problem.prior_scale[..., None])


def naive(problem, penalty, n=20_000):
    """Textbook proximal gradient."""
    gain = np.asarray(problem.gain * problem.prior_scale).reshape(problem.rank, -1)
    bound = np.linalg.norm(gain, 2) ** 2
    z = jnp.zeros((problem.n_locations, problem.n_orients, problem.n_times))
    flat, data = jnp.asarray(gain), problem.data

    def body(_, z):
        slope = flat.T @ (flat @ z.reshape(len(flat.T), -1) - data)
        return penalty.prox(z - slope.reshape(z.shape) / bound, jnp.asarray(1 / bound))

    return np.asarray(jax.jit(lambda z: jax.lax.fori_loop(0, n, body, z))(z))


TRUE = (3, 27)


@pytest.fixture(scope="module")
def sparse(problem_factory):
    """Two sources among forty, noise below; more samples than sensors."""
    problem = problem_factory(1, n_channels=15, n_locations=40, n_times=25, seed=5)
    gain = np.asarray(problem.gain)
    problem = eqx.tree_at(  # each source is heard alike
        lambda p: p.prior_scale, problem, jnp.asarray(1 / np.linalg.norm(gain, axis=0))
    )
    z = 20.0 * np.array([np.hanning(25), np.sin(np.arange(25))])
    clean = gain[:, list(TRUE), 0] * np.asarray(problem.prior_scale)[list(TRUE), 0] @ z
    noise = np.random.default_rng(1).standard_normal((15, 25))
    return problem.with_data(np.asarray(problem.whitener.colorer) @ (clean + noise))


@pytest.mark.parametrize(
    ("kind", "cls"),
    [
        ("free", L21),
        ("fixed", L1),
        pytest.param("fixed", L21, marks=pytest.mark.slow),
        pytest.param("free", L1, marks=pytest.mark.slow),
    ],
)
def test_the_minimum_by_four_ways(kind, cls, request):
    """Newton, coordinates, accelerated gradient, textbook: one objective; proof, exact zeros."""
    problem = request.getfixturevalue(kind)
    penalty = cls(0.3 * select.alpha_max(problem, cls(1.0)), np.linspace(0.7, 1.4, 20))
    newton = ej.solve(problem, penalty, TIGHT)
    bcd = ej.solve(problem, penalty, MAP(solver="bcd", tol=1e-12))
    fista = ej.solve(problem, penalty, MAP(solver="fista", tol=1e-10))
    best = objective(problem, penalty, naive(problem, penalty))
    for estimate, tol in ((newton, 1e-12), (bcd, 1e-12), (fista, 1e-10)):
        proof = estimate.diagnostics
        assert bool(proof.converged)
        assert -1e-12 <= float(proof.relative_gap) <= tol
        assert float(proof.kkt) <= 100 * tol
        reached = objective(problem, penalty, normalised(estimate))
        assert reached == pytest.approx(float(proof.primal), rel=1e-12)
        assert reached <= best * (1 + 1e-9)
        assert estimate.result == ej.estimate.RESULT.successful
    assert newton.std is None
    n_zero = int((np.asarray(newton.mean) == 0).sum())
    assert 0 < n_zero < newton.mean.size
    np.testing.assert_allclose(normalised(newton), normalised(fista), atol=1e-4)
    np.testing.assert_allclose(normalised(newton), normalised(bcd), atol=1e-5)
    want = np.tensordot(problem.gain, newton.posterior.sources, 2)
    np.testing.assert_allclose(newton.posterior.fitted(), want, atol=1e-10)


def test_tolerances(sparse):
    """The default's gap is below 1e-6; at 1e-8 the distance to the subdifferential is too."""
    for tol, kkt in ((1e-6, 1e-4), (1e-8, 1e-6), (1e-12, 1e-10)):
        proof = ej.solve(sparse, L21(ej.relative(0.1)), MAP(tol=tol)).diagnostics
        assert -1e-12 <= float(proof.relative_gap) <= tol
        assert float(proof.kkt) <= kkt


def test_long_data_are_rotated_exactly(sparse):
    """More samples than sensors: the minimum of the full data, and its zeros."""
    assert sparse.n_times > sparse.rank
    penalty = L21(0.3 * select.alpha_max(sparse, L21(1.0)))
    estimate = ej.solve(sparse, penalty, TIGHT)
    z = normalised(estimate)
    assert objective(sparse, penalty, z) == pytest.approx(float(estimate.diagnostics.primal), 1e-12)
    assert objective(sparse, penalty, z) <= objective(sparse, penalty, naive(sparse, penalty)) * (
        1 + 1e-10
    )


def test_support_is_recovered(sparse):
    """The two true sources, in amplitude order; reweighting has no others."""
    convex = ej.solve(sparse, L21(ej.relative(0.3)), MAP())
    power = np.linalg.norm(normalised(convex)[:, 0], axis=1)
    assert set(np.argsort(power)[-2:]) == set(TRUE)
    sharper = ej.solve(sparse, L21(ej.relative(0.1)), Reweighted(10))
    assert set(np.flatnonzero(np.abs(sharper.mean).sum((1, 2)))) == set(TRUE)
    # debiased, the fit gets better and the place stays
    for how in ("scale", "refit"):
        free = ej.inference.debias(convex, how)
        assert (np.any(free.mean != 0, axis=(1, 2)) == np.any(convex.mean != 0, axis=(1, 2))).all()
        assert float(free.explained_variance) > float(convex.explained_variance)
        assert any("debiased" in note for note in free.notes)


def test_debias_scale_is_the_least_squares_of_factors(sparse):
    """KKT of non-negative least squares for d - 1."""
    convex = ej.solve(sparse, L21(ej.relative(0.3)), TIGHT)
    free = ej.inference.debias(convex)
    x, y = np.asarray(convex.posterior.sources), np.asarray(free.posterior.sources)
    on = np.flatnonzero(np.any(x != 0, axis=(1, 2)))
    factor = np.array([y[i].ravel() @ x[i].ravel() / (x[i].ravel() @ x[i].ravel()) for i in on])
    np.testing.assert_allclose(y[on], x[on] * factor[:, None, None], rtol=1e-12)
    assert (factor >= 1 - 1e-12).all()
    residual = np.asarray(sparse.data) - np.tensordot(sparse.gain, y, 2)
    slope = np.array([np.sum(residual * np.tensordot(sparse.gain[:, i], x[i], 1)) for i in on])
    scale = np.sum(np.asarray(sparse.data) ** 2)
    assert (slope <= 1e-8 * scale).all()
    assert (np.abs(slope[factor > 1 + 1e-9]) <= 1e-8 * scale).all()
    with pytest.raises(ej.InputError, match="how must be"):
        ej.inference.debias(convex, "twice")
    linear = ej.solve(sparse, ej.models.MinimumNorm(), ej.inference.Linear())
    with pytest.raises(ej.InputError, match="sparse point estimates"):
        ej.inference.debias(linear)


def test_alpha_max_and_above(fixed):
    """Zero without a single step, said in a warning that names the way out."""
    largest = float(select.alpha_max(fixed, L21(1.0)))
    for alpha in (largest, 1.5 * largest):
        with pytest.warns(ej.EsijaxWarning, match=r"alpha_max = .*esijax.relative\(0.4\)"):
            estimate = ej.solve(fixed, L21(alpha), MAP())
        assert not np.asarray(estimate.mean).any()
        assert int(estimate.diagnostics.iterations) <= 1
        assert float(estimate.diagnostics.gap) == 0.0
    with pytest.warns(ej.EsijaxWarning, match=r"explains 0\.0 %"):
        below = ej.solve(fixed, L21(largest * (1 - 1e-6)), TIGHT)
    assert int(below.diagnostics.n_active) == 1


def test_too_few_steps_are_said(sparse):
    with pytest.warns(ej.EsijaxWarning, match="not converged after 1 iterations"):
        estimate = ej.solve(sparse, L21(ej.relative(0.05)), MAP(tol=1e-12, max_iter=1))
    assert estimate.result == ej.estimate.RESULT.not_converged
    assert float(estimate.diagnostics.relative_gap) > 1e-12


def test_init_changes_nothing(sparse):
    """Zero, minimum norm, the answer of another alpha: one minimum."""
    model = L21(ej.relative(0.2))
    plain = ej.solve(sparse, model, TIGHT)
    starts = (
        ej.solve(sparse, ej.models.MinimumNorm(), ej.inference.Linear()),
        ej.solve(sparse, L21(ej.relative(0.5)), MAP()),
        plain,
    )
    for start in starts:
        other = ej.solve(sparse, model, TIGHT, init=start)
        np.testing.assert_allclose(normalised(other), normalised(plain), atol=1e-7)
    assert int(other.diagnostics.rounds) <= 1
    with pytest.raises(ej.InputError, match="init has the shape"):
        ej.solve(sparse.with_data(sparse.recording[:, :5]), model, MAP(), init=plain)


@pytest.mark.parametrize("kind", ["fixed", "free"])
def test_powers(kind, request):
    """A stationary point, never above its start; one turn of Reweighted is MAP."""
    problem = request.getfixturevalue(kind)
    alpha = 0.3 * select.alpha_max(problem, L21(1.0))
    power = Lrq(alpha, 2, 0.5)
    convex = ej.solve(problem, L21(alpha), TIGHT)
    once = ej.solve(problem, L21(alpha), Reweighted(1, tol=1e-12))
    np.testing.assert_allclose(normalised(once), normalised(convex), atol=1e-12)
    values = [objective(problem, power, normalised(convex))]
    for n in (2, 4):
        some = ej.solve(problem, L21(alpha), Reweighted(n, tol=1e-12))
        values.append(objective(problem, power, normalised(some)))
    end = ej.solve(problem, power, MAP(tol=1e-10), init=some)
    values.append(objective(problem, power, normalised(end)))
    assert all(b <= a * (1 + 1e-12) for a, b in itertools.pairwise(values))
    assert float(end.diagnostics.kkt) <= 1e-8
    # by the definition
    z = normalised(end)
    gain = np.asarray(problem.gain * problem.prior_scale)
    slope = np.tensordot(gain, np.asarray(problem.data) - np.tensordot(gain, z, 2), ((0,), (0,)))
    on = np.any(z != 0, axis=(1, 2))
    norms = np.linalg.norm(z[on].reshape(on.sum(), -1), axis=1)[:, None, None]
    pull = 0.5 * float(alpha) * z[on] / norms**1.5
    np.testing.assert_allclose(slope[on], pull, atol=1e-7 * float(alpha))


def test_group_laplace_has_the_same_mode(free):
    r"""Integrating gamma out of GroupLaplace leaves alpha times the norm: its MAP is L21's."""
    alpha = 0.3 * float(select.alpha_max(free, L21(1.0)))
    prior = ej.models.GroupLaplace(alpha)
    size = free.n_orients * free.n_times
    sizes = {"n_locations": 1, "n_orients": free.n_orients, "n_times": free.n_times}
    gamma_prior = prior.local.distribution(sizes)
    log_gamma = np.linspace(-20, 12, 40_001)
    density = np.asarray(gamma_prior.log_prob(np.exp(log_gamma))).reshape(-1) + log_gamma
    norms = np.array([0.1, 0.5, 1.0, 2.0, 4.0])
    log_p = [
        scipy.special.logsumexp(density - 0.5 * size * log_gamma - 0.5 * n**2 * np.exp(-log_gamma))
        for n in norms
    ]
    np.testing.assert_allclose(np.diff(log_p), -alpha * np.diff(norms), rtol=1e-6)


def test_trials_are_solved_apart(trials):
    for method in (MAP(tol=1e-10), Reweighted(3, tol=1e-10)):
        together = ej.solve(trials, L21(ej.relative(0.3)), method)
        alpha = together.hyper["alpha"]
        for sources, data in zip(together.posterior.sources, trials.recording, strict=True):
            alone = ej.solve(trials.with_data(data), L21(alpha), method)
            np.testing.assert_allclose(sources, alone.posterior.sources, atol=1e-8)
        assert together.mean.shape == (4, 20, 3, 7)


def test_working_sets_grow(problem_factory):
    """More active locations than the first set holds, on the host and in one loop."""
    problem = problem_factory(1, n_channels=60, n_locations=300, n_times=40, seed=2)
    model = L21(0.1 * select.alpha_max(problem, L21(1.0)))
    host = ej.solve(problem, model, MAP(tol=1e-10))
    assert int(host.diagnostics.n_active) > 64
    assert int(host.diagnostics.rounds) > 1
    loop = eqx.filter_jit(lambda p, m: ej.solve(p, m, MAP(tol=1e-10)).posterior.sources)
    inside = loop(problem, model)
    np.testing.assert_allclose(inside, host.posterior.sources, atol=1e-6)
    rounds = []
    import esijax.inference.sparse.newton.descent as module

    original = module.working_set_step
    module.working_set_step = lambda *a: rounds.append(a[0]) or original(*a)
    try:
        ej.solve(problem.with_data(2 * problem.recording), model, MAP(tol=1e-10))
    finally:
        module.working_set_step = original
    assert len(set(rounds)) == len(rounds)  # each size is traced at most once


def test_one_location_one_time(problem_factory):
    problem = problem_factory(3, n_locations=2, n_times=1)
    for model in (L21(ej.relative(0.5)), L1(ej.relative(0.5))):
        estimate = ej.solve(problem, model, TIGHT)
        assert bool(estimate.diagnostics.converged)
    gain = np.random.default_rng(0).standard_normal((6, 1))
    with pytest.warns(ej.EsijaxWarning, match="a single location"):
        alone = ej.from_arrays(gain, 3 * gain, noise_cov=1.0)
    estimate = ej.solve(alone, L21(ej.relative(0.5)), TIGHT)
    # the soft-thresholded least squares solution, half of 3
    assert float(estimate.mean[0, 0, 0]) == pytest.approx(1.5)


def test_a_penalty_of_ones_own(fixed):
    """Value and prox suffice: proof by the subdifferential; a polar adds the gap."""

    class Ridged(ej.models.Penalty):
        def value(self, x):
            return self.alpha * (jnp.sum(jnp.abs(x)) + 0.5 * jnp.sum(x**2))

        def prox(self, x, step):
            step = step * self.alpha
            return jnp.sign(x) * jnp.maximum(jnp.abs(x) - step, 0.0) / (1.0 + step)

    penalty = Ridged(2.0)
    estimate = ej.solve(fixed, penalty, MAP(tol=1e-10))
    assert bool(estimate.diagnostics.converged)
    assert estimate.verdict()["gap"] is None
    best = objective(fixed, penalty, naive(fixed, penalty, 5000))
    assert objective(fixed, penalty, normalised(estimate)) <= best * (1 + 1e-10)
    with pytest.raises(ej.InputError, match="Ridged takes"):
        ej.solve(fixed, penalty, MAP(solver="newton"))
    with pytest.raises(ej.InputError, match="polar"):
        ej.solve(fixed, dataclasses.replace(penalty, alpha=ej.relative(0.3)), MAP())


def test_refusals(fixed):
    for bad in ({"solver": "magic"}, {"tol": 0.0}, {"max_iter": 0}, {"tol": np.nan}):
        with pytest.raises(ej.InputError, match=next(iter(bad))):
            MAP(**bad)
    with pytest.raises(ej.InputError, match="n must be"):
        Reweighted(0)
    with pytest.raises(ej.InputError, match="needs a penalty"):
        ej.solve(fixed, ej.models.MinimumNorm(), MAP())
    with pytest.raises(ej.InputError, match="minimum norm family"):
        ej.solve(fixed, L21(1.0), ej.inference.Linear())
    estimate = ej.solve(fixed, L21(ej.relative(0.5)), MAP())
    for ask in (
        lambda: estimate.sample(jax.random.key(0), 2),
        estimate.interval,
        lambda: estimate.exceedance(0.0),
        lambda: estimate.cov,
        lambda: estimate.kernel,
    ):
        with pytest.raises(ej.InputError, match="a point estimate has no"):
            ask()
