r"""l2,1 (MxNE) against MNE-Python's solver: one gain, one alpha, equal measured gap over primal.

Times of a shared machine are best read in CPU seconds:

    env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE taskset -c 0 uv run pytest \
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
from esijax.inference import MAP, select

pytestmark = [
    pytest.mark.bench,
    pytest.mark.filterwarnings("ignore:the map explains:esijax.EsijaxWarning"),
]
RTOL = 1e-6
WHO = [
    "esijax",
    "mne",
    "mne, active_set_size 25",
    *(f"mne, active_set_size {n}" for n in (50, 100, 200)),
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
    problem = ej.from_mne(evoked, forward, cov, loose=0.0 if orients == 1 else 1.0)
    keep = np.sort(np.random.default_rng(0).permutation(problem.n_locations)[:n_locations])
    return eqx.tree_at(
        lambda p: (p.gain, p.prior_scale, p.orient_scale, p.geometry),
        problem,
        (
            problem.gain[:, keep],
            problem.prior_scale[keep],
            problem.orient_scale[keep],
            type(problem.geometry)(),
        ),
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
def test_path(problems, race, who, n_times):
    """Thirty warm-started solves down to 0.2 alpha_max against five cold ones at its end."""
    problem, largest = problems("Left Auditory", 1, 5124, n_times, 1.0)
    end = ej.models.L21(0.2 * largest)
    fractions = np.geomspace(0.99, 0.2, 30)

    def run():
        if who == "thirty, warm":
            return select.path(problem, end, fractions)
        return [jax.block_until_ready(_solved(problem, end)) for _ in range(5)]

    race(f"path down to 0.2 alpha_max, T = {n_times}", who, run, rounds=3)
