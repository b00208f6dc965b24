"""Proximal maps against brute force; derivatives at zero."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

from esijax._ops import prox

pytestmark = pytest.mark.usefixtures("no_rank_promotion")


@pytest.mark.parametrize("threshold", [0.3, 2.0, 9.0])
def test_block_soft_threshold_is_the_prox_of_the_norm(threshold):
    x = np.random.default_rng(0).standard_normal((4, 3, 2))
    got = prox.block_soft_threshold(jnp.asarray(x), jnp.full(4, threshold))
    for block, shrunk in zip(x, got, strict=True):

        def value(z, block=block):
            return 0.5 * np.sum((z - block.ravel()) ** 2) + threshold * np.linalg.norm(z)

        found = minimize(value, block.ravel(), method="Nelder-Mead", tol=1e-12,
                         options={"maxiter": 20_000, "maxfev": 20_000})  # fmt: skip
        assert value(np.ravel(shrunk)) <= found.fun + 1e-9
        if np.linalg.norm(block) <= threshold:
            assert not shrunk.any()


def test_soft_threshold_is_that_of_blocks_of_one():
    x = jnp.asarray(np.random.default_rng(0).standard_normal((5, 1, 1)))
    by_block = prox.block_soft_threshold(x, jnp.full(5, 0.4))
    np.testing.assert_allclose(prox.soft_threshold(x, jnp.asarray(0.4)), by_block, atol=1e-16)


def test_derivatives_at_zero_are_zero():
    zero = jnp.zeros((2, 3, 4))
    for function in (
        lambda x: jnp.sum(prox.block_norms(x)),
        lambda x: jnp.sum(prox.block_soft_threshold(x, jnp.ones(2))),
        lambda x: prox.safe_sqrt(jnp.sum(x)),
    ):
        assert not jax.grad(function)(zero).any()
