"""Memory of every method on a large problem: `uv run python benchmarks/memory.py [METHOD ...]`.

20,484 locations x 3 orients, 360 channels, 200 samples; a process for each method, from the
arrays to the mean of the sources. A line: GB before the solve and at its peak, CPU seconds,
or the sentence that refuses it.
"""

import os
import resource
import subprocess
import sys
import time
import warnings

SIZES = 20_484, 360, 200  # locations, channels, samples


def problem():
    """Five sources in noise, no types; numbers of a head do not matter here."""
    import numpy as np

    import esijax as ej

    n, channels, times = SIZES
    rng = np.random.default_rng(0)
    places = rng.standard_normal((n, 3))
    places *= 0.08 / np.linalg.norm(places, axis=1, keepdims=True)
    gain = rng.standard_normal((channels, n, 3))
    data = 3 * gain[:, :5, 0] @ rng.standard_normal((5, times))
    data += 10 * rng.standard_normal(data.shape)
    return ej.from_arrays(gain, data, noise_cov=100.0, positions=places)


def cases():
    """Model, method and noise by name; components are 100 of some 204 locations each."""
    import numpy as np
    import numpyro.distributions as dist

    import esijax as ej
    from esijax import inference as way
    from esijax import models

    share, groups = ej.relative(0.4), np.array_split(np.arange(SIZES[0]), 100)

    def patches(law):
        return models.Components(list(groups), law)

    log_normal = dist.LogNormal(0.0, 1.0)
    return {
        "Linear": (models.MinimumNorm(), way.Linear("dSPM")),
        "LCMV": (None, way.LCMV()),
        "MAP(L21)": (models.L21(share), way.MAP()),
        "MAP(L21), bcd": (models.L21(share), way.MAP("bcd")),
        "MAP(Elastic)": (models.Elastic(share, 0.8), way.MAP()),
        "Reweighted(5)": (models.L21(share), way.Reweighted(5)),
        "MAP(TimeFrequency)": (models.TimeFrequency(share, 0.1, 16, 4), way.MAP(tol=1e-3)),
        "EM, ARD": (models.ARD(), way.EM()),
        "EM, components": (patches(None), way.EM()),
        "Evidence, components": (patches(log_normal), way.Evidence()),
        "Laplace, components": (patches(log_normal), way.Laplace(num_samples=200)),
        "SVI, components": (patches(log_normal), way.SVI(steps=20, num_samples=200)),
        "NUTS, components": (patches(log_normal), way.NUTS(10, 20, 2, num_maps=20)),
        "Gibbs, components": (patches(dist.InverseGamma(1.0, 0.1)), way.Gibbs(5, 10, 2)),
        "Laplace, ARD": (models.ARD(log_normal), way.Laplace()),
    }


def one(name: str) -> None:
    """Solve and print."""
    os.environ["JAX_ENABLE_X64"] = "1"
    import jax

    import esijax as ej

    def peak() -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6

    warnings.simplefilter("ignore", ej.EsijaxWarning)
    given, (model, method) = problem(), cases()[name]
    before, begin, said = peak(), time.process_time(), ""
    try:
        jax.block_until_ready(ej.solve(given, model, method, key=0).mean)
    except ej.InputError as error:
        said = f"  refused: {error}"
    seconds = time.process_time() - begin
    print(f"{name:22}{before:6.2f}{peak():6.2f}{seconds:8.0f}{said}", flush=True)


def main(names: list[str]) -> None:
    """A process for each."""
    print(f"{'method':22}{'before':>6}{'peak':>6}{'CPU s':>8}", flush=True)
    for name in names or cases():
        subprocess.run([sys.executable, __file__, "--one", name], check=False)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(sys.argv[2])
    else:
        main(sys.argv[1:])
