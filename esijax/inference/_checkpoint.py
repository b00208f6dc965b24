"""Steps of an iterative method on disk: resumed bitwise by any process, never half written.

The file is a line that names the format, the SHA-256 of what follows, the fingerprint of what is
solved, and the arrays of the state one after the other.
"""

import dataclasses
import functools
import hashlib
import inspect
import io
import math
import weakref
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from esijax._files import read_whole, replacing
from esijax._ops.memory import limit_bytes
from esijax._types import InputError
from esijax.models._in_order import InOrder

FAMILY = b"esijax checkpoint "
MARK = FAMILY + b"4\n"
DIGEST = hashlib.sha256().digest_size
REMOVE = "remove it, or give another path"


class Checkpoint:
    """One file that an iterative method writes to and goes on from.

    Parameters
    ----------
    path : path
    method, setup
        What is solved: a file of anything else is refused.
    grows : bool
        Whether arrays of the state may be larger than those of a fresh one.

    Raises
    ------
    InputError
        For a path that can be no file, or a file of another version of esijax.
    """

    def __init__(self, path: Any, method: Any, setup: Any, grows: bool = False):
        self.path = _file_path(path)
        self._refuse_other_files()
        self.key = fingerprint((method, setup))
        self.grows = grows

    def store(self, state: Any) -> None:
        """Write the state through a temporary file."""
        buffer = io.BytesIO()
        for leaf in _array_leaves(state.carry):
            _write_array(buffer, _on_host(leaf))
        body = self.key + buffer.getvalue()
        with replacing(self.path) as temporary:
            temporary.write_bytes(MARK + hashlib.sha256(body).digest() + body)

    def restore(self, state: Any) -> Any:
        """Give the stored state where the file exists, else the fresh one."""
        if not self.path.exists():
            return state
        body = self._body()
        if body[:DIGEST] != self.key:
            raise InputError(
                f"{self.path} is a checkpoint of another problem, model or method: {REMOVE}."
            )
        try:
            carry = _read_carry(io.BytesIO(body[DIGEST:]), state.carry, self.grows)
        except Exception as error:
            raise InputError(
                f"{self.path} does not hold a state of this method ({error}): {REMOVE}."
            ) from error
        return eqx.tree_at(lambda s: s.carry, state, carry)

    def _refuse_other_files(self) -> None:
        """Look at the mark: before anything is compiled, and whatever was solved then."""
        if self.path.exists():
            with self.path.open("rb") as file:
                ours = file.read(len(MARK)) == MARK
            if not ours:
                self._body()

    def _body(self) -> bytes:
        content = read_whole(self.path, limit_bytes())
        whole, start = content.startswith(MARK), len(MARK) + DIGEST
        if whole and hashlib.sha256(content[start:]).digest() == content[len(MARK) : start]:
            return content[start:]
        unmarked = content[:DIGEST] == hashlib.sha256(content[DIGEST:]).digest()
        if unmarked or (content.startswith(FAMILY) and not whole):
            raise InputError(f"{self.path} was written by an older version of esijax: {REMOVE}.")
        raise InputError(f"{self.path} is truncated, corrupt or no checkpoint: {REMOVE}.")


def _file_path(path: Any) -> Path:
    """Path of the checkpoint; refused before anything is computed where it cannot be a file."""
    if not isinstance(path, str | Path):
        raise TypeError(f"checkpoint must be a path, got {path!r}.")
    if not str(path):
        raise InputError("checkpoint is an empty path: name a file.")
    path = Path(path)
    if path.exists() and not path.is_file():
        kind = "a folder" if path.is_dir() else "no regular file"
        raise InputError(f"checkpoint={str(path)!r} is {kind}: name a file.")
    if not path.absolute().parent.is_dir():
        raise InputError(f"checkpoint={str(path)!r}: there is no folder {path.absolute().parent}.")
    return path


# ---------------------------------------------------------------- the arrays of a state
def _array_leaves(tree: Any) -> list[Any]:
    return [leaf for leaf in jax.tree.leaves(tree) if eqx.is_array_like(leaf)]


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _on_host(leaf: Any) -> np.ndarray:
    return np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)


def _write_array(file: io.BytesIO, array: np.ndarray) -> None:
    """Write an array, equal rows at its end only once: what is not filled yet takes no room."""
    n = len(array) if array.ndim else 1
    rows = np.ascontiguousarray(array).reshape(n, -1).view(np.uint8) if array.size else None
    if array.ndim and rows is not None:
        other = np.flatnonzero((rows != rows[-1]).any(axis=1))
        array = array[: other[-1] + 2 if len(other) else 1]
    np.lib.format.write_array(file, np.asarray(n), (1, 0), allow_pickle=False)
    np.lib.format.write_array(file, np.asarray(array, order="C"), (1, 0), allow_pickle=False)


def _read_carry(file: io.BytesIO, fresh: Any, grows: bool) -> Any:
    """Replace the arrays of a fresh state by stored ones of the same kinds and shapes."""
    sizes: dict[int, int] = {}

    def stored(leaf: Any) -> Any:
        if not eqx.is_array_like(leaf):
            return leaf
        n, found, like = int(_read_array(file)), _read_array(file), _on_host(leaf)
        if found.ndim and found.size:
            found = np.concatenate([found, np.repeat(found[-1:], n - len(found), axis=0)])
        if (found.dtype, found.ndim) != (like.dtype, like.ndim):
            raise ValueError(f"{found.dtype}, {found.ndim} axes: not {like.dtype}, {like.ndim}")
        for was, now in zip(like.shape, found.shape, strict=True):
            if sizes.setdefault(was, now) != now or not (now == was or (grows and now > was)):
                raise ValueError(f"the shape {found.shape}: not {like.shape}")
        if found.dtype.kind == "f" and np.isnan(found).any() and not np.isnan(like).any():
            raise ValueError("NaN where there can be none")
        if _is_key(leaf):
            return jax.random.wrap_key_data(jnp.asarray(found), impl=jax.random.key_impl(leaf))
        return jnp.asarray(found) if isinstance(leaf, jax.Array) else type(leaf)(found[()])

    carry = jax.tree.map(stored, fresh)
    if file.read(1):
        raise ValueError("more arrays than this state has")
    return carry


def _read_array(file: io.BytesIO) -> np.ndarray:
    """Read an array, refusing a header that claims more bytes than follow."""
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("another format of arrays")
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    size = math.prod(shape) * dtype.itemsize
    content = b"" if dtype.hasobject else file.read(size)
    if dtype.hasobject or len(content) != size:
        raise ValueError("an array that is not whole")
    return np.frombuffer(content, dtype).reshape(shape)


# ---------------------------------------------------------------- what is solved
def fingerprint(value: Any) -> bytes:
    """Hash of all that an object holds: the same in every process, whatever its hash seed."""
    h = hashlib.sha256()
    _feed(h, value, ())
    return h.digest()


def _feed(h: Any, value: Any, within: tuple[int, ...]) -> None:
    if id(value) in within:  # an object that holds itself
        return
    within = (*within, id(value))
    if isinstance(value, jax.Array | np.ndarray | np.generic):
        array = _on_host(value)
        h.update(f"{array.dtype}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
        return
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        h.update(f"{type(value).__name__} {value!r};".encode())
        return
    name, parts = _fingerprint_parts(value)
    h.update(f"{name} {len(parts)};".encode())
    for part, content in parts:
        h.update(f"{part}=".encode())
        _feed(h, content, within)


def _fingerprint_parts(value: Any) -> tuple[str, list[tuple[Any, Any]]]:
    """Name of an object's class, and its parts in a reproducible order."""
    cls = value if isinstance(value, type) or hasattr(value, "__qualname__") else type(value)
    # our own files may move: a class is known by its name, and by what it holds
    module = "esijax" if cls.__module__.startswith("esijax.") else cls.__module__
    name = f"{module}.{cls.__qualname__}"
    if isinstance(value, type):
        return name, []
    if isinstance(value, InOrder):
        return _fingerprint_parts(value.law)
    if isinstance(value, dist.Distribution):
        fields = {*value.gather_pytree_data_fields(), *value.gather_pytree_aux_fields()}
        return name, [(field, vars(value).get(field)) for field in sorted(fields)]
    if dataclasses.is_dataclass(value):
        fields = sorted(field.name for field in dataclasses.fields(value))
        return name, [(field, getattr(value, field, None)) for field in fields]
    if isinstance(value, dict):
        return name, sorted(value.items(), key=lambda item: repr(item[0]))
    if isinstance(value, tuple | list):
        return name, list(enumerate(value))
    return name, _of_callable(value)


def _of_callable(value: Any) -> list[tuple[Any, Any]]:
    """Closure and defaults of a function; the attributes of any other object."""
    if isinstance(value, functools.partial):
        return [("func", value.func), ("args", value.args), ("keywords", value.keywords)]
    if hasattr(value, "__wrapped__"):
        return [("wrapped", value.__wrapped__)]
    if callable(value) and hasattr(value, "__code__"):
        cells = inspect.getclosurevars(value).nonlocals
        return [("closure", cells), ("defaults", value.__defaults__)]
    if getattr(value, "__self__", None) is not None:
        return [("self", value.__self__)]
    held = getattr(value, "__dict__", {})
    # NumPyro's transforms keep their inverse once it was asked for, by a weak reference
    return sorted((k, v) for k, v in held.items() if not isinstance(v, weakref.ref))
