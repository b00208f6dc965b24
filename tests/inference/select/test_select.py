"""lambda2 from the data, against brute force on dense matrices."""

import dataclasses

import numpy as np
import pytest
import textbook

import esijax as ej
from esijax.inference import select

GRID = np.exp(np.linspace(np.log(1e-3), np.log(1e3), 241))
FORMULAS = {
    "MinimumNorm": textbook.weight_cov,
    "LORETA": lambda p: textbook.loreta_cov(p, 0.2),
}


@pytest.fixture(scope="module", params=["fixed", "trials"])
def problem(request, problem_factory):
    """With a few strong sources, so that each rule has an optimum inside its range."""
    problem = problem_factory(
        1 if request.param == "fixed" else 3,
        n_times=25,
        loose=0.3,
        seed=3,
        trials=None if request.param == "fixed" else 2,
    )
    rng = np.random.default_rng(4)
    lead = np.asarray(problem.whitener.colorer) @ textbook.flat(problem.gain)
    sources = np.zeros((lead.shape[1], 25))
    sources[rng.choice(len(sources), 4, replace=False)] = 3 * rng.standard_normal((4, 25))
    return problem.with_data(np.asarray(problem.recording) + lead @ sources)


def dense(problem, formula):
    """For each lambda2: log-evidence, GCV, log residual and log size, from the hat matrix."""
    cov = formula(problem)
    gain = textbook.flat(problem.gain)
    y = np.moveaxis(np.asarray(problem.data), -2, 0).reshape(len(gain), -1)
    out = []
    for lambda2 in GRID:
        book = textbook.Posterior(problem, cov, lambda2)
        hat = gain @ book.kernel
        left = y - hat @ y
        x = book.kernel @ y
        root = np.linalg.pinv(cov, hermitian=True)
        gcv = (left**2).sum() / np.trace(np.eye(len(hat)) - hat) ** 2
        size = np.sum(x * (root @ x))
        out.append((book.log_density(), gcv, np.log((left**2).sum()), np.log(size)))
    return np.array(out).T


@pytest.fixture(scope="module", params=FORMULAS)
def curves(request, problem):
    return problem, getattr(ej.models, request.param), dense(problem, FORMULAS[request.param])


STEP = np.log(GRID[1] / GRID[0])


def test_evidence_maximum(curves):
    problem, model, (evidence, *_) = curves
    best = select.by_evidence(problem, model()).lambda2
    assert abs(np.log(float(best) / GRID[evidence.argmax()])) <= STEP
    here = float(ej.solve(problem, model(best), ej.inference.Linear()).log_evidence)
    jacobian = problem.data.size / problem.rank * float(problem.whitener.log_pdet)
    assert here >= evidence.max() + jacobian - 1e-9
    for factor in (0.99, 1.01):
        other = ej.solve(problem, model(factor * float(best)), ej.inference.Linear())
        assert float(other.log_evidence) < here


def test_gcv_minimum(curves):
    problem, model, (_, gcv, *_) = curves
    best = select.by_gcv(problem, model()).lambda2
    assert abs(np.log(float(best) / GRID[gcv.argmin()])) <= STEP


def test_lcurve_corner(curves):
    """Largest curvature, by finite differences of the dense curve."""
    problem, model, (_, _, residual, size) = curves
    d = [np.gradient(v, STEP) for v in (residual, size)]
    dd = [np.gradient(v, STEP) for v in d]
    curvature = (d[0] * dd[1] - dd[0] * d[1]) / (d[0] ** 2 + d[1] ** 2) ** 1.5
    s2 = np.linalg.eigvalsh(np.asarray(model().normalised_cov(problem).sensor(problem.gain)))
    inside = (GRID > max(s2[0], 1e-12)) & (GRID < s2[-1])
    inside[:3] = inside[-3:] = False
    want = GRID[inside][curvature[inside].argmax()]
    best = float(select.by_lcurve(problem, model()).lambda2)
    assert abs(np.log(best / want)) <= 2 * STEP


def test_names_of_rules_in_solve(curves):
    problem, model, _ = curves
    for name, rule in select.RULES.items():
        by_name = ej.solve(problem, model(name), ej.inference.Linear())
        number = rule(problem, model()).lambda2
        assert float(by_name.hyper["lambda2"]) == pytest.approx(float(number), rel=1e-12)


def test_starting_value_does_not_matter(problem):
    found = [
        float(select.by_evidence(problem, ej.models.MinimumNorm(v)).lambda2) for v in (1e-3, 1e3)
    ]
    assert found[0] == found[1]


@pytest.mark.filterwarnings("ignore:the map explains:esijax.EsijaxWarning")
def test_eloreta_follows_lambda2(problem):
    """Its covariance changes with lambda2: the maximum over a grid of full solutions."""
    model = select.by_evidence(problem, ej.models.ELORETA())

    def evidence(lambda2):
        model = ej.models.ELORETA(lambda2)
        return float(ej.solve(problem, model, ej.inference.Linear()).log_evidence)

    best = evidence(float(model.lambda2))
    grid = [evidence(x) for x in np.exp(np.linspace(np.log(1e-3), np.log(1e3), 25))]
    assert best >= max(grid) - 1e-6
    assert max(grid) - min(grid) > 1


def test_edges_warn(fixed):
    """Pure noise of half the claimed size: the evidence wants no sources at all."""
    rng = np.random.default_rng(0)
    noise = np.asarray(fixed.whitener.colorer) @ (0.3 * rng.standard_normal((fixed.rank, 200)))
    with pytest.warns(ej.EsijaxWarning, match="edge of its range"):
        model = select.by_evidence(fixed.with_data(noise), ej.models.MinimumNorm())
    assert float(model.lambda2) == pytest.approx(1e6, rel=1e-3)


@pytest.mark.statistical
def test_evidence_recovers_the_prior_s_strength(problem_factory):
    """Sources drawn from the prior: lambda2 comes back within sampling error."""
    problem = problem_factory(1, n_times=2000, seed=6)
    truth = 0.1
    rng = np.random.default_rng(7)
    gain = textbook.flat(problem.gain)
    x = np.asarray(problem.prior_scale).ravel()[:, None] * rng.standard_normal(
        (gain.shape[1], 2000)
    )
    y = gain @ x / np.sqrt(truth) + rng.standard_normal((len(gain), 2000))
    problem = problem.with_data(np.asarray(problem.whitener.colorer) @ y)
    found = float(select.by_evidence(problem, ej.models.MinimumNorm()).lambda2)
    assert abs(np.log(found / truth)) < 0.06  # about four standard errors


def test_only_for_the_family(fixed):
    with pytest.raises((ej.InputError, TypeError)):  # the tests' own type checks come first
        select.by_evidence(fixed, None)


def test_silent_data_choose_one(fixed):
    with pytest.warns(ej.EsijaxWarning, match="all zero"):
        silent = fixed.with_data(np.zeros_like(fixed.recording))
    for rule in select.RULES.values():
        assert float(rule(silent, ej.models.ELORETA()).lambda2) == 1.0
    assert dataclasses.is_dataclass(silent)
