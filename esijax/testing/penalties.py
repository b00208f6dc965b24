"""What a penalty or a robust data term says of itself, held against its own definition."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from esijax.inference.sparse.families import family_of
from esijax.models.noise import Robust
from esijax.models.penalties import Penalty
from esijax.problem import Problem
from esijax.testing.promises import BrokenPromise

TRIES = 40
SHORT = 1e-3  # step of a proximal map


def _trial_sources(problem: Problem) -> list[Any]:
    rng = np.random.default_rng(1)
    shape = (problem.n_locations, problem.n_orients, problem.n_times)
    return [jnp.asarray(size * rng.standard_normal(shape)) for size in (0.1, 1.0, 10.0)]


def value_is_a_penalty(penalty: Penalty, problem: Problem) -> None:
    """Zero at zero, never negative."""
    at_zero = float(penalty.value(jnp.zeros_like(_trial_sources(problem)[0])))
    if at_zero != 0.0:
        raise BrokenPromise(f"value is {at_zero:g} at zero")
    for x in _trial_sources(problem):
        if float(penalty.value(x)) < 0.0:
            raise BrokenPromise("value is negative")


def prox_minimises(penalty: Penalty, problem: Problem) -> None:
    r"""The map finds the minimum of the value plus half the squared distance over the step."""
    rng = np.random.default_rng(2)
    for x in _trial_sources(problem):
        for step in (0.1, 1.0):
            found = penalty.prox(x, jnp.asarray(step))

            def objective(z: Any, x: Any = x, step: float = step) -> float:
                return float(penalty.value(z) + jnp.sum((z - x) ** 2) / (2 * step))

            best = objective(found)
            around = [found + 10.0 ** rng.uniform(-4, 1) * d for d in _random_steps(rng, found)]
            lower = min(objective(z) for z in [x, jnp.zeros_like(x), *around])
            if not best <= lower + 1e-9 * (1.0 + abs(lower)):
                raise BrokenPromise(
                    f"prox with step {step:g} gives {best:.8g}, {lower:.8g} is near it"
                )


def _random_steps(rng: np.random.Generator, like: Any) -> list[Any]:
    """Steps of all entries, and of few."""
    steps = rng.standard_normal((TRIES, *like.shape))
    steps[TRIES // 2 :] *= rng.random((TRIES - TRIES // 2, *like.shape)) < 0.1
    return [jnp.asarray(step) for step in steps]


def polar_is_the_dual(penalty: Penalty, problem: Problem) -> None:
    """Zero is the answer to a gradient just above its polar, and is not just below it."""
    for gradient in _trial_sources(problem):
        polar = penalty.polar(gradient)
        if polar is None:
            raise BrokenPromise("polar gives None: leave it out where it is unknown")
        for share, empty in ((1.001, True), (0.98, False)):
            scaled = gradient * penalty.alpha / (polar * share)
            # a short step: with a long one the minimum of a concave penalty may be elsewhere
            found = penalty.prox(SHORT * scaled, jnp.asarray(SHORT))
            is_zero = not bool(jnp.any(jnp.abs(found) > 0))
            if is_zero != empty:
                raise BrokenPromise(
                    f"for alpha = {share} polar = {float(polar) * share:.6g} zero is "
                    f"{'not ' * empty}the minimum"
                )


def influence_is_the_derivative(term: Robust, problem: Problem) -> None:
    """`influence` is the derivative of `value`, `curvature` bounds the second one."""
    for scale in (0.1, 1.0, 30.0):
        residual = jnp.asarray(problem.recording) * scale
        want = jax.grad(term.value)(residual)
        error = float(jnp.max(jnp.abs(term.influence(residual) - want)))
        if not error <= 1e-9 * (1.0 + float(jnp.max(jnp.abs(want)))):
            raise BrokenPromise(f"influence differs from the derivative of value by {error:.3g}")
        bend = jax.jvp(term.influence, (residual,), (jnp.ones_like(residual),))[1]
        if not float(jnp.max(bend)) <= float(term.curvature) * (1 + 1e-9):
            raise BrokenPromise(
                f"the second derivative reaches {float(jnp.max(bend)):.6g}, curvature says "
                f"{float(term.curvature):.6g}"
            )


def promises_of(penalty: Penalty, problem: Problem) -> dict[str, Any]:
    """Promises about the penalty itself, of what it implements."""
    family, asked = family_of(penalty), {}
    if family.on_sources:
        asked["value"] = lambda: value_is_a_penalty(penalty, problem)
    if family.on_sources and family.has_prox:
        asked["prox"] = lambda: prox_minimises(penalty, problem)
        if type(penalty).polar is not Penalty.polar:
            asked["polar"] = lambda: polar_is_the_dual(penalty, problem)
    return asked
