"""One small NUTS estimate that all tests of trees share."""

import numpy as np
import pytest

import esijax as ej


@pytest.fixture(scope="session")
def mixed_sensors():
    """Three EEG and three MEG channels, noise that is correlated within each, eight locations."""
    rng = np.random.default_rng(0)
    gain = rng.standard_normal((6, 8)) * np.repeat([1.0, 1e-3], 3)[:, None]
    root = np.kron(np.eye(2), np.eye(3) + 0.4) * np.repeat([1.0, 1e-3], 3)[:, None]
    sources = rng.standard_normal((8, 30)) * np.repeat([3.0, 0.5], 4)[:, None]
    data = gain @ sources + root @ rng.standard_normal((6, 30))
    types = ("eeg",) * 3 + ("mag",) * 3
    return ej.from_arrays(gain, data, root @ root.T, sfreq=100.0, tmin=-0.1, ch_types=types)


@pytest.fixture(scope="session")
def sampled(mixed_sensors):
    """Two chains of 150 draws."""
    import numpyro.distributions as dist

    prior, method = ej.models.ARD(dist.LogNormal(0.0, 1.0)), ej.inference.NUTS(150, 150, 2)
    noise = ej.models.noise.Scalar(dist.LogNormal(0.0, 0.5))
    with pytest.warns(ej.EsijaxWarning, match="ESS"):
        return ej.solve(mixed_sensors, prior, method, noise=noise, key=0)


@pytest.fixture(scope="session")
def tree(sampled):
    """All its groups."""
    return ej.to_arviz(sampled)
