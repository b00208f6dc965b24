r"""What each penalty costs beside the mixed norm, and the certificate that it reached.

The sample subject's oct6 forward (8,003 locations), Right visual, 91 samples; compilation apart.
Run it whole: the ratios are to `L21` of the same orientation, in the same run.

    env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE OPENBLAS_NUM_THREADS=1 taskset -c 0 uv run pytest \
        benchmarks/test_penalties.py -o addopts= -m bench -s
"""

import time

import jax
import numpy as np
import pytest

import esijax as ej
from esijax.inference import MAP
from esijax.models import L1, L21, MCP, SISSY, TV, Elastic, LogSum, Lrq, SparseGroup

pytestmark = [pytest.mark.bench, pytest.mark.filterwarnings("ignore::esijax.EsijaxWarning")]
LOOSE = {"fixed": 0.0, "loose 0.2": 0.2}
PARCELS = 200
SLOW = {("SparseGroup", "loose 0.2"), ("TV", "loose 0.2"), ("SISSY", "loose 0.2")}
SHARE = ej.relative(0.4)
# penalty of a problem, tol
CASES = {
    "L21": (lambda _: L21(SHARE), 1e-6),
    "L1": (lambda _: L1(SHARE), 1e-6),
    "Lrq": (lambda _: Lrq(SHARE, 2, 0.5), 1e-6),
    "Elastic": (lambda _: Elastic(SHARE, 0.9), 1e-6),
    "MCP": (lambda _: MCP(SHARE), 1e-6),
    "LogSum": (lambda _: LogSum(SHARE), 1e-6),
    "SparseGroup": (lambda problem: SparseGroup(SHARE, 0.3, parcels(problem)), 1e-6),
    "TV": (lambda _: TV(ej.relative(0.01)), 1e-3),
    "SISSY": (lambda _: SISSY(ej.relative(0.003), 0.3), 1e-3),
}
MIXED: dict[str, float] = {}  # seconds of L21, by orientation


def parcels(problem):
    """Nearest of some locations spread over the cortex."""
    places = np.asarray(problem.geometry.positions)
    seeds, far = [0], np.full(len(places), np.inf)
    while len(seeds) < PARCELS:
        far = np.minimum(far, np.linalg.norm(places - places[seeds[-1]], axis=1))
        seeds.append(int(far.argmax()))
    return np.linalg.norm(places[:, None] - places[seeds], axis=2).argmin(axis=1)


@pytest.fixture(scope="session")
def problems(sample):
    """Both orientations, 91 samples from the flash on."""
    evoked, cov, forward = sample
    evoked = evoked.copy().crop(0.0, 90 / evoked.info["sfreq"])
    return {name: ej.from_mne(evoked, forward, cov, loose=v) for name, v in LOOSE.items()}


def timed(problem, model, method, rounds=3):
    """Median seconds of a solve after the first, and the proof of the last."""
    seconds = []
    while len(seconds) <= rounds and sum(seconds[1:]) < 60:
        start = time.perf_counter()
        estimate = jax.block_until_ready(ej.solve(problem, model, method))
        seconds.append(time.perf_counter() - start)
    middle = float(np.median(seconds[1:]))
    return middle, seconds[0] - middle, estimate.diagnostics


@pytest.mark.parametrize(
    ("name", "orientation"),
    [
        pytest.param(n, o, marks=[pytest.mark.slow] if (n, o) in SLOW else [])
        for o in LOOSE
        for n in CASES
    ],
)
def test_penalty(problems, capsys, name, orientation):
    """One line of the table."""
    make, tol = CASES[name]
    problem = problems[orientation]
    seconds, compilation, proof = timed(problem, make(problem), MAP(tol=tol))
    if name == "L21":
        MIXED[orientation] = seconds
    ratio = seconds / MIXED.get(orientation, np.nan)
    with capsys.disabled():
        print(
            f"\n| {name}, {orientation} | {seconds:.2f} s | {ratio:.1f} | +{compilation:.1f} s "
            f"| {int(proof.n_active)} | {float(proof.relative_gap):.0e} | {float(proof.kkt):.0e} "
            f"| {bool(proof.converged)} |"
        )
