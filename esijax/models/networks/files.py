"""Weights on disk: one npz of arrays and a JSON header; nothing in it is ever executed."""

import functools
import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from esijax._files import read_whole, replacing
from esijax._types import InputError
from esijax.models.networks.direct import MLP, LinearMap
from esijax.models.networks.network import Network
from esijax.models.networks.sources import FISTA, ISTA
from esijax.models.networks.variances import MeshNetwork, Smoothing

FORMAT = 1
LARGEST = 100_000_000  # bytes: a linear map of 366 sensors and 20,484 locations has 30 MB
SHIPPED = Path(__file__).parent / "unrolled.npz"
NETWORKS: dict[str, type[Network]] = {
    "mesh": MeshNetwork,
    "smoothing": Smoothing,
    "ista": ISTA,
    "fista": FISTA,
    "linear": LinearMap,
    "mlp": MLP,
}


class Trained(eqx.Module):
    """A network with what is known of its training.

    Parameters
    ----------
    network : Network
        The network with its weights.
    about_json : str
        How it was trained (task, seed, scores), as JSON.
    """

    network: Network
    about_json: str = eqx.field(static=True, default="{}")

    @property
    def about(self) -> dict[str, Any]:
        """How it was trained: task, seed, scores."""
        return json.loads(self.about_json)


def save_network(trained: Trained, path: str | Path) -> Path:
    """Write a network in one piece: the file is whole, or the earlier one stays.

    Parameters
    ----------
    trained : Trained
        What `train` gave.
    path : Path
        The file.

    Returns
    -------
    path : Path

    Raises
    ------
    InputError
        For a network of one's own, or one of more than 100 MB, which would not be read again.
    """
    path = Path(path)
    kind = next((k for k, v in NETWORKS.items() if type(trained.network) is v), None)
    if kind is None:
        raise InputError(
            f"{type(trained.network).__name__} is no network of esijax: keep it with "
            "equinox.tree_serialise_leaves, beside the code of its class."
        )
    arrays = {k: np.asarray(v, np.float32) for k, v in _arrays_of(trained.network).items()}
    header = {
        "format": FORMAT,
        "network": kind,
        "about": trained.about,
        "digest": _checksum(arrays),
    }
    text = np.frombuffer(json.dumps(header).encode(), np.uint8)
    buffer = io.BytesIO()
    every: dict[str, Any] = {"header": text, **arrays}
    np.savez(buffer, **every)
    _check_size(path, buffer.tell())
    with replacing(path) as temporary:
        temporary.write_bytes(buffer.getvalue())
    return path


def load_network(path: str | Path) -> Trained:
    """Read a network.

    Parameters
    ----------
    path : Path
        From `save_network`.

    Returns
    -------
    trained : Trained

    Raises
    ------
    InputError
        If the file is missing, damaged, too large, of another format or version, if it holds
        objects, other shapes than its network has, or numbers that are not finite.
    """
    path = Path(path)
    if path.is_file():
        _check_size(path, path.stat().st_size)
    content = read_whole(path, LARGEST)
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        header = json.loads(arrays.pop("header").tobytes())
        kind, version = header["network"], header["format"]
        about, digest = header["about"], header["digest"]
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path} holds no weights of esijax, or is damaged: train and save them again."
        ) from error
    if version != FORMAT or kind not in NETWORKS:
        raise InputError(
            f"{path} was written by another version of esijax (network {kind!r}, format "
            f"{version!r}; known are {list(NETWORKS)}, {FORMAT}): train it again."
        )
    if digest != _checksum(arrays):
        raise InputError(f"{path} is damaged: its checksum is another. Train and save it again.")
    return _on_device(Trained(_network_of(kind, arrays, path), json.dumps(about)))


def _check_size(path: Path, size: int) -> None:
    if size > LARGEST:
        raise InputError(
            f"{path} has {size / 1e6:.0f} MB; weights have {LARGEST / 1e6:.0f} at most."
        )


def _arrays_of(network: Network) -> dict[str, Any]:
    """Weights, and what goes with them."""
    return {**network.layers, **{name: getattr(network, name) for name in network.kept}}


def _on_device(trained: Trained) -> Trained:
    """Weights as JAX arrays of the precision in use."""
    return jax.tree.map(lambda a: jnp.asarray(a, float), trained)


def _network_of(kind: str, arrays: dict[str, np.ndarray], path: Path) -> Network:
    """Put arrays into a network of the same shapes."""
    shapes = _shapes_of(arrays)
    try:
        network = jax.eval_shape(lambda: NETWORKS[kind].of_shapes(shapes))
        known = _shapes_of(_arrays_of(network))
    except (KeyError, TypeError, ValueError, IndexError):  # an array is missing, or has other axes
        known = None
    if shapes != known or not all(a.size for a in arrays.values()):
        raise InputError(f"{path} holds arrays of other shapes than its network ({kind!r}) has.")
    if not all(a.dtype.kind == "f" and np.isfinite(a).all() for a in arrays.values()):
        raise InputError(f"{path} holds weights that are not finite numbers.")
    kept = [arrays.pop(name) for name in network.kept]
    return eqx.tree_at(
        lambda n: (n.layers, *(getattr(n, k) for k in n.kept)), network, (arrays, *kept)
    )


def _shapes_of(arrays: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: a.shape for name, a in arrays.items()}


@functools.cache
def shipped_network() -> Trained:
    """The network that comes with esijax; see its `about`."""
    with jax.ensure_compile_time_eval():  # the first call may be within jit
        return load_network(SHIPPED)


def _checksum(arrays: dict[str, np.ndarray]) -> str:
    """Checksum of all arrays with their names, shapes and types."""
    h = hashlib.sha256()
    for name in sorted(arrays):
        a = np.ascontiguousarray(arrays[name])
        h.update(f"{name}{a.shape}{a.dtype.str}".encode() + a.tobytes())
    return h.hexdigest()
