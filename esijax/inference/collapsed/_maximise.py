"""Maximisation over unconstrained numbers: quasi-Newton steps in chunks, several starts at once."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
import optimistix as optx
from jaxtyping import Array, Bool, Float, Int

from esijax._types import InputError, Scalar
from esijax.estimate import Diagnostics
from esijax.inference.collapsed.target import Unknowns

Points = Float[Array, "starts size"]
Objective = Callable[[Float[Array, " size"]], Scalar]
LOG_REACH = 30.0
LOG_BACK = 5.0
MAX_RETURNS = 20


def read_minimiser(solver: Any, rtol: Any, atol: Any) -> optx.AbstractMinimiser:
    """Read a solver's name, an optimistix read_minimiser or an optax optimiser."""
    if isinstance(solver, optx.AbstractMinimiser):
        return solver
    if isinstance(solver, optax.GradientTransformation):
        return optx.OptaxMinimiser(solver, rtol, atol)
    named = {"bfgs": optx.BFGS, "lbfgs": optx.LBFGS}
    if not isinstance(solver, str) or solver not in named:
        raise InputError(
            f"solver must be 'bfgs', 'lbfgs', an optax optimiser or an optimistix read_minimiser, "
            f"got {solver!r}."
        )
    return named[solver](rtol, atol)


class SearchState(eqx.Module):
    """Several searches on their way.

    Parameters
    ----------
    low, high : (starts, size)
        `LOG_REACH` away from where each began, which in a logarithm is 13 powers of ten: an optimum
        at zero or infinity ends there.
    point : (starts, size)
    state
        Of the solver, arrays with a leading axis of starts.
    scale : (starts,)
        The objective is divided by it, so that the first step moves nothing by more than 1.
    ended : (starts,)
    returns : (starts,)
        How often entries came back from a bound.
    n_steps : ()
    """

    low: Points
    high: Points
    point: Points
    state: Any
    scale: Float[Array, " starts"]
    ended: Bool[Array, " starts"]
    returns: Int[Array, " starts"]
    n_steps: Int[Array, ""]


def begin_searches(
    objective: Objective,
    solver: optx.AbstractMinimiser,
    points: Points,
    typical: Float[Array, " size"],
) -> SearchState:
    """First state of each search, its bounds out of reach of `typical` values too."""

    def one(point):
        return _initial(solver, point), _gradient_scale(objective, point)

    state, scale = _each(one)(points)
    low, high = jnp.minimum(points, typical) - LOG_REACH, jnp.maximum(points, typical) + LOG_REACH
    none = jnp.zeros(len(points), dtype=int)
    state = eqx.filter(state, eqx.is_array)
    return SearchState(low, high, points, state, scale, none > 0, none, jnp.asarray(0))


def _gradient_scale(objective: Objective, point: Unknowns) -> Scalar:
    steepest = jnp.max(jnp.abs(jax.grad(objective)(point)))
    return jnp.where(jnp.isfinite(steepest), jnp.maximum(steepest, 1.0), 1.0)


def at_bounds(objective: Objective, point: Unknowns, low: Unknowns, high: Unknowns, scale: Scalar):
    """Unknowns at a bound, and those of them that would rather come back.

    The gradient in the logarithm is zero at zero whatever the gradient in the variance; the latter
    counts, in units of a variance within reach.
    """
    below, above = point <= low + 1e-3 * LOG_REACH, point >= high - 1e-3 * LOG_REACH
    gradient = jnp.exp(LOG_REACH) * jax.grad(objective)(point) / scale
    least = jnp.sqrt(jnp.finfo(point.dtype).eps)
    return below | above, (below & (gradient > least)) | (above & (gradient < -least))


def advance_searches(
    objective: Objective,
    solver: optx.AbstractMinimiser,
    search: SearchState,
    n_steps: int,
    max_steps: int,
) -> SearchState:
    """Up to `n_steps` more steps of each search, none where it has ended."""
    search = _iterated(objective, solver, search, n_steps, max_steps)
    over = jnp.any(search.ended & (search.returns < MAX_RETURNS))
    return jax.lax.cond(
        over, lambda w: _return_from_bounds(objective, solver, w), lambda w: w, search
    )


def _return_from_bounds(
    objective: Objective, solver: optx.AbstractMinimiser, search: SearchState
) -> SearchState:
    """Begin anew where a search ended with entries at bounds that would rather come back."""

    def one(low, high, point, state, scale, ended, returns):
        ends = jnp.clip(point, low, high)
        stuck = at_bounds(objective, ends, low, high, scale)[1]
        again = ended & (returns < MAX_RETURNS) & jnp.any(stuck)
        inner = jnp.where(
            ends - low < high - ends, low + LOG_REACH - LOG_BACK, high - LOG_REACH + LOG_BACK
        )
        new = jnp.where(stuck, inner, ends)
        fresh = eqx.filter(_initial(solver, new), eqx.is_array)
        state = jax.tree.map(lambda a, b: jnp.where(again, a, b), fresh, state)
        point = jnp.where(again, new, point)
        scale = jnp.where(again, _gradient_scale(objective, new), scale)
        return low, high, point, state, scale, ended & ~again, returns + again

    w = search
    out = _each(one)(w.low, w.high, w.point, w.state, w.scale, w.ended, w.returns)
    return SearchState(*out, w.n_steps)


def _iterated(
    objective: Objective,
    solver: optx.AbstractMinimiser,
    search: SearchState,
    n_steps: int,
    max_steps: int,
) -> SearchState:
    # what of the solver's state is no array stays outside the loop
    template = jax.ShapeDtypeStruct(search.point.shape[1:], search.point.dtype)
    static = eqx.filter_eval_shape(lambda p: _initial(solver, p), template)
    static = eqx.filter(static, lambda x: isinstance(x, jax.ShapeDtypeStruct), inverse=True)

    def one(low, high, point, state, scale, ended):
        def negative(p, _):
            return -objective(jnp.clip(p, low, high)) / scale, None

        solver_state = eqx.combine(state, static)
        new, solver_state, _ = solver.step(negative, point, None, {}, solver_state, frozenset())
        over, result = solver.terminate(negative, new, None, {}, solver_state, frozenset())
        over = over | (result != optx.RESULTS.successful)

        def unless_ended(a, b):
            return jnp.where(ended, a, b)

        state = jax.tree.map(unless_ended, state, eqx.filter(solver_state, eqx.is_array))
        return unless_ended(point, new), state, ended | over

    def go(carry):
        i, search = carry
        return (i < n_steps) & ~jnp.all(search.ended) & (search.n_steps < max_steps)

    def body(carry):
        i, w = carry
        out = _each(one)(w.low, w.high, w.point, w.state, w.scale, w.ended)
        point, state, ended = out
        return i + 1, SearchState(
            w.low, w.high, point, state, w.scale, ended, w.returns, w.n_steps + 1
        )

    return jax.lax.while_loop(go, body, (0, search))[1]


def _each(function):
    """Map over starts; a single one is spared the batching (a batched branch runs both sides)."""

    def run(*arguments):
        if len(jax.tree.leaves(arguments)[0]) > 1:
            return eqx.filter_vmap(function)(*arguments)
        out = function(*jax.tree.map(lambda x: x[0], arguments))
        return jax.tree.map(lambda x: x[None] if eqx.is_array(x) else x, out)

    return run


def _initial(solver: optx.AbstractMinimiser, point: Float[Array, " size"]):
    scalar = jax.ShapeDtypeStruct((), point.dtype)
    return solver.init(lambda p, _: (p[0], None), point, None, {}, scalar, None, frozenset())


class Optimum(Diagnostics):
    """How a maximisation went.

    Parameters
    ----------
    values : (starts,)
        Objective at the end of each search.
    ended : (starts,)
        Whether it met its tolerance.
    n_steps : ()
    at_bound : ()
        Unknowns of the winner that went to zero or infinity as far as they may.
    stuck : ()
        Those of them that would rather come back.
    """

    values: Float[Array, " starts"]
    ended: Bool[Array, " starts"]
    n_steps: Int[Array, ""]
    at_bound: Int[Array, ""]
    stuck: Int[Array, ""]

    @property
    def winner(self) -> Int[Array, ""]:
        """Number of the start whose search ended highest."""
        return jnp.argmax(jnp.where(jnp.isfinite(self.values), self.values, -jnp.inf))

    @property
    def converged(self) -> Bool[Array, ""]:
        """Whether the winner met its tolerance, with nothing stuck at zero."""
        return self.ended[self.winner] & (self.stuck == 0)

    def verdict(self) -> dict[str, Any]:
        """Steps, the start that won, the spread of the starts."""
        values = [float(v) for v in self.values]
        return {
            "converged": bool(self.converged),
            "n_steps": int(self.n_steps),
            "best_start": int(self.winner),
            "log_density_of_starts": values,
            "spread_of_starts": max(values) - min(values),
            "at_bound": int(self.at_bound),
        }

    def doubts(self) -> tuple[str, ...]:
        """Say so where the optimum was not reached."""
        if bool(self.converged):
            return ()
        if bool(self.ended[self.winner]):
            return (f"{int(self.stuck)} components were switched off too early: start elsewhere",)
        return (f"no optimum after {int(self.n_steps)} steps: raise max_steps",)
