"""The unrolled solver: EM where nothing is learned; the same map whatever the order and units."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import esijax as ej
from esijax.models.networks import MeshNetwork, Smoothing

N, RANK = 40, 12
ARD = ej.models.ARD()


def made(n_orients=1, n_times=9, seed=0, order=None, rows=None, unit=1.0):
    """A problem with one active location, its locations and sensors in any order."""
    rng = np.random.default_rng(seed)
    gain = rng.standard_normal((RANK, N, n_orients))
    positions = 0.03 * rng.standard_normal((N, 3))
    data = 4 * gain[:, 4, 0, None] * np.hanning(n_times + 2)[1:-1]
    data = data + rng.standard_normal((RANK, n_times))
    order = np.arange(N) if order is None else order
    rows = np.arange(RANK) if rows is None else rows
    gain = unit * gain[np.ix_(rows, order)]
    gain = gain if n_orients > 1 else gain[:, :, 0]
    return ej.from_arrays(gain, data[rows], noise_cov=1.0, positions=positions[order])


@pytest.fixture(scope="module")
def network():
    """Weights that are not zero, as training would leave them."""
    start = MeshNetwork(jax.random.key(1))
    w3 = 0.1 * jax.random.normal(jax.random.key(2), start.layers["w3"].shape)
    return _with(start, w3=w3)


def _with(network, **layers):
    return eqx.tree_at(lambda n: n.layers, network, network.layers | layers)


@pytest.mark.parametrize(
    ("n_orients", "n_times", "kind"), [(1, 9, "mesh"), (3, 30, "mesh"), (1, 9, "smoothing")]
)
def test_without_corrections_it_is_em(n_orients, n_times, kind):
    problem = made(n_orients, n_times)
    plain = MeshNetwork(jax.random.key(0))
    if kind == "smoothing":
        plain = _with(Smoothing(), mix=jnp.zeros(6))
    got = ej.solve(problem, ARD, ej.inference.Unrolled(plain))
    em = ej.inference.EM("mm", tol=None, max_iter=6, accelerate=False)
    want = ej.solve(problem, ARD, em)
    np.testing.assert_allclose(got.hyper["gamma"], want.hyper["gamma"], rtol=1e-12)
    scale = np.abs(want.mean).max()
    np.testing.assert_allclose(got.mean, want.mean, atol=1e-12 * scale)
    np.testing.assert_allclose(got.std, want.std, rtol=1e-10)
    np.testing.assert_allclose(got.log_evidence, want.log_evidence, rtol=1e-12)


def test_the_order_of_sensors_and_locations_does_not_matter(network):
    rng = np.random.default_rng(3)
    order, rows = rng.permutation(N), rng.permutation(RANK)
    method = ej.inference.Unrolled(network)
    want = ej.solve(made(), ARD, method)
    got = ej.solve(made(order=order, rows=rows), ARD, method)
    np.testing.assert_allclose(got.mean, want.mean[order], atol=1e-10 * np.abs(want.mean).max())
    np.testing.assert_allclose(got.std, want.std[order], rtol=1e-8)


def test_nor_does_the_unit_of_the_sources(network):
    method = ej.inference.Unrolled(network)
    want = ej.solve(made(), ARD, method)
    got = ej.solve(made(unit=1e6), ARD, method)
    np.testing.assert_allclose(1e6 * got.mean, want.mean, atol=1e-10 * np.abs(want.mean).max())


def test_jit_vmap_and_grad(network):
    problem, method = made(), ej.inference.Unrolled(network)

    def power(data):
        return jnp.sum(ej.solve(problem.with_data(data), ARD, method).mean ** 2)

    data = np.asarray(problem.recording)
    direct = power(jnp.asarray(data))
    np.testing.assert_allclose(jax.jit(power)(data), direct, rtol=1e-10)
    both = jax.vmap(power)(jnp.stack([data, 2 * data]))
    np.testing.assert_allclose(both[0], direct, rtol=1e-10)
    way, h = np.random.default_rng(4).standard_normal(data.shape), 1e-5
    slope = (power(data + h * way) - power(data - h * way)) / (2 * h)
    np.testing.assert_allclose(np.sum(way * jax.grad(power)(data)), slope, rtol=1e-6)


def test_weights_have_a_derivative(network):
    """A network can be trained through `solve`."""
    problem = made()

    def power(w3):
        method = ej.inference.Unrolled(_with(network, w3=w3))
        return jnp.sum(ej.solve(problem, ARD, method).mean ** 2)

    w3 = network.layers["w3"]
    way, h = np.random.default_rng(5).standard_normal(w3.shape), 1e-5
    slope = (power(w3 + h * way) - power(w3 - h * way)) / (2 * h)
    np.testing.assert_allclose(np.sum(way * jax.grad(power)(w3)), slope, rtol=1e-6)


def test_the_kernel_maps_a_sample_to_its_mean(network):
    problem = made(n_orients=3)
    live = ej.learn.kernel(network, problem).reshape(3 * N, RANK)
    want = ej.solve(problem, ARD, ej.inference.Unrolled(network)).mean
    got = (live @ problem.recording).reshape(want.shape)
    np.testing.assert_allclose(got, want, atol=1e-10 * np.abs(want).max())


def test_what_it_does_not_take():
    problem, method = made(), ej.inference.Unrolled()
    with pytest.raises(ej.InputError, match=r"flat ARD prior, got StudentT.*EM"):
        ej.solve(problem, ej.models.StudentT(), method)
    with pytest.raises(ej.InputError, match=r"with a hyper-prior"):
        ej.solve(problem, ej.models.ARD(dist.Gamma(1.0, 1.0)), method)
    with pytest.raises(ej.InputError, match=r"Unrolled takes the noise covariance as it is"):
        ej.solve(problem, ARD, method, noise=ej.models.noise.Scalar())
    rng = np.random.default_rng(0)
    nowhere = ej.from_arrays(
        rng.standard_normal((4, 6)), rng.standard_normal((4, 2)), noise_cov=1.0
    )
    with pytest.raises(ej.InputError, match=r"no positions.*EM"):
        ej.solve(nowhere, ARD, method)
    with pytest.raises(ej.InputError, match="network must be"):
        ej.inference.Unrolled("weights.npz")


@pytest.mark.parametrize(("n", "rank", "n_times"), [(1, 3, 4), (6, 4, 1), (6, 4, 3)])
@pytest.mark.filterwarnings("ignore::esijax.EsijaxWarning")
def test_small_problems(n, rank, n_times):
    """One location, one sample, a location that no sensor sees."""
    rng = np.random.default_rng(0)
    gain = rng.standard_normal((rank, n))
    data = 4 * gain[:, :1] @ rng.standard_normal((1, n_times))
    if n > 1:
        gain[:, 2] = 0.0
    positions = 0.02 * rng.standard_normal((n, 3)) + np.array([0.0, 0.0, 0.05])
    problem = ej.from_arrays(gain, data, noise_cov=1.0, positions=positions)
    estimate = ej.solve(problem, ARD, ej.inference.Unrolled())
    assert np.isfinite(np.asarray(estimate.mean)).all()
    assert np.isfinite(np.asarray(estimate.std)).all()
    assert np.abs(np.asarray(estimate.mean)).sum(axis=(1, 2)).argmax() == 0


@pytest.mark.filterwarnings("ignore::esijax.EsijaxWarning")
def test_a_lost_rank_and_a_dead_channel_change_nothing():
    """Average reference with a dead channel beside: the map is that without the channel."""
    rng = np.random.default_rng(2)
    gain, positions = rng.standard_normal((RANK, N)), 0.03 * rng.standard_normal((N, 3))
    data = 4 * gain[:, [4]] * np.hanning(11)[1:-1] + rng.standard_normal((RANK, 9))
    center = np.eye(RANK) - 1.0 / RANK
    alone = ej.from_arrays(center @ gain, center @ data, noise_cov=center, positions=positions)
    assert alone.rank == RANK - 1
    want = ej.solve(alone, ARD, ej.inference.Unrolled())
    assert np.isfinite(np.asarray(want.std)).all()
    assert np.abs(np.asarray(want.mean)).sum(axis=(1, 2)).argmax() == 4
    rows = np.vstack([center @ gain, np.zeros(N)]), np.vstack([center @ data, np.zeros(9)])
    cov = np.zeros((RANK + 1, RANK + 1))
    cov[:RANK, :RANK] = center
    dead = ej.from_arrays(*rows, noise_cov=cov, positions=positions)
    got = ej.solve(dead, ARD, ej.inference.Unrolled())
    np.testing.assert_allclose(got.mean, want.mean, atol=1e-9 * np.abs(want.mean).max())


@pytest.mark.filterwarnings("ignore::esijax.EsijaxWarning")
def test_single_precision_gives_the_same_map(network):
    """Problems of float32 stay so, to its digits."""
    want = ej.solve(made(), ARD, ej.inference.Unrolled(network))
    with jax.enable_x64(False):
        single = jax.tree.map(lambda w: w.astype(jnp.float32), network)
        got = ej.solve(made(), ARD, ej.inference.Unrolled(single))
    assert got.mean.dtype == jnp.float32
    np.testing.assert_allclose(got.mean, want.mean, atol=2e-4 * np.abs(want.mean).max())
