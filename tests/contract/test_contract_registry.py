"""Every method that has a name: the promises of `ej.testing`, as the command line makes it."""

import jax
import pytest

import esijax as ej
from esijax import registry
from esijax.testing.problems import small_problem
from esijax.testing.table import row_of_answer

pytestmark = pytest.mark.filterwarnings("ignore::esijax.EsijaxWarning")
DAILY = {"MNE", "sLORETA", "LCMV"}


@pytest.fixture(scope="module")
def problem():
    return small_problem(3, 6)


@pytest.mark.parametrize(
    "name",
    [n if n in DAILY else pytest.param(n, marks=pytest.mark.slow) for n in registry.METHODS],
)
def test_each_named_method_keeps_its_promises(problem, name):
    recipe = registry.METHODS[name].make(registry.LAMBDA2)

    def answer(problem, method, init=None):
        return ej.solve(problem, recipe.model, method, noise=recipe.noise, key=jax.random.key(0))

    differentiable = recipe.method.no_gradient is None
    row = row_of_answer(name, answer, problem, recipe.method, differentiable)
    assert row.refusal is None, row.refusal
    assert not row.reasons, row.reasons
