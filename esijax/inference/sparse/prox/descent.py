"""Proximal gradients on working sets, proved on all locations.

Where a penalty is a sum over locations, a round solves for those that are active or that a
proximal step on all of them moves most, in Gram form, ten times more exactly than the last round;
one step on all locations then tells who is missing, and gives the certificate. Any other penalty
is solved on all locations.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from esijax._ops.prox import block_norms
from esijax._types import Scalar, Sources
from esijax.inference.sparse.base.answer import SparseAnswer, pack_info, stop_gradient
from esijax.inference.sparse.base.descent import Descent
from esijax.inference.sparse.base.gap import Certificate, Limits, goes_on
from esijax.inference.sparse.base.sizes import FIRST_SIZE, loop_sizes
from esijax.inference.sparse.prox.fista import accelerated_gradient, certified_step
from esijax.inference.sparse.prox.fixed_point import fixed_point
from esijax.models.penalties import Penalty
from esijax.models.penalties.least_squares import LeastSquares

STEPS_ON_ALL = 100  # of a round on all locations
STEPS_WITHIN = 2000  # of a round on a working set


class ProxState(NamedTuple):
    """Sources, one proximal step beyond them, and what that step proves."""

    x: Sources
    new: Sources
    moved: Float[Array, " locations"]
    proof: Certificate
    steps: Int[Array, ""]
    rounds: Int[Array, ""]


class ProxDescent(Descent):
    """Any penalty with a proximal map, in rounds on working sets or on all locations.

    `above` minimises a convex penalty above a concave one: that is where it begins.
    """

    fit: LeastSquares
    penalty: Penalty
    bound: Scalar
    limits: Limits
    above: Descent | None = None

    @classmethod
    def of(
        cls, fit: LeastSquares, penalty: Penalty, limits: Limits, above: Descent | None = None
    ) -> "ProxDescent":
        """Measure the gain, once for all rounds and recordings."""
        return cls(fit, penalty, stop_gradient(fit).lipschitz(), limits, above)

    def at(self, data):
        """The same for another recording: the bound is that of the gain."""
        return eqx.tree_at(lambda d: d.fit.data, self, data)

    def opening(self, start: Sources) -> Sources:
        """An earlier answer, or the minimum of the convex penalty above a concave one."""
        if self.above is None:
            return start
        above, start = stop_gradient((self.above.at(self.fit.data), start))
        return jax.lax.cond(jnp.any(start != 0), lambda z: z, lambda z: above.run(z).z, start)

    def first(self, start: Sources) -> ProxState:
        """One step from the start."""
        zero = jnp.zeros((), dtype=int)
        return self._certified(start / self.fit.spread[:, None], zero, zero)

    def go(self, carry: ProxState):
        """Until the certificate is good."""
        return goes_on(carry.proof, carry.steps, self.limits)

    def body(self, carry: ProxState) -> ProxState:
        """One round: on a working set, or a few steps on all locations."""
        count = jnp.sum(block_norms(carry.x) > 0)
        sizes = loop_sizes(*self.fit.scale.shape) if self.penalty.even().separable else ()
        within = [lambda c, n=n: self._within(n, c) for n in sizes]
        branches = [*within, lambda c: self._on_all(c)]
        x, steps = jax.lax.switch(self._branch(sizes, carry, count), branches, carry)
        return self._certified(x, carry.steps + steps, carry.rounds + 1)

    def answer(self, carry: ProxState) -> SparseAnswer:
        """With the derivative of a proximal step's fixed point."""
        fit, even = self.fit, self.penalty.even()
        x = fixed_point(fit, even, stop_gradient(self.bound), carry.new)
        polar = even.polar(fit.adjoint(fit.data))
        alpha_max = jnp.full((), jnp.inf) if polar is None else polar
        scale = jnp.max(jnp.asarray(alpha_max)) / even.alpha
        info = pack_info(carry.proof, scale, carry.rounds, carry.steps, x.dtype)
        return SparseAnswer(x * fit.spread[:, None], stop_gradient(info))

    # ------------------------------------------------------------------ one round
    def _certified(self, x: Sources, steps, rounds) -> ProxState:
        """One step on all locations, and what it proves."""
        new, proof, moved = certified_step(self.fit, self.penalty.even(), x, self.bound)
        return ProxState(x, new, moved, proof, steps, rounds)

    def _branch(self, sizes: tuple[int, ...], carry: ProxState, count: Int[Array, ""]):
        """Which size of a working set is wanted; the last branch is that of all locations."""
        if not sizes:
            return 0
        more = jnp.minimum(jnp.sum(carry.moved > 0), jnp.maximum(count, FIRST_SIZE))
        wanted = jnp.minimum(count + more, sizes[-1])
        wanted = jnp.where(count > sizes[-1], len(carry.moved) + 1, wanted)
        return jnp.searchsorted(jnp.asarray(sizes), wanted)

    def _within(self, size: int, carry: ProxState):
        """Minimise on the `size` most promising locations, the others at zero."""
        active = block_norms(carry.x) > 0
        _, index = jax.lax.top_k(jnp.where(active, jnp.inf, carry.moved), size)
        gram, own = self.fit.within(index), self.penalty.even().at(index)
        target, bound = 0.1 * carry.proof.kkt, gram.lipschitz(self.bound)
        end = accelerated_gradient(gram, own, carry.x[index], bound, target, STEPS_WITHIN)
        return jnp.zeros_like(carry.x).at[index].set(end.x), end.steps

    def _on_all(self, carry: ProxState):
        """Some steps on all locations."""
        even, target = self.penalty.even(), 0.1 * carry.proof.kkt
        end = accelerated_gradient(self.fit, even, carry.new, self.bound, target, STEPS_ON_ALL)
        return end.x, end.steps
