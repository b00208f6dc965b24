"""Which descent solves a penalty round by round (`_descent`)."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool

from esijax._types import Data, Scalar
from esijax.inference.sparse._dispatch import answer, opening, takes_newton, ways
from esijax.inference.sparse._penalised import at_rest, term_of
from esijax.inference.sparse._robust import RobustDescent, RobustTerm
from esijax.inference.sparse.analysis.derivative import settled
from esijax.inference.sparse.analysis.primal_dual import (
    CHUNK,
    Pair,
    Split,
    chunk_of,
    first_pair,
    split_of,
)
from esijax.inference.sparse.analysis.primal_dual import unsettled as unsettled_pair
from esijax.inference.sparse.base.answer import Answer, Limits, frozen
from esijax.inference.sparse.base.descent import Descent, Trials, unsolved
from esijax.inference.sparse.base.task import Task
from esijax.inference.sparse.gabor.descent import GaborDescent
from esijax.inference.sparse.prox.rounds import Look, first_look, round_of, unsettled
from esijax.models.noise import Robust
from esijax.models.penalties import Analysis, Penalty, TimeFrequency
from esijax.models.penalties._data_term import DataTerm
from esijax.models.penalties.alpha_max import alpha_bound
from esijax.problem import Problem


class Solved(eqx.Module):
    """An answer, and whether it is one."""

    answer: Answer
    done: Bool[Array, ""]


class Once(Descent):
    """What is brief: one round."""

    problem: Problem
    model: Penalty
    data: Data
    limits: Limits
    solver: str = eqx.field(static=True)
    turns: int | None = eqx.field(static=True)
    opened: bool = eqx.field(static=True, default=False)

    def at(self, data):
        """Another recording."""
        return eqx.tree_at(lambda d: d.data, self, data)

    def first(self, start):
        """Nothing yet."""
        return Solved(unsolved(start), jnp.zeros((), dtype=bool))

    def go(self, carry: Solved):
        """Once."""
        return ~carry.done

    def body(self, carry: Solved) -> Solved:
        """All of it."""
        return Solved(frozen(self).run(carry.answer.z), jnp.ones((), dtype=bool))

    def answer(self, carry: Solved) -> Answer:
        """As it is."""
        return carry.answer

    def run(self, start):
        """With the derivative."""
        some = (self.problem, self.model, self.data, start, self.limits)
        return answer(*some, self.solver, self.turns, self.opened)


class ProxDescent(Descent):
    """Proximal gradients, in rounds on working sets or of a hundred steps on all locations."""

    problem: Problem
    model: Penalty
    term: DataTerm
    bound: Scalar
    limits: Limits
    opened: bool = eqx.field(static=True, default=False)

    def at(self, data):
        """Another recording: the bound is that of the gain."""
        return eqx.tree_at(lambda d: d.term.data, self, data)

    def first(self, start) -> Look:
        """One step from the start, or from the mixed norm above a concave penalty."""
        if not self.opened:
            fewer = self.limits._replace(max_iter=self.limits.max_iter // 20)
            start = opening(self.problem, self.model, self.term.data, start, fewer)
        start = start / self.term.spread[:, None]
        return first_look(self.term, self.model.even(), self.bound, start)

    def go(self, carry: Look):
        """Until the certificate is good."""
        return unsettled(carry, *self.limits)

    def body(self, carry: Look) -> Look:
        """One round."""
        return round_of(self.term, self.model.even(), self.bound, carry)

    def answer(self, carry: Look) -> Answer:
        """With the derivative of a proximal step's fixed point."""
        return at_rest(self.term, self.model.even(), frozen(self.bound), carry)


class PairDescent(Descent):
    """Norms of linear maps: sources and dual variables in turn, from zero whatever the start."""

    term: DataTerm
    penalty: Analysis
    split: Split
    limits: Limits
    way: str = eqx.field(static=True)

    def at(self, data):
        """Another recording: the factorisation is that of the gain."""
        return eqx.tree_at(lambda d: d.term.data, self, data)

    def first(self, start) -> Pair:  # noqa: ARG002
        """What no map sees."""
        return first_pair(self.term, self.penalty, self.split)

    def go(self, carry: Pair):
        """Until the gap is closed."""
        return unsettled_pair(carry, *self.limits)

    def body(self, carry: Pair) -> Pair:
        """Some steps, and their proof."""
        return chunk_of(self.term, self.penalty, self.split, carry, self.way)

    def answer(self, carry: Pair) -> Answer:
        """With the derivative of the optimality conditions."""
        z = settled(self.term, self.penalty, frozen(self.split), carry)
        term, penalty = frozen((self.term, self.penalty))
        scale = alpha_bound(term, penalty) / penalty.alpha
        parts = (*carry.proof, scale, carry.steps / CHUNK[self.way], carry.steps)
        return Answer(z, frozen(jnp.stack([jnp.asarray(p, dtype=z.dtype) for p in parts])))


def descent_of(
    problem: Problem,
    model: Penalty,
    noise,
    limits: Limits,
    solver: str,
    turns: int | None,
) -> Descent:
    """The rounds of a problem; recordings of several trials one after the other."""
    data = problem.data if problem.data.ndim == 2 else problem.data[0]
    if isinstance(noise, Robust):
        one = _robust(problem, model, noise, data, limits, solver, turns)
    else:
        one = _plain(problem, model, data, limits, solver, turns)
    return one if problem.data.ndim == 2 else Trials(one, problem.data)


def _plain(
    problem: Problem,
    model: Penalty,
    data: Data,
    limits: Limits,
    solver: str,
    turns: int | None,
    opened: bool = False,
) -> Descent:
    """Least squares."""
    task = Task(
        problem.gain, problem.prior_scale, data, model.location_weights(problem.n_locations)
    )
    more = limits._replace(max_iter=20 * limits.max_iter)
    if isinstance(model, TimeFrequency):
        return GaborDescent.of(task, model, more, turns or 1)
    if solver != "fista" and takes_newton(model):
        return Once(problem, model, data, limits, solver, turns, opened)
    term = term_of(task, model)
    if isinstance(model, Analysis):
        way = ways(model)[0] if solver == "auto" else solver
        return PairDescent(term, model, split_of(*frozen((term, model))), more, way)
    return ProxDescent(problem, model, term, frozen(term).bound(), more, opened)


def _robust(
    problem: Problem,
    model: Penalty,
    noise: Robust,
    data: Data,
    limits: Limits,
    solver: str,
    turns: int | None,
) -> Descent:
    """Least squares again and again."""
    inner = eqx.tree_at(lambda m: m.alpha, model, model.alpha / noise.curvature)
    # a turn that need not move to be converged would stop the descent
    tighter = limits._replace(tol=jnp.maximum(0.01 * limits.tol, 1e-15))
    task = Task(
        problem.gain, problem.prior_scale, data, model.location_weights(problem.n_locations)
    )
    turn = _plain(problem, inner, data, tighter, solver, turns, opened=True)
    whole = RobustTerm(term_of(task, model), noise)
    brief = isinstance(turn, Once)
    return RobustDescent(problem, model, inner, whole, turn, limits, tighter, brief)
