"""The examples in docstrings of penalties, and of what solves and chooses them, run."""

import doctest
import importlib

import pytest

FILES = [
    *(
        f"models.penalties.{name}"
        for name in (
            "analysis",
            "concave",
            "elastic",
            "learned",
            "lrq",
            "norms",
            "penalty",
            "sparse_group",
            "terms",
            "time_frequency",
        )
    ),
    *(
        f"inference.{name}"
        for name in (
            "select.alpha",
            "select.cross_validation",
            "sensitivity.degrees",
            "select.hypergradient",
            "sensitivity.leverage",
            "select.mixture_evidence",
            "select.path",
            "sparse.debias",
            "sensitivity.local",
            "sparse.map",
            "sparse.reweighted",
        )
    ),
]
pytestmark = pytest.mark.filterwarnings(
    "ignore:the map explains:esijax.EsijaxWarning",
    "ignore:the rule for:esijax.EsijaxWarning",
)


# which compile for ten seconds and more
LONG = [f"models.penalties.{name}" for name in ("analysis", "concave", "learned", "time_frequency")]


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in LONG else n for n in FILES]
)
def test_examples(name):
    done = doctest.testmod(importlib.import_module(f"esijax.{name}"))
    assert done.failed == 0
    assert done.attempted > 0
