"""Networks of variances: neighbours, layers, weights on disk."""

import io
import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import esijax as ej
from esijax.models.networks import (
    MeshNetwork,
    Smoothing,
    Trained,
    VarianceNetwork,
    load_network,
    mesh_neighbours,
    save_network,
    shipped_network,
    unrolled,
)
from esijax.models.networks.neighbours import MOST, OWN_SHARE, WIDTH

N = 60


def sheet(rng, n=N):
    """Locations on a bent sheet, and the edges of a triangulation of it."""
    import scipy.spatial

    flat = rng.uniform(-0.05, 0.05, (n, 2))
    triangles = scipy.spatial.Delaunay(flat).simplices
    pairs = np.sort(triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    height = 5 * (flat**2).sum(axis=1)
    return np.column_stack([flat, height]), np.unique(pairs, axis=0)


def dense(positions, edges):
    """The symmetric average as a matrix, edge by edge."""
    n = len(positions)
    length = np.linalg.norm(positions[edges[:, 0]] - positions[edges[:, 1]], axis=1)
    own = {
        i: sorted((d, k) for k, d in enumerate(length) if i in edges[k])[:MOST] for i in range(n)
    }
    w = np.zeros((n, n))
    for k, (i, j) in enumerate(edges):
        if (length[k], k) in own[i] and (length[k], k) in own[j]:
            w[i, j] = w[j, i] = np.exp(-0.5 * (length[k] / WIDTH) ** 2)
    total = OWN_SHARE + w.sum(axis=1)
    return w / np.sqrt(np.outer(total, total))


@pytest.fixture(scope="module")
def surface():
    return sheet(np.random.default_rng(0))


def test_the_average_is_over_mesh_neighbours(surface):
    positions, edges = surface
    mesh = mesh_neighbours(ej.Geometry(positions=jnp.asarray(positions), edges=jnp.asarray(edges)))
    want = dense(positions, edges)
    np.testing.assert_allclose(mesh.average(jnp.eye(N)), want, atol=1e-15)
    assert np.abs(np.linalg.eigvalsh(want)).max() < 1


def test_its_derivative_is_its_transpose(surface):
    positions, edges = surface
    mesh = mesh_neighbours(ej.Geometry(positions=jnp.asarray(positions), edges=jnp.asarray(edges)))
    x, y = np.random.default_rng(1).standard_normal((2, N, 3))
    got = jax.grad(lambda x: jnp.sum(y * mesh.average(x)))(jnp.asarray(x))
    np.testing.assert_allclose(got, dense(positions, edges).T @ y, atol=1e-14)


def test_without_a_mesh_neighbours_are_the_nearest():
    """On a lattice: those one step away."""
    axis = 0.007 * np.arange(4)
    places = np.stack(np.meshgrid(axis, axis, axis), -1).reshape(-1, 3)
    places = places[np.random.default_rng(0).permutation(len(places))]
    mesh = mesh_neighbours(ej.Geometry(positions=jnp.asarray(places)))
    distance = np.linalg.norm(places[:, None] - places[None], axis=-1)
    matrix = np.asarray(mesh.average(jnp.eye(len(places))))
    inner = np.flatnonzero(np.isclose(distance, 0.007).sum(axis=1) == 6)
    np.testing.assert_array_equal(matrix[inner] > 0, np.isclose(distance, 0.007)[inner])
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-15)


def test_one_location_has_no_neighbours():
    mesh = mesh_neighbours(ej.Geometry(positions=jnp.zeros((1, 3))))
    np.testing.assert_array_equal(mesh.average(jnp.ones((1, 2))), [[0.0, 0.0]])


def test_smoothing_is_what_its_formula_says(surface):
    positions, edges = surface
    mesh = mesh_neighbours(ej.Geometry(positions=jnp.asarray(positions), edges=jnp.asarray(edges)))
    network = Smoothing(n_layers=1)
    q, z, gamma = np.exp(np.random.default_rng(2).standard_normal((3, N)))
    got = unrolled(network, lambda _: (jnp.asarray(q), jnp.asarray(z)), jnp.log(gamma), mesh)
    root = np.sqrt(gamma * np.sqrt(q / z))
    want = 0.8 * root + 0.2 * dense(positions, edges) @ root
    np.testing.assert_allclose(np.exp(got / 2), want, rtol=1e-12)


def test_a_network_of_ones_own():
    """One class with one method."""

    class Halves(VarianceNetwork):
        layers: dict
        scale: jax.Array

        def layer(self, weights, log_gamma, q, z, mesh):  # noqa: ARG002
            return log_gamma - weights["by"]

    network = Halves({"by": jnp.full(3, np.log(2.0))}, jnp.asarray(1.0))
    mesh = mesh_neighbours(ej.Geometry(positions=jnp.eye(2, 3)))
    got = unrolled(network, lambda g: (g, g), jnp.zeros(2), mesh)
    np.testing.assert_allclose(np.exp(got), 0.125)
    with pytest.raises(ej.InputError, match="Halves is no network of esijax"):
        save_network(Trained(network), "halves.npz")


# ------------------------------------------------------------------ files
@pytest.fixture
def saved(tmp_path):
    network = MeshNetwork(jax.random.key(3), n_layers=4, width=5)
    network = eqx.tree_at(lambda n: n.scale, network, jnp.asarray(2.5))
    return network, save_network(Trained(network, '{"seed": 3}'), tmp_path / "weights.npz")


def test_weights_come_back(saved):
    network, path = saved
    back = load_network(path)
    assert back.about == {"seed": 3}
    for a, b in zip(jax.tree.leaves(back.network), jax.tree.leaves(network), strict=True):
        np.testing.assert_array_equal(a, np.asarray(b, np.float32))
    smooth = load_network(save_network(Trained(Smoothing()), path))
    assert isinstance(smooth.network, Smoothing)


def rewritten(path, header=None, **arrays):
    with np.load(path) as file:
        kept = {name: file[name] for name in file.files}
    about = json.loads(kept.pop("header").tobytes()) | (header or {})
    kept |= arrays
    from esijax.models.networks.files import _checksum

    plain = {k: v for k, v in kept.items() if v.dtype != object}
    about["digest"] = about["digest"] if header and "digest" in header else _checksum(plain)
    text = np.frombuffer(json.dumps(about).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, header=text, **kept)
    path.write_bytes(buffer.getvalue())


BAD = {
    "truncated": (lambda p: p.write_bytes(p.read_bytes()[:700]), "damaged"),
    "no archive": (lambda p: p.write_bytes(b"weights"), "damaged"),
    "another shape": (lambda p: rewritten(p, w2=np.zeros((4, 3, 5), "f4")), "other shapes"),
    "one missing layer": (lambda p: rewritten(p, b3=np.zeros(3, "f4")), "other shapes"),
    "one array more": (lambda p: rewritten(p, w9=np.zeros(3, "f4")), "other shapes"),
    "nan": (lambda p: rewritten(p, b3=np.full(4, np.nan, "f4")), "not finite"),
    "complex": (lambda p: rewritten(p, b3=np.zeros(4, "c8")), "not finite"),
    "objects": (lambda p: rewritten(p, b3=np.array([{}] * 4, object)), "damaged"),
    "version": (lambda p: rewritten(p, {"format": 99}), "another version"),
    "network": (lambda p: rewritten(p, {"network": "transformer"}), "another version"),
    "checksum": (lambda p: rewritten(p, {"digest": "0"}), "checksum"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_weights_are_refused(saved, name):
    _, path = saved
    spoil, said = BAD[name]
    spoil(path)
    with pytest.raises(ej.InputError, match=said):
        load_network(path)


def test_a_huge_file_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "weights.npz"
    with path.open("wb") as file:
        file.truncate(2_000_000_000)
    with pytest.raises(ej.InputError, match="2000 MB"):
        load_network(path)
    with pytest.raises(ej.InputError, match="cannot be read"):
        load_network(tmp_path / "none.npz")


def test_the_shipped_weights_say_how_they_were_made():
    trained = shipped_network()
    assert {"task", "seed"} <= set(trained.about)
    assert trained.network.scale > 0
    assert len(trained.network.layers["step"]) == 6
