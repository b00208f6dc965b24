"""One row of the table: an answer held against all promises."""

from collections.abc import Callable, Mapping
from typing import Any

from esijax._types import InputError
from esijax.problem import Problem
from esijax.testing import promises
from esijax.testing.promises import BrokenPromise, SolveObject
from esijax.testing.report import FAILS, HOLDS, ReportRow

Promise = Callable[[], None]


def row_of(name: str, kept: Mapping[str, Promise]) -> ReportRow:
    """Try each promise; what raises has failed, with its reason."""
    cells, reasons = {}, []
    for promise, attempt in kept.items():
        try:
            attempt()
            cells[promise] = HOLDS
        except BrokenPromise as error:
            cells[promise] = FAILS
            reasons.append(f"{promise}: {error}")
        except Exception as error:
            cells[promise] = FAILS
            told = str(error).strip().splitlines() or [""]
            reasons.append(f"{promise}: {type(error).__name__}: {told[0]:.300}")
    return ReportRow(name, cells, tuple(reasons))


def row_of_answer(
    name: str, answer: SolveObject, problem: Problem, thing: Any, differentiable: bool
) -> ReportRow:
    """Solve once; then jit, vmap, gradient, and what is compiled anew. InputError: refused."""
    try:
        estimate = answer(problem, thing)
    except InputError as error:
        return ReportRow(name, {}, refusal=str(error))
    except Exception as error:
        told = str(error).strip().splitlines() or [""]
        return ReportRow(
            name, {"solves": FAILS}, (f"solves: {type(error).__name__}: {told[0]:.300}",)
        )
    given = (answer, problem, thing)
    kept: dict[str, Promise] = {
        "solves": lambda: promises.shapes_and_finite(estimate),
        "no retrace": lambda: promises.nothing_compiled_anew(*given),
        "jit": lambda: promises.jit_equals_eager(*given),
        "vmap": lambda: promises.vmap_equals_loop(*given),
    }
    if differentiable:
        kept["gradient"] = lambda: promises.gradient_equals_differences(*given)
    return row_of(name, kept)
