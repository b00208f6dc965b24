"""Pages made from the package itself: the reference of every public name, and the bibliography.

A name is public when it stands in the ``__all__`` of a package. It has one page, under the
shortest address it can be imported from; the other addresses link there.
"""

import importlib
import inspect
import pkgutil
import re
from collections import defaultdict
from pathlib import Path
from types import ModuleType
from urllib.parse import quote

import esijax

VIZ = ("esijax.viz.cortex", "esijax.viz.problem_cortex")  # what the examples draw with
DOI = re.compile(r"doi:\s*(\S+?)(?=[.,;:)]*(?:\s|$))")


def rooms() -> list[ModuleType]:
    """Every public package with ``__all__``, the modules that these name, and the pictures."""
    found = {"esijax": esijax}
    for info in pkgutil.walk_packages(esijax.__path__, "esijax."):
        hidden = any(part.startswith("_") for part in info.name.split(".")[1:])
        if info.ispkg and not hidden and hasattr(importlib.import_module(info.name), "__all__"):
            found[info.name] = importlib.import_module(info.name)
    for room in list(found.values()):
        for name in room.__all__:
            value = getattr(room, name)
            if inspect.ismodule(value):
                found.setdefault(value.__name__, value)
    found |= {name: importlib.import_module(name) for name in VIZ}
    return [found[name] for name in sorted(found)]


def names(room: ModuleType) -> list[str]:
    """Public names of a room; the classes defined in it where it says none."""
    if hasattr(room, "__all__"):
        return sorted(n for n in room.__all__ if not inspect.ismodule(getattr(room, n)))
    own = (n for n in vars(room) if not n.startswith("_") and inspect.isclass(getattr(room, n)))
    return sorted(n for n in own if getattr(room, n).__module__ == room.__name__)


def addresses() -> dict[str, str]:
    """Address of each public name, and the address where its page is."""
    where: dict[int, str] = {}
    every = [(room.__name__, name) for room in rooms() for name in names(room)]
    for room, name in sorted(every, key=lambda pair: (pair[0].count("."), pair[0])):
        value = getattr(importlib.import_module(room), name)
        if is_documented(value):
            where.setdefault(id(value), f"{room}.{name}")
    return {
        f"{room}.{name}": where.get(id(getattr(importlib.import_module(room), name)), "")
        or f"{room}.{name}"
        for room, name in every
    }


def is_documented(value) -> bool:
    """Whether a value has a docstring of its own: classes and functions, not constants."""
    return callable(value)


def write(folder: Path) -> None:
    """Write all pages, touching only those that changed."""
    folder.mkdir(exist_ok=True)
    at = addresses()
    pages = {f"{room.__name__}.rst": room_page(room, at) for room in rooms()}
    pages["index.rst"] = index_page()
    pages["bibliography.rst"] = bibliography_page(at)
    for name, text in pages.items():
        path = folder / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
    for path in folder.glob("*.rst"):
        if path.name not in pages:
            path.unlink()
    for path in folder.glob("names/*.rst"):  # of names that are gone
        if path.stem not in at.values():
            path.unlink()


def index_page() -> str:
    """Table of the rooms."""
    listed = "\n".join(f"   {room.__name__}" for room in rooms())
    rows = "\n".join(f"   * - :doc:`{r.__name__}`\n     - {first_line(r)}" for r in rooms())
    return (
        "Reference\n=========\n\nEvery public name, by package. ``import esijax as ej`` and then "
        "``ej.models.L21``.\n\n.. list-table::\n   :widths: 30 70\n\n"
        f"{rows}\n\n.. toctree::\n   :hidden:\n\n{listed}\n   bibliography\n"
    )


def room_page(room: ModuleType, at: dict[str, str]) -> str:
    """Names of a package, grouped by the file that they come from."""
    title = room.__name__
    groups: dict[str, list[str]] = defaultdict(list)
    elsewhere, constants = [], []
    for name in names(room):
        value, here = getattr(room, name), f"{title}.{name}"
        if not is_documented(value):
            constants.append(name)
        elif at[here] != here:
            elsewhere.append(f":obj:`{name} <{at[here]}>`")
        else:
            groups[getattr(value, "__module__", title)].append(name)
    parts = [f"{title}\n{'=' * len(title)}\n", prose(room), f"\n.. currentmodule:: {title}\n"]
    for home, members in sorted(groups.items(), key=lambda pair: heading(pair[0])):
        said = heading(home)
        if len(groups) > 1:
            parts.append(f".. rubric:: {said}\n")
        listed = "\n".join(f"   {name}" for name in members)
        parts.append(f".. autosummary::\n   :toctree: names\n\n{listed}\n")
    if constants:
        parts.append(".. rubric:: Constants\n")
        parts += [f".. py:data:: {name}\n\n   {brief(getattr(room, name))}\n" for name in constants]
    if elsewhere:
        parts.append("Also here: " + ", ".join(elsewhere) + ".\n")
    return "\n".join(parts)


def prose(room: ModuleType) -> str:
    """The docstring of a package, as a paragraph."""
    return inspect.cleandoc(room.__doc__ or "")


def first_line(room: ModuleType) -> str:
    """The first sentence of a docstring."""
    return prose(room).split("\n\n")[0].replace("\n", " ")


def heading(module: str) -> str:
    """What a file is about, as its docstring says it before the first colon or full stop."""
    line = first_line(importlib.import_module(module))
    return re.split(r"[:.;](?:\s|$)", line)[0]


def brief(value) -> str:
    """What a constant holds."""
    if isinstance(value, dict):
        return "A dict with the keys " + ", ".join(f"``{key}``" for key in value) + "."
    return f"``{value!r}``"


def bibliography_page(at: dict[str, str]) -> str:
    """Papers that docstrings name, each with the names that rest on it."""
    papers: dict[str, tuple[str, set[str]]] = {}
    for address in sorted(set(at.values())):
        room, _, name = address.rpartition(".")
        value = getattr(importlib.import_module(room), name)
        doc = inspect.getdoc(value) if is_documented(value) else None
        for text in references(doc or ""):
            key = DOI.search(text)
            _, users = papers.setdefault(key.group(1).lower() if key else text, (text, set()))
            users.add(f":obj:`{name} <{address}>`")
    rows = sorted((said, ", ".join(sorted(users))) for said, users in papers.values())
    listed = "\n".join(f"- {DOI.sub(link, said)} ({users})" for said, users in rows)
    return (
        "Bibliography\n============\n\nThe papers that the docstrings name, each with what rests "
        f"on it.\n\n{listed}\n"
    )


def link(match: re.Match) -> str:
    """A DOI as a link; some hold angle brackets."""
    doi = match[1]
    return f"`doi:{doi.replace('<', chr(92) + '<')} <https://doi.org/{quote(doi)}>`__"


def references(doc: str) -> list[str]:
    """Entries of the section References of a docstring, each on one line."""
    found = re.search(
        r"^References\n-+\n(.*?)(?=^\w[\w ]*\n-+\n|\Z)", doc, re.DOTALL | re.MULTILINE
    )
    if not found:
        return []
    entries = re.split(r"\.\. \[\w+\]|\n\s*\n|;\s+(?=[A-Z][^;]*(?:doi:|https?:|arXiv))", found[1])
    return [" ".join(entry.split()) for entry in entries if entry.strip()]
