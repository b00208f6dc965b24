"""What a method is: `init`, `step`, `done`, `finish`, and how it speaks of itself.

A direct method gives `finish` alone. `solve` drives the others: on the host a loop over the
compiled step, within jit, vmap or grad one `lax.while_loop`.
"""

import abc
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp

from esijax._types import InputError
from esijax.estimate import Estimate
from esijax.inference._compiled import compiled
from esijax.problem import Problem


class Setup(eqx.Module):
    """What a method is given; it does not change from step to step.

    Parameters
    ----------
    problem : Problem
        Whitened data and lead field in normalised units, without names.
    model : prior | penalty | None
        Prepared: `prior.prepare(problem)` was called.
    noise : noise model | None
        Prepared likewise; None: as the noise covariance says.
    key : PRNG key | None
        Of the random numbers.
    start : Estimate | None
        `init` of `solve`.
    """

    problem: Problem
    model: Any
    noise: Any = None
    key: Any = None
    start: Estimate | None = None


def _numbers_as_arrays(carry: Any) -> Any:
    """Make arrays of Python's numbers: a compiled loop carries nothing else."""

    def array(leaf: Any) -> Any:
        kind = type(leaf)
        return jnp.asarray(leaf, kind) if kind in (bool, int, float, complex) else leaf

    return jax.tree.map(array, carry)


class State(eqx.Module):
    """A method on its way.

    Parameters
    ----------
    setup : Setup
        What the method was given.
    carry : pytree
        What each step replaces: arrays of fixed shapes and types. Python's numbers become arrays.
    fixed : pytree
        What `init` worked out once.
    """

    setup: Setup
    carry: Any = eqx.field(converter=_numbers_as_arrays, default=None)
    fixed: Any = None


class Method(eqx.Module):
    """One way to compute a posterior; docs/methods.md shows how to write one.

    Subclasses give `finish`, and `init`, `step`, `done` where they iterate. `step` is pure, has
    fixed shapes and takes about a second.

    Attributes
    ----------
    differentiable : bool
        Whether jax.grad passes through.
    derivative_at_start : bool
        Whether that derivative holds the start, which follows the data otherwise.
    needs_key : bool
        Whether random numbers are drawn.
    learns_noise, takes_robust : bool
        Whether noise models with parameters, and robust data terms, are taken.
    grows : bool
        Whether arrays of the state may become larger from step to step (on the host).
    takes_data_cov : bool
        Whether a field `data_cov` takes the covariance of the data (beamformers).
    takes_separable : bool
        Whether it asks a model for nothing but its marginal, so that samples may go together.
    """

    differentiable: ClassVar[bool] = False
    derivative_at_start: ClassVar[bool] = False
    needs_key: ClassVar[bool] = False
    learns_noise: ClassVar[bool] = False
    takes_robust: ClassVar[bool] = False
    grows: ClassVar[bool] = False
    takes_data_cov: ClassVar[bool] = False
    takes_separable: ClassVar[bool] = False

    @property
    def direct(self) -> bool:
        """Whether `finish` is all there is: no steps to show, nothing to keep in a checkpoint."""
        return type(self).done is Method.done

    @property
    def no_gradient(self) -> str | None:
        """Why jax.grad cannot pass through this method; None where it can."""
        return None if self.differentiable else f"{type(self).__name__} has no gradient."

    def check(self, setup: Setup) -> None:
        """Raise InputError for a model or noise that this method does not take."""

    def prepare(self, problem: Problem) -> "Method":  # noqa: ARG002
        """Bring what was given by channel name into the problem's order."""
        return self

    def init(self, setup: Setup) -> State:
        """First state."""
        return State(setup)

    def solve_traced(self, setup: Setup) -> State | None:  # noqa: ARG002
        """Final state within a transformation, for a method with a derivative rule of its own."""
        return None

    def step(self, state: State) -> State:
        """Next state."""
        return state

    def advance(self, state: State) -> State:
        """Next state on the host, where values are known; by default the compiled `step`."""
        return _compiled_step(self, state)

    def truncate(self, state: State) -> State:
        """Leave out of an interrupted state what has not been computed; `finish` is given it."""
        return state

    def n_chunks(self, setup: Setup) -> int | None:  # noqa: ARG002
        """How many steps there are, where that is known: the loop then has a gradient."""
        return None

    def done(self, state: State) -> Any:  # noqa: ARG002
        """Tell whether the state is final."""
        return True

    @abc.abstractmethod
    def finish(self, state: State) -> Estimate:
        """Turn a state, final or interrupted, into an estimate."""


@compiled
def _compiled_step(method: Method, state: State) -> State:
    return method.step(state)


def check_carry(method: Method, before: Any, after: Any) -> None:
    """Raise InputError, naming the field, where a step changed shapes or types of the carry."""
    if jax.tree.structure(before) != jax.tree.structure(after):
        raise InputError(f"{type(method).__name__}.step returns a carry of other fields.")
    pairs = zip(jax.tree_util.tree_leaves_with_path(before), jax.tree.leaves(after), strict=True)
    for (path, old), new in pairs:
        if eqx.is_array_like(old) and (_shape_and_type(old) != _shape_and_type(new)):
            raise InputError(
                f"{type(method).__name__}.step turns carry{jax.tree_util.keystr(path)} from "
                f"{_shape_and_type(old)} into {_shape_and_type(new)}: a compiled loop needs the "
                "same shape and type at each step."
            )


def _shape_and_type(leaf: Any) -> str:
    shape = getattr(leaf, "shape", ())
    return f"{getattr(leaf, 'dtype', type(leaf).__name__)}{list(shape)}"
