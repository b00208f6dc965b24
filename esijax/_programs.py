"""Compiled programs on disk: a folder of its own for each CPU and compiler, checked and bounded.

JAX's own key of an entry does not hold the features of the CPU: a program from another machine
that shares the home can crash. Its own bound reads every file at every write. Imports nothing of
esijax, so that tests can use it before their type checks are in place.
"""

import contextlib
import hashlib
import importlib
import os
import platform
import time
import zlib
from importlib.metadata import version
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

ENTRIES = "*-cache"  # as JAX names them
CHECKED = ".checked"  # its time: entries written before were read whole
CLOCK_SLACK = 60.0  # s: entries written this shortly before are read again
DAY = 86400.0  # s


def folder(kind: str) -> Path:
    """Where programs of one kind lie: in the user's cache, or where JAX's own variable says.

    Parameters
    ----------
    kind : str
        Name of the folder; within it there is one for each CPU model, jaxlib and set of XLA flags.

    Returns
    -------
    folder : Path
        Not made yet. Its parent is what `prune` looks through, so that folders of earlier
        versions of jaxlib go too.
    """
    given = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    base = Path(given) / "esijax" if given else user_cache_path("esijax")
    return base / kind / _compiler_key()


def prune(folder: Path, max_bytes: int | float, max_age_days: int | float) -> None:
    """Delete damaged entries, those not used for long, and the oldest until the rest fits.

    For the start of a process. What cannot be deleted stays; other files are left alone.

    Parameters
    ----------
    folder : Path
        Looked through with all its folders; may be missing.
    max_bytes : int or float
    max_age_days : int or float
        Days since an entry was last used, as far as the file system notes it, or written.
    """
    entries = _entries(folder)
    _delete_damaged(folder, entries)
    oldest = time.time() - max_age_days * DAY
    room = max_bytes
    for used, size, path in sorted(entries, reverse=True):  # the latest first
        room -= size
        if used < oldest or room < 0:
            _delete(path)


def _compiler_key() -> str:
    """Short hash of all that decides whether a compiled program can run here."""
    parts = (version("jaxlib"), os.environ.get("XLA_FLAGS", ""), platform.machine(), _cpu())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _cpu() -> str:
    """Model and features of the CPU, where the system tells them."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    told = dict(line.split(":", 1) for line in reversed(lines) if ":" in line)
    fields = {name.strip(): value.strip() for name, value in told.items()}
    names = ("model name", "flags", "CPU implementer", "CPU part", "Features")
    return "\n".join(fields.get(name, "") for name in names)


def _entries(folder: Path) -> list[tuple[float, int, Path]]:
    """When each entry was last used, its bytes and its path."""
    found = []
    for path in folder.rglob(ENTRIES):
        with contextlib.suppress(OSError):  # another process may have deleted it
            stat = path.stat()
            found.append((max(stat.st_atime, stat.st_mtime), stat.st_size, path))
    return found


def _delete_damaged(folder: Path, entries: list[tuple[float, int, Path]]) -> None:
    """Delete entries that a killed process left cut: JAX would warn of them for ever.

    Each entry is read once, by the process that starts after it was written.
    """
    if not folder.is_dir():
        return
    stamp = folder / CHECKED
    now = time.time()
    before = stamp.stat().st_mtime - CLOCK_SLACK if stamp.exists() else 0.0
    for _, _, path in entries:
        with contextlib.suppress(OSError):
            if path.stat().st_mtime >= before and not _is_whole(path.read_bytes()):
                _delete(path)
    with contextlib.suppress(OSError):
        stamp.touch()
        os.utime(stamp, (now, now))


def _is_whole(content: bytes) -> bool:
    """Whether an entry can be unpacked; one packed in a way unknown here is left to JAX."""
    if content.startswith(b"\x28\xb5\x2f\xfd"):
        unpack: Any = _zstd_decompress()
    else:
        unpack = zlib.decompress
    try:
        unpack(content)
    except Exception:  # each library has an error of its own
        return False
    return True


def _zstd_decompress() -> Any:
    """The standard library's from Python 3.14 on; JAX packs with zlib before, unless told."""
    try:
        return importlib.import_module("compression.zstd").decompress
    except ImportError:
        return len


def _delete(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
