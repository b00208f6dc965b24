"""What every sparse solver takes and gives: limits, the answer, and what is known of it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from esijax._types import Scalar, Sources


class Answer(NamedTuple):
    """Minimiser in units of the prior's scale, and what `_implicit.INFO` names."""

    z: Sources
    info: Float[Array, " info"]


class Limits(NamedTuple):
    """When to stop."""

    tol: Scalar
    max_iter: Array


def frozen(tree):
    """Cut derivatives."""
    return jax.tree.map(jax.lax.stop_gradient, tree)


def combined(info: Float[Array, "parts info"]) -> Float[Array, " info"]:
    """Add up what was solved apart; the worst distance, the largest alpha_max."""
    total, worst = jnp.sum(info, axis=0), jnp.max(info, axis=0)
    return jnp.stack([*total[:2], *worst[2:5], total[5]])


# what is known of a solve, in this order
INFO = ("primal", "gap", "kkt", "alpha_max", "rounds", "steps")
