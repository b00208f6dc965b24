"""A method is entered once: it is then offered, compared, drawn and documented."""

import subprocess
import sys
from pathlib import Path

import pytest

import esijax as ej
from esijax import registry
from esijax.inference.method import Method

ROOT = Path(__file__).parents[1]


def test_the_guide_has_the_table():
    """On a mismatch: `python -m esijax.registry` prints what belongs there."""
    text = (ROOT / "docs" / "choosing.md").read_text()
    assert registry.method_table() in text


def test_the_command_line_offers_each():
    from esijax import cli

    hint = cli.localize.__annotations__["method"]
    assert hint.__args__ == tuple(registry.METHODS)


def test_the_benchmark_and_the_demo_have_each():
    from esijax.app import demo
    from esijax.benchmark.methods import COMPARED, SLOW_COMPARED

    entries = registry.METHODS.values()
    assert set(SLOW_COMPARED) == {e.name for e in entries if e.slow}
    compared = {e.variant(v) for e in entries if not e.slow for v in e.compared}
    assert set(COMPARED) == compared > {e.name for e in entries if not e.slow}
    assert set(demo.DEMO_METHODS) == {e.variant(v) for e in entries for v in e.in_demo}
    assert set(demo.DEMO_METHODS) == {
        "MNE", "MNE, evidence", "dSPM", "sLORETA", "eLORETA", "LORETA, evidence", "LCMV",
        "unrolled",
    }  # fmt: skip


@pytest.mark.parametrize("name", registry.METHODS)
def test_each_is_one_sentence_and_a_recipe(name):
    entry = registry.METHODS[name]
    assert entry.name == name
    assert 10 < len(entry.when) < 100
    assert not entry.when.endswith(".")
    recipe = entry.make(registry.LAMBDA2)
    assert isinstance(recipe.method, Method)
    assert recipe.start is None or isinstance(recipe.start, Method)


def test_importing_it_is_light():
    code = "import sys; import esijax.registry; print('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# ------------------------------------------------------------------ what a method can do
def test_methods_say_what_they_can():
    methods = {
        name: entry.make(registry.LAMBDA2).method for name, entry in registry.METHODS.items()
    }
    direct = {name for name, method in methods.items() if method.direct}
    assert direct == {
        "MNE", "dSPM", "sLORETA", "eLORETA", "LORETA", "LCMV", "LCMV-max-power",
        "unrolled",
    }  # fmt: skip
    takes = {name for name, method in methods.items() if method.takes_data_cov}
    assert takes == {"LCMV", "LCMV-max-power"}
    assert all(hasattr(methods[name], "data_cov") for name in takes)


def test_a_spread_of_noise_alone_is_no_posterior(fixed):
    filtered = ej.solve(fixed, None, ej.inference.LCMV())
    linear = ej.solve(fixed, ej.models.MinimumNorm(), ej.inference.Linear())
    assert not filtered.posterior.spread_is_posterior
    assert linear.posterior.spread_is_posterior
