"""The iterations of a method: on the host with progress and checkpoints, or as one program."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
from tqdm.auto import tqdm

from esijax.estimate import RESULT, Estimate
from esijax.inference._checkpoint import Checkpoint
from esijax.inference._compiled import compiled
from esijax.inference.method import Method, Setup, State, check_carry


@compiled
def first_state(method: Method, setup: Setup) -> State:
    """First state, computed by one program."""
    return method.init(setup)


@compiled
def finished(method: Method, state: State) -> Estimate:
    """Estimate of the last state, computed by one program."""
    return method.finish(state)


def traced_loop(method: Method, setup: Setup) -> State:
    """Final state within jit, vmap or grad."""
    state = method.init(setup)
    if method.done(state) is True:
        return state
    dynamic, static = eqx.partition(state.carry, eqx.is_array)

    def with_carry(carry: Any) -> State:
        return State(setup, eqx.combine(carry, static), state.fixed)

    def body(carry: Any) -> Any:
        after = eqx.filter(method.step(with_carry(carry)).carry, eqx.is_array)
        check_carry(method, carry, after)
        return after

    def unfinished(carry: Any) -> Any:
        return jax.numpy.logical_not(method.done(with_carry(carry)))

    n_chunks = method.n_chunks(setup)
    if n_chunks is not None:
        final = jax.lax.scan(lambda carry, _: (body(carry), None), dynamic, length=n_chunks)[0]
        return with_carry(final)
    return with_carry(jax.lax.while_loop(unfinished, body, dynamic))


def host_loop(method: Method, setup: Setup, progress: bool, path: Any) -> Estimate:
    """Estimate by steps on the host, with progress, Ctrl-C and a checkpoint at `path`."""
    checkpoint = None if path is None else Checkpoint(path, method, setup, method.grows)
    result = None
    with tqdm(disable=not progress, desc=type(method).__name__, unit="step") as bar:
        state = first_state(method, setup)
        if checkpoint is not None and method.done(state) is not True:
            state = checkpoint.restore(state)
        try:
            while not bool(method.done(state)):
                state = _next_state(method, state)
                bar.update()
                if checkpoint is not None:
                    checkpoint.store(state)
        except KeyboardInterrupt:
            result = RESULT.interrupted
            state = method.truncate(state)
    estimate = finished(method, state)
    return estimate if result is None else dataclasses.replace(estimate, result=result)


def _next_state(method: Method, state: State) -> State:
    after = method.advance(state)
    if not method.grows:
        check_carry(method, state.carry, after.carry)
    jax.block_until_ready(jax.tree.leaves(eqx.filter(after.carry, eqx.is_array)))
    return after
