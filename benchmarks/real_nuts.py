"""NUTS on the sample subject: patches, M/EEG with one noise scale per sensor type.

    taskset -c 0,1 uv run python benchmarks/real_nuts.py [conditions] [--patches 200] [--loose 0]

Prints time, verdict, the hemisphere of the peak in the window of each response, and noise scales.
"""

import argparse
import os
import time
import warnings
from pathlib import Path

import jax
import mne
import numpy as np

jax.config.update("jax_enable_x64", True)
mne.set_log_level("ERROR")

import esijax as ej  # noqa: E402

ROOT = Path(os.environ.get("ESIJAX_DATA", "../shared/data")) / "sample"
# condition -> where it peaks, and when (s)
KNOWN = {
    "Right visual": ("left", 0.08, 0.10),
    "Left visual": ("right", 0.11, 0.13),
    "Right Auditory": ("left", 0.08, 0.10),
    "Left Auditory": ("right", 0.07, 0.11),
}


def problem(condition, forward, loose):
    """0 to 200 ms, baseline removed."""
    evoked = ej.io.read_evoked(ROOT / "audvis-ave.fif.gz", condition)
    evoked.info["bads"] = ["MEG 2443", "EEG 053"]
    evoked.apply_baseline((None, 0)).crop(0.0, 0.2)
    return ej.from_mne(evoked, forward, ej.io.read_noise_cov(ROOT / "audvis-cov.fif"), loose=loose)


def peaks(estimate, low, high):
    """Largest mean amplitude per hemisphere in the window, A m, and Pr(left larger)."""
    times = np.asarray(estimate.problem.times)
    window = np.flatnonzero((times >= low) & (times <= high))
    n_left = len(estimate.problem.labels.vertices[0])
    power = np.linalg.norm(np.asarray(estimate.mean)[..., window], axis=1).max(axis=1)
    draws = np.asarray(estimate.sample(jax.random.key(1), 50, at=(None, window)))
    each = np.linalg.norm(draws, axis=2).mean(axis=2)
    left = each[:, :n_left].max(axis=1) > each[:, n_left:].max(axis=1)
    return power[:n_left].max(), power[n_left:].max(), left.mean()


def run(condition, options):
    """Solve one condition and print what came out."""
    forward = ej.io.read_forward(ROOT / "audvis-oct6-fwd.fif")
    known = problem(condition, forward, options.loose)
    prior = ej.models.Components(ej.models.components.Patches(options.patches))
    noise = ej.models.noise.PerType().prepare(known)
    method = ej.inference.NUTS(options.warmup, options.samples, 4)
    start, cpu = time.perf_counter(), time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rough = ej.solve(
            known, prior, ej.inference.Laplace(num_maps=5), noise=noise, key=jax.random.key(1)
        )
        estimate = ej.solve(
            known,
            prior,
            method,
            noise=noise,
            init=rough,
            key=jax.random.key(0),
            progress=options.progress,
        )
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    verdict = estimate.verdict()
    side, low, high = KNOWN[condition]
    left, right, probability = peaks(estimate, low, high)
    scales = np.asarray(estimate.hyper["noise_scale"])
    print(f"\n{condition}: {wall:.0f} s, {cpu:.0f} CPU-s")
    print({k: round(v, 3) if isinstance(v, float) else v for k, v in verdict.items()})
    print("doubts:", estimate.diagnostics.doubts())
    print(f"peak left {left:.2e}, right {right:.2e}, Pr(left) {probability:.2f}; known: {side}")
    for name, column in zip(noise.types, scales.T, strict=True):
        print(f"noise scale {name}: {column.mean():.3f} +- {column.std():.3f}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("conditions", nargs="*", default=list(KNOWN))
    parser.add_argument("--patches", type=int, default=200)
    parser.add_argument("--loose", type=float, default=0.0)
    parser.add_argument("--warmup", type=int, default=200)
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--progress", action="store_true")
    options = parser.parse_args()
    for condition in options.conditions:
        run(condition, options)
