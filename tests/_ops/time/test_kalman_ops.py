"""Sums of Markov series with gaps against the dense Gaussian."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from esijax._ops.time import kalman
from esijax._ops.time.state_space import Steps, semidefinite_root

N = 12


def autoregression(coefficients):
    """Steps and covariance in NumPy: P0 by the sum of powers, nothing shared with the code."""
    a = np.asarray(coefficients)
    p = len(a)
    move = np.eye(p, k=-1)
    move[0] = a
    noise = np.zeros((p, p))
    noise[0, 0] = 1.0
    start, power = np.zeros((p, p)), np.eye(p)
    for _ in range(3000):
        start, power = start + power @ noise @ power.T, move @ power
    start, noise = start / start[0, 0], noise / start[0, 0]
    return move, noise, start


def matern(rate):
    """Matern-3/2 in the course and its derivative over the rate, one sample apart."""
    e = np.exp(-rate)
    move = e * np.array([[1 + rate, rate], [-rate, 1 - rate]])
    return move, np.eye(2) - move @ move.T, np.eye(2)


def rough():
    return np.zeros((1, 1)), np.ones((1, 1)), np.ones((1, 1))


def as_steps(move, noise, start):
    every = (N - 1, *move.shape)
    first = jnp.zeros(len(move)).at[0].set(1.0)
    arrays = (jnp.broadcast_to(jnp.asarray(m), every) for m in (move, noise))
    return Steps(*arrays, first, jnp.asarray(start))


def covariance(move, noise, start):
    out, state = np.zeros((N, N)), start
    for t in range(N):
        ahead = state[:, 0]
        for s in range(t, N):
            out[t, s] = out[s, t] = ahead[0]
            ahead = move @ ahead
        state = move @ state @ move.T + noise
    return out


SIGNALS = {
    "AR(2)": autoregression([1.5, -0.8]),
    "Matern-3/2": matern(0.4),
    "smoother": matern(0.02),
}
NOISES = {"AR(1)": autoregression([0.6]), "white": rough()}
PAIRS = [("AR(2)", "AR(1)"), ("Matern-3/2", "AR(1)"), ("smoother", "white")]
GAPS = np.ones(N, bool)
GAPS[[0, 4, 5, 11]] = False
log_density = jax.jit(kalman.log_density)
smoothed = jax.jit(kalman.smoothed)


@pytest.fixture(scope="module")
def data():
    return np.random.default_rng(0).standard_normal(N)


def dense(pair, scales, seen):
    """Joint covariances: of the series, and of each part with the samples seen."""
    parts = [c * covariance(*m) for c, m in zip(scales, made(pair), strict=True)]
    total = sum(parts)
    return parts, total[np.ix_(seen, seen)]


def made(pair):
    return SIGNALS[pair[0]], NOISES[pair[1]]


def blocks(pair):
    return tuple(as_steps(*m) for m in made(pair))


@pytest.mark.parametrize("seen", [np.ones(N, bool), GAPS], ids=["all", "gaps"])
@pytest.mark.parametrize("scales", [(0.7, 1.0), (1e5, 1.0), (0.0, 1.0)], ids=str)
@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_equal_to_the_dense_gaussian(pair, scales, seen, data):
    parts, total = dense(pair, scales, seen)
    y = np.sqrt(scales[0] + 1) * data
    solved = np.linalg.solve(total, y[seen])
    want = -0.5 * (y[seen] @ solved + np.linalg.slogdet(2 * np.pi * total)[1])
    holed = jnp.asarray(np.where(seen, y, np.nan))
    given = (blocks(pair), jnp.asarray(scales), holed, jnp.asarray(seen))
    assert log_density(*given) == pytest.approx(want, rel=1e-10, abs=1e-10)
    found = smoothed(*given)
    size = max(scales)
    for part, mean, variance in zip(parts, *found, strict=True):
        towards = part[:, seen]
        np.testing.assert_allclose(mean, towards @ solved, atol=1e-10 * size)
        left = part - towards @ np.linalg.solve(total, towards.T)
        np.testing.assert_allclose(variance, np.diag(left), atol=1e-10 * size)
    if seen.all():
        np.testing.assert_allclose(np.sum(found.mean, axis=0), y, atol=1e-10 * np.sqrt(size))


def test_many_modes_at_once_and_gradients(data):
    """One filter for each mode, with common blocks; slopes in scale and data are differences."""
    pair = PAIRS[0]
    own = blocks(pair)
    scales = jnp.asarray([[0.0, 1.0], [0.7, 1.0], [5.0, 0.4]])
    series = jnp.asarray(np.stack([data, 2 * data, data[::-1]]))
    seen = jnp.asarray(GAPS)
    modes = jax.vmap(jax.value_and_grad(kalman.log_density, argnums=(1, 2)), (None, 0, 0, None))
    values, (by_scale, by_data) = jax.jit(modes)(own, scales, series, seen)
    h = 1e-6
    for i in range(3):
        at = (own, scales[i], series[i], seen)
        assert values[i] == pytest.approx(float(log_density(*at)), rel=1e-12)
        for j in range(2):
            move = h * jnp.eye(2)[j]
            up, down = (log_density(own, scales[i] + s * move, *at[2:]) for s in (1, -1))
            assert by_scale[i, j] == pytest.approx(float((up - down) / (2 * h)), rel=1e-6)
    assert not by_data[:, ~GAPS].any()
    move = h * jnp.eye(N)[2]
    up, down = (log_density(own, scales[1], series[1] + s * move, seen) for s in (1, -1))
    assert by_data[1, 2] == pytest.approx(float((up - down) / (2 * h)), rel=1e-6)


def test_gradient_in_the_dynamics(data):
    """Through F, Q and P0 of a first-order signal."""

    def value(phi):
        one = jnp.ones((1, 1))
        signal = Steps(
            jnp.broadcast_to(phi * one, (N - 1, 1, 1)),
            jnp.broadcast_to((1 - phi**2) * one, (N - 1, 1, 1)),
            jnp.ones(1),
            one,
        )
        noise = as_steps(*rough())
        return kalman.log_density((signal, noise), jnp.asarray([2.0, 1.0]), jnp.asarray(data))

    both = jax.jit(jax.value_and_grad(value))
    difference = (both(0.8 + 1e-6)[0] - both(0.8 - 1e-6)[0]) / 2e-6
    assert both(0.8)[1] == pytest.approx(float(difference), rel=1e-6)


def test_semidefinite_root():
    rng = np.random.default_rng(1)
    half = rng.standard_normal((5, 4, 4))
    half[1, :, 2:] = 0.0
    half[2] = 0.0
    half[3, 1:] = 0.0
    full = half @ np.swapaxes(half, 1, 2)
    root = np.asarray(semidefinite_root(jnp.asarray(full)))
    np.testing.assert_allclose(root @ np.swapaxes(root, 1, 2), full, atol=1e-12)
    assert not np.triu(root, 1).any()
