"""Derivatives against finite differences, with two compilations instead of dozens."""

import jax
import jax.numpy as jnp
import numpy as np


def check_slopes(value, at, order=2, step=1e-4, rtol=1e-5, n_directions=3):
    """Gradient against differences of the value, its own derivative against differences of it.

    Parameters
    ----------
    value : function of arrays to a number
        Of order one, as are its arguments.
    at : list of arrays
    order : 1 | 2
    """
    value_at = jax.jit(lambda x: value(*x))
    slope_at = jax.jit(jax.grad(lambda x: value(*x)))
    along = jax.jit(lambda x, d: jax.jvp(jax.grad(lambda x: value(*x)), (x,), (d,))[1])
    rng = np.random.default_rng(0)
    at = [jnp.asarray(a, dtype=float) for a in at]
    for _ in range(n_directions):
        d = [jnp.asarray(rng.standard_normal(a.shape)) for a in at]

        def shifted(t, d=d):
            return [a + t * b for a, b in zip(at, d, strict=True)]

        def difference(function, shifted=shifted):  # fourth order in the step
            near = _flat(function(shifted(step))) - _flat(function(shifted(-step)))
            far = _flat(function(shifted(2 * step))) - _flat(function(shifted(-2 * step)))
            return (8 * near - far) / (12 * step)

        slope = _flat(slope_at(at)) @ _flat(d)
        np.testing.assert_allclose(slope, difference(value_at)[0], rtol=rtol, atol=1e-9)
        if order == 2:
            curve, want = _flat(along(at, d)), difference(slope_at)
            np.testing.assert_allclose(curve, want, rtol=rtol, atol=rtol * np.abs(want).max())


def _flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def floats(tree):
    """The same tree in single precision."""
    return jax.tree.map(lambda a: jnp.asarray(np.asarray(a), jnp.float32), tree)
