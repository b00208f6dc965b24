r"""l2,1 (MxNE) against MNE-Python's solver: one gain, one alpha, equal measured gap over primal.

Times of a shared machine are best read in CPU seconds:

    env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE OPENBLAS_NUM_THREADS=1 taskset -c 0 uv run \
        --with skglm==0.5 --with celer==0.7.4 pytest \
        benchmarks/test_sparse.py -o addopts= -m bench --benchmark-timer=time.process_time
"""

import os
from pathlib import Path

import equinox as eqx
import jax
import numpy as np
import pytest
from mne.inverse_sparse.mxne_optim import mixed_norm_solver

import esijax as ej
from esijax.inference import MAP, Reweighted, select

pytestmark = [
    pytest.mark.bench,
    pytest.mark.filterwarnings("ignore:the map explains:esijax.EsijaxWarning"),
    pytest.mark.filterwarnings("ignore:the rule for alpha ran:esijax.EsijaxWarning"),
]
RTOL = 1e-6
WHO = [
    "esijax",
    "mne",
    "mne, active_set_size 25",
    *(f"mne, active_set_size {n}" for n in (50, 100, 200)),
    "skglm",
    "celer",
]
# condition, orients, locations, times, alpha / alpha_max
CASES = {
    "visual, fixed, T = 200, 40 %": ("Right visual", 1, 5124, 200, 0.4),
    "auditory, fixed, T = 200, 40 %": ("Left Auditory", 1, 5124, 200, 0.4),
    "auditory, fixed, T = 200, 20 %": ("Left Auditory", 1, 5124, 200, 0.2),
    "visual, fixed, T = 200, 10 %": ("Right visual", 1, 5124, 200, 0.1),
    "visual, free, T = 200, 40 %": ("Right visual", 3, 5124, 200, 0.4),
    "auditory, free, T = 200, 40 %": ("Left Auditory", 3, 5124, 200, 0.4),
    "visual, fixed, T = 50, 40 %": ("Right visual", 1, 5124, 50, 0.4),
    "visual, fixed, T = 1, 40 %": ("Right visual", 1, 5124, 1, 0.4),
    "visual, 20,484 fixed, T = 200, 40 %": ("Right visual", 1, 20484, 200, 0.4),
    "auditory, 20,484 fixed, T = 200, 40 %": ("Left Auditory", 1, 20484, 200, 0.4),
}


@pytest.fixture(scope="session")
def problems(sample):
    """Problems by case, made once; every location set has the size of ico4."""
    _, cov, forward = sample
    made = {}

    def make(condition, orients, n_locations, n_times, fraction):
        key = (condition, orients, n_locations, n_times)
        if key not in made:
            made[key] = _problem(cov, forward, *key)
        problem = made[key]
        alpha = fraction * float(select.alpha_max(problem, ej.models.L21(1.0)))
        return problem, alpha

    return make


def _problem(cov, forward, condition, orients, n_locations, n_times):
    root = Path(os.environ.get("ESIJAX_DATA", "../shared/data")) / "sample"
    evoked = ej.io.read_evoked(root / "audvis-ave.fif.gz", condition)
    evoked.info["bads"] = ["MEG 2443", "EEG 053"]
    evoked.apply_baseline((None, 0))
    start = 0.0 if n_times == 200 else 0.08
    evoked.crop(start, start + (n_times - 1) / evoked.info["sfreq"])
    columns = orients == 1 and n_locations > 8003  # of the three axes, each a source of its own
    loose = 1.0 if orients == 3 or columns else 0.0
    problem = ej.from_mne(evoked, forward, cov, loose=loose)
    gain, scale = problem.gain, problem.prior_scale
    if columns:
        gain, scale = gain.reshape(problem.rank, -1, 1), scale.reshape(-1, 1)
    keep = np.sort(np.random.default_rng(0).permutation(len(scale))[:n_locations])
    return eqx.tree_at(
        lambda p: (p.gain, p.prior_scale, p.orient_scale, p.geometry),
        problem,
        (gain[:, keep], scale[keep], scale[keep], type(problem.geometry)()),
    )


def gap(gain, data, x, active, alpha, n_orients):
    """Relative gap of an answer, one function for both sides."""
    residual = data - gain[:, active] @ x
    slope = np.sqrt(np.sum((gain.T @ residual).reshape(-1, n_orients * data.shape[1]) ** 2, 1))
    norms = np.sqrt(np.sum(x.reshape(-1, n_orients * data.shape[1]) ** 2, axis=1))
    square = np.sum(residual**2)
    primal = 0.5 * square + alpha * norms.sum()
    bound = alpha / slope.max()
    s = np.clip(np.sum(data * residual) / square, -bound, bound)
    return (primal - s * np.sum(data * residual) + 0.5 * s**2 * square) / primal


def _skglm(gain, data, alpha):
    """Its tolerance is on the optimality conditions: the loosest whose gap is good enough."""
    pytest.importorskip("skglm")
    from skglm.datafits import QuadraticMultiTask
    from skglm.penalties import L2_1
    from skglm.solvers import MultiTaskBCD

    data, share = np.asfortranarray(data), alpha / len(data)

    def at(tol):
        solver = MultiTaskBCD(tol=tol, fit_intercept=False, max_iter=200)
        return solver.solve(gain, data, QuadraticMultiTask(), L2_1(share))[0]

    return _loosest(at, gain, data, alpha)


def _celer(gain, data, alpha):
    pytest.importorskip("celer")
    from celer.homotopy import mtl_path

    data, alphas = np.asfortranarray(data), [alpha / len(data)]
    return _loosest(
        lambda tol: mtl_path(gain, data, alphas=alphas, tol=tol)[1][..., 0].T, gain, data, alpha
    )


LOOSEST = {"skglm": _skglm, "celer": _celer}


def _loosest(at, gain, data, alpha):
    for tol in 10.0 ** -np.arange(2.0, 10.0):
        w = at(tol)
        on = np.any(w != 0, axis=1)
        if on.any() and gap(gain, data, w[on], on, alpha, 1) <= RTOL:
            return lambda: at(tol)
    raise AssertionError("no tolerance gives the gap asked for")


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("case", CASES)
def test_mixed_norm(problems, race, capsys, case, who):
    """From the whitened problem to the active sources."""
    _, orients, _, n_times, _ = CASES[case]
    problem, alpha = problems(*CASES[case])
    weighted = np.asarray(problem.gain * problem.prior_scale).reshape(problem.rank, -1)
    gain, data = np.asfortranarray(weighted), np.asarray(problem.data)
    model = ej.models.L21(alpha)
    estimate = ej.solve(problem, model, MAP(tol=RTOL))
    primal = float(estimate.diagnostics.primal)
    if who == "esijax":
        race(f"MxNE, {case}", who, lambda: jax.block_until_ready(_solved(problem, model)))
        z = np.asarray(estimate.posterior.sources / problem.prior_scale[..., None])
        on = np.any(z != 0, axis=(1, 2))
        x, active = z[on].reshape(-1, n_times), np.repeat(on, orients)
    elif who in LOOSEST:
        if orients == 3:
            pytest.skip(f"{who} has no blocks of three orientations by all times")
        theirs = LOOSEST[who](gain, data, alpha)
        race(f"MxNE, {case}", who, theirs, rounds=2)
        w = theirs()
        active = np.any(w != 0, axis=1)
        x = w[active]
    else:
        size = 10 if who == "mne" else int(who.split()[-1])

        def theirs():
            return mixed_norm_solver(
                data, gain, alpha, maxit=3000, tol=RTOL * primal, active_set_size=size,
                debias=False, n_orient=orients, solver="bcd", verbose="ERROR",
            )  # fmt: skip

        race(f"MxNE, {case}", who, theirs, rounds=2)
        x, active, _ = theirs()
    reached = gap(gain, data, x, active, alpha, orients)
    with capsys.disabled():
        print(f"\n{case}, {who}: {active.sum() // orients} active, relative gap {reached:.1e}")
    assert reached <= RTOL


def _solved(problem, model):
    return ej.solve(problem, model, MAP(tol=RTOL))


@pytest.mark.parametrize("who", ["thirty, warm", "five, cold"])
@pytest.mark.parametrize("n_times", [50, 200])
@pytest.mark.parametrize("condition", ["Left Auditory", "Right visual"])
def test_path(problems, race, who, n_times, condition):
    """Thirty warm-started solves down to 0.2 alpha_max against five cold ones at its end."""
    problem, largest = problems(condition, 1, 5124, n_times, 1.0)
    end = ej.models.L21(0.2 * largest)
    fractions = np.geomspace(0.99, 0.2, 30)

    def run():
        if who == "thirty, warm":
            return select.path(problem, end, fractions)
        return [jax.block_until_ready(_solved(problem, end)) for _ in range(5)]

    race(f"path down to 0.2 alpha_max, {condition}, T = {n_times}", who, run, rounds=3)


def test_sure_of_turns(problems, race):
    """Choose among ten alphas of irMxNE."""
    problem, largest = problems("Right Auditory", 1, 1996, 13, 1.0)
    model, grid, turns = ej.models.L21(largest), np.geomspace(0.9, 0.1, 10), Reweighted(10)
    race(
        "alpha of irMxNE by SURE, 1,996 locations, T = 13",
        "esijax",
        lambda: select.by_sure(problem, model, turns, fractions=grid),
        rounds=1,
    )


@pytest.mark.parametrize("who", ["esijax", "mne"])
def test_sure(problems, race, who):
    """Choose among fifteen alphas; MNE-Python by finite differences with random probes."""
    problem, largest = problems("Left Auditory", 1, 5124, 50, 1.0)
    grid = np.geomspace(1.0, 0.1, 15)
    if who == "esijax":
        model = ej.models.L21(largest)
        race(
            "alpha by SURE, T = 50",
            who,
            lambda: select.by_sure(problem, model, fractions=grid),
            rounds=2,
        )
        return
    from mne.inverse_sparse.mxne_inverse import _compute_mxne_sure
    from mne.utils import check_random_state

    weighted = np.asarray(problem.gain * problem.prior_scale).reshape(problem.rank, -1)
    gain, data = np.asfortranarray(weighted), np.asarray(problem.data)
    # its solver counts alpha in hundredths of alpha_max where the gain is scaled by it
    scaled = gain * (100.0 / largest)

    def theirs():
        return _compute_mxne_sure(
            data, scaled, 100.0 * grid, sigma=1, n_mxne_iter=1, maxit=3000, tol=1e-4, n_orient=1,
            active_set_size=10, debias=True, solver="bcd", dgap_freq=10,
            rng=check_random_state(0), verbose="ERROR",
        )  # fmt: skip

    race("alpha by SURE, T = 50", who, theirs, rounds=1)
