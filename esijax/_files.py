"""Files that are replaced whole or not at all, and files that are read whole or refused."""

import contextlib
import hashlib
import os
import re
import secrets
import socket
import stat
from collections.abc import Generator
from pathlib import Path

from esijax._types import InputError

try:
    import fcntl
except ImportError:  # no such locks on this platform: left-overs stay
    fcntl = None

_HOST = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
_OURS = re.compile(rf"\.esijax-{_HOST}-\d+-[0-9a-f]{{12}}(\..*)?")


@contextlib.contextmanager
def replacing(path: str | Path) -> Generator[Path]:
    """Give a temporary path beside `path`; what is written there takes its place on success.

    On failure what was there before stays. What is replaced passes on its permissions and, where
    allowed, its owner; a symbolic link stays and its target is replaced. New files follow the
    umask.

    Parameters
    ----------
    path : Path

    Yields
    ------
    temporary : Path
        With the suffix of `path`; an empty file to write into.

    Raises
    ------
    InputError
        If the file cannot be written (no such folder, a folder or a device, disk full, not
        allowed).
    """
    target, before = _target(Path(path))
    temporary, lock = None, None
    try:
        _clean(target.parent)
        temporary, lock = _opened(target, private=before is not None)
        yield temporary
        with temporary.open("rb+") as f:
            os.fsync(f.fileno())
        if before is not None:
            _same_rights(temporary, before)
        os.replace(temporary, target)
        _sync_folder(target.parent)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror or error}); what was there before is "
            "untouched."
        ) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        if lock is not None:
            os.close(lock)


def require_folder(folder: Path) -> None:
    """Refuse a folder that does not exist: before the work, not after it."""
    try:
        found = Path(folder).is_dir()
    except (OSError, ValueError):
        found = False
    if not found:
        raise InputError(f"{folder}: cannot be written to (no such folder): make it first.")


def read_whole(path: str | Path, limit: int) -> bytes:
    """Read a regular file of a bounded size.

    Parameters
    ----------
    path : Path
    limit : int
        Bytes.

    Returns
    -------
    content : bytes

    Raises
    ------
    InputError
        If it is missing, a folder, a device or a pipe, not allowed, or too large.
    """
    try:
        return _content(path, limit)
    except InputError:
        raise
    except (OSError, ValueError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be read ({reason}).") from error


def _content(path: str | Path, limit: int) -> bytes:
    # a pipe without a writer would block, a device never end
    with os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as f:
        found = os.fstat(f.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise InputError(f"{path}: cannot be read (it is {_kind(found.st_mode)}).")
        if found.st_size > limit:
            raise InputError(
                f"{path}: has {found.st_size / 1e9:.1f} GB, more than the "
                f"{limit / 1e9:.1f} GB allowed here (ESIJAX_MAX_GB)."
            )
        return f.read(found.st_size)


def _target(path: Path) -> tuple[Path, os.stat_result | None]:
    """Path to replace, symbolic links followed, and its status where it exists."""
    try:
        target = Path(os.path.realpath(path))
        before = os.stat(target) if os.path.lexists(target) else None  # a loop of links: OSError
        folder = target.parent.is_dir()
    except (OSError, ValueError) as error:  # too long a name, a zero byte
        raise InputError(f"{str(path)!r} is no path of a file ({error}).") from error
    if before is not None and not stat.S_ISREG(before.st_mode):
        raise InputError(
            f"{path}: cannot be written (it is {_kind(before.st_mode)}): give the path of a file."
        )
    if not folder:
        raise InputError(
            f"{path}: cannot be written (there is no folder {target.parent}): make it first."
        )
    return target, before


def _kind(mode: int) -> str:
    """Describe a path that is not a regular file."""
    if stat.S_ISDIR(mode):
        return "a folder"
    return "a pipe" if stat.S_ISFIFO(mode) else "a device or a socket"


def _opened(target: Path, private: bool) -> tuple[Path, int]:
    """Create a temporary file of a unique name, locked for as long as this process lives.

    `private`: nobody else may read it until it has the rights of what it replaces.
    """
    while True:
        name = f".esijax-{_HOST}-{os.getpid()}-{secrets.token_hex(6)}{target.suffix[:40]}"
        temporary = target.with_name(name)
        lock = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o666)
        if _locked(lock) and temporary.exists():
            return temporary, lock
        os.close(lock)  # cleaned away between the two: once more


def _locked(file: int) -> bool:
    """Take the lock; the system frees it when the process ends, however it ends."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks, which tells nobody anything
        return True
    return True


def _clean(folder: Path) -> None:
    """Remove what dead processes of this host left; locks of another host may not be seen here."""
    if fcntl is None:
        return
    with os.scandir(folder) as entries:
        found = [e.path for e in entries if _OURS.fullmatch(e.name)]
    for path in found:
        with contextlib.suppress(OSError):
            file = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(path)
            finally:
                os.close(file)


def _same_rights(temporary: Path, before: os.stat_result) -> None:
    """Owner and group where allowed, then the mode (a change of owner clears bits of it)."""
    now = temporary.stat()
    if (now.st_uid, now.st_gid) != (before.st_uid, before.st_gid):
        for owner in (before.st_uid, -1):
            with contextlib.suppress(OSError):
                os.chown(temporary, owner, before.st_gid)
                break
    os.chmod(temporary, stat.S_IMODE(before.st_mode))


def _sync_folder(folder: Path) -> None:
    """Make the new name last; not every file system can."""
    with contextlib.suppress(OSError):
        file = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)
