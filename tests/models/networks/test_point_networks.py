"""Networks of sources and direct ones: how they begin, their digest, their files."""

import io
import json

import equinox as eqx
import jax
import numpy as np
import pytest

import esijax as ej
from esijax.models.networks import (
    FISTA,
    ISTA,
    MLP,
    NETWORKS,
    LinearMap,
    Trained,
    load_network,
    save_network,
)
from esijax.models.networks import files as files_module
from esijax.models.networks.direct import SAME, lead_field_digest, same_lead_field

KEY = jax.random.key(3)
KINDS = {"ista": ISTA, "fista": FISTA, "linear": LinearMap, "mlp": MLP}


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    return ej.from_arrays(
        rng.standard_normal((5, 6, 3)), rng.standard_normal((5, 4)), noise_cov=1.0
    )


@pytest.mark.parametrize("kind", KINDS)
def test_weights_come_back(problem, tmp_path, kind):
    network = KINDS[kind].untrained(KEY, problem)
    layers = {k: v + 0.1 for k, v in network.layers.items()}
    network = eqx.tree_at(lambda n: n.layers, network, layers)
    back = load_network(save_network(Trained(network, '{"seed": 3}'), tmp_path / "weights.npz"))
    assert type(back.network) is KINDS[kind] is NETWORKS[kind]
    assert back.about == {"seed": 3}
    for a, b in zip(jax.tree.leaves(back.network), jax.tree.leaves(network), strict=True):
        np.testing.assert_array_equal(a, np.asarray(b, np.float32))
    if kind in ("linear", "mlp"):
        back.network.check(problem)


def rewritten(path, header=None, without=(), **arrays):
    with np.load(path) as file:
        kept = {name: file[name] for name in file.files if name not in without}
    about = json.loads(kept.pop("header").tobytes()) | (header or {})
    kept |= arrays
    about["digest"] = files_module._checksum(kept)
    buffer = io.BytesIO()
    np.savez(buffer, header=np.frombuffer(json.dumps(about).encode(), np.uint8), **kept)
    path.write_bytes(buffer.getvalue())


BAD = {
    "slopes of another shape": ("ista", {"slopes": np.zeros((16, 3), "f4")}, "other shapes"),
    "more axes": ("fista", {"step": np.zeros((16, 2), "f4")}, "other shapes"),
    "no layers": ("ista", {"step": np.zeros(0, "f4")}, "other shapes"),
    "a number for layers": ("ista", {"step": np.zeros((), "f4")}, "other shapes"),
    "nan": ("fista", {"momentum": np.full(16, np.nan, "f4")}, "not finite"),
    "a matrix of two axes": ("linear", {"map": np.zeros((18, 5), "f4")}, "other shapes"),
    "no digest": ("linear", {"without": ("digest",)}, "other shapes"),
    "a digest of text": ("linear", {"digest": np.array("abc")}, "other shapes"),
    "an infinite digest": ("mlp", {"digest": np.full(67, np.inf, "f4")}, "not finite"),
    "layers that do not fit": ("mlp", {"w2": np.zeros((9, 9), "f4")}, "other shapes"),
    "no last layer": ("mlp", {"without": ("w3",)}, "other shapes"),
    "three axes of the last": ("mlp", {"w3": np.zeros((256, 6, 3), "f4")}, "other shapes"),
    "another kind": ("ista", {"header": {"network": "fista"}}, "other shapes"),
    "a kind of variances": ("ista", {"header": {"network": "mesh"}}, "other shapes"),
    "an unknown kind": ("mlp", {"header": {"network": "transformer"}}, "another version"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_weights_are_refused(problem, tmp_path, name):
    kind, change, said = BAD[name]
    path = save_network(Trained(KINDS[kind].untrained(KEY, problem)), tmp_path / "weights.npz")
    rewritten(path, **change)
    with pytest.raises(ej.InputError, match=said):
        load_network(path)


def test_a_truncated_file_is_refused(problem, tmp_path):
    path = save_network(Trained(MLP.untrained(KEY, problem)), tmp_path / "weights.npz")
    path.write_bytes(path.read_bytes()[:-900])
    with pytest.raises(ej.InputError, match="damaged"):
        load_network(path)


def test_what_could_not_be_read_is_not_written(problem, tmp_path, monkeypatch):
    monkeypatch.setattr(files_module, "LARGEST", 10_000)
    with pytest.raises(ej.InputError, match="weights have"):
        save_network(Trained(MLP.untrained(KEY, problem)), tmp_path / "weights.npz")
    assert not list(tmp_path.iterdir())


def test_sizes_on_disk(problem, tmp_path):
    """A network of sources takes 2 kB; a direct one what its numbers take."""

    def size(network):
        return save_network(Trained(network), tmp_path / "weights.npz").stat().st_size

    assert size(FISTA()) < 3_000
    network = MLP.untrained(KEY, problem)
    n_numbers = sum(leaf.size for leaf in jax.tree.leaves(network))
    assert 4 * n_numbers < size(network) < 4 * n_numbers + 5_000


def test_the_digest_tells_heads_apart(problem):
    """By as much as the lead fields differ, whatever differs."""
    rng = np.random.default_rng(1)
    gain = np.asarray(problem.gain)
    first = lead_field_digest(problem)
    assert first.shape == (67,)
    assert tuple(first[:3]) == gain.shape
    for share, same in ((0.1 * SAME, True), (10 * SAME, False)):
        for _ in range(20):
            other = gain + share * gain.std() * rng.standard_normal(gain.shape)
            moved = eqx.tree_at(lambda p: p.gain, problem, jax.numpy.asarray(other))
            assert same_lead_field(lead_field_digest(moved), first) is same
    one = gain.copy()
    one[2] *= 1.05  # one channel with another gain
    moved = eqx.tree_at(lambda p: p.gain, problem, jax.numpy.asarray(one))
    assert not same_lead_field(lead_field_digest(moved), first)
