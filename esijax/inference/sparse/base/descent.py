r"""A minimisation that can be left and taken up again: the protocol that `MAP` delegates to.

A `Descent` is a loop in parts: where it begins (`opening`, `first`), whether it goes on (`go`),
what a round does (`body`), and the answer that a state gives (`answer`). Within a transformation it
is one compiled loop (`run`); on the host `MAP` calls `ahead` until it is `over`, and in between
there is progress, Ctrl-C and a checkpoint. A round has to be brief, about a second; those that are
briefer are taken together. How many makes no difference to the last bit, since it is the same
program that is run.

What is worked out once (a norm, a factorisation) is a field, computed where the descent is made;
what changes from round to round is the carry.
"""

import abc
import time
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from esijax._ops.stop_gradient import stop_gradient
from esijax._types import Data, Sources
from esijax.inference._compiled import compiled
from esijax.inference.sparse.base.answer import Found, SparseAnswer, unsolved
from esijax.problem import Problem

SECONDS = 0.5  # after which no further rounds are begun before the host looks


class Descent(eqx.Module):
    """One minimisation of one recording, round by round."""

    grows: ClassVar[bool] = False  # whether the carry's sizes change on the host

    @abc.abstractmethod
    def at(self, data: Data) -> "Descent":
        """The same for another recording."""

    def opening(self, start: Sources) -> Sources:
        """Where to begin, given an earlier answer (zeros: none)."""
        return start

    @abc.abstractmethod
    def first(self, start: Sources) -> Any:
        """State before the first round."""

    @abc.abstractmethod
    def go(self, carry: Any) -> Any:
        """Tell whether another round is needed."""

    @abc.abstractmethod
    def body(self, carry: Any) -> Any:
        """One round."""

    @abc.abstractmethod
    def answer(self, carry: Any) -> SparseAnswer:
        """What a state has found, with the derivative of the minimiser where there is a rule."""

    def run(self, start: Sources) -> SparseAnswer:
        """All rounds in one compiled loop."""
        fixed = stop_gradient(self)
        first = fixed.first(stop_gradient(start))
        end = jax.lax.while_loop(lambda c: fixed.go(c), lambda c: fixed.body(c), first)
        return self.answer(stop_gradient(end))

    def found(self, carry: Any, problem: Problem) -> Found:
        """Sources of a state in the problem's units, and what they explain."""
        z, info = self.answer(carry)
        sources = z * problem.prior_scale[..., None]
        lead = sources.ndim - 3
        fitted = jnp.tensordot(problem.gain, sources, axes=((1, 2), (lead, lead + 1)))
        return Found(sources, jnp.moveaxis(fitted, 0, -2), info, count_active(z))

    # ------------------------------------------------------------------ on the host
    def ahead(self, carry: Any) -> Any:
        """Rounds for about a second."""
        begin, n = time.monotonic(), 1
        while True:
            carry, more = compiled_call(self._some_rounds, carry, jnp.asarray(n))
            if not bool(more) or time.monotonic() - begin > SECONDS:
                return carry
            n *= 2

    def over(self, carry: Any) -> bool:
        """Tell whether the state is final."""
        return not bool(compiled_call(self.go, carry))

    def truncate(self, carry: Any) -> Any:
        """State that gives the answer of an interrupted one."""
        return carry

    def _some_rounds(self, carry, n: Int[Array, ""]):
        """At most n rounds, and whether more are needed."""

        def body(both):
            count, carry = both
            return count + 1, self.body(carry)

        def go(both):
            return (both[0] < n) & self.go(both[1])

        carry = jax.lax.while_loop(go, body, (jnp.zeros_like(n), carry))[1]
        return carry, self.go(carry)


@compiled
def compiled_call(method, *arguments):
    """Call a descent's method as one compiled program; what it hands back is not copied."""
    return method(*arguments)


def count_active(z: Sources) -> Int[Array, ""]:
    """Locations that are not zero, the most of any trial."""
    return jnp.max(jnp.sum(jnp.any(z != 0, axis=(-2, -1)), axis=-1))


class Final(Descent):
    """A minimum that is found: the carry is the answer, and nothing is left to do."""

    def at(self, data):  # noqa: ARG002
        """The same answer."""
        return self

    def first(self, start):
        """Take the start as the answer."""
        return unsolved(start)

    def go(self, carry):  # noqa: ARG002
        """No round is needed."""
        return jnp.zeros((), dtype=bool)

    def body(self, carry):
        """Leaves the answer as it is."""
        return carry

    def answer(self, carry: SparseAnswer) -> SparseAnswer:
        """Give the carry."""
        return carry


class TrialsState(eqx.Module):
    """Where trials are: those before `count` are solved, the others hold their starts."""

    count: Int[Array, ""]
    solved: SparseAnswer
    inner: Any


class Trials(Descent):
    """One recording after the other."""

    one: Descent
    data: Float[Array, "trials rank times"]

    def at(self, data):
        """The same for other trials."""
        return Trials(self.one, data)

    def first(self, start):
        """All at their starts, the first one begun."""
        start = jnp.broadcast_to(start, (len(self.data), *start.shape[-3:]))
        zero = jnp.zeros((), dtype=int)
        return TrialsState(zero, jax.vmap(unsolved)(start), self._begun(0, start[0]))

    def go(self, carry: TrialsState):
        """Until the last one is solved."""
        return carry.count < len(self.data)

    def body(self, carry: TrialsState) -> TrialsState:
        """Keep what a trial has given, begin the next."""
        solved = self._with_current(carry)
        after = jnp.minimum(carry.count + 1, len(self.data) - 1)
        return TrialsState(carry.count + 1, solved, self._begun(after, solved.z[after]))

    def answer(self, carry: TrialsState) -> SparseAnswer:
        """Answers of all trials."""
        return carry.solved

    def run(self, start):
        """All trials at once."""
        start = jnp.broadcast_to(start, (len(self.data), *start.shape[-3:]))

        def one(data, start):
            descent = self.one.at(data)
            return descent.run(descent.opening(start))

        return jax.vmap(one)(self.data, start)

    def ahead(self, carry: TrialsState) -> TrialsState:
        """The trial that is under way, or the next."""
        one = self.one.at(self.data[carry.count])
        if one.over(carry.inner):
            return compiled_call(self.body, carry)
        return TrialsState(carry.count, carry.solved, one.ahead(carry.inner))

    def truncate(self, carry: TrialsState) -> TrialsState:
        """Take the answer of the trial that was under way."""
        if self.over(carry):
            return carry
        inner = self.one.at(self.data[carry.count]).truncate(carry.inner)
        carry = TrialsState(carry.count, carry.solved, inner)
        return TrialsState(carry.count, compiled_call(self._with_current, carry), inner)

    def _begun(self, index, start: Sources) -> Any:
        """First state of a trial."""
        one = self.one.at(self.data[index])
        return one.first(one.opening(start))

    def _with_current(self, carry: TrialsState) -> SparseAnswer:
        """The answers, that of the trial under way among them."""
        new = self.one.at(self.data[carry.count]).answer(carry.inner)
        pairs = zip(carry.solved, new, strict=True)
        return SparseAnswer(*(a.at[carry.count].set(b) for a, b in pairs))
