"""How each kind of penalty is minimised: one table, by the class of the penalty.

A `Family` names the solvers that take its penalties and makes their `Descent`. `FAMILIES` holds one
for each class; a penalty belongs to that of the nearest class among its bases, so that a penalty of
one's own is minimised by proximal gradients.
"""

from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax.numpy as jnp

from esijax._types import Data, InputError
from esijax.inference.sparse.analysis.descent import PrimalDualDescent
from esijax.inference.sparse.analysis.primal_dual import ITERATIONS
from esijax.inference.sparse.base.descent import Descent, Trials
from esijax.inference.sparse.base.gap import Limits
from esijax.inference.sparse.gabor.descent import GaborDescent
from esijax.inference.sparse.newton.descent import NewtonDescent, NormDescent
from esijax.inference.sparse.prox.descent import ProxDescent
from esijax.inference.sparse.robust import RobustDescent, RobustFit
from esijax.models.noise import Robust
from esijax.models.penalties import L1, L21, Analysis, Concave, Lrq, Penalty, TimeFrequency
from esijax.models.penalties.least_squares import LeastSquares
from esijax.problem import Problem

SOLVERS = ("auto", "newton", "bcd", "fista", *ITERATIONS)


class Plan(NamedTuple):
    """What a method asks for."""

    limits: Limits
    solver: str
    turns: int | None  # convex problems one after the other; None: until nothing moves
    started: bool = False  # whether there is an earlier answer
    by_rounds: bool = False  # whether the host may look on at each working set: not for trials


class Family:
    """Any penalty with a proximal map."""

    solvers: ClassVar[tuple[str, ...]] = ("fista",)  # that may be named, the one of "auto" first
    reweights: ClassVar[bool] = False  # whether `Reweighted` takes it
    by_entry: ClassVar[bool] = True  # whether weights of entries are taken, else it is any penalty
    has_prox: ClassVar[bool] = True  # whether the proximal map is one of sources, in closed form
    on_sources: ClassVar[bool] = True  # whether the value is one of sources

    def turns(self, penalty: Penalty) -> int | None:  # noqa: ARG002
        """Convex problems that minimise the penalty; None: until nothing moves."""
        return 1

    def power(self, penalty: Any) -> Lrq | None:  # noqa: ARG002
        """Power of a norm that is minimised by reweighting; None: there is none."""
        return None

    def convex_norm(self, penalty: Any) -> Penalty:
        """Penalty of the first convex problem."""
        return penalty

    def shows_working_sets(self, penalty: Penalty, plan: Plan) -> bool:  # noqa: ARG002
        """Whether the host looks on at each working set, and can `follow` to another alpha."""
        return False

    def descent(self, fit: LeastSquares, penalty: Penalty, plan: Plan) -> Descent:
        """Rounds of one recording."""
        return ProxDescent.of(fit, penalty, plan.limits.times(20))


class ConcaveFamily(Family):
    """Concave functions of norms: from the minimum of the norm above them."""

    def descent(self, fit: LeastSquares, penalty: Any, plan: Plan) -> Descent:
        """Rounds that begin at the mixed norm."""
        above = penalty.majoriser
        plain = family_of(above).descent(fit, above, Plan(plan.limits, "auto", 1))
        return ProxDescent.of(fit, penalty, plan.limits.times(20), plain)


class NormFamily(Family):
    """Sums of norms, of locations or of entries: Newton's method on working sets."""

    solvers = ("newton", "bcd", "fista")
    reweights = True
    by_entry = False

    def power(self, penalty: Any) -> Lrq:
        """Square root of the norm."""
        r = 2 if penalty.block == "location" else 1
        return Lrq(penalty.alpha, r, 0.5, penalty.weights)

    def shows_working_sets(self, penalty: Penalty, plan: Plan) -> bool:
        """For one recording and norms of locations."""
        by_location = self.power(penalty).r == 2 and not penalty.by_entry
        return plan.by_rounds and by_location and plan.solver != "fista"

    def descent(self, fit: LeastSquares, penalty: Penalty, plan: Plan) -> Descent:
        """Working sets, one by one where the host may look on."""
        if plan.solver == "fista":
            return super().descent(fit, penalty, plan)
        power, inner = self.power(penalty), "bcd" if plan.solver == "bcd" else "newton"
        whole = NormDescent(fit, power, plan.limits, inner, plan.turns)
        shown = self.shows_working_sets(penalty, plan)
        return NewtonDescent.of(whole, plan.started) if shown else whole


class PowerFamily(NormFamily):
    """Powers of norms: one weighted norm after the other."""

    solvers = ("newton",)
    by_entry = True
    has_prox = False

    def turns(self, penalty: Any) -> int | None:
        """Until nothing moves, unless the power is the norm itself."""
        return None if penalty.q < 1 else 1

    def power(self, penalty: Any) -> Lrq:
        """The penalty itself."""
        return penalty

    def convex_norm(self, penalty: Any) -> Penalty:
        """The norm that is reweighted."""
        return penalty.majoriser


class GaborFamily(Family):
    """Norms of Gabor coefficients: blocks of locations on working sets."""

    solvers = ("auto",)
    reweights = True
    has_prox = False
    on_sources = False

    def descent(self, fit: LeastSquares, penalty: Any, plan: Plan) -> Descent:
        """Rounds, then reweighted turns on the support."""
        return GaborDescent.of(fit, penalty, plan.limits.times(20), plan.turns or 1)


class AnalysisFamily(Family):
    """Norms of linear maps: a primal-dual iteration."""

    solvers = tuple(ITERATIONS)
    has_prox = False

    def descent(self, fit: LeastSquares, penalty: Any, plan: Plan) -> Descent:
        """Rounds of some steps."""
        iteration = self.solvers[0] if plan.solver == "auto" else plan.solver
        return PrimalDualDescent.of(fit, penalty, plan.limits.times(20), iteration)


FAMILIES: dict[type, Family] = {
    Penalty: Family(),
    Concave: ConcaveFamily(),
    L21: NormFamily(),
    L1: NormFamily(),
    Lrq: PowerFamily(),
    TimeFrequency: GaborFamily(),
    Analysis: AnalysisFamily(),
}


def family_of(penalty: Penalty) -> Family:
    """Family of the nearest class among the bases of a penalty."""
    found = next(FAMILIES[c] for c in type(penalty).__mro__ if c in FAMILIES)
    return found if found.by_entry or not penalty.by_entry else FAMILIES[Penalty]


def check_solver(solver: str, penalty: Penalty) -> None:
    """Raise InputError where a solver does not take a penalty."""
    taken = family_of(penalty).solvers
    if solver not in ("auto", *taken):
        others = [f'"{name}"' for name in taken if name != "auto"]
        raise InputError(
            f'{type(penalty).__name__} takes solver="auto"'
            + "".join(f", {name}" for name in others)
            + f', got "{solver}".'
        )


def descent_of(problem: Problem, penalty: Penalty, noise: Any, plan: Plan) -> Descent:
    """The rounds of a problem; recordings of several trials one after the other."""
    single = problem.data.ndim == 2
    data = problem.data if single else problem.data[0]
    if isinstance(noise, Robust):
        one = _robust_descent(problem, penalty, noise, data, plan)
    else:
        fit = penalty.least_squares(problem, data)
        one = family_of(penalty).descent(fit, penalty, plan._replace(by_rounds=single))
    return one if single else Trials(one, problem.data)


def _robust_descent(
    problem: Problem, penalty: Penalty, noise: Robust, data: Data, plan: Plan
) -> Descent:
    """Least squares again and again, each with the penalty over the curvature of the noise."""
    family = family_of(penalty)
    inner = eqx.tree_at(lambda p: p.alpha, penalty, penalty.alpha / noise.curvature)
    # a turn that need not move to be converged would stop the descent
    tighter = plan.limits._replace(tol=jnp.maximum(0.01 * plan.limits.tol, 1e-15))
    inner_plan = plan._replace(limits=tighter, by_rounds=False)
    turn = family.descent(inner.least_squares(problem, data), inner, inner_plan)
    fit = RobustFit(penalty.least_squares(problem, data), noise)
    brief = isinstance(turn, NormDescent)
    how = (brief, family.has_prox, family.on_sources)
    return RobustDescent(fit, penalty, turn, plan.limits, *how)
