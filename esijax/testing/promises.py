"""What every pair of a model and a method promises, each a function that raises where it fails.

A `SolveObject` gives the estimate of a problem and an object: it calls `solve` with the object as
prior, noise, penalty or method.
"""

import logging
import re
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from esijax.estimate import Estimate
from esijax.problem import Problem

RTOL = 1e-6  # between ways to run the same arithmetic
# of differences, relative to the data: short where the answer bends, longer where it has few digits
STEPS = (3e-5, 5e-4)
GRADIENT_RTOL = 1e-3
ON_ARRAYS = re.compile(r"ShapedArray\(\w+\[\d")  # in what JAX logs of a program

SolveObject = Callable[..., Estimate]  # (problem, object, estimate to start from: optional)


class BrokenPromise(AssertionError):
    """A promise that does not hold; the message says which number is wrong."""


def shapes_and_finite(estimate: Estimate) -> None:
    """Shapes of mean, spread and draws, all numbers finite; one orient where a method chose it."""
    p = estimate.problem
    n_orients = 1 if estimate.mean.shape[-2:-1] == (1,) else p.n_orients
    shape = (*p.data.shape[:-2], p.n_locations, n_orients, p.n_times)
    parts = {"mean": estimate.mean, **{f"hyper[{k!r}]": v for k, v in estimate.hyper.items()}}
    if estimate.mean.shape != shape:
        raise BrokenPromise(f"mean has the shape {estimate.mean.shape}, not {shape}")
    if estimate.std is not None:
        np.broadcast_shapes(estimate.std.shape, shape)
        draws = estimate.sample(jax.random.key(0), 2)
        if draws.shape != (2, *shape):
            raise BrokenPromise(f"two draws have the shape {draws.shape}")
        parts |= {"std": estimate.std, "draws": draws}
        if not bool(jnp.all(estimate.std >= 0)):
            raise BrokenPromise("std is negative somewhere")
    for name, value in parts.items():
        if not bool(jnp.all(jnp.isfinite(value))):
            raise BrokenPromise(f"{name} is not finite")


def nothing_compiled_anew(answer: SolveObject, problem: Problem, thing: Any) -> None:
    """Other data and other numbers in the object run the same programs."""
    other = problem.with_data(np.asarray(problem.recording)[..., ::-1] * 1.1)
    another = with_other_numbers(thing)
    _everything(answer(problem, thing))
    with programs_compiled() as names:
        _everything(answer(other, another))
    if names:
        raise BrokenPromise(
            f"new numbers compile {len(names)} programs anew ({names[0]}): fields of numbers must "
            "be arrays, e.g. eqx.field(converter=lambda x: jnp.asarray(x, float)), and a host "
            "value must not decide about shapes"
        )


def jit_equals_eager(answer: SolveObject, problem: Problem, thing: Any) -> None:
    """The same numbers within one compiled function."""

    @eqx.filter_jit
    def compiled(data: Any, thing: Any) -> Any:
        return _moments(answer(problem.with_data(data), thing))

    _close(compiled(problem.recording, thing), _moments(answer(problem, thing)), "under jit")


def vmap_equals_loop(answer: SolveObject, problem: Problem, thing: Any) -> None:
    """The same numbers for several data sets at once."""
    data = jnp.stack([problem.recording, problem.recording[..., ::-1] * 1.1])

    @eqx.filter_jit
    def together(data: Any) -> Any:
        return jax.vmap(lambda d: _moments(answer(problem.with_data(d), thing)))(data)

    found = together(data)
    for i in range(len(data)):
        want = _moments(answer(problem.with_data(data[i]), thing))
        _close(jax.tree.map(lambda x, i=i: x[i], found), want, "under vmap")


def gradient_equals_differences(answer: SolveObject, problem: Problem, thing: Any) -> None:
    """The derivative of a number of the map by the data; at a given start where methods say so.

    Differences of one of two lengths have to agree with it.
    """
    start = answer(problem, thing)
    weights = np.random.default_rng(0).standard_normal(problem.recording.shape)
    direction = jnp.asarray(weights) * jnp.std(problem.recording)

    @jax.jit
    def value_and_slope(at: Any) -> Any:
        def loss(at: Any) -> Any:
            moved = problem.with_data(problem.recording + at * direction)
            estimate = answer(moved, thing, start)
            return jnp.sum((estimate.mean / estimate.scale.mean()) ** 2)

        return jax.value_and_grad(loss)(at)

    got, wanted = float(value_and_slope(0.0)[1]), []
    for step in STEPS:
        (high, _), (low, _) = value_and_slope(step), value_and_slope(-step)
        want = float(high - low) / (2 * step)
        if abs(got - want) <= GRADIENT_RTOL * abs(want) + 1e-6 * abs(float(high)):
            return
        wanted.append(f"{want:.6g}")
    raise BrokenPromise(f"the derivative is {got:.6g}, differences give {' or '.join(wanted)}")


def with_other_numbers(thing: Any) -> Any:
    """The object with every floating-point number one per cent larger."""

    def moved(leaf: Any) -> Any:
        return leaf * 1.01 if eqx.is_inexact_array(leaf) or type(leaf) is float else leaf

    return jax.tree.map(moved, thing)


@contextmanager
def programs_compiled() -> Generator[list[str]]:
    """Names of the programs on arrays that are compiled within; a lone number costs nothing."""
    names: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            message = record.getMessage()
            if message.startswith("Compiling") and ON_ARRAYS.search(message):
                names.append(message.split()[1])

    listener, logger = Listener(), logging.getLogger("jax")
    shown, logger.propagate = logger.propagate, False
    logger.addHandler(listener)
    try:
        with jax.log_compiles():
            yield names
    finally:
        logger.removeHandler(listener)
        logger.propagate = shown


def _everything(estimate: Estimate) -> None:
    jax.block_until_ready(_moments(estimate))


def _moments(estimate: Estimate) -> dict[str, Any]:
    found = {"mean": estimate.mean}
    return found if estimate.std is None else {**found, "std": estimate.std}


def _close(got: dict[str, Any], want: dict[str, Any], where: str) -> None:
    for name, value in want.items():
        error = float(jnp.max(jnp.abs(got[name] - value)))
        if not error <= RTOL * float(jnp.max(jnp.abs(value))):
            raise BrokenPromise(f"{name} differs by {error:.3g} {where}")
