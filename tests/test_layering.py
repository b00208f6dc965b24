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
    "labels",
    "geometry",
    "noise_time",
    "in_basis",
    "whitener",
    "outcome",
    "_shown",
    "problem",
    "arrays",
    "posterior",
    "at_samples",
    "_where",
    "courses",
    "trust",
    "estimate",
    "forward",
    "models",
    "inference",
    "simulate",
    "metrics",
    "learn",
    "registry",
    "testing",
    "io",
    "tables",
    "viz",
    "plot",
    "benchmark",
    "app",
    "cli",
)
# the same inside esijax/inference
INFERENCE = (
    "_compiled",
    "_resolve",
    "_checkpoint",
    "compare",
    "method",
    "_loops",
    "_arguments",
    "_oversampled",
    "solve",
    "linear",
    "collapsed",
    "sparse",
    "learned",
    "sensitivity",
    "select",
)
# what covariances in time read of esijax/models: noise and priors may read them
ABOVE_TIME = {"_in_order", "_scope", "hyperpriors", "time"}
STRANGERS = {"collapsed": "sparse", "sparse": "collapsed"}  # neither imports the other
MOST_FILES = 22  # in one folder
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


def inference_room(name: str) -> str:
    """Room inside esijax.inference of a module's dotted name; empty for others and for its face."""
    parts = name.split(".")
    found = parts[2] if parts[:2] == ["esijax", "inference"] and len(parts) > 2 else ""
    return found if found in INFERENCE else ""


def offences_in_inference(path: Path, source: str | None = None) -> list[str]:
    """Imports that point downwards among the rooms of esijax/inference, or between strangers."""
    here = inference_room(".".join(["esijax", *path.relative_to(PACKAGE).with_suffix("").parts]))
    found = []
    for name in sorted(imported(path, source)):
        there = inference_room(name)
        if not here or not there:
            continue
        if STRANGERS.get(here) == there:
            found.append(f"{path.name} ({here}) imports {name}: the two know nothing of each other")
        elif INFERENCE.index(there) > INFERENCE.index(here):
            found.append(f"{path.name} ({here}) imports {name}, which stands below it")
    return found


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
    assert not offences_in_inference(path)


@pytest.mark.parametrize(
    "path", sorted((PACKAGE / "models" / "time").glob("*.py")), ids=lambda p: p.name
)
def test_time_stands_above_noise_and_priors(path):
    names = (name.split(".") for name in imported(path) if name.startswith("esijax.models."))
    assert {name[2] for name in names} <= ABOVE_TIME


IN_INFERENCE = sorted(
    p
    for p in (PACKAGE / "inference").iterdir()
    if p.suffix == ".py" or (p.is_dir() and any(p.glob("*.py")))
)


@pytest.mark.parametrize("path", IN_INFERENCE, ids=lambda p: p.name)
def test_inference_is_in_reading_order(path):
    assert path.stem in {*INFERENCE, *LAZY}, f"{path} is not in the reading order of inference"


@pytest.mark.parametrize(
    "path",
    [
        PACKAGE / "inference",
        *(p for p in IN_INFERENCE if p.is_dir()),
        *sorted(page.parent for page in (PACKAGE / "models").glob("*/README.md")),
        PACKAGE / "models" / "time",
        PACKAGE / "trust",
    ],
    ids=lambda p: p.name,
)
def test_every_room_has_a_page(path):
    """A README.md that names each file of the room."""
    page = path / "README.md"
    assert page.is_file(), f"{path.name} has no README.md: the model, the files, the papers"
    text = page.read_text()
    missing = [p.name for p in path.glob("*.py") if p.stem != "__init__" and p.name not in text]
    assert not missing, f"{page} does not name {missing}"


FOLDERS = sorted(
    {
        path.parent
        for root in (PACKAGE, PACKAGE.parent / "tests")
        for path in root.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda p: str(p.relative_to(PACKAGE.parent)))
def test_no_folder_is_crowded(folder):
    files = [p.name for p in folder.iterdir() if p.is_file() and not p.name.startswith(".")]
    assert len(files) <= MOST_FILES, f"{folder} holds {len(files)} files: {sorted(files)}"


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


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("sparse/map.py", "from esijax.inference.collapsed import target"),
        ("sparse/map.py", "from esijax.inference.select.path import walk"),
        ("collapsed/em/em.py", "from esijax.inference.sparse.base import answer"),
        ("linear/linear.py", "def f():\n    import esijax.inference.collapsed.target"),
        ("method.py", "from .linear import linear"),
        ("_compiled.py", "from esijax.inference import method"),
    ],
)
def test_an_offence_in_inference_would_be_seen(file, source):
    path = PACKAGE / "inference" / file
    assert offences_in_inference(path, source)
    assert not offences_in_inference(path, "from esijax.inference._compiled import compiled")


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
