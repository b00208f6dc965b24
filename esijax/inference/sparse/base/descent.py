r"""A solve that can be left and taken up again.

A `Descent` is a loop in four parts: where it begins, whether it goes on, what a round does, and
the answer that a state gives. Within a transformation it is one compiled loop (`run`); on the host
`MAP` calls `ahead` until it is `over`, and in between there is progress, Ctrl-C and a checkpoint.
A round has to be brief, about a second; those that are briefer are taken together. How many makes
no difference to the last bit, since it is the same program that is run.

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

from esijax._types import Data, Sources
from esijax.inference._compiled import compiled
from esijax.inference.sparse.base.answer import INFO, Answer, frozen

SECONDS = 0.5  # after which no further rounds are begun before the host looks


class Descent(eqx.Module):
    """One minimisation of one recording, round by round."""

    grows: ClassVar[bool] = False  # whether the carry's sizes change on the host

    @abc.abstractmethod
    def at(self, data: Data) -> "Descent":
        """The same for another recording."""

    @abc.abstractmethod
    def first(self, start: Sources) -> Any:
        """State at an earlier answer; zeros: none."""

    @abc.abstractmethod
    def go(self, carry: Any) -> Any:
        """Tell whether another round is needed."""

    @abc.abstractmethod
    def body(self, carry: Any) -> Any:
        """One round."""

    @abc.abstractmethod
    def answer(self, carry: Any) -> Answer:
        """What a state has found, with the derivative of the minimiser where there is a rule."""

    def run(self, start: Sources) -> Answer:
        """All rounds in one compiled loop."""
        fixed = frozen(self)
        first = fixed.first(frozen(start))
        end = jax.lax.while_loop(lambda c: fixed.go(c), lambda c: fixed.body(c), first)
        return self.answer(frozen(end))

    # ------------------------------------------------------------------ on the host
    def ahead(self, carry: Any) -> Any:
        """Rounds for about a second."""
        begin, n = time.monotonic(), 1
        while True:
            carry, more = _rounds(self, carry, jnp.asarray(n))
            if not bool(more) or time.monotonic() - begin > SECONDS:
                return carry
            n *= 2

    def over(self, carry: Any) -> bool:
        """Tell whether the state is final."""
        return not bool(_goes(self, carry))

    def kept(self, carry: Any) -> Any:
        """What is left of a state that was interrupted."""
        return carry


@compiled
def _rounds(descent: Descent, carry, n: Int[Array, ""]):
    def body(both):
        count, carry = both
        return count + 1, descent.body(carry)

    def go(both):
        return (both[0] < n) & descent.go(both[1])

    carry = jax.lax.while_loop(go, body, (jnp.zeros_like(n), carry))[1]
    return carry, descent.go(carry)


@compiled
def _goes(descent: Descent, carry):
    return descent.go(carry)


def unsolved(start: Sources) -> Answer:
    """An answer before the first round."""
    nothing = jnp.full(len(INFO), jnp.inf, dtype=start.dtype).at[4:].set(0.0)
    return Answer(start, nothing)


class Several(eqx.Module):
    """Where trials are: those before `count` are solved, the others hold their starts."""

    count: Int[Array, ""]
    found: Answer
    inner: Any


class Trials(Descent):
    """One recording after the other."""

    one: Descent
    data: Float[Array, "trials rank times"]

    def at(self, data):
        """Other trials."""
        return Trials(self.one, data)

    def first(self, start):
        """All at their starts, the first one begun."""
        start = jnp.broadcast_to(start, (len(self.data), *start.shape[-3:]))
        inner = self.one.at(self.data[0]).first(start[0])
        return Several(jnp.zeros((), dtype=int), jax.vmap(unsolved)(start), inner)

    def go(self, carry: Several):
        """Until the last one."""
        return carry.count < len(self.data)

    def body(self, carry: Several) -> Several:
        """Keep what a trial has given, begin the next."""
        found = self._with(carry)
        after = jnp.minimum(carry.count + 1, len(self.data) - 1)
        inner = self.one.at(self.data[after]).first(found.z[after])
        return Several(carry.count + 1, found, inner)

    def answer(self, carry: Several) -> Answer:
        """All of them."""
        return carry.found

    def run(self, start):
        """All at once."""
        start = jnp.broadcast_to(start, (len(self.data), *start.shape[-3:]))
        return jax.vmap(lambda data, start: self.one.at(data).run(start))(self.data, start)

    def ahead(self, carry: Several) -> Several:
        """The trial that is under way, or the next."""
        one = self.one.at(self.data[carry.count])
        if one.over(carry.inner):
            return _next(self, carry)
        return Several(carry.count, carry.found, one.ahead(carry.inner))

    def kept(self, carry: Several) -> Several:
        """With the trial that was under way."""
        if self.over(carry):
            return carry
        inner = self.one.at(self.data[carry.count]).kept(carry.inner)
        return _with(self, Several(carry.count, carry.found, inner))

    def _with(self, carry: Several) -> Answer:
        new = self.one.at(self.data[carry.count]).answer(carry.inner)
        return Answer(*(a.at[carry.count].set(b) for a, b in zip(carry.found, new, strict=True)))


@compiled
def _next(trials: Trials, carry: Several) -> Several:
    return trials.body(carry)


@compiled
def _with(trials: Trials, carry: Several) -> Several:
    return Several(carry.count, trials._with(carry), carry.inner)
