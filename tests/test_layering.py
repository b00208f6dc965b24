"""Imports point upwards in the reading order of the house; the heavy ones stay in their rooms."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "esijax"

# reading order: a file imports only from entries above its own (or from its own entry's folder)
ORDER = (
    "_types",
    "_files",
    "_programs",
    "_ops",
    "_checks",
    "problem",
    "arrays",
    "posterior",
    "_where",
    "estimate",
    "forward",
    "models",
    "inference",
    "simulate",
    "metrics",
    "learn",
    "registry",
    "io",
    "viz",
    "benchmark",
    "app",
    "cli",
)
HEAVY = {"mne", "arviz", "arviz_base", "xarray", "matplotlib", "nilearn", "plotly"}
HEAVY_ROOMS = {"io", "viz", "benchmark", "app", "cli"}
# `import esijax` offers these names and loads them on first use
LAZY = {"__init__"}
FILES = sorted(PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path, source: str | None = None) -> set[str]:
    """Absolute dotted names of all modules that a file imports, wherever in it they stand."""
    tree = ast.parse(path.read_text() if source is None else source)
    package = ["esijax", *path.relative_to(PACKAGE).parent.parts]
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            names.add(module)
            names |= {f"{module}.{alias.name}" for alias in node.names}
    return names


def offences(path: Path, source: str | None = None) -> list[str]:
    here = room(path)
    found = []
    for name in sorted(imported(path, source)):
        first, _, rest = name.partition(".")
        if first in HEAVY and here not in HEAVY_ROOMS:
            found.append(f"{path.name} imports {name}: only {sorted(HEAVY_ROOMS)} may")
        target = rest.partition(".")[0]
        if first != "esijax" or target not in ORDER or here in LAZY:
            continue
        if ORDER.index(target) > ORDER.index(here):
            found.append(f"{path.name} ({here}) imports {name}, which stands below it")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_every_file_has_its_place(path):
    assert room(path) in {*ORDER, *LAZY}, f"{path} is not in the reading order of this test"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_upwards(path):
    assert not offences(path)


@pytest.mark.parametrize(
    "source",
    [
        "import mne",
        "from matplotlib import pyplot",
        "def f():\n    from esijax.inference import solve",
        "from esijax import inference",
        "from ..inference import linear",
    ],
)
def test_an_offence_would_be_seen(source):
    assert offences(PACKAGE / "models" / "source_cov.py", source)


def test_import_is_light():
    """`import esijax` loads none of the packages that only the doors need."""
    code = (
        "import sys, esijax; "
        f"print(sorted(set(m.partition('.')[0] for m in sys.modules) & {HEAVY!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_names_are_there():
    import esijax as ej

    for name in ej.__all__:
        assert name in dir(ej)
    with pytest.raises(AttributeError, match="no attribute 'from_mnee'"):
        ej.from_mnee  # noqa: B018
