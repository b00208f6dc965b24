"""The examples in the docstrings of the scores run as they stand."""

import doctest
import importlib
import pkgutil

import pytest

import esijax.metrics as room

FILES = [name for _, name, _ in pkgutil.iter_modules(room.__path__) if name != "calibration"]


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_examples(name):
    module = importlib.import_module(f"esijax.metrics.{name}")
    done = doctest.testmod(module)
    assert done.failed == 0


def test_every_score_has_an_example():
    for name in room.__all__:
        what = getattr(room, name)
        if callable(what) and not isinstance(what, type):
            assert ">>> " in (what.__doc__ or ""), name
