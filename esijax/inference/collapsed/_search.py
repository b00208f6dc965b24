"""The mode of the hyper-parameters as the steps of a method: what Evidence and Laplace share."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from esijax._ops.stop_gradient import stop_gradient
from esijax.inference.collapsed._curvature import Unravel, polished_mode
from esijax.inference.collapsed._maximise import (
    Optimum,
    SearchState,
    advance_searches,
    at_bounds,
    begin_searches,
    read_minimiser,
)
from esijax.inference.collapsed.answers import earlier_hyper, marginal
from esijax.inference.collapsed.target import Target
from esijax.inference.method import Method, Setup, State

WORK_PER_STEP = 4e10  # operations of a chunk: about a second
START_SPREAD = 1.0


class Search:
    """Searches of one method on one problem; made anew in each compiled function.

    Parameters
    ----------
    method : Method
        With `solver`, `rtol`, `atol`, `max_steps`, `n_starts`.
    setup : Setup
    jacobian : bool
        Whether the density of the unconstrained sites is maximised, or that of the
        hyper-parameters themselves.
    """

    def __init__(self, method: Any, setup: Setup, *, jacobian: bool):
        self.method, self.setup, self.jacobian = method, setup, jacobian
        self.target = Target(marginal(setup))
        self.solver = read_minimiser(method.solver, method.rtol, method.atol)
        shapes = jax.eval_shape(lambda: self.target.free(self.target.marginal.medians()))
        zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
        self.unravel: Unravel = ravel_pytree(zeros)[1]

    def objective(self, point: Float[Array, " size"]):
        """Log density at unconstrained values."""
        target = self.target
        value = target.log_posterior if self.jacobian else target.log_joint
        return value(self.unravel(point))

    def begin(self) -> SearchState:
        """Starts: the given or analytic one, then others scattered around it."""
        sites = self.target.marginal.start_sites(earlier_hyper(self.setup), warm=True)
        first = ravel_pytree(self.target.free(sites))[0]
        key = jax.random.key(0) if self.setup.key is None else self.setup.key
        others = jax.random.normal(key, (self.method.n_starts - 1, len(first)))
        points = jnp.concatenate([first[None], first[None] + START_SPREAD * others])
        typical = ravel_pytree(self.target.free(self.target.marginal.medians()))[0]
        return begin_searches(self.objective, self.solver, points, typical)

    def advance(self, search: SearchState) -> SearchState:
        """About a second of steps."""
        method = self.method
        work = self.target.marginal.work * method.n_starts
        n_steps = int(min(max(WORK_PER_STEP / work, 1), 500))
        return advance_searches(self.objective, self.solver, search, n_steps, method.max_steps)

    def end(self, search: SearchState) -> tuple[Float[Array, " size"], Optimum]:
        """Best point found, with the derivatives of the mode; and how the searches went."""
        search = stop_gradient(search)
        ends = jnp.clip(search.point, search.low, search.high)
        values = jnp.stack([self.objective(p) for p in ends])
        best = jnp.argmax(jnp.where(jnp.isfinite(values), values, -jnp.inf))
        point = ends[best]
        bounds = search.low[best], search.high[best], search.scale[best]
        held, inward = at_bounds(self.objective, point, *bounds)
        free = polished_mode(self.target, self.unravel, point, held, jacobian=self.jacobian)
        checks = Optimum(values, search.ended, search.n_steps, jnp.sum(held), jnp.sum(inward))
        return free, stop_gradient(checks)


class SearchMethod(Method):
    """A method that begins with searches for the mode; subclasses give `check` and `finish`.

    They have the fields that `Search` reads. `jacobian` says which density is maximised.
    """

    jacobian: ClassVar[bool]
    takes_separable: ClassVar[bool] = True

    def search(self, setup: Setup) -> Search:
        """Searches on this problem."""
        return Search(self, setup, jacobian=self.jacobian)

    def init(self, setup: Setup) -> State:
        """First point of each search."""
        method, given = stop_gradient((self, setup))
        return State(setup, method.search(given).begin())

    def step(self, state: State) -> State:
        """About a second of steps."""
        method, setup = stop_gradient((self, state.setup))
        return State(state.setup, method.search(setup).advance(state.carry))

    def done(self, state: State) -> Any:
        """All searches have ended, or there are no steps left."""
        over = state.carry.n_steps >= self.max_steps  # ty: ignore[missing-attribute]
        return jnp.all(state.carry.ended) | over
