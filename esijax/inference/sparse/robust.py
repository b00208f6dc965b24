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
from esijax._ops.stop_gradient import stop_gradient
from esijax._types import Data, Scalar, Sources
from esijax.inference.sparse.base.answer import SparseAnswer, pack_info, unsolved
from esijax.inference.sparse.base.descent import Descent, compiled_call
from esijax.inference.sparse.base.gap import Certificate, Limits, within_tolerance
from esijax.inference.sparse.prox.fixed_point import fixed_point, refuse_derivative
from esijax.models.noise import Robust
from esijax.models.penalties import Penalty
from esijax.models.penalties.least_squares import LeastSquares

MOST_ROBUST_TURNS = 2000


class RobustFit(NamedTuple):
    """One recording under a robust data term, as proximal methods see it."""

    squares: LeastSquares
    noise: Robust

    def residual(self, z: Sources) -> Data:
        """What is left of the data, whitened, by sources with their weights of entries."""
        return self.squares.data - self.squares.predict(z / self.squares.spread[:, None])

    def gradient(self, x: Sources) -> Sources:
        """Gradient of f."""
        residual = self.squares.data - self.squares.predict(x)
        return -self.squares.adjoint(self.noise.gradient(residual))

    def lipschitz(self) -> Scalar:
        """Largest curvature of f."""
        return self.noise.curvature * self.squares.lipschitz()

    def cleaned(self, residual: Data) -> Data:
        """Recording of the least squares problem that touches from above at a residual."""
        return self.squares.data - residual + self.noise.gradient(residual) / self.noise.curvature


class RobustTurn(NamedTuple):
    """The last answer with its proof, and where the next majoriser touches."""

    answer: SparseAnswer
    proof: Certificate
    residual: Float[Array, "rank times"]
    ahead: Float[Array, "rank times"]
    momentum: Scalar
    count: Int[Array, ""]


class RobustState(NamedTuple):
    """Turns, and the rounds of the one under way where turns are not brief."""

    turn: RobustTurn
    inner: Any


class RobustDescent(Descent):
    """Turns until the gap is closed, or nothing moves any more.

    `inner` solves a turn; where it is `brief`, turns are rounds, else its rounds are. Unless the
    penalty `has_prox` of sources the minimum has no derivative; unless it is `on_sources` its value
    is taken from the turn's objective.
    """

    fit: RobustFit
    penalty: Penalty
    inner: Descent
    limits: Limits
    brief: bool = eqx.field(static=True)
    has_prox: bool = eqx.field(static=True)
    on_sources: bool = eqx.field(static=True)

    def at(self, data):
        """The same for another recording."""
        return eqx.tree_at(lambda d: d.fit.squares.data, self, data)

    def opening(self, start: Sources) -> Sources:
        """Where the solver of a turn would begin, for the data without their artefacts."""
        cleaned = self.fit.cleaned(self.fit.residual(start))
        return self.inner.at(cleaned).opening(start)

    def first(self, start: Sources) -> RobustState:
        """The first majoriser touches at the start."""
        nothing, residual = unsolved(start), self.fit.residual(start)
        one, zero = jnp.ones((), dtype=start.dtype), jnp.zeros((), dtype=int)
        proof = Certificate(*nothing.info[:3])
        return self._begun(RobustTurn(nothing, proof, residual, residual, one, zero))

    def go(self, carry: RobustState):
        """Until the proof is good, or there have been too many turns."""
        proof, count = carry.turn.proof, carry.turn.count
        done = within_tolerance(proof, self.limits.tol)
        fine = jnp.isfinite(proof.primal) & ~done & (count < MOST_ROBUST_TURNS)
        return fine | (count == 0)

    def body(self, carry: RobustState) -> RobustState:
        """A whole turn, or a round of one, or its end."""
        turn = carry.turn
        inner = self._majorised(turn)
        if self.brief:
            return self._begun(self._closed(turn, inner.run(turn.answer.z)))

        def on(carry):
            return RobustState(turn, inner.body(carry.inner))

        return jax.lax.cond(inner.go(carry.inner), on, lambda c: self._next(c), carry)

    def answer(self, carry: RobustState) -> SparseAnswer:
        """The derivative is that of a proximal step's fixed point."""
        fit, turn, even = self.fit, carry.turn, self.penalty.even()
        squares, z = fit.squares, turn.answer.z
        polar = _relative_polar(even, squares.adjoint(fit.noise.gradient(squares.data)))
        if self.has_prox:
            x = z / squares.spread[:, None]
            z = fixed_point(fit, even, fit.lipschitz(), x) * squares.spread[:, None]
        else:
            z = refuse_derivative(z, squares, self.penalty)
        scale = turn.answer.info[3] if polar is None else polar
        return SparseAnswer(
            z, stop_gradient(pack_info(turn.proof, scale, turn.count, turn.count, z.dtype))
        )

    def run(self, start: Sources) -> SparseAnswer:
        """All turns in one compiled loop, each in one of its own."""
        fixed = dataclasses.replace(stop_gradient(self), brief=True)
        first = fixed.first(stop_gradient(start))
        end = jax.lax.while_loop(lambda c: fixed.go(c), lambda c: fixed.body(c), first)
        return self.answer(stop_gradient(end))

    def ahead(self, carry: RobustState) -> RobustState:
        """Some turns, or some rounds of one."""
        if not self.inner.grows:
            return super().ahead(carry)
        inner = self._majorised(carry.turn)
        if inner.over(carry.inner):
            return compiled_call(self._next, carry)
        return RobustState(carry.turn, inner.ahead(carry.inner))

    def truncate(self, carry: RobustState) -> RobustState:
        """Take the answer of the turn that was under way, where its objective is lower."""
        return carry if self.brief or self.over(carry) else compiled_call(self._lower, carry)

    # ------------------------------------------------------------------ one turn
    def _majorised(self, turn: RobustTurn) -> Descent:
        """Least squares problem that touches ahead of the last answer."""
        return self.inner.at(self.fit.cleaned(turn.ahead))

    def _begun(self, turn: RobustTurn) -> RobustState:
        """State before the first round of the next turn."""
        inner = None if self.brief else self._majorised(turn).first(turn.answer.z)
        return RobustState(turn, inner)

    def _next(self, carry: RobustState) -> RobustState:
        """End a turn and begin the next."""
        return self._begun(self._ended(carry))

    def _ended(self, carry: RobustState) -> RobustTurn:
        """End the turn that is under way."""
        return self._closed(carry.turn, self._majorised(carry.turn).answer(carry.inner))

    def _lower(self, carry: RobustState) -> RobustState:
        """End the turn under way as it is; keep it where its objective is lower."""
        new, old = self._ended(carry), carry.turn
        lower = (old.count == 0) | (new.proof.primal < old.proof.primal)
        return RobustState(jax.tree.map(lambda a, b: jnp.where(lower, a, b), new, old), carry.inner)

    def _closed(self, last: RobustTurn, new: SparseAnswer) -> RobustTurn:
        """Take the turn's answer, and find where the next majoriser touches."""
        fit, noise, even = self.fit, self.fit.noise, self.penalty.even()
        after = fit.residual(new.z)
        off = noise.gradient(last.ahead) - noise.gradient(after)
        off = off + noise.curvature * (after - last.ahead)
        if self.on_sources:
            value = even.value(new.z / fit.squares.spread[:, None])
        else:
            left = fit.cleaned(last.ahead) - (fit.squares.data - after)
            value = noise.curvature * (new.info[0] - 0.5 * jnp.sum(left**2))
        proof = _robust_certificate(fit, even, new, value, off)
        known = noise.conjugate(jnp.zeros_like(after))
        accelerated = self.penalty.convex and known is not None
        grown = (1 + jnp.sqrt(1 + 4 * last.momentum**2)) / 2
        move = after - last.residual
        turns_back = jnp.sum((last.ahead - after) * move) > 0  # against the momentum
        if not accelerated:
            turns_back = jnp.ones((), dtype=bool)
        ahead = after + jnp.where(turns_back, 0.0, (last.momentum - 1) / grown) * move
        one, count = jnp.ones_like(grown), last.count + 1
        on = RobustTurn(new, proof, after, ahead, jnp.where(turns_back, one, grown), count)
        back = last._replace(ahead=last.residual, momentum=one, count=count)
        # too far: again from here, without momentum
        rose = (proof.primal > last.proof.primal) & (last.momentum > 1)
        return jax.tree.map(lambda b, o: jnp.where(rose, b, o), back, on)


def _relative_polar(even: Penalty, gradient: Sources) -> Scalar | None:
    """Dual norm over alpha; None where it is unknown."""
    polar = even.polar(gradient)
    return None if polar is None else polar / even.alpha


def _robust_certificate(
    fit: RobustFit, even: Penalty, new: SparseAnswer, value: Scalar, off
) -> Certificate:
    """Objective, gap where there is one, distance: the majoriser's and that between gradients."""
    noise, squares = fit.noise, fit.squares
    channels, more = noise.to_channels(fit.residual(new.z)), squares.adjoint(off)
    primal = noise.value(channels) + value
    between = _relative_polar(even, more)
    if between is None:
        between = jnp.max(block_norms(more)) / even.alpha
    kkt = new.info[2] + between
    dual = noise.influence(channels)
    whitened = noise.to_whitened(dual)
    polar = _relative_polar(even, squares.adjoint(whitened))
    s = 1.0 if polar is None else (1 - 4 * jnp.finfo(value.dtype).eps) / jnp.maximum(polar, 1.0)
    conjugate = noise.conjugate(s * dual)
    norm = even.convex and polar is not None and even.conjugate(more) is None
    if conjugate is None or not norm:
        return Certificate(primal, jnp.full_like(primal, jnp.nan), kkt)
    linear = jnp.sum(squares.data * whitened)
    return Certificate(primal, primal - s * linear + conjugate, kkt)
