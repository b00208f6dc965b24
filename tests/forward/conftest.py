"""A small head of spheres, its sensors and sources."""

import jax.numpy as jnp
import numpy as np
import pytest

CENTRE = np.array([0.002, -0.01, 0.045])
RADII = np.array([0.07, 0.072, 0.078, 0.085])
SIGMA = np.array([0.33, 1.0, 0.0042, 0.4])


def unit(rng, n):
    v = rng.standard_normal((n, 3))
    return v / np.linalg.norm(v, axis=1, keepdims=True)


@pytest.fixture(scope="session")
def shells():
    """Centre, radii, conductivities."""
    return CENTRE, RADII, SIGMA


@pytest.fixture(scope="session")
def places():
    """Five sources, one 2 mm below the innermost sphere, and the centre itself."""
    rng = np.random.default_rng(1)
    depth = np.array([0.0, 0.02, 0.05, 0.06, 0.068])
    return CENTRE + depth[:, None] * unit(rng, 5)


@pytest.fixture(scope="session")
def both():
    """Six electrodes on the scalp, five two-point gradiometers around it, mixed in order."""
    import esijax as ej

    rng = np.random.default_rng(2)
    cap = ej.forward.Sensors.eeg(CENTRE + RADII[-1] * unit(rng, 6))
    middle, normals = CENTRE + 0.12 * unit(rng, 5), unit(rng, 5)
    step = 0.008 * unit(rng, 5)
    coils = ej.forward.Coils(
        jnp.asarray(np.stack([middle - step, middle + step], axis=1)),
        jnp.asarray(np.repeat(normals[:, None], 2, axis=1)),
        jnp.asarray(np.tile([-60.0, 60.0], (5, 1))),
        jnp.eye(4),
    )
    names = tuple(f"c{i}" for i in range(11))
    types = ("eeg", "grad", "eeg", "grad", "grad", "eeg", "eeg", "grad", "eeg", "grad", "eeg")
    return ej.forward.Sensors(cap.electrodes, coils, names, types)
