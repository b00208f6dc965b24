"""Waves that sources share: error, coverage, and how many the bound takes.

    taskset -c 0 uv run python benchmarks/waves.py shared 2 8 2     # two waves in five sources
    taskset -c 0 uv run python benchmarks/waves.py own 5 8 5,3,8    # a course each
    taskset -c 0 uv run python benchmarks/waves.py shared 3 6 1,2,3,4,5,6,8

Kind of truth, its waves, data sets, numbers of waves that are tried; the subject and the sources of
benchmarks/time_models.py, the 60 patches as locations of their own, noise known, no remainder.
"""

import sys
import warnings

import jax
import mne
import numpy as np
from time_models import ACTIVE, N_TIMES, SFREQ, courses, problem_of

import esijax as ej

TIMES = np.arange(N_TIMES) / SFREQ


def patch_fields():
    """What the sensors see of each patch, in the span of all."""
    problem = problem_of()
    prior = ej.models.Components(ej.models.components.Patches(60)).prepare(problem)
    columns = np.asarray(prior.parts(problem)[0].columns) * np.asarray(problem.prior_scale)
    fields = np.asarray(problem.gain)[..., 0] @ columns
    return np.linalg.qr(fields)[1], len(fields)


def simulated(fields, rank, kind, k, snr, seed):
    """Problem and true courses of the patches."""
    rng = np.random.default_rng(500 + seed)
    chosen = rng.choice(fields.shape[1], ACTIVE, replace=False)
    own = courses("evoked", rng, TIMES)
    truth = np.zeros((fields.shape[1], N_TIMES))
    truth[chosen] = rng.standard_normal((ACTIVE, k)) @ own[:k] if kind == "shared" else own
    truth *= np.sqrt(10 ** (snr / 10) * rank * N_TIMES / np.sum((fields @ truth) ** 2))
    data = fields @ truth + rng.standard_normal((len(fields), N_TIMES))
    return ej.from_arrays(fields, data, noise_cov=1.0, sfreq=SFREQ), truth


def scores(estimate, truth):
    """Relative error, coverage of 90 % bands of the strong patches, evidence or its bound."""
    mean = np.asarray(estimate.mean)[:, 0]
    std = np.broadcast_to(np.asarray(estimate.std)[:, 0], mean.shape)
    size = np.sqrt(np.mean(mean**2, axis=1))
    inside = (np.abs(mean - truth) <= 1.645 * std)[size > 0.2 * size.max()]
    error = np.linalg.norm(mean - truth) / np.linalg.norm(truth)
    return error, inside.mean(), float(estimate.log_evidence)


def main(kind, k, n, tried):
    """Print a line for each model and signal-to-noise ratio."""
    (fields, rank), ard, white = patch_fields(), ej.models.ARD(), ej.models.noise.White()
    time, inference = ej.models.time.SquaredExponential(), ej.inference
    models = {
        f"waves, K = {k}": (
            ej.models.TemporalBasis(ard, ej.models.Waves(k, time), rest=None),
            inference.VB(),
        )
        for k in tried
    }
    models["Kronecker"] = ej.models.Kronecker(ard, time, rest=None), inference.Evidence()
    models["independent samples"] = ard, inference.EM()
    for snr in (-10.0, 0.0):
        rows = {name: [] for name in models}
        for seed in range(n):
            problem, truth = simulated(fields, rank, kind, k, snr, seed)
            for name, (model, method) in models.items():
                estimate = ej.solve(problem, model, method, noise=white)
                rows[name].append(scores(estimate, truth))
        print(f"{kind}, {k} waves, {snr:g} dB, {n} sets")
        first = np.array(rows[f"waves, K = {tried[0]}"])[:, 2]
        for name, each in rows.items():
            a = np.array(each)
            print(
                f"  {name}: error {a[:, 0].mean():.3f}, coverage {a[:, 1].mean():.2f}, "
                f"{np.mean(a[:, 2] - first):+.0f} nats",
                flush=True,
            )
        bounds = np.array([[row[2] for row in rows[f"waves, K = {k}"]] for k in tried])
        print("  best K, set by set:", [tried[i] for i in bounds.argmax(axis=0)], flush=True)


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    mne.set_log_level("ERROR")
    warnings.simplefilter("ignore", ej.EsijaxWarning)
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), [int(k) for k in sys.argv[4].split(",")])
