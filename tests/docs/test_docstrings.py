"""Docstrings of all public names are numpydoc, with every parameter described."""

import importlib
import inspect
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# what is not asked: other names to look at (SA01), more than a line before the parameters (ES01),
# an example each (EX01), names before the types of what is returned (RT02) with a text where the
# type says all (RT03), capitals where a description begins with a unit or a shape (PR08, RT04),
# imperatives where the subject is a property (SS05), no blank line above or below (GL01, GL02)
LEFT = {"SA01", "ES01", "EX01", "RT02", "RT03", "RT04", "PR08", "SS05", "GL01", "GL02"}


@pytest.fixture(scope="module")
def reference():
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        yield importlib.import_module("_reference")
    finally:
        sys.path.remove(str(ROOT / "docs"))


def faults(address):
    """What numpydoc has to say of one name."""
    validate = pytest.importorskip("numpydoc.validate").validate
    return [
        f"{address}: {code} {said}"
        for code, said in validate(address)["errors"]
        if code not in LEFT
    ]


def test_public_names_are_documented(reference):
    addresses = sorted(set(reference.addresses().values()))
    assert len(addresses) > 250
    found = []
    for address in addresses:
        room, _, name = address.rpartition(".")
        if reference.is_documented(getattr(importlib.import_module(room), name)):
            found += faults(address)
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("doc", "code"),
    [
        ("Give a thing.\n\nParameters\n----------\na : int\n", "PR07"),
        ("Give a thing.", "PR01"),
        ("Give a thing.\n\nParameters\n----------\nb : int\n    What.\n", "PR02"),
        (None, "GL08"),
    ],
)
def test_a_fault_would_be_seen(doc, code, monkeypatch):
    import esijax

    def thing(a):
        return a

    thing.__doc__, thing.__module__ = doc, "esijax"
    monkeypatch.setattr(esijax, "thing", thing, raising=False)
    assert any(f" {code} " in said for said in faults("esijax.thing"))


def test_reference_is_of_every_package(reference):
    """What each ``__all__`` says, read from the files themselves, has a page or a link to one."""
    import ast

    at = reference.addresses()
    for path in sorted((ROOT / "esijax").rglob("__init__.py")):
        parts = path.relative_to(ROOT).parent.parts
        if any(part.startswith("_") for part in parts):
            continue
        room = ".".join(parts)
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
                for name in ast.literal_eval(node.value):
                    value = getattr(importlib.import_module(room), name)
                    assert inspect.ismodule(value) or f"{room}.{name}" in at, f"{room}.{name}"
