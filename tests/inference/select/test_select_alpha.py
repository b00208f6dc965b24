"""Alpha from the data: degrees of freedom against the dense Jacobian, rules against brute force."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

import esijax as ej
from esijax.inference import MAP, Reweighted, select
from esijax.models import L1, L21, Lrq

TIGHT = 1e-12
# a short list of fractions may well end at its best
EDGE = "ignore:the rule for alpha ran to the smallest:esijax.EsijaxWarning"
EMPTY = "ignore:MAP. every source is zero:esijax.EsijaxWarning"


@pytest.fixture(scope="module")
def problem(problem_factory):
    """Two sources among thirty, and noise of the assumed size."""
    problem = problem_factory(1, n_channels=16, n_locations=30, n_times=6, seed=3)
    gain = np.asarray(problem.gain[..., 0] * problem.prior_scale[:, 0])
    z = np.zeros((30, 6))
    strong = np.argsort(np.linalg.norm(gain, axis=0))[-6::5]
    z[strong] = 15 / np.linalg.norm(gain[:, strong], axis=0)[:, None]
    noise = np.random.default_rng(0).standard_normal((16, 6))
    return problem.with_data(np.asarray(problem.whitener.colorer) @ (gain @ z + noise))


def jacobian_trace(problem, penalty, method):
    """Trace of the dense Jacobian by central differences of the fitted data."""

    @jax.jit
    def fitted(white):
        recording = problem.whitener.colorer @ white
        return ej.solve(problem.with_data(recording), penalty, method).posterior.fitted()

    white, step, total = np.asarray(problem.data), 1e-5, 0.0
    for i in np.ndindex(white.shape):
        move = np.zeros(white.shape)
        move[i] = step
        total += float((fitted(white + move) - fitted(white - move))[i]) / (2 * step)
    return total


@pytest.mark.parametrize(
    ("kind", "penalty", "method"),
    [
        pytest.param("fixed", L21, MAP(tol=TIGHT), marks=pytest.mark.slow),
        ("free", L21, MAP(tol=TIGHT)),
        pytest.param("fixed", L1, MAP(tol=TIGHT), marks=pytest.mark.slow),
        ("free", L21, Reweighted(3, tol=TIGHT)),
    ],
)
def test_degrees_of_freedom(kind, penalty, method, request):
    problem = request.getfixturevalue(kind)
    penalty = penalty(0.3 * select.alpha_max(problem, penalty(1.0)))
    estimate = ej.solve(problem, penalty, method)
    df = float(select.degrees_of_freedom(estimate, penalty, method))
    assert df == pytest.approx(jacobian_trace(problem, penalty, method), rel=1e-6)


@pytest.mark.slow
def test_degrees_of_freedom_of_trials_add_up(trials):
    estimate = ej.solve(trials, L21(ej.relative(0.3)), MAP(tol=TIGHT))
    penalty = L21(estimate.hyper["alpha"])
    parts = [
        ej.solve(trials.with_data(d), penalty, MAP(tol=TIGHT)) for d in np.asarray(trials.recording)
    ]
    total = sum(float(select.degrees_of_freedom(e, penalty)) for e in parts)
    assert float(select.degrees_of_freedom(estimate, penalty)) == pytest.approx(total, rel=1e-6)
    linear = ej.solve(trials, ej.models.MinimumNorm(), ej.inference.Linear())
    with pytest.raises(ej.InputError, match="for MAP and Reweighted"):
        select.degrees_of_freedom(linear, penalty)


@pytest.mark.slow
def test_degrees_of_freedom_of_a_power(problem):
    """A stationary point: the derivative of the fixed point, not of the turns that led there."""
    penalty = Lrq(0.2 * select.alpha_max(problem, L21(1.0)), 2, 0.5)
    method = MAP(tol=TIGHT)
    estimate = ej.solve(problem, penalty, method)
    df = float(select.degrees_of_freedom(estimate, penalty, method))
    assert df == pytest.approx(jacobian_trace(problem, penalty, method), rel=1e-5)


def test_path(problem):
    """Warm or cold, the same; falling alpha."""
    fractions = (0.3, 0.9, 0.6)
    found = select.path(problem, L21(1.0), fractions, MAP(tol=TIGHT))
    largest = float(select.alpha_max(problem, L21(1.0)))
    for estimate, fraction in zip(found, sorted(fractions)[::-1], strict=True):
        assert float(estimate.hyper["alpha"]) == pytest.approx(fraction * largest)
        cold = ej.solve(problem, L21(fraction * largest), MAP(tol=TIGHT))
        np.testing.assert_allclose(estimate.mean, cold.mean, atol=1e-7 * np.abs(cold.mean).max())
    for bad in ([], [0.0], [np.nan]):
        with pytest.raises(ej.InputError, match="fractions"):
            select.path(problem, L21(1.0), bad)


def strongest(problem, penalty, method):
    estimate = ej.solve(problem, penalty, method)
    power = np.linalg.norm(np.asarray(estimate.posterior.sources[:, 0]), axis=-1)
    return estimate, np.flatnonzero(power > 0.3 * power.max())


@pytest.mark.slow
def test_sure_is_the_risk_on_average(problem):
    """Over draws of noise, its mean is that of the squared error of the fitted data."""
    gain = np.asarray(problem.gain[..., 0] * problem.prior_scale[:, 0])
    z = np.zeros((30, 6))
    z[[4, 11]] = 6 / np.linalg.norm(gain[:, [4, 11]], axis=0)[:, None]
    clean = gain @ z
    penalty = L21(5.0)
    noise = np.random.default_rng(1).standard_normal((200, 16, 6))
    solve = jax.jit(
        lambda y: ej.solve(
            problem.with_data(problem.whitener.colorer @ y), penalty, MAP(tol=1e-9)
        ).posterior.fitted()
    )
    excess = []
    for e in noise:
        y = clean + e
        fitted = np.asarray(solve(y))
        # E <e, fitted> = E df by Stein's lemma
        excess.append(np.sum(e * fitted))
    df = []
    for e in noise[:60]:
        p = problem.with_data(np.asarray(problem.whitener.colorer) @ (clean + e))
        df.append(float(select.degrees_of_freedom(ej.solve(p, penalty, MAP(tol=1e-9)), penalty)))
    spread = np.std(excess) / np.sqrt(len(excess)) + np.std(df) / np.sqrt(len(df))
    assert abs(np.mean(excess) - np.mean(df)) < 4 * spread


@pytest.mark.parametrize("method", [MAP(), Reweighted(5)], ids=["MAP", "Reweighted"])
@pytest.mark.filterwarnings(EDGE)
def test_by_sure_is_the_best_of_the_grid(problem, method):
    fractions = (0.8, 0.4, 0.2, 0.1)
    chosen = select.by_sure(problem, L21(1.0), method, fractions=fractions)
    largest = float(select.alpha_max(problem, L21(1.0)))
    scores = []
    for fraction in fractions:
        penalty = L21(fraction * largest)
        estimate = ej.solve(problem, penalty, method)
        rss = float(jnp.sum((problem.data - estimate.posterior.fitted()) ** 2))
        df = float(select.degrees_of_freedom(estimate, penalty, method))
        scores.append(rss + 2 * df - problem.data.size)
    assert float(chosen.alpha) == pytest.approx(fractions[int(np.argmin(scores))] * largest)
    # the support of the truth is there
    estimate, found = strongest(problem, chosen, method)
    gain = np.asarray(problem.gain[..., 0] * problem.prior_scale[:, 0])
    strong = np.argsort(np.linalg.norm(gain, axis=0))[-6::5]
    assert set(found) >= set(strong) or set(found) <= set(strong)
    assert set(found) & set(strong)


@pytest.mark.filterwarnings(EDGE)
def test_by_gcv(problem):
    chosen = select.by_gcv(problem, L21(1.0), fractions=(0.8, 0.4, 0.2, 0.02))
    estimate = ej.solve(problem, chosen, MAP())
    assert int(estimate.diagnostics.n_active) > 0


@pytest.mark.filterwarnings(EDGE, EMPTY)
def test_by_cross_validation_is_the_best_of_the_grid(problem):
    """Rows left out one fold after the other, by hand."""
    fractions, folds = (0.8, 0.4, 0.2), 4
    chosen = select.by_cross_validation(problem, L21(1.0), folds=folds, fractions=fractions)
    largest = float(select.alpha_max(problem, L21(1.0)))
    fold = np.random.default_rng(0).permutation(problem.rank) % folds
    gain, data = np.asarray(problem.gain), np.asarray(problem.data)
    scores = []
    for fraction in fractions:
        error = 0.0
        for k in range(folds):
            rows = fold != k
            part = dataclasses.replace(
                problem,
                gain=jnp.asarray(gain * rows[:, None, None]),
                data=jnp.asarray(data * rows[:, None]),
            )
            estimate = ej.solve(part, L21(fraction * largest * rows.mean()), MAP())
            fitted = np.tensordot(gain, np.asarray(estimate.posterior.sources), 2)
            error += np.sum((data - fitted)[~rows] ** 2)
        scores.append(error)
    assert float(chosen.alpha) == pytest.approx(fractions[int(np.argmin(scores))] * largest)
    for folds in (1, 17):
        with pytest.raises(ej.InputError, match="folds"):
            select.by_cross_validation(problem, L21(1.0), folds=folds)


@pytest.mark.filterwarnings(EMPTY)
def test_by_hypergradient_reaches_the_criterion(problem):
    """Not above any point of a grid in alpha; weights lower it further."""

    def criterion(estimate):
        truth = 0.3 * problem.data  # any smooth target will do
        return jnp.sum((estimate.posterior.fitted() - truth) ** 2)

    largest = float(select.alpha_max(problem, L21(1.0)))

    def value(penalty):
        return float(criterion(ej.solve(problem, penalty, MAP(tol=1e-10))))

    grid = min(value(L21(f * largest)) for f in np.linspace(0.1, 0.95, 30))
    chosen = select.by_hypergradient(problem, L21(ej.relative(0.5)), criterion)
    assert value(chosen) <= grid * (1 + 1e-6)
    start = L21(0.2 * largest)
    both = select.by_hypergradient(problem, start, criterion, weights=True, max_iter=10)
    assert both.weights.shape == (30,)
    assert value(both) < value(start)
    held = select.by_hypergradient(problem, L21(ej.relative(0.5)), max_iter=5)
    assert 0.02 * largest <= float(held.alpha) <= 0.98 * largest * (1 + 1e-9)


def test_refusals(problem, fixed):
    with pytest.raises(ej.InputError, match="all zero"), pytest.warns(ej.EsijaxWarning):
        select.by_sure(ej.from_arrays(np.eye(3, 5), np.zeros((3, 2)), noise_cov=1.0), L21(1.0))
    with pytest.raises(ej.InputError, match="on the host"):
        jax.jit(lambda d: select.by_sure(problem.with_data(d), L21(1.0)).alpha)(problem.recording)
    with pytest.warns(ej.EsijaxWarning, match="smallest that was tried"):
        select.by_sure(problem.with_data(5 * problem.recording), L21(1.0), fractions=(0.9, 0.7))


@pytest.mark.slow
@pytest.mark.filterwarnings(EDGE)
@pytest.mark.parametrize("orients", [1, 3])
def test_sure_recovers_the_support(orients):
    """Four of seventy sources, columns of neighbours correlated 0.75: SURE's irMxNE has them."""
    rng, n_channels, n, times = np.random.default_rng(0), 100, 70, 4
    mixing = scipy.linalg.cholesky(scipy.linalg.toeplitz(0.75 ** np.arange(n * orients)))
    gain = (rng.standard_normal((n_channels, n * orients)) @ mixing).reshape(n_channels, n, orients)
    true = np.sort(rng.permutation(n)[:4])
    z = np.zeros((n, orients, times))
    z[true] = rng.standard_normal((4, orients, times))
    clean = np.tensordot(gain, z, 2)
    noise = rng.standard_normal(clean.shape)
    clean *= 4 * np.linalg.norm(noise) / np.linalg.norm(clean)
    problem = ej.from_arrays(gain, clean + noise, noise_cov=1.0)
    method = Reweighted(5)
    penalty = select.by_sure(problem, L21(1.0), method)
    found = np.flatnonzero(np.abs(ej.solve(problem, penalty, method).mean).sum(axis=(1, 2)))
    np.testing.assert_array_equal(found, true)
