"""Six learned layers against EM("mm") at its defaults: CPU seconds of a solve, T = 200.

Beside them the layers in single precision, and a live sample through `ej.learn.kernel`.

    env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE taskset -c 0 uv run pytest \
        benchmarks/test_unrolled.py -o addopts= -m bench -s

The problem is simulated: a smooth random lead field on a sphere of sources, one patch, 5 dB.
"""

import time

import jax
import numpy as np
import pytest
from scipy.spatial import ConvexHull

import esijax as ej

pytestmark = pytest.mark.bench
SIZES = [(64, 1284), (64, 5124), (360, 5124)]
T, REPEATS = 200, 5


def simulated(n_channels, n_locations):
    """Sources on a sphere, sensors above it, a patch of 2 cm radius."""
    rng = np.random.default_rng(0)
    places = rng.standard_normal((n_locations, 3))
    places *= 0.07 / np.linalg.norm(places, axis=1, keepdims=True)
    sensors = rng.standard_normal((n_channels, 3))
    sensors *= 0.1 / np.linalg.norm(sensors, axis=1, keepdims=True)
    far = sensors[:, None] - places[None]
    gain = np.einsum("cld,ld->cl", far, places / 0.07) / np.linalg.norm(far, axis=-1) ** 3
    gain /= gain.std()
    near = np.linalg.norm(places - places[0], axis=1) < 0.02
    wave = np.sin(2 * np.pi * np.arange(T) / 40)
    signal = gain[:, near].sum(axis=1)[:, None] * wave
    signal *= np.sqrt(10**0.5 / np.mean(signal**2))
    data = signal + rng.standard_normal((n_channels, T))
    triangles = ConvexHull(places).simplices
    edges = np.unique(np.sort(triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1), axis=0)
    return ej.from_arrays(gain, data, noise_cov=1.0, positions=places, edges=edges)


def seconds(problem, method):
    """Median CPU time of a solve, and what the first one took more."""
    took = []
    for _ in range(1 + REPEATS):
        start = time.process_time()
        estimate = ej.solve(problem, ej.models.ARD(), method)
        jax.block_until_ready((estimate.hyper, estimate.posterior))
        took.append(time.process_time() - start)
    return float(np.median(took[1:])), took[0]


@pytest.mark.parametrize(("n_channels", "n_locations"), SIZES)
@pytest.mark.filterwarnings("ignore::esijax.EsijaxWarning")
def test_against_em(n_channels, n_locations):
    problem = simulated(n_channels, n_locations)
    ours, first = seconds(problem, ej.inference.Unrolled())
    em, _ = seconds(problem, ej.inference.EM("mm"))
    with jax.enable_x64(False):
        single, _ = seconds(simulated(n_channels, n_locations), ej.inference.Unrolled())
    print(
        f"\n{n_channels} x {n_locations}: Unrolled {1e3 * ours:.0f} ms (first {first:.1f} s), "
        f"EM {1e3 * em:.0f} ms, ratio {em / ours:.1f}; in float32 {1e3 * single:.0f} ms, "
        f"ratio {em / single:.1f}"
    )


@pytest.mark.parametrize(("n_channels", "n_locations"), SIZES)
@pytest.mark.filterwarnings("ignore::esijax.EsijaxWarning")
def test_a_live_sample(n_channels, n_locations):
    problem = simulated(n_channels, n_locations)
    live = np.asarray(ej.learn.kernel(None, problem)).reshape(-1, n_channels)
    samples = np.asarray(problem.recording).T.copy()
    start = time.perf_counter()
    for sample in samples:
        live @ sample
    took = (time.perf_counter() - start) / len(samples)
    print(f"\n{n_channels} x {n_locations}: {1e3 * took:.3f} ms a sample")
