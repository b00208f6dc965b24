"""Every method that has a name: the promises of `ej.testing`, as the command line makes it."""

import dataclasses

import jax
import pytest

import esijax as ej
from esijax import registry
from esijax.testing.problems import small_problem
from esijax.testing.table import row_of_answer

pytestmark = pytest.mark.filterwarnings("ignore::esijax.EsijaxWarning")
DAILY = {"MNE", "sLORETA", "LCMV"}
FEW_STEPS = {
    "num_warmup": 20,
    "num_samples": 20,
    "num_chains": 2,
    "max_tree_depth": 4,
    "num_maps": 6,
}
FEWER_PATCHES = ej.models.Components(components=ej.models.components.Patches(4))  # of 9 locations


@pytest.fixture(scope="module")
def problem():
    return small_problem(3, 6)


@pytest.mark.parametrize(
    "name",
    [n if n in DAILY else pytest.param(n, marks=pytest.mark.slow) for n in registry.METHODS],
)
def test_each_named_method_keeps_its_promises(problem, name):
    recipe = registry.METHODS[name].make(registry.LAMBDA2)
    model = FEWER_PATCHES if name.startswith("patches") else recipe.model
    method = recipe.method
    if isinstance(method, ej.inference.NUTS):  # rounding would grow over a long chain
        method = dataclasses.replace(method, **FEW_STEPS)

    def answer(problem, method, init=None):
        return ej.solve(problem, model, method, noise=recipe.noise, key=jax.random.key(0))

    differentiable = method.no_gradient is None
    row = row_of_answer(name, answer, problem, method, differentiable)
    assert row.refusal is None, row.refusal
    assert not row.reasons, row.reasons
