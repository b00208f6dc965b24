r"""TF-MxNE as a descent: one convex problem or several reweighted ones, with their derivative.

Reweighting (irTF-MxNE) majorises square roots at the last coefficients, with m the count of
`_ops.gabor`,

.. math:: \alpha \sum_l w_l \Big[ (1 - \rho) \sqrt{\lVert C_l \rVert}
   + \rho \sum_k m_k \sqrt{\lVert z_{lk} \rVert} \Big]

on what is not zero yet. Strohmeier et al. 2015, doi:10.1109/PRNI.2015.14.
"""

from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from esijax._ops.stop_gradient import stop_gradient
from esijax._types import Scalar, Sources
from esijax.inference.sparse.base.answer import SparseAnswer, pack_info
from esijax.inference.sparse.base.descent import Descent, compiled_call
from esijax.inference.sparse.base.gap import Limits
from esijax.inference.sparse.gabor.reweighting import (
    GaborTurn,
    minimise_coefs_again,
    minimiser_of_coefs,
)
from esijax.inference.sparse.gabor.rounds import (
    GaborFit,
    GaborSet,
    gabor_finished,
    gabor_round,
    gabor_set_at,
    gabor_sizes,
    widen,
)
from esijax.models.penalties import TimeFrequency
from esijax.models.penalties.least_squares import LeastSquares


class GaborState(NamedTuple):
    """Rounds of the convex problem, then the turns that are solved; alpha_max over alpha."""

    working: GaborSet
    turn: Int[Array, ""]  # 0: the convex problem is not solved yet
    alpha_max: Scalar


class GaborDescent(Descent):
    """Rounds on growing working sets, then the reweighted problems on the support.

    Within a transformation sets have at most `rounds.LOOP_COLUMNS` columns, on the host any size.
    """

    grows: ClassVar[bool] = True

    gabor: GaborFit
    model: TimeFrequency
    limits: Limits
    turns: int = eqx.field(static=True)

    @classmethod
    def of(
        cls, fit: LeastSquares, model: TimeFrequency, limits: Limits, turns: int
    ) -> "GaborDescent":
        """The rounds of one recording."""
        frame = model.frame(fit.data.shape[-1])
        return cls(GaborFit(fit, model.l1_ratio, frame), model, limits, turns)

    def at(self, data):
        """The same for another recording."""
        return eqx.tree_at(lambda d: d.gabor.fit.data, self, data)

    def first(self, start: Sources) -> GaborState:
        """Coefficients at the start, and their certificate on all locations."""
        fit = self.gabor.fit
        working = gabor_set_at(self.gabor, start)
        known = jnp.all(start == 0) & (working.ratio > 1)
        largest = jax.lax.cond(
            known,
            lambda s: working.ratio,  # noqa: ARG005
            lambda s: self.model.polar(s) / self.model.alpha,
            fit.adjoint(fit.data),
        )
        return self._state(working, largest)

    def go(self, carry: GaborState):
        """Until the last turn is solved."""
        return carry.turn < self.turns

    def body(self, carry: GaborState) -> GaborState:
        """A round on a working set of the same size, or a turn."""
        return jax.lax.cond(
            carry.turn == 0, lambda c: self._round(c), lambda c: self._next_turn(c), carry
        )

    def answer(self, carry: GaborState) -> SparseAnswer:
        """Sources of the last coefficients."""
        now = carry.working
        return self._answer(now, GaborTurn(now.c, now.proof, now.steps), carry.alpha_max)

    def run(self, start: Sources) -> SparseAnswer:
        """All sizes in one compiled function."""
        fixed = stop_gradient(self)
        sizes, limits = gabor_sizes(*self.gabor.fit.scale.shape), self.limits
        first = fixed.first(stop_gradient(start))

        def from_size(k: int, working: GaborSet) -> SparseAnswer:
            size, last = sizes[k], k == len(sizes) - 1

            def go(working):
                return ~gabor_finished(working, limits) & (last | (working.wanted <= size))

            def body(working):
                return gabor_round(size, fixed.gabor, working, limits)

            working = jax.lax.while_loop(go, body, working)
            if last:
                return self._ended(working, first.alpha_max)
            return jax.lax.cond(
                gabor_finished(working, limits),
                lambda w: self._ended(w, first.alpha_max),
                lambda w: from_size(k + 1, widen(w, sizes[k + 1])),
                working,
            )

        return from_size(0, first.working)

    def ahead(self, carry: GaborState) -> GaborState:
        """A round of the size that is wanted, or a turn."""
        now = carry.working
        turn, wanted, n = *jax.device_get((carry.turn, now.wanted)), len(now.index)
        if turn > 0:
            return compiled_call(self._next_turn, carry)
        sizes = gabor_sizes(*self.gabor.fit.scale.shape, limit=None)
        size = max(n, next(s for s in sizes if s >= min(wanted, sizes[-1])))
        if size > n:
            carry = carry._replace(working=widen(now, size))
        return compiled_call(self._round, carry)

    # ------------------------------------------------------------------ rounds and turns
    def _state(self, working: GaborSet, alpha_max: Scalar) -> GaborState:
        """Put a working set together with whether the convex problem is solved."""
        turn = gabor_finished(working, self.limits).astype(int)
        return GaborState(working, turn, alpha_max)

    def _round(self, carry: GaborState) -> GaborState:
        """One working set of the same size."""
        size = len(carry.working.index)
        working = gabor_round(size, self.gabor, carry.working, self.limits)
        return self._state(working, carry.alpha_max)

    def _next_turn(self, carry: GaborState) -> GaborState:
        """One reweighted problem on the support."""
        now = carry.working
        parts = (self.gabor.blocks(now.index), self.gabor.fit.columns(now.index))
        turn = GaborTurn(now.c, now.proof, now.steps)
        weight = self.gabor.fit.weight[now.index]
        turn = minimise_coefs_again(self.gabor, *parts, weight, turn, self.limits)
        return GaborState(now._replace(**turn._asdict()), carry.turn + 1, carry.alpha_max)

    def _ended(self, working: GaborSet, alpha_max: Scalar) -> SparseAnswer:
        """Derivative of the convex answer, further turns, and the sources."""
        gabor, index = self.gabor, working.index
        blocks = gabor.blocks(index)
        c = minimiser_of_coefs(blocks, stop_gradient(working.c))
        turn = GaborTurn(c, working.proof, working.steps)
        if self.turns > 1:
            columns, weight = gabor.fit.columns(index), gabor.fit.weight[index]

            def body(turn, _):
                some = (gabor, blocks, columns, weight)
                return minimise_coefs_again(*some, turn, self.limits), None

            turn = jax.lax.scan(body, turn, None, length=self.turns - 1)[0]
        return self._answer(working, turn, alpha_max)

    def _answer(self, working: GaborSet, turn: GaborTurn, alpha_max: Scalar) -> SparseAnswer:
        """Sources of the coefficients of a turn."""
        x = self.gabor.frame.synthesis(turn.c)
        shape = (*self.gabor.fit.scale.shape, x.shape[-1])
        z = jnp.zeros(shape, dtype=x.dtype).at[working.index].add(x)
        info = pack_info(turn.proof, alpha_max, working.rounds, turn.steps, x.dtype)
        return SparseAnswer(z, stop_gradient(info))
