"""The methods of esijax that a benchmark compares: those of the command line, one line each."""

from collections.abc import Callable

from esijax import inference
from esijax.benchmark.case import Case
from esijax.estimate import Estimate
from esijax.registry import METHODS as OFFERED
from esijax.registry import SAMPLERS


def _method(name: str, lambda2: float | str = 1 / 9) -> Callable[[Case], Estimate]:
    def run(case: Case) -> Estimate:
        recipe = OFFERED[name](lambda2)
        how = recipe.method
        if isinstance(how, inference.LCMV):
            how = inference.LCMV(case.data_cov, how.reg, how.pick_ori, how.weight_norm)
        return recipe._replace(method=how).solve(case.problem)

    return run


METHODS: dict[str, Callable[[Case], Estimate]] = {
    **{name: _method(name) for name in OFFERED if name not in SAMPLERS},
    "MNE, evidence": _method("MNE", "evidence"),
    "LORETA, evidence": _method("LORETA", "evidence"),
}
SLOW_METHODS = {name: _method(name) for name in SAMPLERS}
