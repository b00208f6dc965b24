"""Fixtures, and the table of ratios at the end."""

import os
import time
from collections import defaultdict
from pathlib import Path

import jax
import mne
import pytest

jax.config.update("jax_enable_x64", True)
mne.set_log_level("ERROR")
COMPILE: dict[str, float] = {}


@pytest.fixture(scope="session")
def sample():
    """Right visual, 200 samples; noise covariance; oct6 forward in float64."""
    import esijax as ej

    root = Path(os.environ.get("ESIJAX_DATA", "../shared/data")) / "sample"
    if not root.exists():
        pytest.skip("no sample data: set ESIJAX_DATA")
    evoked = ej.io.read_evoked(root / "audvis-ave.fif.gz", "Right visual")
    evoked.info["bads"] = ["MEG 2443", "EEG 053"]
    evoked.apply_baseline((None, 0)).crop(0.0, 199 / evoked.info["sfreq"])
    assert evoked.data.shape[1] == 200
    forward = ej.io.read_forward(root / "audvis-oct6-fwd.fif")
    return evoked, ej.io.read_noise_cov(root / "audvis-cov.fif"), forward


@pytest.fixture
def race(benchmark):
    """Time a function: the first call apart (compilation), then the benchmark."""

    def run(group, who, function, rounds=5):
        benchmark.group = group
        benchmark.name = who
        start = time.perf_counter()
        function()
        first = time.perf_counter() - start
        result = benchmark.pedantic(function, rounds=rounds, iterations=1, warmup_rounds=0)
        if who == "esijax":
            COMPILE[group] = first - benchmark.stats.stats.median
        return result

    return run


def pytest_terminal_summary(terminalreporter, config):
    session = getattr(config, "_benchmarksession", None)
    if session is None:
        return
    groups = defaultdict(dict)
    for bench in session.benchmarks:
        groups[bench.group][bench.name] = bench.stats.median
    from threadpoolctl import threadpool_info

    cores = len(os.sched_getaffinity(0))
    blas = {i.get("architecture") for i in threadpool_info() if i["user_api"] == "blas"}
    write = terminalreporter.write_line
    write(f"\n{cores} core(s), BLAS {sorted(map(str, blas))}")
    write("| what | mne / esijax | esijax compiles in |\n|---|---|---|")
    for group, found in groups.items():
        if {"esijax", "mne"} <= set(found):
            write(f"| {group} | {found['mne'] / found['esijax']:.1f} | {COMPILE[group]:.1f} s |")
        elif "esijax" in found:
            write(f"| {group} | {1e3 * found['esijax']:.3f} ms (median) | {COMPILE[group]:.1f} s |")
