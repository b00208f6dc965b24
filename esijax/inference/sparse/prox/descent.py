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
from esijax._types import Scalar, Sources
from esijax.inference.sparse.base.gap import Certificate
from esijax.inference.sparse.newton.points import FIRST
from esijax.inference.sparse.newton.working_set import rungs
from esijax.inference.sparse.prox.fista import converged, glide, proved
from esijax.models.penalties import Penalty
from esijax.models.penalties._data_term import DataTerm

ON_ALL = 100  # steps of a round on all locations
WITHIN = 2000  # steps of a round on a working set


class Look(NamedTuple):
    """A point, one step beyond it, and what that step proves."""

    x: Sources
    new: Sources
    moved: Float[Array, " locations"]
    proof: Certificate
    steps: Int[Array, ""]
    rounds: Int[Array, ""]


def looked(term: DataTerm, penalty: Penalty, bound: Scalar, x: Sources, steps, rounds) -> Look:
    """One step on all locations, and what it proves."""
    new, proof, moved = proved(term, penalty, x, bound)
    return Look(x, new, moved, proof, steps, rounds)


def first_look(term: DataTerm, penalty: Penalty, bound: Scalar, start: Sources) -> Look:
    """Before the first round."""
    zero = jnp.zeros((), dtype=int)
    return looked(term, penalty, bound, start, zero, zero)


def unsettled(look: Look, tol: Scalar, max_iter):
    """Tell whether another round is needed."""
    more = (look.steps < max_iter) & jnp.isfinite(look.proof.primal)
    return more & ~converged(look.proof, tol)


def round_of(term: DataTerm, penalty: Penalty, bound: Scalar, look: Look) -> Look:
    """One round: on a working set, or a few steps on all locations."""
    n, n_orients = term.scale.shape
    ladder = rungs(n, n_orients) if penalty.separable else ()

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

    count = jnp.sum(block_norms(look.x) > 0)
    wanted = count + jnp.minimum(jnp.sum(look.moved > 0), jnp.maximum(count, FIRST))
    if ladder:
        wanted = jnp.where(count > ladder[-1], n + 1, jnp.minimum(wanted, ladder[-1]))
        rung = jnp.searchsorted(jnp.asarray(ladder), wanted)
        x, steps = jax.lax.switch(rung, [*(within(size) for size in ladder), on_all], look)
    else:
        x, steps = on_all(look)
    return looked(term, penalty, bound, x, look.steps + steps, look.rounds + 1)


def settle(
    term: DataTerm, penalty: Penalty, start: Sources, bound: Scalar, tol: Scalar, max_iter
) -> Look:
    """Rounds until the certificate is good."""
    return jax.lax.while_loop(
        lambda look: unsettled(look, tol, max_iter),
        lambda look: round_of(term, penalty, bound, look),
        first_look(term, penalty, bound, start),
    )
