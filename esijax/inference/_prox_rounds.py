"""Proximal gradients on working sets, proved on all locations.

Where a penalty is a sum over locations, a round solves for those that are active or that a
proximal step on all of them moves most, in Gram form, ten times more exactly than the last round;
one step on all locations then tells who is missing, and gives the certificate. Any other penalty
is solved on all locations.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from esijax._ops.prox import block_norms
from esijax._types import Scalar
from esijax.inference._data_term import DataTerm
from esijax.inference._fista import converged, glide, proved
from esijax.inference._gap import Certificate
from esijax.inference._working_set import FIRST, rungs
from esijax.models.penalties import Penalty

ON_ALL = 100  # steps of a round on all locations
WITHIN = 2000  # steps of a round on a working set
Sources = Float[Array, "locations orients times"]


class Look(NamedTuple):
    """A point, one step beyond it, and what that step proves."""

    x: Sources
    new: Sources
    moved: Float[Array, " locations"]
    proof: Certificate
    steps: Int[Array, ""]
    rounds: Int[Array, ""]


def settle(
    term: DataTerm, penalty: Penalty, start: Sources, bound: Scalar, tol: Scalar, max_iter
) -> Look:
    """Rounds until the certificate is good."""
    n, n_orients = term.scale.shape
    ladder = rungs(n, n_orients) if penalty.separable else ()

    def looked(x, steps, rounds) -> Look:
        new, proof, moved = proved(term, penalty, x, bound)
        return Look(x, new, moved, proof, steps, rounds)

    def within(size: int):
        def branch(look: Look):
            active = block_norms(look.x) > 0
            _, index = jax.lax.top_k(jnp.where(active, jnp.inf, look.moved), size)
            gram, own = term.within(index), penalty.at(index)
            end = glide(gram, own, look.x[index], gram.bound(bound), 0.1 * look.proof.kkt, WITHIN)
            return jnp.zeros_like(look.x).at[index].set(end.x), end.steps

        return branch

    def on_all(look: Look):
        end = glide(term, penalty, look.new, bound, 0.1 * look.proof.kkt, ON_ALL)
        return end.x, end.steps

    branches = [*(within(size) for size in ladder), on_all]

    def rung(count, wanted):
        if not ladder:
            return 0
        wanted = jnp.where(count > ladder[-1], n + 1, jnp.minimum(wanted, ladder[-1]))
        return jnp.searchsorted(jnp.asarray(ladder), wanted)

    def body(look: Look) -> Look:
        count = jnp.sum(block_norms(look.x) > 0)
        wanted = count + jnp.minimum(jnp.sum(look.moved > 0), jnp.maximum(count, FIRST))
        x, steps = jax.lax.switch(rung(count, wanted), branches, look)
        return looked(x, look.steps + steps, look.rounds + 1)

    def go(look: Look):
        more = (look.steps < max_iter) & jnp.isfinite(look.proof.primal)
        return more & ~converged(look.proof, tol)

    zero = jnp.zeros((), dtype=int)
    return jax.lax.while_loop(go, body, looked(start, zero, zero))
