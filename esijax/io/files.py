"""Estimates on disk: one npz file, no pickle, checksum over every byte, replaced atomically.

The file is a plain compressed npz (`numpy.load` opens it): the arrays, each content once, and
``header``, a JSON text that says which esijax object each belongs to (classes by their names in
`_classes`). The zip comment holds the format version and the SHA-256 of all that stands before it.

Format 1 holds all of an estimate. Format 2 names the file beside it that holds the problem.
"""

import dataclasses
import hashlib
import io
import json
import math
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from esijax._files import read_whole, replacing
from esijax._ops.memory import limit_bytes
from esijax._types import InputError
from esijax.estimate import Estimate
from esijax.io import _well_formed
from esijax.io._classes import stored_name
from esijax.io._encoding import SHARED, Arrays, Stored, content_digest, decode, digest_of, encode
from esijax.problem import Problem

FORMAT = 1
SHARING = 2
_MARKS = {n: b"esijax format=%d sha256=" % n for n in (FORMAT, SHARING)}
_MARK = _MARKS[FORMAT]
_DIGEST = 64
_NAMED = re.compile(r"problem-[0-9a-f]{16}\.npz")


def save(estimate: Estimate, path, *, share_problem: bool = False) -> Path:
    """Write an estimate to one file.

    Parameters
    ----------
    estimate : Estimate
        The answer of `solve`.
    path : path
        The suffix is yours; ``.npz`` tells what it is. An existing file is replaced only when
        the new one is complete on disk.
    share_problem : bool
        Whether the problem goes to a file of its own in the same folder,
        ``problem-<digest>.npz``, which all estimates of that problem share: the lead field is
        most of a file. Such files move together.

    Returns
    -------
    path : Path

    Raises
    ------
    InputError
        If the file cannot be written (no such folder, disk full, not allowed), or the estimate
        is not finite or no longer one piece (a batch that `vmap` made).

    Examples
    --------
    >>> import esijax as ej
    >>> ej.save(estimate, "auditory.npz")  # doctest: +SKIP
    """
    if not isinstance(estimate, Estimate):
        raise TypeError(f"estimate must be an esijax Estimate, got {type(estimate).__name__}.")
    path = Path(path)
    _well_formed.check_well_formed(estimate)  # what `load` would refuse is not written
    if not share_problem:
        arrays = Arrays()
        _write(path, encode(estimate, arrays), arrays.by_name, FORMAT)
        return path
    file, tree, of_problem = _as_shared(estimate, path.parent)
    arrays = Arrays({digest_of(a): _of_problem(n) for n, a in of_problem.items()})
    fields = {
        f.name: encode(getattr(estimate, f.name), arrays)
        for f in dataclasses.fields(estimate)
        if f.name != "problem"
    }
    fields["problem"] = {"shared": file.name, "digest": content_digest(tree, of_problem)}
    header = {"class": stored_name(Estimate), "fields": fields}
    if not _is_whole(file):
        _write(file, tree, of_problem, FORMAT)
    _write(path, header, arrays.by_name, SHARING)
    return path


def shared_problem(estimate: Estimate, folder) -> Path:
    """Path of the file that ``save(..., share_problem=True)`` keeps the problem in.

    Parameters
    ----------
    estimate : Estimate
        Of the problem.
    folder : path
        Where the estimates of that problem are.

    Returns
    -------
    path : Path
    """
    return _as_shared(estimate, Path(folder))[0]


def load(path) -> Estimate:
    """Read an estimate that `save` wrote; it can be asked all that the original could.

    Parameters
    ----------
    path : path
        Where it shares its problem, the file of that lies in the same folder.

    Returns
    -------
    estimate : Estimate

    Raises
    ------
    InputError
        If the file is missing, truncated, altered by a single bit, or not one of ours; if what
        it holds is of wrong types or shapes, not finite, or larger than the memory; if the file
        of its problem is missing, which is then named.
    """
    path = Path(path)
    arrays, version = _read(path)
    try:
        estimate = _decoded(arrays, path, version)
    except InputError as error:
        told = str(error)
        raise InputError(told if str(path) in told else f"{path}: {told}") from error
    except Exception as error:  # a valid checksum over something else than we write
        raise _foreign(path, error) from error
    if isinstance(estimate, Problem):
        raise InputError(f"{path}: holds no estimate, but the problem of those beside it.")
    if not isinstance(estimate, Estimate):
        raise InputError(f"{path}: holds no estimate.")
    try:
        _well_formed.check_well_formed(estimate)
        _well_formed.check_answers(estimate)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return estimate


# ------------------------------------------------------------------ the file
def _write(path: Path, tree: Any, arrays: dict[str, np.ndarray], version: int) -> None:
    """Write one npz; deflated at the usual level, which costs what the fastest one does."""
    buffer = io.BytesIO()
    header = np.frombuffer(json.dumps(tree).encode(), dtype=np.uint8)
    np.savez_compressed(buffer, allow_pickle=False, **arrays, header=header)
    with zipfile.ZipFile(buffer, "a") as z:
        z.comment = _MARKS[version] + b"0" * _DIGEST
    body = buffer.getvalue()[:-_DIGEST]
    with replacing(path) as temporary:
        temporary.write_bytes(body + hashlib.sha256(body).hexdigest().encode())


def _checked(path: Path) -> tuple[bytes, int]:
    """Content of a file whose checksum is right, and the version of its format."""
    content = read_whole(path, limit_bytes())
    body, digest = content[:-_DIGEST], content[-_DIGEST:]
    version = next((n for n, mark in _MARKS.items() if body.endswith(mark)), None)
    if version is None:
        known = re.search(rb"esijax format=\d+ sha256=\Z", body)
        hint = "written by another version of esijax" if known else "truncated, or no esijax file"
        raise InputError(f"{path}: {hint}.")
    if hashlib.sha256(body).hexdigest().encode() != digest:
        raise InputError(f"{path}: the checksum does not match; the file is corrupt.")
    return content, version


def _read(path: Path) -> tuple[dict[str, Any], int]:
    """Arrays of a file, the header among them."""
    content, version = _checked(path)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as z:
            _refuse_bombs(z, path)
            arrays = {
                info.filename.removesuffix(".npy"): np.lib.format.read_array(
                    io.BytesIO(z.read(info)), allow_pickle=False
                )
                for info in z.infolist()
            }
    except InputError:
        raise
    except Exception as error:  # as in `load`
        raise _foreign(path, error) from error
    return arrays, version


def _foreign(path: Path, error: Exception) -> InputError:
    return InputError(f"{path}: not laid out as an esijax file ({error!r:.80}).")


def _decoded(arrays: dict[str, Any], path: Path, version: int) -> Any:
    tree = json.loads(arrays.pop("header").tobytes())
    stored = {name: Stored(array) for name, array in arrays.items()}
    if version == SHARING:
        stored |= _shared_parts(**tree["fields"]["problem"], path=path)
    return decode(tree, stored)


def _refuse_bombs(z: zipfile.ZipFile, path: Path) -> None:
    """Refuse entries that claim more than they hold, or more than fits into memory."""
    total = sum(info.file_size for info in z.infolist())
    if total > limit_bytes():
        raise InputError(f"{path}: would take {total / 1e9:.1f} GB (ESIJAX_MAX_GB).")
    for info in z.infolist():
        with z.open(info) as f:
            version = np.lib.format.read_magic(f)
            read = getattr(np.lib.format, f"read_array_header_{version[0]}_0")
            shape, _, dtype = read(f)
        if dtype.hasobject or math.prod(shape) * dtype.itemsize > info.file_size:
            raise InputError(f"{path}: entry {info.filename} is not a plain array of its size.")


# ------------------------------------------------------------------ a problem of its own
def _as_shared(estimate: Estimate, folder: Path) -> tuple[Path, Any, dict[str, np.ndarray]]:
    """File, tree and arrays of the problem of an estimate."""
    arrays = Arrays()
    tree = encode(estimate.problem, arrays)
    digest = content_digest(tree, arrays.by_name)
    return folder / f"problem-{digest[:16]}.npz", tree, arrays.by_name


def _of_problem(name: str) -> str:
    """Name, in the file of an estimate, of an array of its problem."""
    return f"problem {name}"


def _is_whole(file: Path) -> bool:
    """Whether the file is there and its checksum right; its name says what it holds."""
    try:
        _checked(file)
    except InputError:
        return False
    return True


def _shared_parts(shared: Any, digest: Any, path: Path) -> dict[str, Any]:
    """The problem that an estimate shares, and its arrays by the names that the estimate uses."""
    if not (isinstance(shared, str) and _NAMED.fullmatch(shared)):
        raise InputError("names no file of a problem.")
    file = path.parent / shared
    if not file.exists():
        raise InputError(f"{path}: shares its problem, and {file} is missing: put it beside.")
    arrays, _ = _read(file)
    tree = json.loads(arrays.pop("header").tobytes())
    if content_digest(tree, arrays) != digest:
        raise InputError(f"{path}: {file} holds another problem: put the right file there.")
    stored = {name: Stored(array) for name, array in arrays.items()}
    return {_of_problem(n): a for n, a in stored.items()} | {SHARED: decode(tree, stored)}
