"""What those who extend esijax are promised, done from outside: the code of the guides as printed.

A prior, a prior of components, a noise model, a penalty, a data term and a method, each written as
the guide writes it, go through everything that takes them, and through `ej.testing.check`.
"""

import functools
import re
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import esijax as ej

DOCS = Path(__file__).parents[1] / "docs"
KEY = jax.random.key(0)
pytestmark = pytest.mark.filterwarnings("ignore::esijax.EsijaxWarning")


def definitions(guide):
    """Names after the imports and classes of a guide, its other lines left out."""
    import ast

    text = "\n".join(
        re.findall(r"```python\n(.*?)```", (DOCS / guide).read_text(), flags=re.DOTALL)
    )
    tree = ast.parse(text)
    kinds = (ast.Import, ast.ImportFrom, ast.ClassDef, ast.FunctionDef)
    tree.body = [node for node in tree.body if isinstance(node, kinds)]
    names = {"__name__": guide}
    exec(compile(tree, guide, "exec"), names)
    return names


definitions = functools.cache(definitions)


def slow(*names):
    """Parameters of the slow run, in an order that is the same in every process."""
    return [pytest.param(name, marks=pytest.mark.slow) for name in sorted(names)]


def own(guide, name, *arguments):
    return definitions(guide)[name](*arguments)


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(3)
    gain = rng.standard_normal((8, 9))
    data = 3 * gain[:, [2]] * np.hanning(6) + rng.standard_normal((8, 6))
    positions = 0.02 * rng.standard_normal((9, 3))
    types = ["grad"] * 4 + ["mag"] * 4
    return ej.from_arrays(gain, data, noise_cov=1.0, positions=positions, ch_types=types)


# ------------------------------------------------------------------ methods
def test_a_method_of_ones_own_runs_on_the_host_and_within_jit(problem):
    method = own("methods.md", "Landweber")
    eager = ej.solve(problem, None, method)
    assert eager.verdict()["misfit"] <= 1.0
    jitted = jax.jit(lambda d: ej.solve(problem.with_data(d), None, method).mean)
    np.testing.assert_allclose(jitted(problem.recording), eager.mean, rtol=1e-9, atol=1e-12)
    with pytest.raises(ej.InputError, match="Landweber has no gradient"):
        jax.grad(lambda d: jnp.sum(ej.solve(problem.with_data(d), None, method).mean))(
            problem.recording
        )


def test_a_step_that_changes_its_carry_is_named(problem):
    class Halving(definitions("methods.md")["Landweber"]):
        def step(self, state):
            state = super().step(state)
            return type(state)(
                state.setup, {**state.carry, "count": state.carry["count"] / 2}, state.fixed
            )

    message = r"Halving\.step turns carry\['count'\] from int64\[\] into float64\[\]"
    with pytest.raises(ej.InputError, match=message):
        ej.solve(problem, None, Halving())
    with pytest.raises(ej.InputError, match=message):
        jax.jit(lambda d: ej.solve(problem.with_data(d), None, Halving()).mean)(problem.recording)


def test_the_guide_says_what_is_exported():
    for name in re.findall(r"`(\w+)`", (DOCS / "methods.md").read_text().split("\n\n")[2]):
        assert (
            name in ("setup", "carry", "fixed", "init", "marginal")
            or hasattr(ej.inference, name)
            or name in ("problem", "model", "noise", "key", "start")
        ), name


@pytest.mark.slow
def test_the_guide_to_methods_runs():
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "methods.md").read_text(), re.DOTALL)
    names: dict = {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exec(compile("\n".join(blocks), "methods.md", "exec"), names)
    assert names["report"].passes(), names["report"]
    assert abs(float(names["sampled"].log_evidence - names["laplace"].log_evidence)) < 1.0
    assert names["together"](jnp.stack([names["problem"].recording] * 2)).shape == (2, 30, 1, 8)


@pytest.mark.slow
def test_the_guide_to_networks_runs():
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "learned.md").read_text(), re.DOTALL)
    names: dict = {}
    exec(compile("\n".join(blocks), "learned.md", "exec"), names)
    assert int(abs(names["estimate"].mean[:, 0, 0]).argmax()) == 4


# ------------------------------------------------------------------ priors, noise
SEVERAL = {
    "EM": ej.inference.EM(max_iter=20),
    "Evidence": ej.inference.Evidence(),
    "Laplace": ej.inference.Laplace(num_samples=100, num_maps=6),
    "SVI": ej.inference.SVI(steps=12, num_particles=1, num_samples=100, num_maps=6),
    "NUTS": ej.inference.NUTS(20, 20, 2, max_tree_depth=4, num_maps=6),
    "Gibbs": ej.inference.Gibbs(20, 20, 2, num_maps=6),
}


def finite(problem, prior, method, noise=None):
    estimate = ej.solve(problem, prior, SEVERAL[method], noise=noise, key=KEY)
    assert np.isfinite(estimate.mean).all()
    assert np.isfinite(estimate.std).all()
    return estimate


@pytest.mark.parametrize(
    "method",
    ["Evidence", *(pytest.param(m, marks=pytest.mark.slow) for m in ("Laplace", "SVI", "NUTS"))],
)
def test_a_prior_of_two_methods(problem, method):
    assert "exponent" in finite(problem, own("priors.md", "LearnedDepth"), method).hyper


@pytest.mark.parametrize("method", ["EM", "Gibbs"])
def test_advice_for_a_prior_of_two_methods_works(problem, method):
    """Whatever the refusal names takes the prior."""
    prior = own("priors.md", "LearnedDepth")
    with pytest.raises(ej.InputError) as refusal:
        ej.solve(problem, prior, SEVERAL[method], key=KEY)
    named = [m for m in ("Linear", *SEVERAL) if re.search(rf"\b{m}\b", str(refusal.value))]
    advised = [m for m in named if m != method]
    assert advised, refusal.value
    assert "Linear" not in advised, refusal.value
    assert set(advised) <= {"Evidence", "Laplace", "SVI", "NUTS"}, refusal.value


@pytest.mark.parametrize("method", ["EM", *slow(*SEVERAL.keys() - {"EM"})])
def test_a_prior_of_components_of_one_method(problem, method):
    """`parts` alone is enough; the distribution of the variances is one method more."""
    hemispheres = definitions("priors.md")["Hemispheres"]

    class PartsAlone(ej.models.LinearPrior):
        parts = hemispheres.parts

    for prior in (PartsAlone(), hemispheres()):
        estimate = finite(problem, prior, method)
        assert estimate.hyper["gamma"].shape[-1] == 2


@pytest.mark.parametrize(
    "method",
    ["NUTS", *(pytest.param(m, marks=pytest.mark.slow) for m in ("Evidence", "Laplace", "SVI"))],
)
def test_a_noise_model_of_two_methods(problem, method):
    prior = ej.models.Components([np.arange(4), np.arange(4, 9)], dist.LogNormal(0.0, 1.0))
    noise = own("priors.md", "Cable", jnp.linspace(-1.0, 1.0, 8))
    estimate = finite(problem, prior, method, noise)
    assert {"gamma", "cable"} <= set(estimate.hyper)


# ------------------------------------------------------------------ check
EXTENSIONS = {
    "prior": ("priors.md", "LearnedDepth"),
    "components": ("priors.md", "Hemispheres"),
    "noise": ("priors.md", "Cable", jnp.linspace(-1.0, 1.0, 8)),
    "penalty": ("penalties.md", "Outward", 2.0),
    "data term": ("penalties.md", "Cauchy"),
    "method": ("methods.md", "Landweber"),
}


@pytest.mark.parametrize(
    "kind",
    ["method", *(pytest.param(k, marks=pytest.mark.slow) for k in EXTENSIONS if k != "method")],
)
def test_extensions_of_the_guides_pass(kind):
    report = ej.testing.check(own(*EXTENSIONS[kind]), progress=False, calibrate=kind != "prior")
    assert report.passes(), str(report)
