"""Norms of entries and of blocks at once: proximal map and dual norm against brute force."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq, minimize

from esijax._ops import epsilon

SHAPE = (4, 3, 2, 5)


def drawn(seed=0):
    rng = np.random.default_rng(seed)
    c = rng.standard_normal(SHAPE)
    return c, rng.uniform(0.2, 1.5, (4, 5)), rng.uniform(0.2, 1.5, 4)


def naive(c, mu, lam):
    entries = np.linalg.norm(np.moveaxis(c, -1, 0).reshape(c.shape[-1], -1), axis=1)
    return np.sum(mu * entries) + lam * np.linalg.norm(c)


@pytest.mark.parametrize("factor", [0.3, 1.0])
def test_prox_is_a_minimum(factor):
    """As low as a general minimiser gets, which starts there and elsewhere; exact zeros."""
    c, mu, lam = drawn()
    mu, lam = factor * mu, factor * lam
    got = np.asarray(epsilon.tree_prox(*(jnp.asarray(x) for x in (c, mu, lam))))
    values = epsilon.tree_value(*(jnp.asarray(x) for x in (got, mu, lam)))
    for block, m, w, shrunk, norm in zip(c, mu, lam, got, values, strict=True):

        def value(z, block=block, m=m, w=w):
            z = z.reshape(block.shape)
            return 0.5 * np.sum((z - block) ** 2) + naive(z, m, w)

        assert naive(shrunk, m, w) == pytest.approx(float(norm))
        for start in (shrunk, block, 0.5 * block):
            found = minimize(value, start.ravel(), method="Powell", options={"xtol": 1e-10})
            assert value(shrunk) <= found.fun + 1e-9
    assert (got == 0).any() == (factor == 1.0)


def test_infinite_weights_keep_entries_at_zero():
    c, mu, lam = (jnp.asarray(x) for x in drawn())
    mu = mu.at[:, 2].set(jnp.inf)
    z = epsilon.tree_prox(c, mu, lam)
    assert not z[..., 2].any()
    without = jnp.delete(c, 2, axis=-1), jnp.delete(mu, 2, axis=-1), lam
    np.testing.assert_allclose(jnp.delete(z, 2, axis=-1), epsilon.tree_prox(*without), atol=1e-15)
    entries = epsilon.moduli(c)
    got = epsilon.dual_norm(entries, mu, lam)
    want = epsilon.dual_norm(jnp.delete(entries, 2, axis=-1), *without[1:])
    np.testing.assert_allclose(got, want, rtol=1e-13)


@pytest.mark.parametrize("share", [0.0, 1e-3, 0.3, 0.999, 1.0])
def test_dual_norm_is_the_root(share):
    """Against bisection, each block; the largest of all; zero is the prox from there on."""
    c, mu, lam = drawn(1)
    mu, lam = share * mu, (1 - share) * lam
    entries = epsilon.moduli(jnp.asarray(c))
    got = epsilon.dual_norm(entries, jnp.asarray(mu), jnp.asarray(lam))
    for e, m, w, nu in zip(np.asarray(entries), mu, lam, got, strict=True):
        if share == 1.0:
            want = np.max(e / m)
        else:
            want = brentq(
                lambda v, e=e, m=m, w=w: np.linalg.norm(np.maximum(e - v * m, 0)) - v * w,
                0, 1e4, xtol=1e-14, rtol=1e-14,
            )  # fmt: skip
        assert float(nu) == pytest.approx(want, rel=1e-11)
    zero = jnp.zeros(())
    largest = epsilon.largest_dual_norm(entries, jnp.asarray(mu), jnp.asarray(lam), zero)
    assert float(largest) == pytest.approx(float(got.max()), rel=1e-13)
    scaled = jnp.asarray(c) / got[:, None, None, None]
    assert not epsilon.tree_prox(scaled * (1 - 1e-12), jnp.asarray(mu), jnp.asarray(lam)).any()
    beyond = epsilon.tree_prox(scaled * (1 + 1e-9), jnp.asarray(mu), jnp.asarray(lam))
    assert (epsilon.block_sizes(beyond) > 0).all()


def test_dual_norm_bounds_inner_products_and_has_its_derivative():
    c, mu, lam = (jnp.asarray(x) for x in drawn(2))
    s = jnp.asarray(drawn(3)[0])
    nu = epsilon.dual_norm(epsilon.moduli(s), mu, lam)
    assert (jnp.sum(c * s, axis=(1, 2, 3)) <= epsilon.tree_value(c, mu, lam) * nu).all()

    def total(s, mu, lam):
        return jnp.sum(epsilon.dual_norm(epsilon.moduli(s), mu, lam))

    for i, x in enumerate((s, mu, lam)):
        move = jnp.asarray(np.random.default_rng(5).standard_normal(x.shape))
        at = [s, mu, lam]
        ends = [total(*at[:i], x + k * 1e-6 * move, *at[i + 1 :]) for k in (1, -1)]
        slope = jax.grad(total, argnums=i)(s, mu, lam)
        np.testing.assert_allclose(jnp.sum(slope * move), (ends[0] - ends[1]) / 2e-6, rtol=1e-7)


def test_zero_has_dual_norm_zero():
    _, mu, lam = (jnp.asarray(x) for x in drawn())
    assert not epsilon.dual_norm(jnp.zeros((4, 5)), mu, lam).any()
