r"""TF-MxNE against MNE-Python's solver: one gain, one alpha, gap over primal 1e-6 on both sides.

    env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE OPENBLAS_NUM_THREADS=1 taskset -c 0 uv run pytest \
        benchmarks/test_time_frequency.py -o addopts= -m bench --benchmark-timer=time.process_time
"""

import jax
import numpy as np
import pytest
from mne.inverse_sparse.mxne_optim import tf_mixed_norm_solver

import esijax as ej
from esijax.inference import MAP, select

pytestmark = [
    pytest.mark.bench,
    pytest.mark.filterwarnings("ignore:the map explains:esijax.EsijaxWarning"),
]
RTOL = 1e-6
# loose, l1_ratio, wsize, tstep
CASES = {
    "fixed, windows of 16": (0.0, 0.05, 16, 4),
    "fixed, windows of 64": (0.0, 0.1, 64, 4),
    "fixed, windows of 16 and 64": (0.0, 0.1, (16, 64), (4, 8)),
    "free, windows of 64": (1.0, 0.1, 64, 4),
}


@pytest.mark.parametrize("who", ["esijax", "mne"])
@pytest.mark.parametrize("case", CASES)
def test_time_frequency(sample, race, capsys, case, who):
    """Right visual, 366 channels, 8,003 locations, T = 200, 40 % of alpha_max."""
    evoked, cov, forward = sample
    loose, ratio, wsize, tstep = CASES[case]
    problem = ej.from_mne(evoked, forward, cov, loose=loose)
    model = ej.models.TimeFrequency(1.0, ratio, wsize, tstep)
    alpha = 0.4 * float(select.alpha_max(problem, model))
    model = ej.models.TimeFrequency(alpha, ratio, wsize, tstep)
    gain = np.asarray(problem.gain * problem.prior_scale).reshape(problem.rank, -1)
    data = np.asarray(problem.data)

    def ours():
        return jax.block_until_ready(ej.solve(problem, model, MAP(tol=RTOL)).posterior.sources)

    def theirs():
        return tf_mixed_norm_solver(
            data, gain, alpha * (1 - ratio), alpha * ratio, wsize=wsize, tstep=tstep,
            n_orient=problem.n_orients, maxit=3000, tol=RTOL * float(proof.primal),
            debias=False, return_gap=True, verbose="ERROR",
        )  # fmt: skip

    if who == "esijax":
        race(f"TF-MxNE, {case}", who, ours)
        proof = ej.solve(problem, model, MAP(tol=RTOL)).diagnostics
        primal, gap, active = float(proof.primal), float(proof.gap), int(proof.n_active)
    else:
        proof = ej.solve(problem, model, MAP(tol=RTOL)).diagnostics
        race(f"TF-MxNE, {case}", who, theirs, rounds=1)
        _, mask, energies, gap = theirs()
        primal, active = energies[-1], mask.sum() // problem.n_orients
    with capsys.disabled():
        print(f"\n{case}, {who}: {active} active, objective {primal:.6f}, gap {gap / primal:.1e}")
    assert gap <= RTOL * primal
