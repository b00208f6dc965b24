"""Which solver a penalty is brought to, for one recording."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from esijax._types import InputError, Sources
from esijax.inference.sparse._penalised import by_prox, convex, reweighted, stationary
from esijax.inference.sparse.analysis.primal_dual import WAYS
from esijax.inference.sparse.base.answer import Answer, Limits, frozen
from esijax.inference.sparse.base.task import Task
from esijax.models.penalties import L1, L21, Analysis, Concave, Lrq, Penalty, TimeFrequency
from esijax.problem import Problem

SOLVERS = ("auto", "newton", "bcd", "fista", *WAYS)


def power_of(model: Penalty) -> Lrq:
    """The power whose majorisers are solved."""
    if isinstance(model, Lrq):
        return model
    return Lrq(model.alpha, 2 if isinstance(model, L21) else 1, 0.5, model.weights)


def takes_newton(model: Penalty) -> bool:
    """Whether a penalty is a sum of norms, or of powers of them."""
    return isinstance(model, Lrq) or (isinstance(model, L1 | L21) and not model.by_entry)


def ways(model: Penalty) -> tuple[str, ...]:
    """Solvers that take a penalty, the one of "auto" first."""
    if isinstance(model, TimeFrequency):
        return ("auto",)
    if isinstance(model, Analysis):
        return tuple(WAYS)
    if isinstance(model, Lrq):
        return ("newton",)
    return ("newton", "bcd", "fista") if takes_newton(model) else ("fista",)


def check(solver: str, model: Penalty) -> None:
    """Raise InputError where a solver does not take a penalty."""
    taken = ways(model)
    if solver not in ("auto", *taken):
        others = [f'"{name}"' for name in taken if name != "auto"]
        raise InputError(
            f'{type(model).__name__} takes solver="auto"'
            + "".join(f", {name}" for name in others)
            + f', got "{solver}".'
        )


def answer(
    problem: Problem,
    model: Penalty,
    data: Float[Array, "rank times"],
    start: Sources,
    limits: Limits,
    solver: str,
    turns: int | None,
    opened: bool = False,
) -> Answer:
    """Minimise what is brief: norms and their powers. `turns`: convex problems, None: until rest.

    `opened`: the start is meant, also where it is zero.
    """
    weight = model.location_weights(problem.n_locations)
    task = Task(problem.gain, problem.prior_scale, data, weight)
    if not opened:
        start = opening(problem, model, data, start, limits)
    if solver == "fista" or not takes_newton(model):
        more = limits._replace(max_iter=jnp.asarray(20 * limits.max_iter))
        return by_prox(task, model, start, more)
    if turns == 1:
        block = model.majoriser.block if isinstance(model, Lrq) else model.block
        assert block is not None
        return convex(task, block, start, limits, "bcd" if solver == "bcd" else "newton")
    if turns is None:
        return stationary(task, power_of(model), start, limits)
    return reweighted(task, power_of(model), start, turns, limits)


def opening(problem: Problem, model: Penalty, data, start: Sources, limits: Limits) -> Sources:
    """An earlier answer, or for concave penalties the mixed norm above them."""
    if not isinstance(model, Concave):
        return start
    arguments = frozen((problem, model.majoriser, data, start, limits))

    def mixed(arguments):
        problem, above, data, start, limits = arguments
        return answer(problem, above, data, start, limits, "auto", 1).z

    return jax.lax.cond(jnp.any(start != 0), lambda a: a[3], mixed, arguments)
