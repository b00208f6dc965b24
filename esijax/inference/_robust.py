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

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from esijax._ops.prox import block_norms
from esijax._types import Scalar
from esijax.inference._data_term import DataTerm
from esijax.inference._dispatch import answer, opening
from esijax.inference._gap import Certificate
from esijax.inference._gradients import Task
from esijax.inference._penalised import (
    Answer,
    Limits,
    fixed_point,
    frozen,
    term_of,
    without_derivative,
)
from esijax.models.noise import Robust
from esijax.models.penalties import Analysis, Lrq, Penalty, TimeFrequency
from esijax.problem import Problem

MAX_TURNS = 2000
Sources = Float[Array, "locations orients times"]


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


class _Turn(NamedTuple):
    answer: Answer
    proof: Certificate
    residual: Float[Array, "rank times"]
    ahead: Float[Array, "rank times"]  # where the next majoriser touches
    momentum: Scalar
    count: Int[Array, ""]


def robust(
    problem: Problem,
    model: Penalty,
    noise: Robust,
    data: Float[Array, "rank times"],
    start: Sources,
    limits: Limits,
    solver: str,
    turns: int | None,
) -> Answer:
    """Minimise with this noise; the derivative is that of a proximal step's fixed point."""
    weight = model.location_weights(problem.n_locations)
    task = Task(problem.gain, problem.prior_scale, data, weight)
    term = term_of(task, model)
    whole = RobustTerm(term, noise)
    end = _settled(*frozen((problem, model, whole, start, limits)), solver, turns)
    polar, z = _polar(model.even(), term.pulled(noise.pulled(data))), frozen(end.answer.z)
    if isinstance(model, Lrq | Analysis | TimeFrequency):
        z = without_derivative(z, task, model)
    else:
        x = z / term.spread[:, None]
        z = fixed_point(whole, model.even(), whole.bound(), x) * term.spread[:, None]
    scale = end.answer.info[3] if polar is None else polar
    parts = (*end.proof, scale, end.count, end.count)
    return Answer(z, frozen(jnp.stack([jnp.asarray(p, dtype=z.dtype) for p in parts])))


def _settled(problem, model: Penalty, whole: RobustTerm, start, limits: Limits, solver, turns):
    """Turns until the gap is closed, or nothing pulls any more."""
    curvature, spread = whole.noise.curvature, whole.term.spread[:, None]
    inner = eqx.tree_at(lambda m: m.alpha, model, model.alpha / curvature)
    # a turn that need not move to be converged would stop the descent
    tighter = limits._replace(tol=jnp.maximum(0.01 * limits.tol, 1e-15))

    known = whole.noise.conjugate(jnp.zeros_like(whole.term.data))
    accelerated = model.convex and known is not None

    def cleaned(residual):
        return whole.term.data - residual + whole.noise.pulled(residual) / curvature

    def turn(z, before):
        data = cleaned(before)
        new = answer(problem, inner, data, z, tighter, solver, turns, opened=True)
        after = whole.residual(new.z / spread)
        pulled = whole.noise.pulled
        off = pulled(before) + curvature * (after - before) - pulled(after)
        return new, _proof(whole, model.even(), new, off), after

    def body(state: _Turn) -> _Turn:
        new, proof, after = turn(state.answer.z, state.ahead)
        grown = (1 + jnp.sqrt(1 + 4 * state.momentum**2)) / 2
        move = after - state.residual
        turns_back = jnp.sum((state.ahead - after) * move) > 0  # against the momentum
        if not accelerated:
            turns_back = jnp.ones((), dtype=bool)
        ahead = after + jnp.where(turns_back, 0.0, (state.momentum - 1) / grown) * move
        grown = jnp.where(turns_back, 1.0, grown)
        count = state.count + 1
        on = _Turn(new, proof, after, ahead, grown, count)
        back = state._replace(ahead=state.residual, momentum=one, count=count)
        # too far: again from here, without momentum
        rose = (proof.primal > state.proof.primal) & (state.momentum > 1)
        return jax.tree.map(lambda b, o: jnp.where(rose, b, o), back, on)

    def go(state: _Turn):
        proof = state.proof
        tight = jnp.isnan(proof.gap) | (proof.gap <= limits.tol * proof.primal)
        done = tight & (proof.kkt <= 100 * limits.tol)
        return ~done & (state.count < MAX_TURNS) & jnp.isfinite(proof.primal)

    one = jnp.ones((), dtype=start.dtype)
    start = opening(problem, inner, cleaned(whole.residual(start / spread)), start, tighter)
    new, proof, after = turn(start, whole.residual(start / spread))
    first = _Turn(new, proof, after, after, one, jnp.ones((), dtype=int))
    return jax.lax.while_loop(go, body, first)


def _polar(even: Penalty, slope: Sources) -> Scalar | None:
    """Dual norm over alpha."""
    polar = even.polar(slope)
    return None if polar is None else polar / even.alpha


def _proof(whole: RobustTerm, even: Penalty, new: Answer, off) -> Certificate:
    """Objective, gap where there is one, distance: the majoriser's and that between the slopes."""
    noise, term = whole.noise, whole.term
    assert noise.axes is not None
    x, more = new.z / term.spread[:, None], term.pulled(off)
    primal = whole.energy(x) + even.value(x)
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
