import jax
import jax.numpy as jnp
import numpy as np
import pytest

from esijax._ops.graph import edge_weights, laplacian_apply, laplacian_solve

N = 9
# a ring, a chord, and one location without neighbours
EDGES = jnp.asarray([(i, (i + 1) % (N - 1)) for i in range(N - 1)] + [(0, 4)])
RIDGE = jnp.asarray(0.07)


def dense(ridge=0.07):
    adjacency = np.zeros((N, N))
    for i, j in np.asarray(EDGES):
        adjacency[i, j] = adjacency[j, i] = 1
    degree = np.maximum(adjacency.sum(axis=1), 1)
    return (1 + ridge) * np.eye(N) - adjacency / np.sqrt(np.outer(degree, degree))


@pytest.fixture
def values():
    return jnp.asarray(np.random.default_rng(0).standard_normal((N, 3)))


def test_weights_count_each_neighbour():
    weights, degree = edge_weights(EDGES, N)
    np.testing.assert_array_equal(degree, [3, 2, 2, 2, 3, 2, 2, 2, 0])
    assert weights[-1] == pytest.approx(1 / 3)


def test_apply_and_solve_are_the_dense_matrix(values):
    np.testing.assert_allclose(
        laplacian_apply(EDGES, RIDGE, values), dense() @ np.asarray(values), rtol=1e-12
    )
    for solve in (laplacian_solve, jax.jit(laplacian_solve)):
        np.testing.assert_allclose(
            solve(EDGES, RIDGE, values), np.linalg.solve(dense(), values), rtol=1e-10
        )


def test_solve_is_symmetric_and_definite(values):
    """<u, B^-1 v> = <B^-1 u, v>, and the smallest eigenvalue of B is the ridge."""
    u, v = values[:, :1], values[:, 1:2]
    left = jnp.sum(u * laplacian_solve(EDGES, RIDGE, v))
    assert left == pytest.approx(float(jnp.sum(laplacian_solve(EDGES, RIDGE, u) * v)), rel=1e-12)
    assert np.linalg.eigvalsh(dense())[0] == pytest.approx(0.07, rel=1e-9)


def test_derivatives(values):
    tangent = values[::-1]
    _, got = jax.jvp(lambda v: laplacian_solve(EDGES, RIDGE, v), (values,), (tangent,))
    np.testing.assert_allclose(got, np.linalg.solve(dense(), tangent), rtol=1e-10)
    inverse = np.linalg.inv(dense())
    _, got = jax.jvp(lambda r: laplacian_solve(EDGES, r, values), (RIDGE,), (jnp.asarray(1.0),))
    np.testing.assert_allclose(got, -inverse @ inverse @ values, rtol=1e-10)
    grad = jax.grad(lambda r: jnp.sum(laplacian_solve(EDGES, r, values) ** 2))(RIDGE)
    x = inverse @ np.asarray(values)
    assert grad == pytest.approx(float(-2 * np.sum(x * (inverse @ x))), rel=1e-10)


def test_vmap_over_right_hand_sides_and_ridges(values):
    ridges = jnp.asarray([0.05, 0.5])
    got = jax.vmap(lambda r: laplacian_solve(EDGES, r, values))(ridges)
    for g, r in zip(got, ridges, strict=True):
        np.testing.assert_allclose(g, np.linalg.solve(dense(float(r)), values), rtol=1e-10)
    stack = jnp.stack([values, 2 * values])
    got = jax.vmap(lambda v: laplacian_solve(EDGES, RIDGE, v))(stack)
    np.testing.assert_allclose(got[1], 2 * got[0], rtol=1e-12)
