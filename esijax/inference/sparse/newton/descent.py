r"""Sums of norms, or of powers of them, as descents: all at once, or working set by working set.

Data that are longer than the rank are rotated first: with :math:`Y = B V^\top`, V orthonormal,
:math:`X V` has the norms of X, and nothing else enters.
"""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from esijax._ops.stop_gradient import stop_gradient
from esijax._types import Scalar, Sources
from esijax.inference.sparse.base.answer import (
    Found,
    SparseAnswer,
    pack_info,
    unsolved,
)
from esijax.inference.sparse.base.descent import Descent, compiled_call, count_active
from esijax.inference.sparse.base.gap import Limits
from esijax.inference.sparse.base.sizes import host_sizes
from esijax.inference.sparse.newton.gradients import GainProducts, gain_products
from esijax.inference.sparse.newton.implicit import rotate_in_time
from esijax.inference.sparse.newton.reweighting import (
    MOST_MAJORISERS,
    inverse_weights,
    minimise_convex,
    minimise_in_turns,
    minimise_power,
    over_factor,
    scaled_by,
)
from esijax.inference.sparse.newton.working_set import (
    WorkingSet,
    at_answer,
    at_other_alpha,
    at_zero,
    scatter_rows,
    working_set_step,
)
from esijax.models.penalties import Lrq
from esijax.models.penalties.least_squares import LeastSquares, LocationWeights
from esijax.problem import Problem


class NormState(eqx.Module):
    """An answer, and whether it is one."""

    answer: SparseAnswer
    done: Bool[Array, ""]


class NormDescent(Descent):
    """All at once: what is brief, and what runs within a transformation.

    `turns`: how many convex problems, the first that of the norm, the others majorisers of the
    power; None: until nothing moves.
    """

    fit: LeastSquares
    power: Lrq
    limits: Limits
    inner: str = eqx.field(static=True)
    turns: int | None = eqx.field(static=True)

    def at(self, data):
        """The same for another recording."""
        return eqx.tree_at(lambda d: d.fit.data, self, data)

    def first(self, start):
        """Nothing is solved yet."""
        return NormState(unsolved(start), jnp.zeros((), dtype=bool))

    def go(self, carry: NormState):
        """Once."""
        return ~carry.done

    def body(self, carry: NormState) -> NormState:
        """Solve all of it."""
        return NormState(stop_gradient(self).run(carry.answer.z), jnp.ones((), dtype=bool))

    def answer(self, carry: NormState) -> SparseAnswer:
        """As it was found."""
        return carry.answer

    def run(self, start: Sources) -> SparseAnswer:
        """With the derivative of the minimiser."""
        if self.turns == 1:
            norm = self.power.majoriser
            return minimise_convex(self.fit, norm, start, self.limits, self.inner)
        if self.turns is None:
            return minimise_power(self.fit, self.power, start, self.limits)
        return minimise_in_turns(self.fit, self.power, start, self.turns, self.limits)


class NewtonState(eqx.Module):
    """Working set of the turn under way: a convex problem with factors on the gain."""

    working: WorkingSet
    factor: Float[Array, " locations"]
    turn: Int[Array, ""]
    alpha_max: Scalar  # of the first turn, over alpha
    flags: Int[Array, " 4"]  # what the host asks: finished, size wanted, rounds, turn

    def read_flags(self) -> list[int]:
        """Fetch the flags, in one transfer."""
        return [int(x) for x in jax.device_get(self.flags)]


class NewtonDescent(Descent):
    """Norms of locations, one working set after the other, with the host looking on.

    `whole` solves the same within a transformation.
    """

    grows: ClassVar[bool] = True

    whole: NormDescent
    fit: LeastSquares  # rotated in time
    products: GainProducts
    basis: Float[Array, "times rank"] | None
    started: bool = eqx.field(static=True)

    @classmethod
    def of(cls, whole: NormDescent, started: bool) -> "NewtonDescent":
        """Rotate the data; `started`: there is an earlier answer."""
        data, basis = rotate_in_time(whole.fit.data)
        fit = whole.fit._replace(data=data)
        return cls(whole, fit, gain_products(fit), basis, started)

    def at(self, data):
        """The same for another recording."""
        return NewtonDescent.of(self.whole.at(data), self.started)

    def run(self, start: Sources) -> SparseAnswer:
        """With the derivative of the minimiser."""
        return self.whole.run(start)

    def first(self, start: Sources) -> NewtonState:
        """First gradients: at zero, or at an earlier answer."""
        factor, turn = jnp.ones(len(self.fit.scale)), jnp.ones((), dtype=int)
        if not self.started:
            working = at_zero(self.fit, self.products)
            return self._state(working, factor, turn, working.alpha_max)
        z = start if self.basis is None else start @ self.basis
        if self.whole.turns != 1:
            factor = inverse_weights(self.whole.power.norms(z), self.whole.power.q)
        working = self._working_at(z, factor)
        return self._state(working, factor, turn, working.alpha_max)

    def go(self, carry: NewtonState):
        """Until the last turn is solved, or one that had nothing to do."""
        stop, _, rounds, turn = carry.flags
        return ~((stop == 1) & self._is_last(turn, rounds))

    def body(self, carry: NewtonState) -> NewtonState:
        """A round on a working set of the same size, or the next turn."""
        size = len(carry.working.index)

        def turn(carry):
            new = self._turn(carry)
            return eqx.tree_at(lambda c: c.working, new, new.working.resized(size))

        return jax.lax.cond(carry.flags[0] == 1, turn, lambda c: self._round(c), carry)

    def answer(self, carry: NewtonState) -> SparseAnswer:
        """Courses of all locations."""
        x, info = self._courses(carry)
        return SparseAnswer(scatter_rows(x, carry.working.index, len(self.fit.scale)), info)

    def found(self, carry: NewtonState, problem: Problem) -> Found:
        """Few courses take the units of the problem; what they explain is known."""
        x, info = self._courses(carry)
        index, fitted = carry.working.index, carry.working.fitted
        fitted = fitted if self.basis is None else fitted @ self.basis.T
        scale = problem.prior_scale.at[index].get(mode="fill", fill_value=0.0)
        sources = scatter_rows(x * scale[..., None], index, problem.n_locations)
        return Found(sources, fitted, info, count_active(x))

    # ------------------------------------------------------------------ on the host
    def ahead(self, carry: NewtonState) -> NewtonState:
        """One round of the size that is wanted, or the next turn."""
        stop, wanted, _, _ = carry.read_flags()
        if stop:
            return compiled_call(self._turn, carry)
        n = len(carry.factor)
        size = next(s for s in host_sizes(n) if s >= min(wanted, n))
        if size != len(carry.working.index):
            carry = _resize(size, carry)
        return compiled_call(self._round, carry)

    def over(self, carry: NewtonState) -> bool:
        """Tell whether the last turn is solved."""
        stop, _, rounds, turn = carry.read_flags()
        return bool(stop) and self._is_last(turn, rounds)

    def follow(
        self, weight: LocationWeights, carry: NewtonState
    ) -> tuple["NewtonDescent", NewtonState]:
        """Go on from a minimum to that of another alpha; for one turn."""
        other = eqx.tree_at(lambda d: (d.fit.weight, d.whole.fit.weight), self, (weight, weight))
        return other, compiled_call(other._at_other_alpha, carry, self.fit.weight)

    # ------------------------------------------------------------------ rounds and turns
    def _round(self, carry: NewtonState) -> NewtonState:
        """One working set."""
        size, fit = len(carry.working.index), scaled_by(self.fit, carry.factor)
        limits, inner = self.whole.limits, self.whole.inner
        working = working_set_step(size, fit, self.products, carry.working, limits, inner)
        return self._state(working, carry.factor, carry.turn, carry.alpha_max)

    def _turn(self, carry: NewtonState) -> NewtonState:
        """The majoriser at the answer of the last one."""
        z = scatter_rows(_times_factor(carry), carry.working.index, len(carry.factor))
        factor = inverse_weights(self.whole.power.norms(z), self.whole.power.q)
        working = self._working_at(z, factor)
        return self._state(working, factor, carry.turn + 1, carry.alpha_max)

    def _working_at(self, z: Sources, factor) -> WorkingSet:
        """Working set at sources, for the gain with factors."""
        return at_answer(scaled_by(self.fit, factor), self.products, over_factor(z, factor))

    def _at_other_alpha(self, carry: NewtonState, weight) -> NewtonState:
        """First state at this alpha; `weight` is that of the minimum which `carry` holds."""
        share = self.fit.weight[0] / weight[0]
        working = at_other_alpha(self.fit, carry.working, share)
        return self._state(working, carry.factor, carry.turn, working.alpha_max)

    def _state(self, working: WorkingSet, factor, turn, alpha_max) -> NewtonState:
        """Put a working set and its turn together, with the flags for the host."""
        stop = working.finished(self.whole.limits).astype(int)
        flags = jnp.stack([stop, working.wanted, working.rounds, turn])
        return NewtonState(working, factor, turn, alpha_max, flags)

    def _is_last(self, turn, rounds):
        """Whether a turn that is solved is the last one: enough turns, or nothing moved."""
        enough = MOST_MAJORISERS if self.whole.turns is None else self.whole.turns
        return ((turn > 1) & (rounds == 0)) | (turn >= enough)

    def _courses(self, carry: NewtonState):
        """Courses of the working set at all times, and what `INFO` names."""
        working, x = carry.working, _times_factor(carry)
        x = x if self.basis is None else x @ self.basis.T
        info = pack_info(working.proof, carry.alpha_max, working.rounds, working.steps, x.dtype)
        return x, info


def _times_factor(carry: NewtonState):
    """Courses of the working set, without the factors of the majoriser."""
    working = carry.working
    factor = carry.factor.at[working.index].get(mode="fill", fill_value=0.0)
    return working.x * factor[:, None, None]


@eqx.filter_jit
def _resize(size: int, carry: NewtonState) -> NewtonState:
    """Room for as many locations as are wanted."""
    return eqx.tree_at(lambda c: c.working, carry, carry.working.resized(size))
