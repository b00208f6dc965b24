"""Small arrays on the host: a head is set up without a compilation.

Geometry is small: NumPy needs microseconds for what takes tenths of a second to compile, and
`jnp.asarray` compiles a program (15 ms) for each new shape.
"""

from functools import wraps
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from esijax._types import is_traced

__all__ = ["as_array", "as_vector", "on_host"]


def as_array(values: Any, dtype: Any = float) -> Array:
    """Give numbers as an array of JAX, a copy of its own; arrays and tracers stay as they are.

    The copy is needed: `jax.device_put` may take over the memory of a NumPy array.
    """
    if isinstance(values, Array) or is_traced(values):
        return jnp.asarray(values, dtype=dtype)
    return jax.device_put(np.array(values, dtype=dtype))


def as_vector(values: Any) -> Array:
    """Give numbers as `as_array` does, one axis at least."""
    if is_traced(values):
        return jnp.atleast_1d(as_array(values))
    return as_array(np.atleast_1d(values))


def on_host(function):
    """Run a function of arrays, given as `function(xp, ...)`, on the host for concrete numbers."""

    @wraps(function)
    def run(*arrays):
        if is_traced(arrays):
            return function(jnp, *arrays)
        found = function(np, *jax.tree.map(np.asarray, arrays))
        return jax.tree.map(lambda array: as_array(array, array.dtype), found)

    return run
