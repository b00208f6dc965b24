"""What a covariance in time is worth: error, coverage of single times and of 50 ms means.

    taskset -c 0 uv run python benchmarks/time_models.py [n] [own|others|real]

Sample subject, MEG and EEG, fixed orientation, 200 samples at 500 Hz, five patches active, -10 and
0 dB of whitened power; hyper-parameters by EM, variances without a prior; n data sets each.
"own": the truth is on the 60 patches of the model. "others": it is on 200, the model has 100 and,
or not, a remainder of all locations, as rough as the noise or as smooth as the sources. Relative
error of the map; coverage of 90 % bands where the map is above a
fifth of its largest (root mean square). "real": four responses of the subject, 100 patches, their
evidence and the side of the strongest source.
"""

import os
import sys
import time
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import mne
import numpy as np
import numpyro.distributions as dist

import esijax as ej

DATA = Path(os.environ.get("ESIJAX_DATA", "../shared/data")) / "sample"
N_TIMES, SFREQ, ACTIVE, BIN = 200, 500.0, 5, 25
T, NOISE = ej.models.time, ej.models.noise


def problem_of():
    """The subject's sensors and lead field; data to be replaced."""
    evoked = ej.io.read_evoked(DATA / "audvis-ave.fif.gz", "Right visual")
    evoked.info["bads"] = ["MEG 2443", "EEG 053"]
    info = evoked.info.copy()
    with info._unlock():
        info["sfreq"] = SFREQ
    data = np.asarray(evoked.data)[:, :N_TIMES]
    evoked = mne.EvokedArray(data, info, tmin=0.0, nave=evoked.nave, verbose="ERROR")
    forward = ej.io.read_forward(DATA / "audvis-oct5-fwd.fif")
    return ej.from_mne(evoked, forward, ej.io.read_noise_cov(DATA / "audvis-cov.fif"), loose=0.0)


def courses(kind, rng, times):
    """Truth: autoregressions of coefficient .95, three Gabor atoms each, or independent samples."""
    if kind == "iid":
        return rng.standard_normal((ACTIVE, len(times)))
    if kind == "AR(1)":
        out = rng.standard_normal((ACTIVE, len(times)))
        for k in range(1, len(times)):
            out[:, k] = 0.95 * out[:, k - 1] + np.sqrt(1 - 0.95**2) * out[:, k]
        return out
    out = np.zeros((ACTIVE, len(times)))
    for course in out:
        for _ in range(3):
            at, width, f = rng.uniform(0.05, 0.35), rng.uniform(0.01, 0.05), rng.uniform(3, 12)
            atom = np.exp(-0.5 * ((times - at) / width) ** 2) * np.cos(2 * np.pi * f * (times - at))
            course += rng.standard_normal() * atom
        course /= np.abs(course).max()
    return out


def noise_of(coefficient, rng, shape):
    """White noise, or an autoregression of unit variance."""
    out = rng.standard_normal(shape)
    for k in range(1, shape[1]):
        out[:, k] = coefficient * out[:, k - 1] + np.sqrt(1 - coefficient**2) * out[:, k]
    return out


def simulated(problem, truth, kind, snr, coefficient, seed):
    """Data in the caller's units, and the true map."""
    rng = np.random.default_rng(seed)
    prior = ej.models.Components(ej.models.components.Patches(truth)).prepare(problem)
    columns = np.asarray(prior.parts(problem)[0].columns) * np.asarray(problem.prior_scale)
    chosen = rng.choice(columns.shape[1], ACTIVE, replace=False)
    sources = columns[:, chosen] @ courses(kind, rng, problem.times)
    signal = np.asarray(problem.gain)[..., 0] @ sources
    size = np.sqrt(10 ** (snr / 10) / np.mean(signal**2))
    white = size * signal + noise_of(coefficient, rng, signal.shape)
    recording = problem.whitener.colorer @ jnp.asarray(white)
    return problem.with_data(recording), size * sources * float(problem.source_unit)


def models(which, coefficient):
    """Models by name, each with its noise."""
    size = 60 if which == "own" else 100
    patches = ej.models.Components(ej.models.components.Patches(size), None)
    smooth = T.SquaredExponential(dist.LogNormal(-4, 0.5))
    rough = T.Autoregressive(1)
    learned = NOISE.InTime(NOISE.Scalar(), T.Autoregressive(1))
    white = NOISE.White()
    if which == "others":
        iid = ej.models.Sum(patches, ej.models.Components(["iid"], None))
        return {
            "static": (patches, white),
            "static, remainder": (iid, white),
            "smooth": (ej.models.Kronecker(patches, smooth, rest=None), white),
            "smooth, remainder": (ej.models.Kronecker(patches, smooth), white),
            "smooth, smooth remainder": (ej.models.Kronecker(iid, smooth, rest=None), white),
        }
    out = {
        "static": (patches, white),
        "AR(1)": (ej.models.Kronecker(patches, rough, rest=None), white),
        "smooth": (ej.models.Kronecker(patches, smooth, rest=None), white),
    }
    if coefficient:
        out["smooth, AR noise"] = (ej.models.Kronecker(patches, smooth, rest=None), learned)
    return out


def scores(estimate, truth):
    """Relative error of the map, coverage of single times and of 50 ms means."""
    mean = np.asarray(estimate.mean)[:, 0]
    size = np.sqrt(np.mean(mean**2, axis=1))
    hot = np.flatnonzero(size > 0.2 * size.max())[:40]
    lower, upper = (np.asarray(x)[:, 0] for x in estimate.interval(0.9, at=(hot, None)))
    single = np.mean((lower <= truth[hot]) & (truth[hot] <= upper))
    weights = np.zeros((len(hot), *estimate.problem.gain.shape[1:]))
    weights[np.arange(len(hot)), hot] = float(estimate.problem.source_unit)
    found = estimate.samples.courses(jnp.asarray(weights))
    bins = np.kron(np.eye(N_TIMES // BIN), np.full((1, BIN), 1 / BIN))
    centre = np.asarray(found.mean[0]) @ bins.T
    root = np.eye(N_TIMES) if found.root is None else np.asarray(found.root[0])
    variance = np.broadcast_to(np.asarray(found.variance[0]), (len(hot), root.shape[1]))
    std = np.sqrt(variance @ ((bins @ root) ** 2).T)
    means = np.mean(np.abs(truth[hot] @ bins.T - centre) <= 1.645 * std)
    return np.linalg.norm(mean - truth) / np.linalg.norm(truth), single, means


def peak_of(estimate, side, window=(0.06, 0.16)):
    """Where the response is strongest on its side of the head, and when: 90 % interval."""
    problem, around = estimate.problem, np.asarray(estimate.problem.geometry.positions)
    inside = (problem.times >= window[0]) & (problem.times <= window[1])
    size = np.linalg.norm(np.asarray(estimate.mean), axis=1)[:, inside].max(axis=1)
    size = np.where((around[:, 0] < 0) == (side == "left"), size, 0.0)
    middle = around[size.argmax()]
    when = estimate.latency(np.array([size.argmax()]), window)
    ms = [round(1e3 * float(x)) for x in (when.median, when.lower, when.upper)]
    return f"{side}: ({', '.join(f'{1e3 * x:.0f}' for x in middle)}) mm, {ms[0]} ms {ms[1:]}"


SIDES = {"Right Auditory": "left", "Left Auditory": "right"}
SIDES |= {"Right visual": "left", "Left visual": "right"}


def real():
    """Evidence of three models of the same patches, condition by condition."""
    forward = ej.io.read_forward(DATA / "audvis-oct5-fwd.fif")
    noise_cov = ej.io.read_noise_cov(DATA / "audvis-cov.fif")
    patches = ej.models.Components(ej.models.components.Patches(100))
    smooth = T.SquaredExponential(dist.LogNormal(-4, 0.5))
    given = {
        "static": (patches, NOISE.PerType()),
        "smooth, white noise": (ej.models.Kronecker(patches, smooth, rest=None), NOISE.PerType()),
        "smooth, AR noise, remainder": (ej.models.Kronecker(patches, smooth), None),
    }
    for condition, side in SIDES.items():
        evoked = ej.io.read_evoked(DATA / "audvis-ave.fif.gz", condition)
        evoked.info["bads"] = ["MEG 2443", "EEG 053"]
        evoked.apply_baseline((None, 0), verbose="ERROR").crop(-0.15, 0.3)
        problem, first = ej.from_mne(evoked, forward, noise_cov, loose=0.2), None
        print(f"{condition} ({side})")
        for name, (model, noise) in given.items():
            estimate = ej.solve(problem, model, ej.inference.EM(), noise=noise)
            size = np.linalg.norm(np.asarray(estimate.mean), axis=1)
            where, when = np.unravel_index(size.argmax(), size.shape)
            evidence = float(estimate.log_evidence)
            first = evidence if first is None else first
            hyper = {k: np.round(np.asarray(v), 3).tolist() for k, v in estimate.hyper.items()}
            print(
                f"  {name}: {evidence - first:+.0f} nats, strongest at x = "
                f"{1e3 * problem.geometry.positions[where, 0]:.0f} mm, "
                f"{1e3 * problem.times[when]:.0f} ms; length {hyper.get('time/length')}, "
                f"partial {hyper.get('noise/time/partial')}; {peak_of(estimate, side)}",
                flush=True,
            )


def main(n=20, which="own"):
    """Print a line for each truth, noise, signal-to-noise ratio and model."""
    if which == "real":
        return real()
    problem, method = problem_of(), ej.inference.EM()
    settings = [("AR(1)", 0.0), ("evoked", 0.0), ("iid", 0.0), ("evoked", 0.6)]
    settings = settings if which == "own" else [("AR(1)", 0.0), ("evoked", 0.0)]
    for kind, coefficient in settings:
        for snr in (-10.0, 0.0):
            rows, began = {}, time.time()
            for seed in range(n):
                data, truth = simulated(
                    problem, 60 if which == "own" else 200, kind, snr, coefficient, seed
                )
                for name, (model, noise) in models(which, coefficient).items():
                    estimate = ej.solve(data, model, method, noise=noise)
                    rows.setdefault(name, []).append(scores(estimate, truth))
            print(
                f"{kind}, noise {coefficient:g}, {snr:g} dB ({time.time() - began:.0f} s, {n} sets)"
            )
            for name, each in rows.items():
                a, se = np.mean(each, axis=0), np.std(each, axis=0) / np.sqrt(n)
                print(
                    f"  {name}: error {a[0]:.3f} ({se[0]:.3f}), single times {a[1]:.2f}, "
                    f"50 ms means {a[2]:.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    mne.set_log_level("ERROR")
    warnings.simplefilter("ignore", ej.EsijaxWarning)
    main(*(int(a) if a.isdigit() else a for a in sys.argv[1:]))
