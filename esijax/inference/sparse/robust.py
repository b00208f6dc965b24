r"""Robust data terms: least squares again and again, with the artefacts taken off.

With :math:`\rho'' \le L`, each turn solves the majoriser

.. math:: Z^{k+1} = \arg\min_Z \tfrac{L}{2} \lVert Y^k - K Z \rVert^2 + \alpha\,\Omega(Z), \qquad
   Y^k = K Z^k + V^\top \rho'(V (Y - K Z^k)) / L

by the solver of the penalty, so that the objective never rises; for Huber's :math:`\rho`,
:math:`Y^k` is the recording without the artefacts that the last answer leaves. Geman and Yang 1995,
doi:10.1109/83.392335. A turn is a proximal gradient step in the metric of K'K, and so it is
accelerated where all is convex (elsewhere it was seen to circle around the answer): the majoriser
touches ahead of the last answer, and at it where the objective would rise (O'Donoghue and Candès
2015, doi:10.1007/s10208-013-9150-3).

For any s with :math:`s V^\top \rho'` feasible, :math:`\langle Y, s V^\top \rho' \rangle -
\rho^*(s \rho')` is a lower bound.
"""

import dataclasses
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from esijax._ops.prox import block_norms
from esijax._types import Scalar, Sources
from esijax.inference._compiled import compiled
from esijax.inference.sparse._dispatch import opening
from esijax.inference.sparse._penalised import fixed_point, without_derivative
from esijax.inference.sparse.base.answer import Answer, Limits, frozen
from esijax.inference.sparse.base.descent import Descent, unsolved
from esijax.inference.sparse.base.gap import Certificate
from esijax.inference.sparse.base.task import Task
from esijax.models.noise import Robust
from esijax.models.penalties import Analysis, Lrq, Penalty, TimeFrequency
from esijax.models.penalties._data_term import DataTerm
from esijax.problem import Problem

MAX_TURNS = 2000


class RobustTerm(NamedTuple):
    """Value and slope as proximal methods see them."""

    term: DataTerm
    noise: Robust

    def residual(self, x: Sources) -> Float[Array, "rank times"]:
        """What is left, whitened."""
        return self.term.data - self.term.fitted(x)

    def slope(self, x: Sources) -> Sources:
        """Gradient."""
        return -self.term.pulled(self.noise.pulled(self.residual(x)))

    def energy(self, x: Sources) -> Scalar:
        """Value."""
        assert self.noise.axes is not None
        return self.noise.value(self.noise.axes @ self.residual(x))

    def bound(self) -> Scalar:
        """Largest curvature."""
        return self.noise.curvature * self.term.bound()


class Turn(NamedTuple):
    """The last answer with its proof, and where the next majoriser touches."""

    answer: Answer
    proof: Certificate
    residual: Float[Array, "rank times"]
    ahead: Float[Array, "rank times"]
    momentum: Scalar
    count: Int[Array, ""]


class Way(NamedTuple):
    """Turns, and the rounds of the one under way where turns are not brief."""

    turn: Turn
    inner: Any


class RobustDescent(Descent):
    """Turns until the gap is closed, or nothing pulls any more.

    `inner` solves a turn; where it is `brief`, turns are rounds, else its rounds are.
    """

    problem: Problem
    model: Penalty
    majoriser: Penalty
    whole: RobustTerm
    inner: Descent
    limits: Limits
    tighter: Limits
    brief: bool = eqx.field(static=True)

    def at(self, data):
        """Another recording."""
        return eqx.tree_at(lambda d: d.whole.term.data, self, data)

    def first(self, start: Sources) -> Way:
        """At the start, or where a concave penalty begins."""
        whole = self.whole
        spread = whole.term.spread[:, None]
        cleaned = self._cleaned(whole.residual(start / spread))
        start = opening(self.problem, self.majoriser, cleaned, start, self.tighter)
        nothing, residual = unsolved(start), whole.residual(start / spread)
        one, zero = jnp.ones((), dtype=start.dtype), jnp.zeros((), dtype=int)
        turn = Turn(nothing, Certificate(*nothing.info[:3]), residual, residual, one, zero)
        return self._begun(turn)

    def go(self, carry: Way):
        """Until the proof is good, or there have been too many turns."""
        proof, count = carry.turn.proof, carry.turn.count
        tight = jnp.isnan(proof.gap) | (proof.gap <= self.limits.tol * proof.primal)
        done = tight & (proof.kkt <= 100 * self.limits.tol)
        fine = jnp.isfinite(proof.primal) & ~done & (count < MAX_TURNS)
        return fine | (count == 0)

    def body(self, carry: Way) -> Way:
        """A whole turn, or a round of one, or its end."""
        turn = carry.turn
        inner = self._majorised(turn)
        if self.brief:
            return self._begun(self._closed(turn, inner.run(turn.answer.z)))

        def on(carry):
            return Way(turn, inner.body(carry.inner))

        return jax.lax.cond(inner.go(carry.inner), on, lambda c: self._next(c), carry)

    def answer(self, carry: Way) -> Answer:
        """The derivative is that of a proximal step's fixed point."""
        whole, model, turn = self.whole, self.model, carry.turn
        term, even = whole.term, model.even()
        polar, z = _polar(even, term.pulled(whole.noise.pulled(term.data))), turn.answer.z
        if isinstance(model, Lrq | Analysis | TimeFrequency):
            weight = model.location_weights(self.problem.n_locations)
            task = Task(self.problem.gain, self.problem.prior_scale, term.data, weight)
            z = without_derivative(z, task, model)
        else:
            x = z / term.spread[:, None]
            z = fixed_point(whole, even, whole.bound(), x) * term.spread[:, None]
        scale = turn.answer.info[3] if polar is None else polar
        parts = (*turn.proof, scale, turn.count, turn.count)
        return Answer(z, frozen(jnp.stack([jnp.asarray(p, dtype=z.dtype) for p in parts])))

    def run(self, start: Sources) -> Answer:
        """All turns in one compiled loop, each in one of its own."""
        fixed = dataclasses.replace(frozen(self), brief=True)
        first = fixed.first(frozen(start))
        end = jax.lax.while_loop(lambda c: fixed.go(c), lambda c: fixed.body(c), first)
        return self.answer(frozen(end))

    def ahead(self, carry: Way) -> Way:
        """Some turns, or some rounds of one."""
        if not self.inner.grows:
            return super().ahead(carry)
        inner = self._majorised(carry.turn)
        if inner.over(carry.inner):
            return _next_turn(self, carry)
        return Way(carry.turn, inner.ahead(carry.inner))

    def kept(self, carry: Way) -> Way:
        """With the turn that was under way, where that is lower."""
        return carry if self.brief or self.over(carry) else _lower(self, carry)

    # ------------------------------------------------------------------ one turn
    def _cleaned(self, residual):
        """The recording of the majoriser that touches at a residual."""
        noise = self.whole.noise
        return self.whole.term.data - residual + noise.pulled(residual) / noise.curvature

    def _majorised(self, turn: Turn) -> Descent:
        return self.inner.at(self._cleaned(turn.ahead))

    def _begun(self, turn: Turn) -> Way:
        return Way(turn, None if self.brief else self._majorised(turn).first(turn.answer.z))

    def _next(self, carry: Way) -> Way:
        return self._begun(self._ended(carry))

    def _ended(self, carry: Way) -> Turn:
        return self._closed(carry.turn, self._majorised(carry.turn).answer(carry.inner))

    def _closed(self, state: Turn, new: Answer) -> Turn:
        """The turn's answer taken, and where the next touches."""
        whole, noise, even = self.whole, self.whole.noise, self.model.even()
        after = whole.residual(new.z / whole.term.spread[:, None])
        off = noise.pulled(state.ahead) - noise.pulled(after)
        off = off + noise.curvature * (after - state.ahead)
        if isinstance(self.model, TimeFrequency):  # its value is that of coefficients
            left = self._cleaned(state.ahead) - (whole.term.data - after)
            value = noise.curvature * (new.info[0] - 0.5 * jnp.sum(left**2))
        else:
            value = even.value(new.z / whole.term.spread[:, None])
        proof = _proof(whole, even, new, value, off)
        known = noise.conjugate(jnp.zeros_like(after))
        accelerated = self.model.convex and known is not None
        grown = (1 + jnp.sqrt(1 + 4 * state.momentum**2)) / 2
        move = after - state.residual
        turns_back = jnp.sum((state.ahead - after) * move) > 0  # against the momentum
        if not accelerated:
            turns_back = jnp.ones((), dtype=bool)
        ahead = after + jnp.where(turns_back, 0.0, (state.momentum - 1) / grown) * move
        one, count = jnp.ones_like(grown), state.count + 1
        on = Turn(new, proof, after, ahead, jnp.where(turns_back, one, grown), count)
        back = state._replace(ahead=state.residual, momentum=one, count=count)
        # too far: again from here, without momentum
        rose = (proof.primal > state.proof.primal) & (state.momentum > 1)
        return jax.tree.map(lambda b, o: jnp.where(rose, b, o), back, on)


@compiled
def _next_turn(descent: RobustDescent, carry: Way) -> Way:
    return descent._next(carry)


@compiled
def _lower(descent: RobustDescent, carry: Way) -> Way:
    new, old = descent._ended(carry), carry.turn
    lower = (old.count == 0) | (new.proof.primal < old.proof.primal)
    return Way(jax.tree.map(lambda a, b: jnp.where(lower, a, b), new, old), carry.inner)


def _polar(even: Penalty, slope: Sources) -> Scalar | None:
    """Dual norm over alpha."""
    polar = even.polar(slope)
    return None if polar is None else polar / even.alpha


def _proof(whole: RobustTerm, even: Penalty, new: Answer, value: Scalar, off) -> Certificate:
    """Objective, gap where there is one, distance: the majoriser's and that between the slopes."""
    noise, term = whole.noise, whole.term
    assert noise.axes is not None
    x, more = new.z / term.spread[:, None], term.pulled(off)
    primal = whole.energy(x) + value
    between = _polar(even, more)
    if between is None:
        between = jnp.max(block_norms(more)) / even.alpha
    kkt = new.info[2] + between
    dual = noise.influence(noise.axes @ whole.residual(x))
    polar = _polar(even, term.pulled(noise.axes.T @ dual))
    s = 1.0 if polar is None else (1 - 4 * jnp.finfo(x.dtype).eps) / jnp.maximum(polar, 1.0)
    conjugate = noise.conjugate(s * dual)
    norm = even.convex and polar is not None and even.conjugate(more) is None
    if conjugate is None or not norm:
        return Certificate(primal, jnp.full_like(primal, jnp.nan), kkt)
    linear = jnp.sum(term.data * (noise.axes.T @ dual))
    return Certificate(primal, primal - s * linear + conjugate, kkt)
