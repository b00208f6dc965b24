"""Cross-validation over trials and times, the L-curve, the evidence of the mixed norm."""

import dataclasses

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

import esijax as ej
from esijax.inference import MAP, select
from esijax.inference.select.alpha import corners
from esijax.inference.select.cross_validation import average_trials, leave_one_out
from esijax.models import L1, L21, MCP, Elastic

EDGE = "ignore:the rule for alpha ran to the smallest:esijax.EsijaxWarning"
EMPTY = "ignore:MAP. every source is zero:esijax.EsijaxWarning"
pytestmark = pytest.mark.filterwarnings(EDGE, EMPTY, "ignore:the map explains:esijax.EsijaxWarning")
FRACTIONS = (0.9, 0.6, 0.4, 0.25, 0.15, 0.05)


def sources(problem, n_times, size, rng):
    """Two of thirty, of the same strength at the sensors."""
    gain = np.asarray(problem.gain[..., 0] * problem.prior_scale[:, 0])
    strong = np.argsort(np.linalg.norm(gain, axis=0))[-6::5]
    z = np.zeros((30, n_times))
    z[strong] = size * rng.standard_normal((2, n_times))
    z[strong] /= np.linalg.norm(gain[:, strong], axis=0)[:, None]
    return gain @ z


@pytest.fixture(scope="module")
def problem(problem_factory):
    problem = problem_factory(1, n_channels=16, n_locations=30, n_times=12, seed=3)
    rng = np.random.default_rng(0)
    clean = sources(problem, 12, 15.0, rng)
    return problem.with_data(
        np.asarray(problem.whitener.colorer) @ (clean + rng.standard_normal((16, 12)))
    )


@pytest.fixture(scope="module")
def trials(problem):
    """Twelve trials of one response."""
    rng = np.random.default_rng(1)
    clean = sources(problem, 12, 0.8, rng)
    white = clean + rng.standard_normal((12, 16, 12))
    return problem.with_data(np.asarray(problem.whitener.colorer) @ white)


def fitted(gain, estimate):
    return np.tensordot(gain, np.asarray(estimate.posterior.sources), 2)


def test_over_trials(trials):
    """Averages of either side, by hand; the share is for the average of all."""
    chosen = select.by_cross_validation(
        trials, L21(1.0), over="trials", folds=3, fractions=FRACTIONS
    )
    data, gain = np.asarray(trials.data), np.asarray(trials.gain)
    scores = np.zeros(len(FRACTIONS))
    for k in range(3):
        test = np.arange(12) % 3 == k
        train = average_trials(trials, np.flatnonzero(~test))
        np.testing.assert_allclose(train.data, data[~test].mean(0) * np.sqrt(8))
        for i, share in enumerate(FRACTIONS):
            estimate = ej.solve(train, L21(ej.relative(share)), MAP())
            error = data[test].mean(0) - fitted(gain, estimate)
            scores[i] += 4 * np.sum(error**2)
    assert float(chosen.alpha.fraction) == pytest.approx(FRACTIONS[int(scores.argmin())])
    assert 0 < scores.argmin() < len(FRACTIONS) - 1


def test_over_times(problem):
    """Locations of the other times explain each row from the rest."""
    chosen = select.by_cross_validation(
        problem, L21(1.0), over="times", folds=3, fractions=FRACTIONS
    )
    gain = np.asarray(problem.gain * problem.prior_scale)
    data = np.asarray(problem.data)
    scores = np.zeros(len(FRACTIONS))
    for k in range(3):
        out = np.arange(12) // 4 == k
        train = eqx.tree_at(
            lambda p: (p.data, p.recording),
            problem,
            (problem.data[:, ~out], problem.recording[:, ~out]),
        )
        for i, share in enumerate(FRACTIONS):
            estimate = ej.solve(train, L21(ej.relative(share)), MAP())
            columns = gain[:, np.asarray(estimate.mean).any((1, 2)), 0]
            for row in range(16):
                rest = np.arange(16) != row
                x = np.linalg.lstsq(columns[rest], data[rest][:, out], rcond=None)[0]
                scores[i] += np.sum((data[row, out] - columns[row] @ x) ** 2)
    largest = float(select.alpha_max(problem, L21(1.0)))
    assert float(chosen.alpha) == pytest.approx(FRACTIONS[int(scores.argmin())] * largest)
    assert np.isinf(leave_one_out(np.eye(3), np.ones((3, 1))))


def test_by_lcurve(problem):
    """Circles through three points; a circle's curvature is one over its radius."""
    turn = np.linspace(-np.pi / 2, -np.pi, 9)  # bottom to left: as alpha falls
    circle = np.exp(3 + 0.5 * np.stack([np.cos(turn), np.sin(turn)], axis=1))
    np.testing.assert_allclose(corners(circle)[1:-1], 2.0, rtol=1e-6)
    assert np.isneginf(corners(circle)[[0, -1]]).all()
    largest = float(select.alpha_max(problem, L21(1.0)))
    chosen = select.by_lcurve(problem, L21(1.0))
    assert 0.05 * largest < float(chosen.alpha) < largest
    with pytest.raises(ej.InputError, match="three fractions"):
        select.by_lcurve(problem, L21(1.0), fractions=(0.5, 0.2))
    model = select.by_lcurve(problem, ej.models.MinimumNorm())
    assert float(model.lambda2) > 0


@pytest.mark.slow
def test_rules_take_other_penalties(problem):
    """Degrees of freedom from the derivative, for penalties without a closed form."""
    for penalty in (Elastic(1.0, 0.8), MCP(1.0)):
        chosen = select.by_sure(problem, penalty, MAP(tol=1e-9), fractions=(0.6, 0.3))
        assert float(chosen.alpha) > 0


def test_by_evidence_finds_the_alpha_that_made_the_data(problem_factory):
    """Sources drawn from the prior itself, many of them: alpha within a few per cent."""
    problem = problem_factory(1, n_channels=60, n_locations=80, n_times=15, seed=1)
    rng = np.random.default_rng(0)
    weights = np.linspace(0.5, 2.0, 80)
    for alpha in (2.0, 6.0):
        gamma = rng.gamma(8.0, 2 / (alpha * weights) ** 2)
        z = np.sqrt(gamma)[:, None] * rng.standard_normal((80, 15))
        gain = np.asarray(problem.gain[..., 0] * problem.prior_scale[:, 0])
        white = gain @ z + 0.02 * rng.standard_normal((60, 15))
        drawn = problem.with_data(np.asarray(problem.whitener.colorer) @ white)
        quiet = eqx.tree_at(lambda p: (p.gain, p.data), drawn, (50 * drawn.gain, 50 * drawn.data))
        chosen = select.by_evidence(quiet, L21(1.0, weights))
        assert float(chosen.alpha) == pytest.approx(alpha, rel=0.1)


def test_by_evidence_of_one_location():
    """Against the evidence itself, by quadrature; the bound is close where there is one source."""
    gain, data = np.ones((1, 1)), np.full((1, 40), 5.0)
    with pytest.warns(ej.EsijaxWarning, match="single"):
        problem = ej.from_arrays(gain, data, noise_cov=1.0)
    chosen = float(select.by_evidence(problem, L21(1.0)).alpha)
    energy, scale = float(np.sum(problem.data**2)), float(problem.prior_scale[0, 0])
    power = float(problem.gain[0, 0, 0] ** 2) * scale**2

    def evidence(alpha):
        def density(log):
            gamma = np.exp(log)
            total = 1 + power * gamma
            fit = -20 * np.log(total) - energy / (2 * total)
            return np.exp(fit + 20.5 * np.log(alpha**2 * gamma) - alpha**2 * gamma / 2 + 380)

        return np.log(quad(density, -12, 12, limit=400, points=[np.log(41 / alpha**2)])[0])

    grid = chosen * np.geomspace(0.5, 2.0, 61)
    best = grid[int(np.argmax([evidence(a) for a in grid]))]
    assert chosen == pytest.approx(best, rel=0.1)


def test_refusals(problem, trials):
    with pytest.raises(ej.InputError, match="over must be"):
        select.by_cross_validation(problem, L21(1.0), over="subjects")
    with pytest.raises(ej.InputError, match="needs a problem with single trials"):
        select.by_cross_validation(problem, L21(1.0), over="trials")
    for over in ("sensors", "times"):
        with pytest.raises(ej.InputError, match="is for an average"):
            select.by_cross_validation(trials, L21(1.0), over=over)
    with pytest.raises(ej.InputError, match=r"between 2 and 12 \(times\)"):
        select.by_cross_validation(problem, L21(1.0), over="times", folds=13)
    for penalty in (L1(1.0), MCP(1.0)):
        with pytest.raises(ej.InputError, match="by_evidence is for L21"):
            select.by_evidence(problem, penalty)
    with pytest.raises(ej.InputError, match="by_evidence is for L21"):
        select.by_evidence(trials, L21(1.0))
    evidence = select.by_evidence(problem, ej.models.MinimumNorm())
    assert dataclasses.replace(evidence).lambda2 > 0
    assert jnp.isfinite(evidence.lambda2)
