"""Peak memory of 20,484 locations with three orientations, 366 sensors, 200 samples.

    uv run python benchmarks/memory_20484.py EM|Laplace|NUTS

Mean and spread of every location and time are asked for; prints the peak of the process.
"""

import argparse
import resource
import time
import warnings

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)

import esijax as ej  # noqa: E402

METHODS = {
    "EM": lambda: ej.inference.EM(),
    "Laplace": lambda: ej.inference.Laplace(num_maps=50),
    "NUTS": lambda: ej.inference.NUTS(50, 50, 2, num_maps=50),
}


def peak():
    """Largest resident memory so far, GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def simulated(channels=366, locations=20484, orients=3, times=200):
    """Two hundred patches of neighbours, five of them active."""
    rng = np.random.default_rng(0)
    gain = rng.standard_normal((channels, locations, orients))
    sets = np.array_split(np.arange(locations), 200)
    data = rng.standard_normal((channels, times))
    for one in sets[:5]:
        data += gain[:, one[:10], 0] @ rng.standard_normal((10, times))
    return ej.from_arrays(gain, data, noise_cov=1.0), sets


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("method", choices=METHODS)
    name = parser.parse_args().method
    problem, sets = simulated()
    print(f"problem: {peak():.2f} GB", flush=True)
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        prior = ej.models.Components(sets)
        estimate = ej.solve(
            problem, prior, METHODS[name](), noise=ej.models.noise.Scalar(), key=jax.random.key(0)
        )
    jax.block_until_ready((estimate.mean, estimate.std))
    print(f"{name}: {peak():.2f} GB, {time.perf_counter() - start:.0f} s", flush=True)
