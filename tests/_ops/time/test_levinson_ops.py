"""Partial autocorrelations, coefficients and autocovariances of autoregressions."""

import jax.numpy as jnp
import numpy as np
import pytest

from esijax._ops.time import levinson


def rows(n, order, edge):
    """Random partial autocorrelations, many of them close to plus or minus `edge`."""
    rng = np.random.default_rng(order)
    u = rng.uniform(-1, 1, (n, order))
    return edge * np.sign(u) * np.abs(u) ** 0.2


@pytest.mark.parametrize("order", [1, 2, 5])
def test_any_partial_autocorrelations_are_stable_and_come_back(order):
    for partial in rows(40, order, 0.999):
        a = np.asarray(levinson.coefficients(jnp.asarray(partial)))
        assert np.abs(np.roots(np.r_[1.0, -a])).max() < 1.0
        np.testing.assert_allclose(levinson.partials(jnp.asarray(a)), partial, rtol=1e-6)


@pytest.mark.parametrize("order", [1, 3, 6])
def test_autocorrelation_is_that_of_a_long_moving_average(order):
    partial = rows(1, order, 0.7)[0]
    a = np.asarray(levinson.coefficients(jnp.asarray(partial)))
    length, n = 5_000, 15
    psi = np.zeros(length)
    psi[0] = 1.0
    for t in range(1, length):
        for j in range(1, min(order, t) + 1):
            psi[t] += a[j - 1] * psi[t - j]
    cov = np.array([psi[: length - k] @ psi[k:] for k in range(n)])
    cov *= float(levinson.innovation(jnp.asarray(partial)))
    assert cov[0] == pytest.approx(1.0, rel=1e-10)
    got = levinson.autocorrelation(jnp.asarray(partial), n)
    np.testing.assert_allclose(got, cov, atol=1e-10)
    short = levinson.autocorrelation(jnp.asarray(partial), 2)
    np.testing.assert_allclose(short, cov[:2], atol=1e-10)


def test_yule_walker_is_solved():
    partial = jnp.asarray([0.8, -0.5, 0.3, 0.1])
    rho = np.asarray(levinson.autocorrelation(partial, 5))
    toeplitz = rho[np.abs(np.arange(4)[:, None] - np.arange(4)[None, :])]
    np.testing.assert_allclose(
        levinson.coefficients(partial), np.linalg.solve(toeplitz, rho[1:]), rtol=1e-10
    )
    np.testing.assert_allclose(levinson.fitted(3.0 * jnp.asarray(rho)), partial, rtol=1e-10)
