"""TF-MxNE: random and real problems against MNE-Python, certificates, limits, reweighting."""

import dataclasses
import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import esijax as ej
from esijax._ops import epsilon
from esijax.inference import MAP, Reweighted, select
from esijax.inference.sparse.base.gap import Limits
from esijax.inference.sparse.gabor.reweighting import (
    GaborTurn,
    minimise_coefs,
    minimise_coefs_again,
)
from esijax.inference.sparse.gabor.rounds import GaborFit
from esijax.models import L21, TimeFrequency
from esijax.models.penalties.least_squares import LeastSquares

TIGHT = MAP(tol=1e-12)
# sparse maps of a whole epoch explain little
pytestmark = pytest.mark.filterwarnings("ignore:the map explains:esijax.EsijaxWarning")


def weighted(problem):
    """Gain with depth weights, (rank, locations x orients)."""
    return np.asarray(problem.gain * problem.prior_scale).reshape(problem.rank, -1)


def normalised(estimate):
    """Sources in units of the prior's scale."""
    return np.asarray(estimate.posterior.sources / estimate.problem.prior_scale[..., None])


def theirs(problem, model, alpha):
    """Objective of MNE's solver, as it measures it."""
    solver = pytest.importorskip("mne.inverse_sparse.mxne_optim").tf_mixed_norm_solver
    data, share = np.asarray(problem.data), float(model.l1_ratio)
    _, _, energies, _ = solver(
        data,
        weighted(problem),
        alpha * (1 - share),
        alpha * share,
        wsize=np.array(model.wsize),
        tstep=np.array(model.tstep),
        n_orient=problem.n_orients,
        maxit=20_000,
        tol=1e-11 * 0.5 * np.sum(data**2),
        debias=False,
        return_gap=True,
        verbose="ERROR",
    )
    return energies[-1]


def their_alpha_max(problem, model):
    optim = pytest.importorskip("mne.inverse_sparse.mxne_optim")
    freqs, steps = (np.array(v) for v in zip(*model.frame(problem.n_times).shapes, strict=True))
    phi = optim._Phi(np.array(model.wsize), np.array(model.tstep), freqs * steps, problem.n_times)
    data, share = np.asarray(problem.data), float(model.l1_ratio)
    return optim.norm_epsilon_inf(weighted(problem), data, phi, share, problem.n_orients)


def check(problem, model, fraction):
    """Compare with MNE at a share of alpha_max."""
    largest = float(select.alpha_max(problem, model))
    assert largest == pytest.approx(their_alpha_max(problem, model), rel=1e-10)
    alpha = fraction * largest
    proof = ej.solve(problem, dataclasses.replace(model, alpha=alpha), TIGHT).diagnostics
    assert bool(proof.converged)
    assert -1e-12 <= float(proof.relative_gap) <= 1e-12
    assert float(proof.kkt) <= 1e-10
    assert float(proof.primal) <= theirs(problem, model, alpha) * (1 + 1e-8)


def small(problem_factory, orients, n_times, seed=7, **sizes):
    sizes = {"n_channels": 20, "n_locations": 60, "loose": 0.3, **sizes}
    return problem_factory(orients, n_times=n_times, seed=seed, **sizes)


@pytest.mark.slow
def test_long(problem_factory):
    check(small(problem_factory, 1, 200), TimeFrequency(1.0, 0.1, 64, 8), 0.3)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(50))
def test_random(problem_factory, seed):
    """Fifty problems: fixed, loose and free; 1, 50 and 200 samples; other windows and weights."""
    rng = np.random.default_rng(seed)
    orients, loose = [(1, 1.0), (3, 0.2), (3, 1.0)][seed % 3]
    n_times = (1, 50, 200)[seed // 3 % 3]
    sizes = {"n_channels": 30, "n_locations": 120, "loose": loose}
    problem = small(problem_factory, orients, n_times, seed, **sizes)
    windows = [(16, 4), (64, 4), (32, 16), ((16, 64), (4, 8))][int(rng.integers(4))]
    model = TimeFrequency(1.0, float(rng.uniform(0.01, 0.6)), *windows)
    check(problem, model, float(rng.uniform(0.2, 0.8)))


TWO = ((16, 64), (4, 8))
REAL = [
    *((grid, 1, (16, 4)) for grid in ("oct5", "oct6")),
    *((grid, 50, (16, 4)) for grid in ("oct5", "oct6")),
    ("oct5", 200, (64, 4)),
    ("oct5", 200, TWO),
    ("oct6", 200, TWO),
]


@pytest.mark.slow
@pytest.mark.parametrize("loose", [0.0, 0.2, 1.0])
@pytest.mark.parametrize(("grid", "n_times", "windows"), REAL, ids=str)
def test_real(evokeds, noise_cov, request, grid, n_times, windows, loose):
    """Right visual, 40 % of alpha_max; one window, and two."""
    forward = request.getfixturevalue("forward" if grid == "oct5" else "forward_oct6")
    start = 0.085 if n_times < 200 else 0.0
    evoked = evokeds["Right visual"].copy().apply_baseline((None, 0))
    evoked.crop(start, start + (n_times - 1) / evoked.info["sfreq"])
    problem = ej.from_mne(evoked, forward, noise_cov, loose=loose)
    check(problem, TimeFrequency(1.0, 0.05, *windows), 0.4)


# ------------------------------------------------------------------ proofs
@pytest.mark.slow
def test_the_certificate_written_out(problem_factory):
    """Objective, sources and support of a textbook proximal gradient on all coefficients."""
    problem = small(problem_factory, 3, 40, n_channels=10, n_locations=12)
    model = TimeFrequency(ej.relative(0.3), 0.2, 8, 4, weights=np.linspace(0.7, 1.4, 12))
    estimate = ej.solve(problem, model, TIGHT)
    proof = estimate.diagnostics
    fixed = dataclasses.replace(model, alpha=proof.alpha)
    frame, gain = fixed.frame(40), jnp.asarray(weighted(problem))
    bound = jnp.linalg.norm(gain, 2) ** 2

    def slope(c):
        x = frame.synthesis(c).reshape(-1, 40)
        return frame.analysis((gain.T @ (gain @ x - problem.data)).reshape(12, 3, 40))

    def body(_, c):
        return fixed.prox(c - slope(c) / bound, 1 / bound)

    start = jnp.zeros((12, 3, 2, frame.n_coefs))
    c = jax.jit(lambda c: jax.lax.fori_loop(0, 20_000, body, c))(start)
    x = frame.synthesis(c)
    residual = problem.data - gain @ x.reshape(-1, 40)
    primal = 0.5 * jnp.sum(residual**2) + fixed.value(c)
    assert float(proof.primal) <= float(primal) * (1 + 1e-10)
    np.testing.assert_allclose(normalised(estimate), x, atol=1e-5 * float(jnp.abs(x).max()))
    assert (np.any(normalised(estimate) != 0, (1, 2)) == np.any(x != 0, (1, 2))).all()
    # the gradient of the answer is in the dual ball, and touches it
    residual = problem.data - jnp.tensordot(problem.gain, estimate.posterior.sources, axes=2)
    pulled = (gain.T @ residual).reshape(12, 3, 40)
    assert float(fixed.polar(pulled)) == pytest.approx(float(proof.alpha), rel=1e-9)


@pytest.mark.slow
def test_without_sparsity_in_time_it_is_mxne(problem_factory):
    """l1_ratio = 0: a tight frame keeps the norms, so that answer and alpha_max are MxNE's."""
    problem = small(problem_factory, 3, 50)
    plain, tf = L21(1.0), TimeFrequency(1.0, 0.0, 16, 4)
    largest = float(select.alpha_max(problem, plain))
    assert float(select.alpha_max(problem, tf)) == pytest.approx(largest, rel=1e-12)
    alpha = 0.3 * largest
    want = ej.solve(problem, dataclasses.replace(plain, alpha=alpha), TIGHT)
    got = ej.solve(problem, dataclasses.replace(tf, alpha=alpha), TIGHT)
    assert float(got.diagnostics.primal) == pytest.approx(float(want.diagnostics.primal), rel=1e-11)
    np.testing.assert_allclose(normalised(got), normalised(want), atol=1e-6)
    # a little of it changes little
    near = ej.solve(problem, TimeFrequency(alpha, 1e-6, 16, 4), TIGHT)
    np.testing.assert_allclose(normalised(near), normalised(want), atol=1e-3)


@pytest.mark.slow
def test_a_start_does_not_matter(problem_factory):
    problem = small(problem_factory, 1, 50)
    model = TimeFrequency(ej.relative(0.3), 0.1, 16, 4)
    cold = ej.solve(problem, model, TIGHT)
    broad = ej.solve(problem, ej.models.MinimumNorm(), ej.inference.Linear())
    sparse = ej.solve(problem, L21(ej.relative(0.5)), MAP())
    for start in (cold, broad, sparse):
        warm = ej.solve(problem, model, TIGHT, init=start)
        np.testing.assert_allclose(normalised(warm), normalised(cold), atol=1e-6)


# ------------------------------------------------------------------ what it is for
@pytest.fixture(scope="module")
def transients(problem_factory):
    """Two sources, one early and one late, in noise."""
    problem = small(problem_factory, 1, 96, n_locations=40)
    scale = 1 / np.linalg.norm(np.asarray(problem.gain), axis=0)
    problem = eqx.tree_at(lambda p: p.prior_scale, problem, jnp.asarray(scale))
    z = np.zeros((40, 96))
    z[3, 16:48], z[27, 48:80] = 15 * np.hanning(32), 12 * np.hanning(32)
    white = weighted(problem) @ z + np.random.default_rng(1).standard_normal((20, 96))
    return problem.with_data(np.asarray(problem.whitener.colorer) @ white), z


def test_sources_come_and_go(transients):
    """The two places, silent where they are, closer to the truth than MxNE's."""
    problem, z = transients
    tf = ej.solve(problem, TimeFrequency(ej.relative(0.3), 0.3, 16, 4), MAP())
    assert set(np.flatnonzero(np.abs(tf.mean).sum((1, 2)))) == {3, 27}
    plain = ej.solve(problem, L21(ej.relative(0.3)), MAP())
    ours, others = (ej.inference.debias(e) for e in (tf, plain))
    errors = [np.sum((normalised(e)[:, 0] - z) ** 2) for e in (ours, others)]
    assert errors[0] < 0.5 * errors[1]
    assert not normalised(tf)[27, 0, :24].any()
    assert float(ours.explained_variance) > float(tf.explained_variance)


@pytest.mark.slow
def test_reweighting(transients):
    """Never more sources, the two places, less bias; one turn is the convex answer."""
    problem, z = transients
    model = TimeFrequency(ej.relative(0.2), 0.2, 16, 4)
    found, errors = [], []
    for n in (1, 2, 5):
        estimate = ej.solve(problem, model, Reweighted(n, tol=1e-8))
        assert bool(estimate.diagnostics.converged)
        assert -1e-12 <= float(estimate.diagnostics.relative_gap) <= 1e-8
        found.append(set(np.flatnonzero(np.abs(estimate.mean).sum((1, 2)))))
        errors.append(np.sum((normalised(estimate)[:, 0] - z) ** 2))
    assert found[2] <= found[1] <= found[0]
    assert found[2] == {3, 27}
    assert errors[2] < errors[0]
    once = ej.solve(problem, model, MAP(tol=1e-8))
    first = ej.solve(problem, model, Reweighted(1, tol=1e-8))
    np.testing.assert_allclose(normalised(first), normalised(once), atol=1e-12)


def root_objective(problem, model, alpha, c):
    """What reweighting lowers."""
    frame, share = model.frame(problem.n_times), float(model.l1_ratio)
    x = np.asarray(frame.synthesis(c)).reshape(-1, problem.n_times)
    residual = np.asarray(problem.data) - weighted(problem) @ x
    entries, roots = np.asarray(epsilon.moduli(c)), frame.roots()
    penalty = (1 - share) * np.sqrt(np.asarray(epsilon.block_sizes(c))).sum()
    penalty += share * (roots**2 * np.sqrt(entries / roots)).sum()
    return 0.5 * np.sum(residual**2) + alpha * penalty


@pytest.mark.slow
def test_reweighting_never_raises_its_objective(transients):
    """Turn by turn, on the coefficients of all locations."""
    problem, _ = transients
    model = TimeFrequency(1.0, 0.2, 16, 4)
    alpha = 0.2 * select.alpha_max(problem, model)
    frame, n = model.frame(problem.n_times), problem.n_locations
    fit = LeastSquares(problem.gain, problem.prior_scale, problem.data, jnp.full(n, alpha))
    gabor, limits = GaborFit(fit, model.l1_ratio, frame), Limits(*map(jnp.asarray, (1e-10, 9999)))
    blocks, columns = gabor.blocks(jnp.arange(n)), fit.columns(jnp.arange(n))
    start = jnp.zeros((n, 1, 2, frame.n_coefs))
    some = (blocks, columns, fit.data, fit.weight, start)
    turn = GaborTurn(*minimise_coefs(*some, limits))
    fixed = (gabor, blocks, columns, fit.weight)
    step = jax.jit(lambda t: minimise_coefs_again(*fixed, t, limits))
    values = [root_objective(problem, model, float(alpha), turn.c)]
    for _ in range(6):
        turn = step(turn)
        values.append(root_objective(problem, model, float(alpha), turn.c))
    assert all(b <= a * (1 + 1e-10) for a, b in itertools.pairwise(values))
    assert values[1] < values[0]


# ------------------------------------------------------------------ derivatives, refusals
@pytest.mark.slow
def test_derivative_along_l1_ratio(problem_factory):
    problem = small(problem_factory, 3, 24, n_channels=8, n_locations=9)
    alpha = 0.3 * select.alpha_max(problem, TimeFrequency(1.0, 0.2, 8, 4))

    @jax.jit
    def loss(share):
        model = TimeFrequency(alpha, share, 8, 4)
        return jnp.sum(ej.solve(problem, model, MAP(tol=1e-13)).posterior.sources ** 2)

    difference = (loss(0.2 + 1e-6) - loss(0.2 - 1e-6)) / 2e-6
    assert float(jax.jit(jax.grad(loss))(0.2)) == pytest.approx(float(difference), rel=1e-6)


@pytest.mark.slow
def test_alpha_max_has_a_derivative(problem_factory):
    problem = small(problem_factory, 1, 24, n_channels=8, n_locations=9)

    def largest(data):
        return select.alpha_max(problem.with_data(data), TimeFrequency(1.0, 0.2, 8, 4))

    at = problem.recording
    move = jnp.asarray(np.random.default_rng(0).standard_normal(at.shape))
    difference = (largest(at + 1e-6 * move) - largest(at - 1e-6 * move)) / 2e-6
    slope = jnp.sum(jax.grad(largest)(at) * move)
    assert float(slope) == pytest.approx(float(difference), rel=1e-6)


def test_refusals(problem_factory):
    problem = small(problem_factory, 1, 24, n_channels=8, n_locations=9)
    for share in (-0.1, 1.1, np.nan, "half", None):
        with pytest.raises(ej.InputError, match="l1_ratio must lie between 0 and 1, got"):
            TimeFrequency(1.0, share)
    for wsize, tstep, said in (
        (10, 2, "wsize must be a multiple of 4, got 10"),
        (16, 5, "tstep must be even, a divider of wsize = 16 and at most half of it, got 5"),
        (16, 16, "at most half of it, got 16"),
        (16.5, 4, r"wsize must be an integer, or several, got 16\.5"),
        ((), 4, "wsize must be an integer, or several"),
        ((16, 8), 4, r"must be as many, got \(16, 8\) and \(4,\)"),
    ):
        with pytest.raises(ej.InputError, match=said):
            TimeFrequency(1.0, 0.1, wsize, tstep)
    for alpha in (0.0, -1.0, np.nan):
        with pytest.raises(ej.InputError, match="alpha"):
            TimeFrequency(alpha)
    with pytest.raises(ej.InputError, match="one weight for each location"):
        ej.solve(problem, TimeFrequency(1.0, weights=np.ones((9, 24))), MAP())
    with pytest.raises(ej.InputError, match=r"weights must be \(9,\)"):
        ej.solve(problem, TimeFrequency(1.0, weights=np.ones(3)), MAP())
    for solver in ("newton", "fista"):
        with pytest.raises(ej.InputError, match="TimeFrequency takes"):
            ej.solve(problem, TimeFrequency(1.0), MAP(solver=solver))
