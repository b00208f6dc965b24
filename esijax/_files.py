"""Files that are replaced whole or not at all."""

import contextlib
import os
from collections.abc import Generator
from pathlib import Path

from esijax._types import InputError


@contextlib.contextmanager
def replacing(path: Path) -> Generator[Path]:
    """Give a temporary path beside `path`; what is written there takes its place on success.

    On failure what was there before stays.

    Parameters
    ----------
    path : Path

    Yields
    ------
    temporary : Path
        With the suffix of `path`.

    Raises
    ------
    InputError
        If the file cannot be written (no such folder, disk full, not allowed).
    """
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        with temporary.open("rb+") as f:
            os.fsync(f.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror}); what was there before is untouched."
        ) from error
    finally:
        with contextlib.suppress(OSError):  # the folder may not exist, or not be ours
            temporary.unlink(missing_ok=True)
