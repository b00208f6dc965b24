"""Compiled programs kept on disk between processes: where they lie, and how much of them."""

import contextlib
import hashlib
import os
import platform
import time
from importlib.metadata import version
from pathlib import Path

from platformdirs import user_cache_path

_DAY = 86_400.0  # s
_ENTRY = "-cache"  # how the names of JAX's entries end


def folder(kind: str) -> Path:
    """Give the folder of programs that this machine can run; it need not exist.

    It lies in JAX_COMPILATION_CACHE_DIR where that is set, else in the user's cache folder. A
    part of its name is made of the CPU, of the versions of JAX and of XLA_FLAGS: JAX's own key
    does not hold the instructions of the CPU, and a program for another CPU ends the process.

    Parameters
    ----------
    kind : str
        Name of those who share the programs ("commands", "tests").

    Returns
    -------
    folder : Path
    """
    given = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    root = Path(given) if given else user_cache_path("esijax") / "programs"
    return root / kind / _machine()


def _machine() -> str:
    """Version of jaxlib, then a hash of all that compiled programs depend on."""
    parts = [
        platform.system(),
        platform.machine(),
        *_cpu(),
        version("jax"),
        version("jaxlib"),
        os.environ.get("XLA_FLAGS", ""),
    ]
    return f"{version('jaxlib')}-{hashlib.sha256('|'.join(parts).encode()).hexdigest()[:12]}"


def _cpu() -> list[str]:
    """Model and instructions of the CPU; Linux tells both."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return [platform.processor()]
    wanted = ("model name", "flags", "Features", "CPU implementer", "CPU part")
    first: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        first.setdefault(name.strip(), value.strip())
    return [first.get(name, "") for name in wanted]


def prune(folder: Path, max_bytes: int, max_age_days: float) -> None:
    """Remove programs that were not used for long, then the longest unused above a size.

    Once when a process starts: JAX's own bound (jax_compilation_cache_max_size) looks at all
    entries whenever it writes one.

    Parameters
    ----------
    folder : Path
        Also what lies in folders below; only JAX's entries are touched.
    max_bytes : int
    max_age_days : float
    """
    entries = []
    for path in folder.rglob(f"*{_ENTRY}"):
        with contextlib.suppress(OSError):  # another process was faster
            found = path.stat()
            entries.append((max(found.st_atime, found.st_mtime), found.st_size, path))
    oldest, kept = time.time() - max_age_days * _DAY, 0
    for used, size, path in sorted(entries, key=lambda entry: entry[0], reverse=True):
        kept += size
        if used < oldest or kept > max_bytes:
            with contextlib.suppress(OSError):
                path.unlink()


def keep(folder: Path, min_seconds: float = 0.0) -> None:
    """Let JAX keep in this folder what it compiles from now on.

    Parameters
    ----------
    folder : Path
        Made where there is none.
    min_seconds : float, default 0
        What compiles faster is not kept.

    Raises
    ------
    OSError
        If the folder cannot be made.
    """
    import jax

    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", min_seconds)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
    discard_damaged()


def discard_damaged() -> None:
    """Remove an entry that JAX cannot read (its process was killed while writing it).

    JAX itself warns, compiles anew, and leaves the entry: it would warn again in every process.
    """
    from jax._src import compilation_cache

    read = compilation_cache.get_executable_and_time
    if getattr(read, "_discards", False):
        return

    def discarding(cache_key, *args, **kwargs):
        try:
            return read(cache_key, *args, **kwargs)
        except Exception:
            _remove_entry(cache_key)
            return None, None  # as of an entry that is not there

    discarding._discards = True  # ty: ignore[missing-attribute]
    compilation_cache.get_executable_and_time = discarding  # ty: ignore[invalid-assignment]


def _remove_entry(cache_key: str) -> None:
    import jax

    with contextlib.suppress(OSError, TypeError):
        (Path(jax.config.jax_compilation_cache_dir) / f"{cache_key}{_ENTRY}").unlink()
