"""Pages of the documentation: links lead somewhere, code can be read, calls exist."""

import ast
import importlib
import inspect
import os
import re
import subprocess
import sys
import urllib.parse
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])
MADE = ("auto_examples", "api")  # by the build
LINK = re.compile(r"(?<!`)\[[^\]]*\]\(([^)\s]+)\)")
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
CALL = re.compile(r"`((?:mne|ej|estimate|problem)\.[\w.]+)(?=[(`])")


def anchors(page):
    """Names of the headings of a page, as MyST makes them."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", t.lower()).strip().replace(" ", "-") for t in titles}


def broken(page, text=None):
    """Links of a page to files or headings that do not exist."""
    found = []
    for target in LINK.findall(page.read_text() if text is None else text):
        if re.match(r"\w+:", target):
            continue
        where, _, anchor = target.partition("#")
        file = (page.parent / urllib.parse.unquote(where)).resolve() if where else page
        if file.is_relative_to(DOCS) and file.relative_to(DOCS).parts[0] in MADE:
            continue  # Sphinx looks, with warnings as errors
        if not file.exists() or (anchor and anchor not in anchors(file)):
            found.append(target)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    assert not broken(page)


def test_a_broken_link_would_be_seen():
    page = DOCS / "choosing.md"
    assert broken(page, "[a](nowhere.md) [b](choosing.md#no-such-words)") == [
        "nowhere.md",
        "choosing.md#no-such-words",
    ]
    assert broken(page, "[a](priors.md) [b](choosing.md#lambda2)") == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_code_can_be_read(page):
    for block in BLOCK.findall(page.read_text()):
        ast.parse(block)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_names_in_code_exist(page):
    """Every dotted name that begins with ``ej`` in the code of a page, and with mne in tables."""
    text = page.read_text()
    for block in BLOCK.findall(text):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Attribute) and (name := dotted(node)).startswith("ej."):
                assert exists(name), name
    for name in CALL.findall(text):
        assert exists(name), name


def dotted(node):
    if isinstance(node, ast.Name):
        return node.id
    return f"{dotted(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else "()"


def exists(name):
    """Whether an address of ours or of MNE-Python leads to something."""
    import esijax as ej

    first, *rest = name.rstrip(".").split(".")
    value = {"ej": ej, "estimate": ej.Estimate, "problem": ej.Problem}.get(first)
    value = importlib.import_module("mne") if value is None else value
    for part in rest:
        if inspect.isclass(value) and part in getattr(value, "__dataclass_fields__", {}):
            return True
        if not hasattr(value, part):
            return False
        value = getattr(value, part)
    return True


def test_a_missing_name_would_be_seen():
    assert exists("ej.models.L21")
    assert exists("mne.inverse_sparse.mixed_norm")
    assert not exists("ej.models.L22")
    assert not exists("mne.inverse_sparse.mixed_norms")


def calls():
    """Left and right cells of the table for users of MNE-Python, every call in them."""
    for line in (DOCS / "from_mne.md").read_text().splitlines():
        cells = line.strip("|").split("|")
        if len(cells) == 2:
            yield from re.findall(r"`((?:mne|ej|estimate)\.[^`]*\))`", line)


@pytest.mark.parametrize("code", sorted(set(calls())))
def test_calls_of_the_table_bind(code):
    """Every call, also those within it, fits the signature of what it calls."""
    made = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    assert made
    for node in made:
        name = dotted(node.func)
        assert exists(name), name
        first, *rest = name.split(".")
        value = importlib.import_module({"ej": "esijax"}.get(first, "mne"))
        if first == "estimate":
            from esijax import Estimate as value
        for part in rest:
            value = getattr(value, part)
        given = [None] * (len(node.args) + (first == "estimate"))
        inspect.signature(value).bind(*given, **{k.arg: None for k in node.keywords})


@pytest.mark.slow
def test_the_first_map_is_made(tmp_path, monkeypatch):
    """The code of the page for beginners, run as it stands."""
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(
        compile("\n".join(BLOCK.findall((DOCS / "install.md").read_text())), "install", "exec"),
        names,
    )
    assert (tmp_path / "first_map.html").exists()
    positions = names["geometry"].positions
    at = int(abs(names["estimate"].mean).max(axis=(1, 2)).argmax())
    assert float(abs(positions[at] - positions[names["seed"]]).max()) < 0.03


@pytest.mark.slow
def test_the_site_builds_and_holds_every_name(tmp_path):
    """Warnings are errors; every public name has its page; nothing is run."""
    pytest.importorskip("myst_parser")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-D", "plot_gallery=0"]
    done = subprocess.run([*command, DOCS, tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    sys.path.insert(0, str(DOCS))
    import _reference

    sys.path.remove(str(DOCS))
    for address in set(_reference.addresses().values()):
        room, _, name = address.rpartition(".")
        if _reference.is_documented(getattr(importlib.import_module(room), name)):
            assert (tmp_path / "api" / "names" / f"{address}.html").exists(), address
    for example in (ROOT / "examples").glob("plot_*.py"):
        assert (tmp_path / "auto_examples" / f"{example.stem}.html").exists(), example


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("ESIJAX_DOCS_NETWORK"), reason="needs a network")
def test_external_links_answer(tmp_path):
    pytest.importorskip("myst_parser")
    command = [sys.executable, "-m", "sphinx", "-q", "-b", "linkcheck", "-D", "plot_gallery=0"]
    done = subprocess.run([*command, DOCS, tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, (tmp_path / "output.txt").read_text()
