"""Steps of an iterative method on disk: resumed bitwise, never half written."""

import hashlib
import io
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from esijax._files import replacing
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
    """Write the carry of a state with a checksum, through a temporary file."""
    path = Path(path)
    buffer = io.BytesIO()
    eqx.tree_serialise_leaves(buffer, state.carry)
    body = _fingerprint(method, state) + buffer.getvalue()
    with replacing(path) as temporary:
        temporary.write_bytes(hashlib.sha256(body).digest() + body)


def _read(file, leaf):
    """Arrays may have grown since the start: working sets do."""
    if not isinstance(leaf, jax.Array) or jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return eqx.default_deserialise_filter_spec(file, leaf)
    found = np.load(file)
    if (found.dtype, found.ndim) != (leaf.dtype, leaf.ndim):
        raise ValueError(f"{found.dtype}, {found.ndim} axes: not {leaf.dtype}, {leaf.ndim}")
    return jnp.asarray(found)


def restore(path: str | Path, method, state):
    """Give the stored state where the file exists, else the fresh one."""
    path = Path(path)
    if not path.exists():
        return state
    content = path.read_bytes()
    digest, body = content[:32], content[32:]
    if hashlib.sha256(body).digest() != digest:
        raise InputError(f"{path} is truncated, corrupt or no checkpoint: remove it to start anew.")
    if body[:32] != _fingerprint(method, state):
        raise InputError(f"{path} is a checkpoint of another problem, model or method: remove it.")
    try:
        stored = io.BytesIO(body[32:])  # leaf by leaf, as they were written
        carry = jax.tree.map(lambda leaf: _read(stored, leaf), state.carry)
    except Exception as error:
        raise InputError(f"{path} is of another version of esijax: remove it.") from error
    return eqx.tree_at(lambda s: s.carry, state, carry)
