"""Estimates on disk: one npz file, no pickle, checksum over every byte, replaced atomically.

The file is a plain npz (`numpy.load` opens it): the arrays, and ``header``, a JSON text that says
which esijax object each belongs to (classes by their names in `_classes`). The zip comment holds
the format version and the SHA-256 of all that stands before it.
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

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from esijax._files import read_whole, replacing
from esijax._ops.memory import limit_bytes
from esijax._types import InputError
from esijax.estimate import RESULT, Estimate
from esijax.io import _well_formed
from esijax.io._classes import class_named, fill_defaults, stored_name
from esijax.models._in_order import InOrder
from esijax.models.hyperpriors import as_arrays

FORMAT = 1
_MARK = b"esijax format=%d sha256=" % FORMAT
_DIGEST = 64


def save(estimate: Estimate, path) -> Path:
    """Write an estimate to one file.

    Parameters
    ----------
    estimate : Estimate
        The answer of `solve`.
    path : path
        The suffix is yours; ``.npz`` tells what it is. An existing file is replaced only when
        the new one is complete on disk.

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
    arrays: dict[str, np.ndarray] = {}
    header = json.dumps(_encode(estimate, arrays))
    buffer = io.BytesIO()
    arrays["header"] = np.frombuffer(header.encode(), dtype=np.uint8)
    np.savez(buffer, allow_pickle=False, **arrays)
    with zipfile.ZipFile(buffer, "a") as z:
        z.comment = _MARK + b"0" * _DIGEST
    body = buffer.getvalue()[:-_DIGEST]
    with replacing(path) as temporary:
        temporary.write_bytes(body + hashlib.sha256(body).hexdigest().encode())
    return path


def load(path) -> Estimate:
    """Read an estimate that `save` wrote; it can be asked all that the original could.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    estimate : Estimate

    Raises
    ------
    InputError
        If the file is missing, truncated, altered by a single bit, or not one of ours; if what
        it holds is of wrong types or shapes, not finite, or larger than the memory.
    """
    path = Path(path)
    content = read_whole(path, limit_bytes())
    body, digest = content[:-_DIGEST], content[-_DIGEST:]
    if not body.endswith(_MARK):
        known = re.search(rb"esijax format=\d+ sha256=\Z", body)
        hint = "written by another version of esijax" if known else "truncated, or no esijax file"
        raise InputError(f"{path}: {hint}.")
    if hashlib.sha256(body).hexdigest().encode() != digest:
        raise InputError(f"{path}: the checksum does not match; the file is corrupt.")
    try:
        estimate = _parse(content, path)
    except InputError:
        raise
    except Exception as error:  # a valid checksum over something else than we write
        raise InputError(f"{path}: not laid out as an esijax file ({error!r:.80}).") from error
    if not isinstance(estimate, Estimate):
        raise InputError(f"{path}: holds no estimate.")
    try:
        _well_formed.check_well_formed(estimate)
        _well_formed.check_answers(estimate)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return estimate


def _parse(content: bytes, path: Path) -> Any:
    with zipfile.ZipFile(io.BytesIO(content)) as z:
        _refuse_bombs(z, path)
        arrays = {
            info.filename.removesuffix(".npy"): np.lib.format.read_array(
                io.BytesIO(z.read(info)), allow_pickle=False
            )
            for info in z.infolist()
        }
    try:
        return _decode(json.loads(arrays.pop("header").tobytes()), arrays)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


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


def _encode(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """JSON of a tree of our own dataclasses; arrays go to `arrays`."""
    if isinstance(value, RESULT):
        return {"result": RESULT[value]}
    if isinstance(value, np.generic):
        return {"plain": value.item()}
    if isinstance(value, jax.Array | np.ndarray):
        name = f"a{len(arrays)}"
        arrays[name] = np.asarray(value)
        return {"array": name, "jax": isinstance(value, jax.Array)}
    if isinstance(value, InOrder):
        return _encode_distribution(value.law, arrays)
    if dataclasses.is_dataclass(value):
        name = stored_name(type(value))
        fields = {
            f.name: _encode(getattr(value, f.name), arrays) for f in dataclasses.fields(value)
        }
        return {"class": name, "fields": fields}
    if isinstance(value, tuple | list):
        return {"tuple": [_encode(v, arrays) for v in value]}
    if isinstance(value, dict):
        return {"dict": {str(k): _encode(v, arrays) for k, v in value.items()}}
    if value is None or isinstance(value, bool | int | float | str):
        return {"plain": value}
    raise InputError(f"cannot store an object of class {type(value).__name__}.")


def _encode_distribution(value: dist.Distribution, arrays: dict[str, np.ndarray]) -> Any:
    """Name and arguments of a distribution of numpyro.distributions; nothing else is known."""
    name = type(value).__name__
    if getattr(dist, name, None) is not type(value):
        raise InputError(
            f"cannot store the distribution {name}: only those of numpyro.distributions can be "
            "made again."
        )
    given = {k: getattr(value, k) for k in value.arg_constraints if k in vars(value)}
    try:  # a truncated or transformed distribution holds another one
        made = _decode_distribution(name, given)
        same = jax.tree.structure(made) == jax.tree.structure(as_arrays(value))
    except TypeError:
        same = False
    if not same:
        raise InputError(
            f"cannot store {name}, which is built around another distribution: use a plain one of "
            "numpyro.distributions."
        )
    return {"distribution": name, "arguments": _encode(given, arrays)}


def _decode_distribution(name: str, given: dict[str, Any]) -> dist.Distribution:
    cls = getattr(dist, name, None)
    if not (isinstance(cls, type) and issubclass(cls, dist.Distribution)):
        raise InputError(f"the file names the distribution {name!r}, which NumPyro does not have.")
    if set(given) - set(cls.arg_constraints) or any(np.ndim(v) > 1 for v in given.values()):
        raise InputError(f"the file gives {name} other arguments than one row of numbers each.")
    return as_arrays(cls(**given))


def _decode(node: Any, arrays: dict[str, np.ndarray]) -> Any:
    (kind, content), *rest = node.items()
    if kind == "array":
        value = arrays[content]
        return jnp.asarray(value) if rest[0][1] else value
    if kind == "class":
        fields = {k: _decode(v, arrays) for k, v in node["fields"].items()}
        cls = class_named(content)
        made = object.__new__(cls)  # as stored: some classes are made from other arguments
        for field, value in fill_defaults(cls, fields).items():
            object.__setattr__(made, field, value)
        return made
    if kind == "distribution":
        return InOrder(_decode_distribution(content, _decode(node["arguments"], arrays)))
    if kind == "tuple":
        return tuple(_decode(v, arrays) for v in content)
    if kind == "dict":
        return {k: _decode(v, arrays) for k, v in content.items()}
    if kind == "result":
        names = ("successful", "interrupted", "not_converged", "doubtful")
        return next(getattr(RESULT, n) for n in names if RESULT[getattr(RESULT, n)] == content)
    return content
