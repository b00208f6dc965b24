"""Densities and draws of data against dense covariances of sensors x times."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from esijax._ops import data_law

RANK, TIMES, TRIALS = 3, 4, 2


@pytest.fixture(scope="module")
def parts():
    """Covariances of signal, remainder, sensor noise, and of signal and noise in time."""
    rng = np.random.default_rng(1)

    def cov(n, rank):
        root = rng.standard_normal((n, rank))
        return root @ root.T

    sizes = [(RANK, 2), (RANK, 1), (RANK, 6), (TIMES, 2), (TIMES, 9)]
    return [cov(*size) for size in sizes], rng.standard_normal((TRIALS, RANK, TIMES))


def dense(signal, noise, in_time, noise_in_time):
    """Of vec Y, sensors the slower index."""
    return np.kron(signal, in_time) + np.kron(noise, noise_in_time)


def laws(parts):
    """Each law with the dense covariance of the data and of the noise in them."""
    (signal, rest, noise, in_time, noise_in_time), _ = parts
    eye = np.eye(TIMES)
    law = data_law.together(
        jnp.asarray(signal),
        jnp.asarray(noise + rest),
        data_law.modes(jnp.asarray(in_time), jnp.asarray(noise_in_time)),
        jnp.asarray(noise),
    )
    apart = data_law.Independent(jnp.asarray(signal + noise), jnp.asarray(noise))
    return {
        "together": (
            law,
            dense(signal, noise + rest, in_time, noise_in_time),
            np.kron(noise, noise_in_time),
        ),
        "independent": (apart, dense(signal, noise, eye, eye), np.kron(noise, eye)),
    }


@pytest.mark.parametrize("kind", ["together", "independent"])
def test_densities(parts, kind):
    law, cov, _ = laws(parts)[kind]
    white = parts[1]
    flat = white.reshape(TRIALS, -1)
    whole = multivariate_normal(np.zeros(len(cov)), cov).logpdf(flat)
    np.testing.assert_allclose(law.by_trial(jnp.asarray(white)), whole, rtol=1e-10)
    found = np.asarray(law.by_time(jnp.asarray(white)))
    for t in range(TIMES):
        others = np.arange(RANK * TIMES) % TIMES != t
        left = multivariate_normal(np.zeros(others.sum()), cov[np.ix_(others, others)])
        np.testing.assert_allclose(found[:, t], whole - left.logpdf(flat[:, others]), rtol=1e-9)


@pytest.mark.parametrize("kind", ["together", "independent"])
def test_draws(parts, kind):
    """Moments of many draws: of new data, and of the same sources measured again."""
    law, cov, noise = laws(parts)[kind]
    n, white = 20_000, jnp.asarray(parts[1])
    keys = jax.random.split(jax.random.key(0), n)
    reach = noise @ np.linalg.inv(cov)
    flat = np.asarray(white).reshape(TRIALS, -1)
    wanted = {
        "draw": (np.zeros_like(flat), cov),
        "again": (flat - flat @ reach.T, 2 * noise - reach @ noise),
    }
    for name, (mean, spread) in wanted.items():
        draws = jax.jit(jax.vmap(getattr(law, name), in_axes=(0, None)))(keys, white)
        draws = np.asarray(draws).reshape(n, TRIALS, -1)
        error = np.sqrt(np.diag(spread) / n)
        assert np.abs((draws.mean(axis=0) - mean) / error).max() < 4.5
        size = np.sqrt(np.outer(np.diag(spread), np.diag(spread)))
        for trial in range(TRIALS):
            found = np.cov(draws[:, trial], rowvar=False)
            assert np.abs((found - spread) / size).max() < 5 * np.sqrt(2 / n)


def test_columns_that_are_whitened_in_time():
    r"""Modes of columns :math:`Y \Omega^{-1/2}`, brought to the samples, diagonalise both."""
    rng = np.random.default_rng(2)
    root = rng.standard_normal((TIMES, 7))
    omega = root @ root.T
    value, vectors = np.linalg.eigh(omega)
    half, inverse = (vectors * value**p @ vectors.T for p in (0.5, -0.5))
    log_det = np.linalg.slogdet(omega)[1]
    rows = np.linalg.qr(rng.standard_normal((TIMES, 2)))[0].T
    for modes, signal in ((data_law.spanned(jnp.asarray(rows)), rows.T @ rows), (None, np.eye(4))):
        known = jnp.asarray(half), jnp.asarray(inverse), jnp.asarray(log_det)
        found = data_law.at_their_samples(modes, *known)
        root, value = np.asarray(found.root), np.asarray(found.value)
        np.testing.assert_allclose(root @ root.T, omega, atol=1e-12)
        in_time = (root * value) @ root.T
        np.testing.assert_allclose(in_time, half @ signal @ half, atol=1e-12)
        np.testing.assert_allclose(np.asarray(found.inverse).T @ root, np.eye(TIMES), atol=1e-12)
        assert found.log_det == pytest.approx(log_det)
