"""Derivatives go forward, gradients are refused in one sentence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import esijax as ej
from esijax._ops.forward_only import forward_only


def doubled(x):
    """A loop whose length nobody knows."""
    out = jax.lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, 2 * c[1]), (0, x))[1]
    return forward_only(out, "no gradient here")


def test_values_and_forward_derivatives_pass():
    x = jnp.arange(3.0)
    np.testing.assert_array_equal(jax.jit(doubled)(x), 8 * x)
    np.testing.assert_array_equal(jax.jvp(doubled, (x,), (x,))[1], 8 * x)
    np.testing.assert_array_equal(jax.jacfwd(doubled)(x), 8 * jnp.eye(3))
    np.testing.assert_array_equal(jax.vmap(doubled)(x[None]), 8 * x[None])


@pytest.mark.parametrize(
    "gradient",
    [
        jax.grad(lambda x: doubled(x).sum()),
        jax.jit(jax.grad(lambda x: doubled(x).sum())),
        jax.grad(lambda x: jax.jit(doubled)(x).sum()),
        jax.grad(lambda x: jax.vmap(doubled)(x[None]).sum()),
        jax.jacrev(doubled),
    ],
)
def test_gradients_are_refused(gradient):
    with pytest.raises(ej.InputError, match="no gradient here"):
        gradient(jnp.arange(3.0))
