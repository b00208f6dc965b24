"""The methods of esijax that a benchmark compares: those of the registry, by name."""

import dataclasses
from collections.abc import Callable

from esijax.benchmark.case import Case
from esijax.estimate import Estimate
from esijax.registry import METHODS as ENTRIES
from esijax.registry import Entry

Solver = Callable[[Case], Estimate]


def _solver(entry: Entry, lambda2: float | str) -> Solver:
    def run(case: Case) -> Estimate:
        recipe = entry.make(lambda2)
        if recipe.method.takes_data_cov:
            given = dataclasses.replace(recipe.method, data_cov=case.data_cov)
            recipe = recipe._replace(method=given)
        return recipe.solve(case.problem)

    return run


def _solvers(slow: bool) -> dict[str, Solver]:
    """Each entry with each lambda2 that it is compared at; the first of each come first."""
    chosen = [e for e in ENTRIES.values() if e.slow is slow]
    pairs = [(e, e.compared[0]) for e in chosen]
    pairs += [(e, lambda2) for e in chosen for lambda2 in e.compared[1:]]
    return {e.variant(lambda2): _solver(e, lambda2) for e, lambda2 in pairs}


COMPARED = _solvers(slow=False)
SLOW_COMPARED = _solvers(slow=True)
