"""Division and roots where the divisor may be zero, in value and in derivative.

The branch that is not taken is guarded: the derivative of ``where(b > 0, a / b, 0)`` alone is NaN
at b = 0. Each takes arrays of JAX, also traced ones, and of NumPy.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def divisor(x: Any) -> Any:
    """Give x where it is positive, else 1: what may be divided by."""
    where = jnp.where if isinstance(x, jax.Array) else np.where
    return where(x > 0, x, 1.0)


def divide(a: Any, b: Any) -> Any:
    """Give a / b where b is positive, else 0."""
    where = jnp.where if isinstance(b, jax.Array) else np.where
    return where(b > 0, a / divisor(b), 0.0)


def safe_sqrt(square: Any) -> jax.Array:
    """Square root with the derivative 0 at 0, where that of sqrt is infinite."""
    positive = square > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1.0)), 0.0)
