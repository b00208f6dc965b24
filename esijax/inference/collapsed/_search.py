"""The mode of the hyper-parameters as the steps of a method: what Evidence and Laplace share."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from esijax.inference.collapsed._curvature import Unravel, settled
from esijax.inference.collapsed._maximise import Optimum, Walk, advance, at_bounds, begin, minimiser
from esijax.inference.collapsed._start import first_sites, frozen, medians
from esijax.inference.collapsed.answers import marginal
from esijax.inference.collapsed.target import Target
from esijax.inference.method import Setup

WORK = 4e10  # operations of a chunk: about a second
JITTER = 1.0


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
        self.solver = minimiser(method.solver, method.rtol, method.atol)
        shapes = jax.eval_shape(lambda: self.target.free(medians(self.target.marginal)))
        zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
        self.unravel: Unravel = ravel_pytree(zeros)[1]

    def objective(self, point: Float[Array, " size"]):
        """Log density at unconstrained values."""
        target = self.target
        value = target.log_posterior if self.jacobian else target.log_joint
        return value(self.unravel(point))

    def begin(self) -> Walk:
        """Starts: the given or analytic one, then others scattered around it."""
        hyper = None if self.setup.start is None else self.setup.start.hyper
        sites = first_sites(self.target.marginal, hyper, warm=True)
        first = ravel_pytree(self.target.free(sites))[0]
        key = jax.random.key(0) if self.setup.key is None else self.setup.key
        others = jax.random.normal(key, (self.method.n_starts - 1, len(first)))
        points = jnp.concatenate([first[None], first[None] + JITTER * others])
        typical = ravel_pytree(self.target.free(medians(self.target.marginal)))[0]
        return begin(self.objective, self.solver, points, typical)

    def advance(self, walk: Walk) -> Walk:
        """About a second of steps."""
        method = self.method
        work = self.target.marginal.work * method.n_starts
        n_steps = int(min(max(WORK / work, 1), 500))
        return advance(self.objective, self.solver, walk, n_steps, method.max_steps)

    def end(self, walk: Walk) -> tuple[Float[Array, " size"], Optimum]:
        """The best end, differentiable; and how the searches went."""
        walk = frozen(walk)
        ends = jnp.clip(walk.point, walk.low, walk.high)
        values = jnp.stack([self.objective(p) for p in ends])
        best = jnp.argmax(jnp.where(jnp.isfinite(values), values, -jnp.inf))
        point = ends[best]
        bounds = walk.low[best], walk.high[best], walk.scale[best]
        held, inward = at_bounds(self.objective, point, *bounds)
        free = settled(self.target, self.unravel, point, held, jacobian=self.jacobian)
        checks = Optimum(values, walk.ended, walk.n_steps, jnp.sum(held), jnp.sum(inward))
        return free, frozen(checks)
