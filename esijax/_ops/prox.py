r"""Proximal maps of block norms, and norms whose derivative at zero is zero.

.. math:: \operatorname{prox}_{\tau \lVert \cdot \rVert}(x) = x \, (1 - \tau / \lVert x \rVert)_+
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from esijax._ops.safe import safe_sqrt

BatchedSources = Float[Array, "*lead locations orients times"]


def block_norms(x: BatchedSources) -> Float[Array, "*lead locations"]:
    """Frobenius norm of each location's orients x times."""
    return safe_sqrt(jnp.sum(x**2, axis=(-2, -1)))


def block_soft_threshold(
    x: BatchedSources, threshold: Float[Array, "*#lead #locations"]
) -> BatchedSources:
    """Shrink each location's block towards zero by `threshold` in norm; exact zeros below it."""
    norms = block_norms(x)
    keep = norms > threshold
    factor = jnp.where(keep, 1.0 - threshold / jnp.where(keep, norms, 1.0), 0.0)
    return x * factor[..., None, None]


def soft_threshold(x: Float[Array, "..."], threshold: Float[Array, "..."]) -> Float[Array, "..."]:
    """Shrink each entry towards zero by `threshold`."""
    return jnp.sign(x) * jnp.maximum(jnp.abs(x) - threshold, 0.0)


def tree_norm(tree: Any) -> Float[Array, ""]:
    """Euclidean norm over all arrays of a tree."""
    return jnp.sqrt(sum(jnp.sum(x**2) for x in jax.tree.leaves(tree)))
