"""Pr(||x|| > t) against closed forms, a much finer quadrature, and draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import ndtr

from esijax._ops.exceed import ball_exceedance

BOUND = 5e-4  # promised by the docstring


def exceed(mean, cov, threshold):
    """One location and time per row: mean (n, orients), cov (n, orients, orients)."""
    got = ball_exceedance(jnp.asarray(mean)[..., None], jnp.asarray(cov), jnp.asarray(threshold))
    return np.asarray(got)[:, 0]


def reference(mean, variance, t, n=160, reach=9.5):
    """Independent components; the same integral in angles, 160 x 160 nodes, within 1e-13."""
    order = np.argsort(variance)
    m, s = np.asarray(mean)[order], np.sqrt(np.asarray(variance)[order])
    x, w = np.polynomial.legendre.leggauss(n)

    def angles(i, radius):
        low, high = (np.clip((m[i] + k * reach * s[i]) / radius, -1, 1) for k in (-1, 1))
        a, b = np.arcsin(low), np.arcsin(high)
        return (a + b) / 2 + (b - a) / 2 * x, (b - a) / 2 * w

    theta, weight = angles(0, t)
    inside = 0.0
    for th, wt in zip(theta, weight, strict=True):
        c1 = t * np.cos(th)
        phi, weight2 = angles(1, c1)
        c2 = c1 * np.cos(phi)
        inner = ndtr((c2 - m[2]) / s[2]) - ndtr((-c2 - m[2]) / s[2])
        inner = inner * c2 * stats.norm.pdf(c1 * np.sin(phi), m[1], s[1])
        inside += wt * c1 * stats.norm.pdf(t * np.sin(th), m[0], s[0]) * np.sum(weight2 * inner)
    return 1 - inside


def rotated(rng, mean, variance):
    """Components along random axes."""
    q = np.linalg.qr(rng.standard_normal((len(mean), 3, 3)))[0]
    return np.einsum("lij,lj->li", q, mean), np.einsum("lij,lj,lkj->lik", q, variance, q)


def test_one_orient_is_two_tails():
    rng = np.random.default_rng(0)
    mean, std, t = rng.standard_normal(50), rng.uniform(0.1, 2, 50), 0.8
    want = stats.norm.sf(t, mean, std) + stats.norm.cdf(-t, mean, std)
    np.testing.assert_allclose(exceed(mean[:, None], std[:, None, None] ** 2, t), want, rtol=1e-12)


def test_one_orient_without_spread_is_sure():
    got = exceed([[0.5], [-2.0], [0.0]], np.zeros((3, 1, 1)), 1.0)
    np.testing.assert_array_equal(got, [0, 1, 0])


def test_three_isotropic_orients_are_noncentral_chi_squared():
    rng = np.random.default_rng(1)
    n, t = 200, 1.3
    mean = rng.standard_normal((n, 3)) * rng.uniform(0, 2, (n, 1))
    std = 10 ** rng.uniform(-1.5, 0.5, n)
    want = stats.ncx2.sf((t / std) ** 2, 3, np.sum(mean**2, axis=1) / std**2)
    got = exceed(mean, np.eye(3) * std[:, None, None] ** 2, t)
    np.testing.assert_allclose(got, want, atol=BOUND)


def test_three_orients_of_any_shape():
    """Condition numbers up to 1e6, thresholds from far below to far above the mean."""
    rng = np.random.default_rng(2)
    n = 80
    variance = 10 ** (rng.uniform(-6, 0, (n, 3)) * rng.uniform(0, 1, (n, 1)))
    mean = rng.standard_normal((n, 3)) * 10 ** rng.uniform(-1, 1, (n, 1))
    mean *= rng.random((n, 3)) > 0.2
    t = 10 ** rng.uniform(-1, 1.3, n)
    want = np.array([reference(m, v, ti) for m, v, ti in zip(mean, variance, t, strict=True)])
    mean, cov = rotated(rng, mean / t[:, None], variance / t[:, None] ** 2)
    error = np.abs(exceed(mean, cov, 1.0) - want)
    assert ((want > 0.01) & (want < 0.99)).sum() > 12
    assert error.max() < BOUND


@pytest.mark.statistical
def test_three_orients_against_draws():
    rng = np.random.default_rng(3)
    n_draws, n, t = 200_000, 12, 1.0
    variance = np.stack([np.full(n, v) for v in (0.01, 0.2, 1.0)], axis=1)
    mean, cov = rotated(rng, rng.standard_normal((n, 3)), variance)
    got = exceed(mean, cov, t)
    for m, c, p in zip(mean, cov, got, strict=True):
        draws = rng.multivariate_normal(m, c, n_draws)
        share = np.mean(np.linalg.norm(draws, axis=1) > t)
        assert abs(share - p) < 4 * np.sqrt(p * (1 - p) / n_draws) + BOUND


def test_flat_and_pointlike_covariances():
    """A plane, a line and a point, as limits."""
    mean = np.array([[0.2, 0.1, 0.0], [0.3, 0.0, 0.0], [0.9, 0.0, 0.0], [0.0, 1.1, 0.0]])
    cov = np.array(
        [np.diag([1.0, 1.0, 0]), np.diag([1.0, 0, 0]), np.zeros((3, 3)), np.zeros((3, 3))]
    )
    got = exceed(mean, cov, 1.0)
    plane = stats.ncx2.sf(1.0, 2, 0.05)
    line = stats.norm.sf(0.7) + stats.norm.sf(1.3)
    np.testing.assert_allclose(got, [plane, line, 0, 1], atol=BOUND)


def test_extremes():
    cov = np.eye(3)[None]
    zero = np.zeros((1, 3))
    assert exceed(zero, cov, 0.0)[0] == 1
    assert exceed(zero, 0 * cov, 0.0)[0] == 0
    assert exceed(zero + 1, 0 * cov, 0.0)[0] == 1
    assert exceed(zero, cov, 1e6)[0] == pytest.approx(0, abs=BOUND)
    assert exceed(zero + 1e9, cov, 1.0)[0] == 1
    # the map's unit is A m: the scale must not matter
    np.testing.assert_allclose(
        exceed(zero + 1e-9, 1e-18 * cov, 2e-9), exceed(zero + 1, cov, 2.0), rtol=1e-9
    )


def test_shapes_and_gradient():
    rng = np.random.default_rng(4)
    half = rng.standard_normal((5, 3, 3))
    cov = jnp.asarray(half @ half.transpose(0, 2, 1))
    mean = jnp.asarray(rng.standard_normal((2, 5, 3, 4)))
    threshold = jnp.asarray(1.5)
    got = ball_exceedance(mean, cov, threshold)
    assert got.shape == (2, 5, 4)
    np.testing.assert_allclose(got[1], ball_exceedance(mean[1], cov, threshold), rtol=1e-12)
    one = jnp.ones(())
    _, slope = jax.jvp(lambda t: ball_exceedance(mean, cov, t).sum(), (threshold,), (one,))
    step = 1e-5
    ends = [float(ball_exceedance(mean, cov, threshold + k * step).sum()) for k in (1, -1)]
    assert float(slope) == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-5)
