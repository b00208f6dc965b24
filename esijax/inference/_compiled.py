"""Compile a function without copying what it hands back."""

import dataclasses
import functools

import equinox as eqx
import jax


@dataclasses.dataclass(frozen=True)
class _Given:
    """Stands for an input that a compiled function hands back: returning it would copy it."""

    index: int


def compiled(function):
    """Compile a function whose results share arrays with its arguments, without copying them."""

    @eqx.filter_jit
    def traced(arguments):
        given = {id(leaf): i for i, leaf in enumerate(jax.tree.leaves(arguments))}
        out = function(*arguments)
        return jax.tree.map(lambda x: _Given(given[id(x)]) if id(x) in given else x, out)

    @functools.wraps(function)
    def run(*arguments):
        leaves = jax.tree.leaves(arguments)
        out = traced(arguments)
        return jax.tree.map(lambda x: leaves[x.index] if isinstance(x, _Given) else x, out)

    return run
