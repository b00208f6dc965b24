"""Share of a power that is explained."""

import functools

import jax
import jax.numpy as jnp


@functools.partial(jax.jit, static_argnames="axis")
def explained_share(data, fitted, axis: int | None):
    """One minus the power of what is left, over that of the data; 0 where there is none."""
    total = jnp.sum(data**2, axis=axis)
    left = jnp.sum((data - fitted) ** 2, axis=axis)
    return jnp.where(total == 0, 0.0, 1.0 - left / jnp.where(total == 0, 1.0, total))
