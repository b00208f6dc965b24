"""The folder that a command writes into: looked at first, never mixed, with a log of its files.

The log (``localize.log``) holds the command, what came out, and the SHA-256 of every file, which
ties files that have no room for text (.stc) to the command too.
"""

import dataclasses
import hashlib
import json
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from esijax import __version__
from esijax._files import replacing
from esijax._types import InputError
from esijax.estimate import Estimate
from esijax.viz.report import COMMAND

LOGS = ("localize.log", "demo.log", "settings.json")  # what tells whose folder it is
UNFINISHED = "unfinished"


def command_line() -> str:
    """What was typed, quoted for a shell."""
    typed = shlex.join(["esijax", *sys.argv[1:]])
    return typed.encode(errors="surrogateescape").decode(errors="replace")


def usable(folder: Path, option: str = "--out") -> None:
    """Refuse a folder that could not be written, before anything is computed; makes nothing.

    Raises
    ------
    InputError
        If it is a file, or it or the folder that it would be made in cannot be written.
    """
    try:
        if folder.is_symlink() and not folder.exists():
            raise InputError(f"{option} {folder}: a link to nowhere; give a folder.")
        here = next(p for p in (folder, *folder.absolute().parents) if p.exists())
        if not here.is_dir():
            raise InputError(f"{option} {folder}: {here} is not a folder; give another one.")
        with tempfile.TemporaryFile(dir=here):
            pass
    except OSError as error:
        raise InputError(
            f"{option} {folder}: cannot be written ({error.strerror}); give another folder."
        ) from error


@dataclasses.dataclass(frozen=True)
class Output:
    """A folder that one command may write into.

    Parameters
    ----------
    folder : Path
    name : str
        Of the command.
    arguments : str
        What makes it the same command: JSON.
    earlier : dict
        Files of the run that is replaced, and their digests.
    """

    folder: Path
    name: str
    arguments: str
    earlier: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def stamped(self, estimate: Estimate) -> Estimate:
        """The estimate with the command as a note."""
        notes = (*estimate.notes, COMMAND + command_line())
        return dataclasses.replace(estimate, notes=notes)

    def picture(self, figure, stem: str) -> Path:
        """Write a figure that names the command in its text, and close it."""
        import matplotlib.pyplot as plt

        about = {"Description": command_line(), "Software": f"esijax {__version__}"}
        with replacing(self.folder / f"{stem}.png") as path:
            figure.savefig(path, dpi=110, metadata=about)
        plt.close(figure)
        return self.folder / f"{stem}.png"

    def kept(self, stems: Mapping[str, str], files: list[Path]) -> Callable[[str, Any], None]:
        """For ``report(keep=...)``: pictures of these headings as files too, drawn once."""

        def keep(heading: str, figure: Any) -> None:
            if heading in stems:
                files.append(self.picture(figure, stems[heading]))

        return keep

    def begin(self) -> None:
        """Make the folder and say in its log whose it is: what follows may be cut short."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"--out {self.folder}: cannot be made ({error.strerror}); give another folder."
            ) from error
        self._write(UNFINISHED, (), self.earlier)

    def finish(self, files: Iterable[Path], state: str = "done", notes: Iterable[str] = ()) -> None:
        """Take away what the run before wrote and this one did not, and write the log."""
        digests = {path.name: _digest(path) for path in files}
        for name in self.earlier.keys() - digests.keys():
            path = self.folder / name
            if path.is_file() and _digest(path) == self.earlier[name]:
                path.unlink()
        self._write(state, notes, digests)

    def _write(self, state: str, notes: Iterable[str], digests: Mapping[str, str]) -> None:
        now = datetime.now(UTC).astimezone().isoformat(timespec="seconds")
        lines = [
            f"esijax {__version__}",
            f"date: {now}",
            f"command: {command_line()}",
            f"state: {state}",
            *notes,
            f"arguments: {self.arguments}",
            "files:",
            *(f"{digest}  {name}" for name, digest in sorted(digests.items())),
        ]
        with replacing(self.folder / f"{self.name}.log") as path:
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def claimed(
    folder: Path,
    name: str,
    arguments: Mapping[str, object],
    patterns: Iterable[str],
    overwrite: bool,
) -> Output:
    """Look at a folder before anything is computed; nothing is made or changed.

    Parameters
    ----------
    folder : Path
    name : str
        Of the command.
    arguments : dict
        The same arguments are the same command, which replaces its own files.
    patterns : iterable of str
        Names of the files that it writes.
    overwrite : bool
        Replace the files of another command too.

    Returns
    -------
    output : Output

    Raises
    ------
    InputError
        If the folder cannot be written, or holds files that the same command did not write.
    """
    usable(folder)
    asked = json.dumps({k: _json_value(v) for k, v in arguments.items()}, sort_keys=True)
    log = folder / f"{name}.log"
    before = _read_log(log)
    found = {p for pattern in (*patterns, *LOGS) for p in folder.glob(pattern)}
    for path in found:
        if path.is_dir():
            raise InputError(f"--out {folder}: {path.name} there is a folder; give another one.")
    if before["arguments"] == asked:
        whole = before["state"] != UNFINISHED
        found = {p for p in found - {log} if whole and before["files"].get(p.name) != _digest(p)}
    if found and not overwrite:
        names = ", ".join(sorted(p.name for p in found))
        theirs = before["command"] if before["arguments"] != asked else ""
        whose = f"results of another command ({theirs})" if theirs else f"{names} of other origin"
        raise InputError(f"--out {folder} holds {whose}: give another folder, or --overwrite.")
    return Output(folder, name, asked, before["files"])


def _json_value(value: object) -> object:
    """Convert a value for JSON; paths become absolute."""
    return str(value.resolve()) if isinstance(value, Path) else value


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_log(log: Path) -> dict:
    """Read a log: command, state, arguments, files; empty where no log can be read."""
    said: dict = {"command": "", "state": "", "arguments": "", "files": {}}
    try:
        head, _, files = log.read_text(encoding="utf-8").rpartition("\nfiles:\n")
    except (OSError, UnicodeDecodeError):
        return said
    for line in head.splitlines():
        name, _, text = line.partition(": ")
        if name in ("command", "state", "arguments"):
            said[name] = text
    for line in files.splitlines():
        digest, _, name = line.partition("  ")
        if name and Path(name).name == name:
            said["files"][name] = digest
    return said
