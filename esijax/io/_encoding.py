"""An estimate as JSON and arrays, and back: only our own classes and NumPyro's distributions."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from esijax._types import InputError
from esijax.estimate import RESULT
from esijax.io._classes import class_named, fill_defaults, stored_name
from esijax.models._in_order import InOrder
from esijax.models.hyperpriors import as_arrays

SHARED = "the problem of the file beside"  # among the arrays of an estimate that shares it


class Arrays:
    """Arrays by name, each content once.

    Parameters
    ----------
    known : dict of str to str, optional
        Names by digest of arrays that stand in another file.
    """

    def __init__(self, known: Mapping[str, str] | None = None):
        self.by_name: dict[str, np.ndarray] = {}
        self.names: dict[str, str] = dict(known or {})

    def add(self, array: np.ndarray) -> str:
        """Name of an array, the same for equal ones."""
        digest = digest_of(array)
        if digest not in self.names:
            self.names[digest] = f"a{len(self.by_name)}"
            self.by_name[self.names[digest]] = array
        return self.names[digest]


class Stored:
    """An array of a file, and the same for JAX, made once however often it is asked for."""

    def __init__(self, array: np.ndarray):
        self.array = array

    @functools.cached_property
    def on_device(self) -> jax.Array:
        """For JAX."""
        return jnp.asarray(self.array)


def digest_of(array: np.ndarray) -> str:
    """SHA-256 of type, shape and content."""
    found = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    found.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
    return found.hexdigest()


def content_digest(tree: Any, arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of a tree and its arrays, whatever file they stand in."""
    digests = {name: digest_of(array) for name, array in arrays.items()}
    return hashlib.sha256(json.dumps([tree, digests], sort_keys=True).encode()).hexdigest()


def encode(value: Any, arrays: Arrays) -> Any:
    """JSON of a tree of our own dataclasses; arrays go to `arrays`."""
    if isinstance(value, RESULT):
        return {"result": RESULT[value]}
    if isinstance(value, np.generic):
        return {"plain": value.item()}
    if isinstance(value, jax.Array | np.ndarray):
        name = arrays.add(np.asarray(value))
        return {"array": name, "jax": isinstance(value, jax.Array)}
    if isinstance(value, InOrder):
        return _encode_distribution(value.law, arrays)
    if dataclasses.is_dataclass(value):
        name = stored_name(type(value))
        fields = {f.name: encode(getattr(value, f.name), arrays) for f in dataclasses.fields(value)}
        return {"class": name, "fields": fields}
    if isinstance(value, tuple | list):
        return {"tuple": [encode(v, arrays) for v in value]}
    if isinstance(value, dict):
        return {"dict": {str(k): encode(v, arrays) for k, v in value.items()}}
    if value is None or isinstance(value, bool | int | float | str):
        return {"plain": value}
    raise InputError(f"cannot store an object of class {type(value).__name__}.")


def _encode_distribution(value: dist.Distribution, arrays: Arrays) -> Any:
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
    return {"distribution": name, "arguments": encode(given, arrays)}


def _decode_distribution(name: str, given: dict[str, Any]) -> dist.Distribution:
    cls = getattr(dist, name, None)
    if not (isinstance(cls, type) and issubclass(cls, dist.Distribution)):
        raise InputError(f"the file names the distribution {name!r}, which NumPyro does not have.")
    if set(given) - set(cls.arg_constraints) or any(np.ndim(v) > 1 for v in given.values()):
        raise InputError(f"the file gives {name} other arguments than one row of numbers each.")
    return as_arrays(cls(**given))


def decode(node: Any, stored: Mapping[str, Any]) -> Any:
    """The tree of `encode`, from its arrays by name (`Stored`)."""
    (kind, content), *rest = node.items()
    if kind == "array":
        return stored[content].on_device if rest[0][1] else stored[content].array
    if kind == "shared":
        return stored[SHARED]
    if kind == "class":
        fields = {k: decode(v, stored) for k, v in node["fields"].items()}
        cls = class_named(content)
        made = object.__new__(cls)  # as stored: some classes are made from other arguments
        for field, value in fill_defaults(cls, fields).items():
            object.__setattr__(made, field, value)
        return made
    if kind == "distribution":
        return InOrder(_decode_distribution(content, decode(node["arguments"], stored)))
    if kind == "tuple":
        return tuple(decode(v, stored) for v in content)
    if kind == "dict":
        return {k: decode(v, stored) for k, v in content.items()}
    if kind == "result":
        names = ("successful", "interrupted", "not_converged", "doubtful")
        return next(getattr(RESULT, n) for n in names if RESULT[getattr(RESULT, n)] == content)
    return content
