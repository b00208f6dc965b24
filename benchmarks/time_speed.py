"""What covariances in time cost, as ratios in one run.

    taskset -c 0 uv run python benchmarks/time_speed.py [gradients|moments|fits|nuts]

"gradients": of the log-evidence, 100 patches of the sample subject, 360 sensors, T = 200; sensor
space against pooled samples, T learned against T given. "moments": mean and variance at 8,003
locations and 400 samples against the two products with the gain that they are made of. "fits": EM
against Evidence, and VB, on a recording. "nuts": 4 chains of 500 + 500, started from Laplace (leave
out taskset there).
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
from esijax.inference.collapsed.target import Target

DATA = Path(os.environ.get("ESIJAX_DATA", "../shared/data")) / "sample"
T, NOISE, N_TIMES = ej.models.time, ej.models.noise, 200
PATCHES = ej.models.Components(ej.models.components.Patches(100))
SMOOTH = dist.LogNormal(-4, 0.5)


def recording(n_times=N_TIMES, forward="oct5"):
    """A response of the subject, MEG and EEG, fixed orientation."""
    evoked = ej.io.read_evoked(DATA / "audvis-ave.fif.gz", "Right visual")
    evoked.info["bads"] = ["MEG 2443", "EEG 053"]
    evoked.apply_baseline((None, 0), verbose="ERROR")
    first = int(np.searchsorted(evoked.times, 0.3 - n_times / evoked.info["sfreq"]))
    evoked.crop(evoked.times[first], evoked.times[first + n_times - 1])
    forward = ej.io.read_forward(DATA / f"audvis-{forward}-fwd.fif")
    return ej.from_mne(evoked, forward, ej.io.read_noise_cov(DATA / "audvis-cov.fif"), loose=0.0)


def median_ms(function, *arguments, n=15):
    """Milliseconds of processor time a call, after one that compiles."""
    jax.block_until_ready(function(*arguments))
    took = []
    for _ in range(n):
        began = time.process_time()
        jax.block_until_ready(function(*arguments))
        took.append(time.process_time() - began)
    return 1e3 * float(np.median(took))


def gradient_ms(marginal):
    """A log density of the hyper-parameters and its gradient."""
    target = Target(marginal)
    free = target.free(marginal.start_sites(None, warm=False))
    function = jax.jit(jax.value_and_grad(lambda m, u: Target(m).log_posterior(u), argnums=1))
    return median_ms(function, marginal, free)


def gradients():
    """Of the log-evidence."""
    problem = recording()
    print(f"{problem.rank} dimensions, {problem.n_times} samples, 100 patches")
    types, white = NOISE.PerType().prepare(problem), NOISE.White()
    channels = NOISE.Diagonal().prepare(problem)

    def kronecker(length, noise, rest=None):
        model = ej.models.Kronecker(PATCHES, T.SquaredExponential(length), rest=rest)
        return gradient_ms(model.prepare(problem).marginal(problem, noise))

    for name, noise in {"channel": channels, "type": types}.items():
        pooled = gradient_ms(PATCHES.prepare(problem).marginal(problem, noise))
        given, learned = kronecker(0.02, noise), kronecker(SMOOTH, noise)
        print(f"noise by {name}: pooled {pooled:.1f} ms, T given {given:.1f} ms")
        print(
            f"  ratio {given / pooled:.2f}; T learned {learned:.1f} ms, {learned / given:.2f} times"
        )
    few, few_learned = kronecker(0.02, white), kronecker(SMOOTH, white)
    print(f"span of 100 columns: T given {few:.1f} ms, learned {few_learned:.1f} ms")
    print(f"  ratio {few_learned / few:.2f}")
    in_time = NOISE.InTime(NOISE.PerType(), T.Autoregressive(4)).prepare(problem)
    print(f"all learned, with remainder: {kronecker(SMOOTH, in_time, 'iid'):.1f} ms")


def moments():
    """Mean and variance of every location and sample."""
    rng = np.random.default_rng(0)
    gain = rng.standard_normal((360, 8003)) / 20
    data = rng.standard_normal((360, 400))
    problem = ej.from_arrays(gain, data, noise_cov=1.0, sfreq=500.0)
    model = ej.models.Kronecker(ej.models.ARD(), T.SquaredExponential(0.02), rest=None)
    marginal = model.prepare(problem).marginal(problem, NOISE.White())
    member = jax.jit(lambda m: m.posterior({"gamma": jnp.ones(8003)}))(marginal)
    both = jax.jit(lambda p: (p.mean(), p.variance()))
    product = jax.jit(lambda g, x, y: (g.T @ x, (g**2).T @ y))
    left, right = jnp.asarray(gain), jnp.asarray(data)
    ours = median_ms(both, member, n=7)
    floor = median_ms(product, left, right, right**2, n=7)
    print(f"mean and variance, 8,003 x 400: {ours:.0f} ms, two products {floor:.0f} ms")
    print(f"  ratio {ours / floor:.2f}")


def fit_seconds(problem, model, method, noise=None):
    """Seconds of processor time of a fit, the second time."""
    for _ in range(2):
        began = time.process_time()
        estimate = ej.solve(problem, model, method, noise=noise, key=0)
        jax.block_until_ready(estimate.hyper)
        took = time.process_time() - began
    return took, estimate


def fits():
    """Whole fits."""
    problem = recording(271)
    model = ej.models.Kronecker(PATCHES, T.SquaredExponential(SMOOTH))
    em, first = fit_seconds(problem, model, ej.inference.EM())
    evidence, second = fit_seconds(problem, model, ej.inference.Evidence())
    print(f"100 patches, remainder, all learned: EM {em:.1f} s, Evidence {evidence:.1f} s")
    gap = float(second.log_evidence) - float(first.log_evidence)
    print(f"  ratio {evidence / em:.1f}; log-evidence of EM less by {gap:.3f} nats")
    patches = ej.models.Components(ej.models.components.Patches(200))
    waves = ej.models.TemporalBasis(patches, ej.models.Waves(8, T.SquaredExponential(SMOOTH)))
    vb, _ = fit_seconds(problem, waves, ej.inference.VB())
    print(f"200 patches, 8 waves: VB {vb:.1f} s")


def nuts():
    """Chains of all hyper-parameters."""
    problem = recording()
    model = ej.models.Kronecker(PATCHES, T.SquaredExponential(SMOOTH))
    began = time.perf_counter()
    laplace = ej.solve(problem, model, ej.inference.Laplace(num_maps=1), key=0)
    middle = time.perf_counter()
    found = ej.solve(problem, model, ej.inference.NUTS(500, 500), init=laplace, key=1)
    end = time.perf_counter()
    print(f"Laplace {(middle - began) / 60:.1f} min, NUTS {(end - middle) / 60:.1f} min, compiled")
    print(found.verdict())


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    mne.set_log_level("ERROR")
    warnings.simplefilter("ignore", ej.EsijaxWarning)
    parts = {"gradients": gradients, "moments": moments, "fits": fits, "nuts": nuts}
    for name in sys.argv[1:] or parts:
        parts[name]()
