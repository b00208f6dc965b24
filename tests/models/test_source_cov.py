"""What a source covariance does, against the matrix that it stands for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from textbook import block_diagonal, flat

from esijax.models.source_cov import BlockDiagonal, Diagonal, GraphSmooth

N, ORIENTS = 11, 3


def diagonal(rng):
    variance = rng.uniform(0, 2, (N, ORIENTS))
    return Diagonal(jnp.asarray(variance)), np.diag(variance.ravel())


def blocks(rng):
    half = rng.standard_normal((N, ORIENTS, ORIENTS))
    half[3, :, 0] = 0  # a location with a silent direction
    block = half @ half.transpose(0, 2, 1)
    return BlockDiagonal(jnp.asarray(block)), block_diagonal(block)


def smooth(rng):
    edges = [(i, i + 1) for i in range(N - 2)]  # a chain and a lonely location
    scale = rng.uniform(0.5, 2, (N, ORIENTS))
    adjacency = np.zeros((N, N))
    for i, j in edges:
        adjacency[i, j] = adjacency[j, i] = 1
    degree = np.maximum(adjacency.sum(axis=1), 1)
    b = 1.1 * np.eye(N) - adjacency / np.sqrt(np.outer(degree, degree))
    inverse = np.kron(np.linalg.inv(b @ b), np.eye(ORIENTS))
    dense = scale.reshape(-1, 1) * inverse * scale.ravel()
    return GraphSmooth(jnp.asarray(scale), jnp.asarray(edges), jnp.asarray(0.1)), dense


@pytest.fixture(params=[diagonal, blocks, smooth], ids=lambda f: f.__name__)
def pair(request):
    return request.param(np.random.default_rng(0))


def close(got, want, rtol=1e-10):
    want = np.asarray(want)
    np.testing.assert_allclose(got, want, rtol=rtol, atol=rtol * np.abs(want).max())


def test_apply_and_root(pair):
    cov, dense = pair
    v = jnp.asarray(np.random.default_rng(1).standard_normal((N, ORIENTS, 4)))
    close(cov.apply(v).reshape(-1, 4), dense @ np.asarray(v).reshape(-1, 4))
    unit = jnp.eye(N * ORIENTS).reshape(N, ORIENTS, -1)
    root = np.asarray(cov.root(unit)).reshape(N * ORIENTS, -1)
    close(root @ root.T, dense)


def test_sensor_side(pair):
    cov, dense = pair
    gain = jnp.asarray(np.random.default_rng(2).standard_normal((6, N, ORIENTS)))
    g = flat(gain)
    close(flat(cov.apply_gain(gain)), g @ dense)
    close(cov.sensor(gain), g @ dense @ g.T)


def test_blocks(pair):
    cov, dense = pair
    close(block_diagonal(np.asarray(cov.blocks())), dense * block_diagonal(np.ones((N, 3, 3))))


def test_local_means_nothing_outside_the_blocks(pair):
    cov, dense = pair
    outside = dense * (1 - block_diagonal(np.ones((N, ORIENTS, ORIENTS))))
    assert cov.local == (not outside.any())


def test_scaled(pair):
    cov, dense = pair
    v = jnp.asarray(np.random.default_rng(1).standard_normal((N, ORIENTS, 2)))
    close(cov.scaled(jnp.asarray(2.5)).apply(v).reshape(-1, 2), 2.5 * dense @ v.reshape(-1, 2))


@pytest.mark.statistical
def test_draws_have_this_covariance(pair):
    """Each entry within five standard errors (Isserlis: var of x_i x_j is R_ii R_jj + R_ij^2)."""
    cov, dense = pair
    n = 20_000
    draws = np.asarray(cov.draw(jax.random.key(0), n)).reshape(N * ORIENTS, n)
    variance = np.diag(dense)
    error = np.sqrt((np.outer(variance, variance) + dense**2) / n)
    assert np.all(np.abs(draws @ draws.T / n - dense) <= 5 * error + 1e-12)


def test_many_locations_smooth_in_chunks():
    """More locations than a chunk of the diagonal holds."""
    n = 700
    edges = jnp.asarray([(i, i + 1) for i in range(n - 1)])
    cov = GraphSmooth(jnp.ones((n, 1)), edges, jnp.asarray(0.1))
    unit = jnp.zeros((n, 1, 3)).at[jnp.asarray([0, 511, 699]), 0, jnp.arange(3)].set(1.0)
    columns = np.asarray(cov.apply(unit))
    got = np.asarray(cov.blocks())[[0, 511, 699], 0, 0]
    close(got, columns[[0, 511, 699], 0, [0, 1, 2]])


def test_root_has_a_derivative_where_blocks_are_isotropic():
    """The eigenvectors of a multiple of the identity have none; the root has."""

    def size(scale):
        return jnp.sum(BlockDiagonal(scale * jnp.eye(3)[None]).root(jnp.ones((1, 3, 1))))

    assert float(jax.grad(size)(jnp.asarray(4.0))) == pytest.approx(3 / (2 * 2.0), rel=1e-9)
