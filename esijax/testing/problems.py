"""The small problem that objects are tried on."""

import numpy as np

from esijax.arrays import from_arrays
from esijax.problem import Problem


def small_problem(n_orients: int = 3, n_times: int = 6) -> Problem:
    """Nine locations on a grid seen by eight sensors of two types: places, normals, neighbours."""
    rng = np.random.default_rng(7)
    x, y = np.meshgrid(np.arange(3), np.arange(3))
    positions = 0.02 * np.stack([x.ravel(), y.ravel(), np.full(9, 3.0)], axis=1)
    gain = rng.standard_normal((8, 9, n_orients))
    sources = np.zeros((9, n_orients, n_times))
    sources[2, -1] = 3 * np.sin(1 + np.arange(n_times))
    sources[6, 0] = 2 * np.cos(np.arange(n_times))
    data = np.tensordot(gain, sources, 2) + rng.standard_normal((8, n_times))
    return from_arrays(
        gain,
        data,
        noise_cov=1.0,
        positions=positions,
        normals=positions / np.linalg.norm(positions, axis=1, keepdims=True),
        ch_types=["grad"] * 4 + ["mag"] * 4,
        sfreq=100.0,
    )
