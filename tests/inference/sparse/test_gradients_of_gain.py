"""Gradients of all locations by few columns, and bounds of those that are not looked at."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import esijax as ej
from esijax.inference import MAP, select
from esijax.inference.sparse.newton.gradients import (
    SAFE,
    gain_products,
    gradient_ratios,
    ratios_at_zero,
    single_precision_ratios,
)
from esijax.models import L21
from esijax.models.penalties.least_squares import LeastSquares

N, RANK, T = 1100, 40, 30


def fit_of(orients, seed=0):
    """Sources that are not alike."""
    rng = np.random.default_rng(seed)
    gain = jnp.asarray(rng.standard_normal((RANK, N, orients)))
    scale = jnp.asarray(rng.uniform(0.5, 2.0, (N, orients)))
    weight = jnp.asarray(rng.uniform(150.0, 200.0, N) * np.sqrt(orients))
    return LeastSquares(gain, scale, jnp.asarray(rng.standard_normal((RANK, T))), weight)


def naive(fit, x):
    """G' (Y - G X), one location after the other."""
    lead = np.asarray(fit.gain * fit.scale[None])
    left = np.asarray(fit.data) - sum(lead[:, i] @ np.asarray(x[i]) for i in range(N))
    return left, np.stack([lead[:, i].T @ left for i in range(N)])


@pytest.mark.parametrize("orients", [1, 3])
@pytest.mark.parametrize("n_active", [0, 2, 4, 8, 60])
def test_rough_ratios(orients, n_active):
    """In single precision, by few columns or all: as near as they say, and that is near."""
    fit, rng = fit_of(orients), np.random.default_rng(1)
    index = jnp.asarray(rng.permutation(N)[:64])
    some = np.zeros((64, orients, T))
    some[rng.permutation(64)[:n_active]] = rng.standard_normal((n_active, orients, T))
    x = jnp.zeros((N, orients, T)).at[index].set(some)
    left, slope = naive(fit, x)
    want = np.linalg.norm(slope.reshape(N, -1), axis=1) / np.asarray(fit.weight)
    products = gain_products(fit)
    got, margin = jax.jit(single_precision_ratios)(
        fit, products, index, jnp.asarray(some), jnp.asarray(left)
    )
    assert products.adjoint.dtype == jnp.float32
    assert got.dtype == margin.dtype == jnp.float64
    assert np.all(np.abs(got - want) <= margin)
    assert 0 < np.max(np.abs(got - want))
    assert np.max(margin / want) < 1e-3


@pytest.mark.parametrize("orients", [1, 3])
def test_at_zero(orients):
    """The largest is exact, the others to single precision, from above."""
    fit = fit_of(orients)
    _, slope = naive(fit, jnp.zeros((N, orients, T)))
    want = np.linalg.norm(slope.reshape(N, -1), axis=1) / np.asarray(fit.weight)
    got = np.asarray(jax.jit(ratios_at_zero)(fit, gain_products(fit)))
    assert got.max() == pytest.approx(want.max(), rel=1e-13)
    assert np.all(got >= want * (1 - 1e-13))
    assert np.all(got <= want * (1 + 1e-3))


@pytest.mark.parametrize("orients", [1, 3])
@pytest.mark.parametrize("step", [0.0, 0.01, 0.1, 3.0])
def test_bounds_hold(orients, step):
    """What could join is exact; the rest is below the limit, truly, and never above its bound."""
    fit, rng = fit_of(orients), np.random.default_rng(2)
    index = jnp.asarray(rng.permutation(N)[:5])
    at = [jnp.zeros((5, orients, T)), step * jnp.asarray(rng.standard_normal((5, orients, T)))]
    left, slopes = zip(
        *(naive(fit, jnp.zeros((N, orients, T)).at[index].set(x)) for x in at), strict=True
    )
    before, want = (
        np.linalg.norm(s.reshape(N, -1), axis=1) / np.asarray(fit.weight) for s in slopes
    )
    start, there = (before, jnp.asarray(left[0])), (index, at[1], jnp.asarray(left[1]))
    got = jax.jit(gradient_ratios)(fit, gain_products(fit), start, *there, jnp.asarray(want)[index])
    got = np.asarray(got)
    exact = np.isclose(got, want, rtol=1e-10)
    assert np.all(got >= want * (1 - 1e-10))
    assert np.all(exact | (got <= SAFE))
    assert exact[np.asarray(index)].all()
    # small steps are bounded, long ones computed
    assert exact.all() if step == 3.0 else step == 0 or not exact.all()


@pytest.mark.filterwarnings("ignore:the map explains")
def test_a_path_is_its_solves(problem_factory):
    """Going on from the last working set gives what each solve gives by itself."""
    problem = problem_factory(3, n_channels=12, n_locations=90, n_times=7, loose=0.3)
    shares, method = np.geomspace(0.98, 0.05, 9), MAP(tol=1e-12)
    found = select.path(problem, L21(1.0), shares, method)
    largest = float(select.alpha_max(problem, L21(1.0)))
    for share, estimate in zip(shares, found, strict=True):
        alone = ej.solve(problem, L21(float(share * largest)), method)
        proof = estimate.diagnostics
        assert bool(proof.converged)
        assert -1e-12 <= float(proof.relative_gap) <= 1e-12
        assert float(proof.alpha_max) == pytest.approx(largest, rel=1e-12)
        assert float(proof.primal) == pytest.approx(float(alone.diagnostics.primal), rel=1e-11)
        size = max(float(jnp.abs(alone.mean).max()), 1e-30)
        np.testing.assert_allclose(estimate.mean, alone.mean, atol=1e-5 * size)
