"""What a method promises beside its numbers: interruption, and steps kept on disk."""

import itertools
import tempfile
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np

from esijax._types import EsijaxWarning
from esijax.estimate import RESULT
from esijax.inference._loops import finished, first_state
from esijax.inference.method import Method
from esijax.inference.solve import prepare_inputs, solve
from esijax.problem import Problem
from esijax.testing.promises import BrokenPromise, SolveObject
from esijax.testing.report import ReportRow
from esijax.testing.table import row_of, row_of_answer


def row(name: str, answer: SolveObject, problem: Problem, method: Method, model: Any) -> ReportRow:
    """Promises of every answer, and those of iterations."""
    found = row_of_answer(name, answer, problem, method, method.no_gradient is None)
    if found.refusal is not None or found.cells.get("solves") != "ok":
        return found
    _, setup = prepare_inputs(problem, model, method, key=jax.random.key(0))
    if method.done(first_state(method, setup)) is True:
        return found  # a direct method has no steps
    more = row_of(
        name,
        {
            "Ctrl-C": lambda: interrupted_is_an_answer(problem, method, model),
            "resumes": lambda: resumed_is_the_same(answer, problem, method, model),
        },
    )
    return ReportRow(name, {**found.cells, **more.cells}, (*found.reasons, *more.reasons))


def interrupted_is_an_answer(problem: Problem, method: Method, model: Any) -> None:
    """After one step `truncate` and `finish` give finite numbers."""
    method, setup = prepare_inputs(problem, model, method, key=jax.random.key(0))
    state = method.advance(first_state(method, setup))
    estimate = finished(method, method.truncate(state))
    if not np.isfinite(estimate.mean).all():
        raise BrokenPromise("the mean is not finite after one step")


def resumed_is_the_same(answer: SolveObject, problem: Problem, method: Method, model: Any) -> None:
    """Stopped after its first step and taken up from disk it ends in the same numbers."""
    whole = answer(problem, method)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", EsijaxWarning)
        given: dict[str, Any] = {"key": jax.random.key(0), "checkpoint": Path(folder) / "steps"}
        with _stopped_after_one_step(type(method)):
            half = solve(problem, model, method, **given)
        resumed = solve(problem, model, method, **given)
    if half.result != RESULT.interrupted and not np.array_equal(half.mean, whole.mean):
        raise BrokenPromise("a solve of one step ends elsewhere")
    if not np.array_equal(resumed.mean, whole.mean):
        raise BrokenPromise("the resumed mean differs")


@contextmanager
def _stopped_after_one_step(cls: type[Method]) -> Generator[None]:
    """Ctrl-C at the second step."""
    own, original, count = cls.__dict__.get("advance"), cls.advance, itertools.count(1)

    def advance(method: Method, state: Any) -> Any:
        if next(count) == 2:
            raise KeyboardInterrupt
        return original(method, state)

    setattr(cls, "advance", advance)  # noqa: B010
    try:
        yield
    finally:
        if own is None:
            delattr(cls, "advance")
        else:
            setattr(cls, "advance", own)  # noqa: B010
