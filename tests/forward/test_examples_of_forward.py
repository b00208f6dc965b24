"""The examples in the docstrings of lead fields run as they stand."""

import doctest
import importlib

import pytest

import esijax as ej

FILES = [
    *(f"forward.{n}" for n in ("bem", "leadfield", "placement", "rigid", "sensors", "sphere")),
    *(f"io.{n}" for n in ("head_in", "leadfields", "matlab_leadfields", "sensors_in")),
]


@pytest.fixture
def names(forward, evoked, noise_cov, data_dir, tmp_path, monkeypatch):
    """What the examples speak of, and a folder of their own."""
    monkeypatch.chdir(tmp_path)
    bem, trans = data_dir / "three-layer-320-bem-sol.fif", data_dir / "head-mri-trans.fif"
    return dict(bem=bem, trans=trans, forward=forward, evoked=evoked, info=evoked.info)


@pytest.mark.parametrize("name", FILES)
def test_examples(name, names):
    done = doctest.testmod(importlib.import_module(f"esijax.{name}"), extraglobs=names)
    assert done.failed == 0
    assert done.attempted > 0  # Python 3.12 does not count those that are skipped


@pytest.mark.parametrize("name", [*ej.forward.__all__, "io.head_model", "io.leadfield"])
def test_each_has_an_example_or_needs_none(name):
    """Containers are made by other classes; everything that a user calls shows how."""
    room, _, what = name.rpartition(".")
    doc = getattr(getattr(ej, room or "forward"), what).__doc__ or ""
    assert ">>> " in doc or what in ("Coils", "Electrodes", "Placement", "Surface")
