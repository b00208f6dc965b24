"""What the docstrings show is what one gets."""

import doctest
from importlib import import_module

import pytest

MODULES = ("faults", "head", "noise", "patches", "rhythms", "simulation", "snr", "sources")


@pytest.mark.slow
@pytest.mark.parametrize("name", [*MODULES, "waveforms"])
def test_docstrings(name):
    tried = doctest.testmod(import_module(f"esijax.simulate.{name}"))
    assert tried.attempted > 0
    assert tried.failed == 0
