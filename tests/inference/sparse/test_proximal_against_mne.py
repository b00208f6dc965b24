"""Objectives of l2,1 and l1 against MNE-Python's solver, both solved tightly, before debiasing."""

import numpy as np
import pytest

import esijax as ej
from esijax.inference import MAP, select
from esijax.models import L1, L21

mixed_norm_solver = pytest.importorskip("mne.inverse_sparse.mxne_optim").mixed_norm_solver
TIGHT = MAP(tol=1e-12)
# sparse maps of one sample or of a whole epoch explain little
pytestmark = pytest.mark.filterwarnings("ignore:the map explains:esijax.EsijaxWarning")


def weighted(problem):
    """Gain with depth weights, (rank, locations x orients)."""
    return np.asarray(problem.gain * problem.prior_scale).reshape(problem.rank, -1)


def theirs(gain, data, alpha, n_orients):
    """Objective that MNE reaches at tol 1e-12 of the data's energy, recomputed."""
    x, active, _ = mixed_norm_solver(
        data,
        gain,
        alpha,
        maxit=10_000,
        tol=1e-12 * 0.5 * np.sum(data**2),
        debias=False,
        n_orient=n_orients,
        solver="bcd",
        verbose="ERROR",
    )
    norms = np.sqrt(np.sum((x**2).reshape(-1, n_orients * data.shape[1]), axis=1))
    return 0.5 * np.sum((data - gain[:, active] @ x) ** 2) + alpha * norms.sum()


def check(problem, fraction):
    """Compare l2,1 on all samples, and l1 on one."""
    gain, data = weighted(problem), np.asarray(problem.data)
    alpha = fraction * float(select.alpha_max(problem, L21(1.0)))
    proof = ej.solve(problem, L21(alpha), TIGHT).diagnostics
    assert -1e-12 <= float(proof.relative_gap) <= 1e-12
    assert float(proof.primal) <= theirs(gain, data, alpha, problem.n_orients) * (1 + 1e-8)
    one = problem.with_data(problem.recording[:, :1])
    alpha = fraction * float(select.alpha_max(one, L1(1.0)))
    proof = ej.solve(one, L1(alpha), TIGHT).diagnostics
    # with one sample and one orient per group MNE's solver is a lasso
    assert float(proof.primal) <= theirs(gain, data[:, :1], alpha, 1) * (1 + 1e-8)


@pytest.mark.parametrize(
    ("loose", "n_times"),
    [
        pytest.param(None, 1, id="fixed-1"),
        pytest.param(None, 50, id="fixed-50", marks=pytest.mark.slow),
        pytest.param(0.3, 1, id="loose-1"),
        pytest.param(0.3, 50, id="loose-50", marks=pytest.mark.slow),
        pytest.param(1.0, 1, id="free-1", marks=pytest.mark.slow),
        pytest.param(1.0, 50, id="free-50", marks=pytest.mark.slow),
    ],
)
def test_small(problem_factory, loose, n_times):
    orients = 1 if loose is None else 3
    problem = problem_factory(
        orients, loose=loose or 1.0, n_channels=20, n_locations=60, n_times=n_times, seed=7
    )
    check(problem, 0.3)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(50))
def test_random(problem_factory, seed):
    """Fifty problems of other sizes, orientations, lengths and weights."""
    rng = np.random.default_rng(seed)
    problem = problem_factory(
        int(rng.choice([1, 3])),
        loose=float(rng.uniform(0.1, 1)),
        n_channels=30,
        n_locations=120,
        n_times=int(rng.choice([1, 50, 200])),
        seed=seed,
    )
    check(problem, float(rng.uniform(0.15, 0.8)))


@pytest.mark.slow
@pytest.mark.parametrize("n_times", [1, 50, 200])
@pytest.mark.parametrize("loose", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("grid", ["oct5", "oct6"])
def test_real(evokeds, noise_cov, request, grid, loose, n_times):
    """Right visual, 40 % of alpha_max."""
    forward = request.getfixturevalue("forward" if grid == "oct5" else "forward_oct6")
    start = 0.085 if n_times < 200 else 0.0
    evoked = evokeds["Right visual"].copy().apply_baseline((None, 0))
    evoked.crop(start, start + (n_times - 1) / evoked.info["sfreq"])
    check(ej.from_mne(evoked, forward, noise_cov, loose=loose), 0.4)
