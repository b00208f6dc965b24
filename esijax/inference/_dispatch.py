"""Which solver a penalty is brought to, for one recording."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from esijax._types import InputError
from esijax.inference._gabor_answer import time_frequency
from esijax.inference._gradients import Task
from esijax.inference._penalised import (
    Answer,
    Limits,
    by_pairs,
    by_prox,
    convex,
    frozen,
    reweighted,
    stationary,
)
from esijax.models.penalties import L1, L21, Analysis, Concave, Lrq, Penalty, TimeFrequency
from esijax.problem import Problem

SOLVERS = ("auto", "newton", "fista")
Sources = Float[Array, "locations orients times"]


def power_of(model: Penalty) -> Lrq:
    """The power whose majorisers are solved."""
    if isinstance(model, Lrq):
        return model
    return Lrq(model.alpha, 2 if isinstance(model, L21) else 1, 0.5, model.weights)


def takes_newton(model: Penalty) -> bool:
    """Whether a penalty is a sum of norms, or of powers of them."""
    return isinstance(model, Lrq) or (isinstance(model, L1 | L21) and not model.by_entry)


def check(solver: str, model: Penalty) -> None:
    """Raise InputError where a solver does not take a penalty."""
    if isinstance(model, TimeFrequency) and solver != "auto":
        raise InputError(f'TimeFrequency has a solver of its own: solver="auto", got {solver!r}.')
    if solver == "newton" and not takes_newton(model):
        raise InputError(
            f'solver="newton" is for sums of norms: {type(model).__name__} needs solver="auto".'
        )
    if solver == "fista" and isinstance(model, Analysis):
        raise InputError('solver="fista" needs a prox: analysis penalties take solver="auto".')
    if solver == "fista" and isinstance(model, Lrq):
        raise InputError('solver="fista" needs a prox: Lrq is majorised, solver="newton".')


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
    """Minimise; `turns` is the number of convex problems, None: until nothing moves.

    `opened`: the start is meant, also where it is zero.
    """
    if isinstance(model, TimeFrequency):
        return time_frequency(problem, model, data, start, limits, turns or 1)
    weight = model.location_weights(problem.n_locations)
    task = Task(problem.gain, problem.prior_scale, data, weight)
    if isinstance(model, Analysis):
        more = limits._replace(max_iter=jnp.asarray(20 * limits.max_iter))
        return by_pairs(task, model, more)
    if not opened:
        start = opening(problem, model, data, start, limits)
    if solver == "fista" or not takes_newton(model):
        more = limits._replace(max_iter=jnp.asarray(20 * limits.max_iter))
        return by_prox(task, model, start, more)
    if turns == 1:
        block = model.majoriser.block if isinstance(model, Lrq) else model.block
        assert block is not None
        return convex(task, block, start, limits)
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
