import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.stats

from esijax._ops.gaussian import log_density, symmetric_power


def spd(rng, n, rank=None):
    half = rng.standard_normal((n, rank or n))
    return half @ half.T


@pytest.mark.parametrize("lead", [(), (3,), (2, 3)])
def test_log_density_is_the_multivariate_normal(lead):
    rng = np.random.default_rng(0)
    cov = spd(rng, 5) + np.eye(5)
    data = rng.standard_normal((*lead, 5, 4))
    got = log_density(jnp.linalg.cholesky(cov), jnp.asarray(data))
    columns = np.moveaxis(data, -2, -1).reshape(-1, 5)
    want = scipy.stats.multivariate_normal(np.zeros(5), cov).logpdf(columns).sum()
    assert got == pytest.approx(want, rel=1e-12)


@pytest.mark.parametrize("power", [0.5, -0.5, -1.0, 2.0])
def test_symmetric_power_is_the_matrix_function(power):
    rng = np.random.default_rng(1)
    batch = np.stack([spd(rng, 4) for _ in range(3)])
    got = symmetric_power(jnp.asarray(batch), power)
    for g, a in zip(got, batch, strict=True):
        np.testing.assert_allclose(g, scipy.linalg.fractional_matrix_power(a, power), rtol=1e-9)


def test_symmetric_power_keeps_the_null_space():
    rng = np.random.default_rng(2)
    a = spd(rng, 5, rank=3)
    np.testing.assert_allclose(symmetric_power(jnp.asarray(a), -1.0), np.linalg.pinv(a), rtol=1e-9)
    assert not np.any(symmetric_power(jnp.zeros((2, 3, 3)), -0.5))


CASES = {
    "distinct": np.diag([1.0, 2.0, 5.0]) + 0.1,
    "all equal": 2.0 * np.eye(3),
    "two equal": np.diag([1.0, 1.0, 3.0]),
    "nearly equal": np.diag([1.0, 1.0 + 1e-9, 3.0]),
    "tiny": 1e-12 * np.diag([1.0, 1.0, 2.0]),
}


@pytest.mark.parametrize("power", [0.5, -0.5, -1.0])
@pytest.mark.parametrize("name", CASES)
def test_symmetric_power_derivative(name, power):
    """Finite differences, also where eigenvalues coincide and eigh has no derivative."""
    a = CASES[name]
    size = np.linalg.norm(a)
    rng = np.random.default_rng(3)
    tangent = size * spd(rng, 3) / 10
    step = 1e-6
    exact = [scipy.linalg.fractional_matrix_power(a + s * step * tangent, power) for s in (1, -1)]
    want = (exact[0] - exact[1]) / (2 * step)
    _, got = jax.jvp(
        lambda m: symmetric_power(m, power), (jnp.asarray(a),), (jnp.asarray(tangent),)
    )
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-7 * np.abs(want).max())
    weight = jnp.asarray(rng.standard_normal((3, 3)))
    grad = jax.grad(lambda m: jnp.sum(weight * symmetric_power(m, power)))(jnp.asarray(a))
    want_sum = float(np.sum(np.asarray(weight) * want))
    assert float(jnp.sum(grad * tangent)) == pytest.approx(want_sum, rel=1e-6)


def test_symmetric_power_derivative_of_a_singular_matrix():
    """Along its own range, the derivative is that of the pseudo-inverse."""
    rng = np.random.default_rng(4)
    half = 1e-4 * rng.standard_normal((4, 2))
    move = 1e-4 * rng.standard_normal((4, 2))

    def matrix(s):
        return (half + s * move) @ (half + s * move).T

    step = 1e-5
    want = (np.linalg.pinv(matrix(step)) - np.linalg.pinv(matrix(-step))) / (2 * step)
    tangent = half @ move.T + move @ half.T
    _, got = jax.jvp(
        lambda m: symmetric_power(m, -1.0), (jnp.asarray(matrix(0)),), (jnp.asarray(tangent),)
    )
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6 * np.abs(want).max())
