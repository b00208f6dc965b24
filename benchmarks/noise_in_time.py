"""Noise in time, stated from baselines, against the sample subject's windows.

    taskset -c 0 uv run python benchmarks/noise_in_time.py [--samples]

First the directions of the MEG that no source reaches: variance of the noise in the window over
what is stated of it (1 is right), by the corrected baseline, by Omega from one evoked, and from
four; and the same along Omega. Then the evidence of 200 patches, their variances learned: that with
Omega (of one evoked, of four) less that of independent samples with the variance of the corrected
baseline, nats; and with a scale of the noise learned in both. Four bins of the window, or, with
`--samples`, its single samples.
"""

import argparse
import os
import warnings
from pathlib import Path

import jax
import mne
import numpy as np

jax.config.update("jax_enable_x64", True)
mne.set_log_level("ERROR")

import esijax as ej  # noqa: E402
from esijax.trust.silent import silent_directions  # noqa: E402

ROOT = Path(os.environ.get("ESIJAX_DATA", "../shared/data")) / "sample"
WINDOWS = {
    "Right visual": (0.08, 0.12),
    "Left visual": (0.105, 0.135),
    "Right Auditory": (0.08, 0.105),
    "Left Auditory": (0.07, 0.11),
}
BINS = 4


def power(problem, axes):
    """Variance at single samples, and of the columns that Omega makes independent."""
    both = (axes.T @ np.asarray(x) for x in (problem.samples, problem.data))
    return [float(np.mean(x**2)) for x in both]


def patches_evidence(problem, noise=None):
    """Log-evidence where patches (and the scale of the noise) are learned."""
    prior = ej.models.Components(ej.models.components.Patches(200))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # weak maps of single windows
        estimate = ej.solve(problem, prior, ej.inference.EM(), noise=noise)
    return float(estimate.log_evidence)


def main(samples):
    """Print both tables."""
    evokeds = {}
    for name in WINDOWS:
        evoked = ej.io.read_evoked(ROOT / "audvis-ave.fif.gz", name)
        evoked.info["bads"] = ["MEG 2443", "EEG 053"]
        evokeds[name] = evoked.pick("meg").apply_baseline((None, 0))
    cov = ej.io.read_noise_cov(ROOT / "audvis-cov.fif")
    forward = ej.io.read_forward(ROOT / "audvis-oct5-fwd.fif")
    pooled = ej.io.noise_time(list(evokeds.values()), cov)
    print("| condition | averages | window | baseline | one | along | four | along |", end="")
    print(" nats, one | four | learned, one | four |")
    print("|---" * 12 + "|")
    for name, (low, high) in WINDOWS.items():
        whole, found, nats, learned = {}, {}, {}, {}
        for how, omega in (("white", None), ("one", "auto"), ("four", pooled)):
            whole[how] = ej.from_mne(evokeds[name], forward, cov, loose=0.0, noise_time=omega)
        axes = silent_directions(whole["white"])
        for how, problem in whole.items():
            window, before = problem.crop(low, high), problem.crop(None, 0.0)
            if not samples:
                n = window.n_times // BINS
                window, before = window.binned(n), before.binned(n)
            if how == "white":
                level = float(np.mean(np.asarray(before.data) ** 2))
                window = window.with_noise_time(level * np.eye(window.n_times))
            found[how], nats[how] = power(window, axes), patches_evidence(window)
            learned[how] = patches_evidence(window, ej.models.noise.Scalar())
        cells = [found["white"][0], *found["one"], *found["four"]]
        more = [x[how] - x["white"] for x in (nats, learned) for how in ("one", "four")]
        print(
            f"| {name} | {evokeds[name].nave} | {1e3 * low:.0f}-{1e3 * high:.0f} ms | "
            + " | ".join(f"{x:.2f}" for x in cells)
            + " | "
            + " | ".join(f"{x:.0f}" for x in more)
            + " |",
            flush=True,
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", action="store_true")
    main(parser.parse_args().samples)
