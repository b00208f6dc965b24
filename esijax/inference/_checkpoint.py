"""Steps of an iterative method on disk: resumed bitwise, never half written."""

import hashlib
import os
from pathlib import Path

import equinox as eqx
import jax
import numpy as np

from esijax._types import InputError


def _fingerprint(method, state) -> bytes:
    """Hash of method, model and data: a checkpoint of another problem is refused."""
    h = hashlib.sha256()
    for leaf in jax.tree.leaves((method, state.setup)):
        if isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        h.update(np.asarray(leaf).tobytes() if eqx.is_array(leaf) else repr(leaf).encode())
    h.update(str(jax.tree.structure((method, state.setup))).encode())
    return h.digest()


def store(path: str | Path, method, state) -> None:
    """Write the carry of a state, through a temporary file."""
    path = Path(path)
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as f:
        f.write(_fingerprint(method, state))
        eqx.tree_serialise_leaves(f, state.carry)
        f.flush()
        os.fsync(f.fileno())
    os.replace(temporary, path)


def restore(path: str | Path, method, state):
    """Give the stored state where the file exists and fits, the fresh one where it does not exist."""
    path = Path(path)
    if not path.exists():
        return state
    with path.open("rb") as f:
        if f.read(32) != _fingerprint(method, state):
            raise InputError(
                f"{path} is a checkpoint of another problem, model or method: remove it."
            )
        try:
            carry = eqx.tree_deserialise_leaves(f, state.carry)
        except Exception as error:
            raise InputError(f"{path} is truncated or corrupt: remove it to start anew.") from error
    return eqx.tree_at(lambda s: s.carry, state, carry)
