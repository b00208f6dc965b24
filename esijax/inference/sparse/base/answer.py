"""What every sparse solver gives: the minimiser, and what is known of it."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from esijax._types import Data, Sources
from esijax.inference.sparse.base.gap import Certificate

# what is known of a solve, in this order; alpha_max is that over alpha
INFO = ("primal", "gap", "kkt", "alpha_max", "rounds", "steps")


class SparseAnswer(NamedTuple):
    """Minimiser in units of the prior's scale, and what `INFO` names."""

    z: Sources
    info: Float[Array, "*trials info"]


class Found(NamedTuple):
    """What `MAP` puts into an estimate: sources in the problem's units, and what they explain."""

    sources: Sources
    fitted: Data
    info: Float[Array, "*trials info"]
    n_active: Array  # locations that are not zero, the most of any trial


def pack_info(proof: Certificate, alpha_max, rounds, steps, dtype) -> Float[Array, " info"]:
    """Put what is known of a solve into one array, in the order of `INFO`."""
    parts = (*proof, alpha_max, rounds, steps)
    return jnp.stack([jnp.asarray(part, dtype=dtype) for part in parts])


def sum_info(info: Float[Array, "parts info"]) -> Float[Array, " info"]:
    """Add up what was solved apart; the worst distance, the largest alpha_max."""
    total, worst = jnp.sum(info, axis=0), jnp.max(info, axis=0)
    return jnp.stack([*total[:2], *worst[2:5], total[5]])


def unsolved(start: Sources) -> SparseAnswer:
    """Answer before the first round: the start, of which nothing is known."""
    nothing = jnp.full(len(INFO), jnp.inf, dtype=start.dtype).at[4:].set(0.0)
    return SparseAnswer(start, nothing)
