"""Doubts and adaptation of learned variances on the sample subject: the figures of docs/learned.md.

    ESIJAX_DATA=../shared/data uv run python benchmarks/learned_variances.py [doubts] [adapt]

Doubts: patches at 5 and -5 dB made by oct6, inverted by oct5, 10 data sets each; as they are, with
an artefact of 6 sd in one channel, with a noise covariance 4 times too small, by MEG with the lead
field of the average head, and made by a head with another skull that sits elsewhere. Adaptation:
three responses whose side is known, before and after.
"""

import os
import sys
import warnings
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import mne
import numpy as np

import esijax as ej
from esijax import simulate
from esijax.app.benchmark import study_of
from esijax.benchmark.scenarios import CLEAR, ERP, LOW, PATCH, _setting

DATA = Path(os.environ.get("ESIJAX_DATA", "../shared/data")) / "sample"
N = 10
WINDOWS = {
    "Right Auditory": (0.08, 0.10, "left"),
    "Left visual": (0.11, 0.13, "right"),
    "Right visual": (0.08, 0.11, "left"),
}


def solved(problem, network=None):
    """Estimate without its warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ej.EsijaxWarning)
        return ej.solve(problem, ej.models.ARD(), ej.inference.Unrolled(network))


def doubted(problem) -> bool:
    """Whether the estimate of a problem is doubted."""
    return bool(solved(problem).diagnostics.doubts())


def faults(problem, other, rng):
    """The same recording with each fault."""
    std = np.linalg.norm(problem.whitener.colorer, axis=1)
    spoiled, channel = np.array(problem.recording), rng.integers(len(std))
    spoiled[channel] += 6 * std[channel] * rng.standard_normal(spoiled.shape[1])
    w = problem.whitener
    half = eqx.tree_at(lambda w: (w.matrix, w.colorer), w, (2 * w.matrix, w.colorer / 2))
    parts = half, 2 * problem.gain, 2 * problem.data
    yield "none", problem
    yield "channel", problem.with_data(jnp.asarray(spoiled))
    yield "noise", eqx.tree_at(lambda p: (p.whitener, p.gain, p.data), problem, parts)
    if other is not None:
        yield "template's gain", other.with_data(problem.recording)


def doubts() -> None:
    """Share of doubted data sets: by channels, signal-to-noise ratio and fault."""
    files = {
        "evoked": "audvis-ave.fif.gz",
        "forward": "audvis-oct5-fwd.fif",
        "truth-forward": "audvis-oct6-fwd.fif",
        "noise-cov": "audvis-cov.fif",
        "bem": "three-layer-320-bem-sol.fif",
    }
    study = study_of({k: DATA / v for k, v in files.items()}, None, ())
    template = ej.io.template("biosemi64", meg=True, spacing="oct5").forward
    template["info"]["dev_head_t"] = study.info["dev_head_t"]
    average = type(study)(study.info, template, template, study.noise_cov, nave=study.nave)
    sources, rng = simulate.Patches(study.patches, 1, PATCH), np.random.default_rng(0)
    for picks in ("eeg", "meg"):
        other = average.problem(picks) if picks == "meg" else None
        for snr in (CLEAR, LOW):
            count: dict[str, int] = {}
            for case in _setting(study, sources, ERP(), snr, picks=picks).cases(N):
                for fault, problem in faults(case.problem, other, rng):
                    count[fault] = count.get(fault, 0) + doubted(problem)
            heads = _setting(study, sources, ERP(), snr, picks=picks, heads=study.wrong_heads)
            count["wrong head"] = sum(doubted(case.problem) for case in heads.cases(N))
            print(picks, f"{snr:g} dB, of {N}:", count, flush=True)


def adapt() -> None:
    """Log density of unseen channels and the hemisphere of the strongest source."""
    forward = ej.io.read_forward(DATA / "audvis-oct5-fwd.fif")
    noise_cov = ej.io.read_noise_cov(DATA / "audvis-cov.fif")
    for picks in ("eeg", "meg", None):
        problems = {}
        for condition, (tmin, tmax, _) in WINDOWS.items():
            evoked = ej.io.read_evoked(DATA / "audvis-ave.fif.gz", condition)
            evoked.info["bads"] = ["MEG 2443", "EEG 053"]
            evoked.apply_baseline((None, 0), verbose="ERROR").crop(tmin, tmax)
            problems[condition] = ej.from_mne(evoked, forward, noise_cov, picks=picks)
        network = ej.learn.adapt(None, list(problems.values()), key=0, steps=40, progress=False)
        print(picks or "both", network.about["adapted"], flush=True)
        for condition, problem in problems.items():
            x = 1e3 * np.asarray(problem.geometry.positions)[:, 0]
            peaks = [
                x[np.linalg.norm(solved(problem, w).mean, axis=1).max(axis=1).argmax()]
                for w in (None, network)
            ]
            print(f"  {condition} ({WINDOWS[condition][2]}): x of the strongest, mm", *peaks)


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    mne.set_log_level("ERROR")
    for name in sys.argv[1:] or ("doubts", "adapt"):
        {"doubts": doubts, "adapt": adapt}[name]()
