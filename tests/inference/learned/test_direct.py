"""Direct networks: the minimum norm before training; of one lead field, any other is refused."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import esijax as ej
from esijax.models.networks import ISTA, MLP, DirectNetwork, LinearMap, Trained

# weights at random explain nothing, and `solve` says so
pytestmark = pytest.mark.filterwarnings("ignore:the map explains")
N, RANK = 20, 8
KEY = jax.random.key(0)


def made(n_orients=1, noise=1.0, unit=1.0, order=None, rows=None, moved=0.0):
    rng = np.random.default_rng(0)
    gain = rng.standard_normal((RANK, N, n_orients))
    data = 4 * gain[:, 4, 0, None] * np.hanning(8)[1:-1] + rng.standard_normal((RANK, 6))
    gain = gain + moved * rng.standard_normal(gain.shape)
    order = np.arange(N) if order is None else order
    rows = np.arange(RANK) if rows is None else rows
    gain = unit * gain[np.ix_(rows, order)]
    gain = gain if n_orients > 1 else gain[:, :, 0]
    return ej.from_arrays(gain, data[rows], noise_cov=noise)


def network(kind, problem):
    """Weights that are not those of the start."""
    start = kind.untrained(KEY, problem)
    rng = np.random.default_rng(1)
    layers = {k: v + 0.1 * rng.standard_normal(v.shape) for k, v in start.layers.items()}
    return eqx.tree_at(lambda n: n.layers, start, layers)


def solved(problem, net):
    return ej.solve(problem, None, ej.inference.Direct(net))


@pytest.mark.parametrize(("kind", "n_orients"), [(LinearMap, 1), (LinearMap, 3), (MLP, 3)])
def test_it_begins_as_the_minimum_norm(kind, n_orients):
    problem = made(n_orients)
    got = solved(problem, kind.untrained(KEY, problem))
    want = ej.solve(problem, ej.models.MinimumNorm(1 / 9), ej.inference.Linear())
    np.testing.assert_allclose(got.mean, want.mean, atol=1e-12 * np.abs(want.mean).max())
    if kind is LinearMap:
        np.testing.assert_allclose(got.kernel, want.kernel, atol=1e-12 * np.abs(want.kernel).max())
    np.testing.assert_allclose(got.predicted, want.predicted, atol=1e-12)


def test_a_matrix_has_a_kernel_and_an_mlp_has_none():
    problem = made(3)
    estimate = solved(problem, network(LinearMap, problem))
    got = estimate.kernel.reshape(-1, RANK) @ problem.recording
    np.testing.assert_allclose(got.reshape(estimate.mean.shape), estimate.mean, rtol=1e-10)
    with pytest.raises(ej.InputError, match="no kernel"):
        solved(problem, network(MLP, problem)).kernel  # noqa: B018
    assert estimate.std is None
    assert estimate.log_evidence is None
    with pytest.raises(ej.InputError, match="no interval"):
        estimate.interval()


def test_the_mlp_is_what_its_formula_says():
    """Sample by sample in NumPy."""
    problem = made(3)
    net = network(MLP, problem)
    w = {k: np.asarray(v) for k, v in net.layers.items()}

    def gelu(x):
        return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))

    got = np.asarray(solved(problem, net).mean)
    for t, y in enumerate(np.asarray(problem.data).T):
        x = gelu(5 * y / np.linalg.norm(y) @ w["w1"] + w["b1"])
        x = gelu(5 * x @ w["w2"] / np.sqrt(len(x)) + w["b2"])
        passed = np.exp(6 * np.tanh((5 * x @ w["w3"] / np.sqrt(len(x)) + w["b3"]) / 6))
        z = passed[:, None] * np.exp(w["log_size"]) * (w["map"] @ y)
        want = np.asarray(problem.prior_scale * problem.source_unit) * z
        np.testing.assert_allclose(got[..., t], want, atol=1e-12 * np.abs(want).max())


@pytest.mark.filterwarnings("ignore:data is all zero")
@pytest.mark.parametrize("kind", [LinearMap, MLP])
def test_it_has_no_scale(kind):
    """Data twice as large, and sources in another unit."""
    problem = made()
    net = network(kind, problem)
    want = solved(problem, net).mean
    twice = solved(problem.with_data(2 * problem.recording), net).mean
    np.testing.assert_allclose(twice, 2 * want, rtol=1e-10)
    silent = solved(problem.with_data(0 * problem.recording), net).mean
    assert not np.asarray(silent).any()
    other = solved(made(unit=1e6), net).mean
    np.testing.assert_allclose(1e6 * other, want, atol=1e-10 * np.abs(want).max())


@pytest.mark.parametrize("kind", [LinearMap, MLP])
def test_jit_vmap_and_grad(kind):
    problem = made()
    net = network(kind, problem)

    def power(data, layers):
        moved = eqx.tree_at(lambda n: n.layers, net, layers)
        return jnp.sum(solved(problem.with_data(data), moved).mean ** 2)

    one = jax.jit(power)
    data, want = problem.recording, jnp.sum(solved(problem, net).mean ** 2)
    np.testing.assert_allclose(one(data, net.layers), want, rtol=1e-10)
    both = jax.jit(jax.vmap(power, (0, None)))(jnp.stack([data, 2 * data]), net.layers)
    np.testing.assert_allclose(both, [want, 4 * want], rtol=1e-10)
    rng, h, at = np.random.default_rng(5), 1e-6, (data, net.layers)
    way = jax.tree.map(lambda w: rng.standard_normal(w.shape), at)
    ends = [one(*jax.tree.map(lambda a, b, s=s: a + s * h * b, at, way)) for s in (1, -1)]
    found = jax.jit(jax.grad(power, (0, 1)))(*at)
    total = sum(jnp.sum(a * b) for a, b in zip(*map(jax.tree.leaves, (found, way)), strict=True))
    np.testing.assert_allclose(total, (ends[0] - ends[1]) / (2 * h), rtol=1e-6)
    silent = jax.jit(jax.grad(power, (0, 1)))(0 * data, net.layers)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(silent))


def test_trials():
    problem = made()
    net = network(MLP, problem)
    many = problem.with_data(np.stack([problem.recording, -problem.recording[:, ::-1]]))
    got = solved(many, net).mean
    assert got.shape == (2, N, 1, 6)
    want = solved(problem.with_data(many.recording[1]), net).mean
    np.testing.assert_allclose(got[1], want, rtol=1e-10)


# ------------------------------------------------------------------ one lead field
def test_new_data_and_rounding_are_the_same_head():
    problem = made()
    net = LinearMap.untrained(KEY, problem)
    solved(problem.with_data(np.ones((RANK, 2))), net)
    single = jax.tree.map(lambda w: w.astype(jnp.float32), net)
    solved(problem, single)
    rounded = dataclasses.replace(problem, gain=problem.gain.astype(jnp.float32).astype(float))
    solved(rounded, single)
    average = made(noise=1 / 40.0)  # of 40 trials
    solved(average, net)


OTHERS = {
    "moved sensors": {"moved": 0.01},
    "channels in another order": {"rows": np.arange(RANK)[::-1]},
    "locations in another order": {"order": np.roll(np.arange(N), 1)},
    "one channel less": {"rows": np.arange(RANK - 1)},
    "fewer locations": {"order": np.arange(N - 1)},
    "free orientation": {"n_orients": 3},
    "another noise covariance": {"noise": np.diag(np.linspace(0.5, 2.0, RANK))},
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("kind", [LinearMap, MLP])
def test_another_lead_field_is_refused(kind, name):
    net = kind.untrained(KEY, made())
    with pytest.raises(ej.InputError, match=r"another lead field.*train one for this head"):
        solved(made(**OTHERS[name]), net)


def test_sizes_are_checked_where_values_cannot_be_seen():
    net = LinearMap.untrained(KEY, made())

    def power(problem):
        return jnp.sum(solved(problem, net).mean ** 2)

    problem = made()
    want = jnp.sum(solved(problem, net).mean ** 2)
    np.testing.assert_allclose(eqx.filter_jit(power)(problem), want, rtol=1e-10)
    with pytest.raises(ej.InputError, match="another lead field"):
        eqx.filter_jit(power)(made(rows=np.arange(RANK - 1)))


def test_what_it_does_not_take():
    problem = made()
    with pytest.raises(ej.InputError, match=r"takes no model.*pass None"):
        ej.solve(problem, ej.models.MinimumNorm(), ej.inference.Direct(network(MLP, problem)))
    with pytest.raises(ej.InputError, match=r"got ISTA: inference\.Unrolled"):
        ej.inference.Direct(Trained(ISTA()))
    with pytest.raises(ej.InputError, match="got str"):
        ej.inference.Direct("weights.npz")
    with pytest.raises(ej.InputError, match="takes the noise covariance as it is"):
        ej.solve(
            problem, None, ej.inference.Direct(network(MLP, problem)),
            noise=ej.models.noise.Scalar(),
        )  # fmt: skip


def test_an_estimate_comes_back_from_its_file(tmp_path):
    problem = made()
    estimate = solved(problem, network(LinearMap, problem))
    path = tmp_path / "map.h5"
    ej.io.save(estimate, path)
    back = ej.io.load(path)
    np.testing.assert_array_equal(back.mean, estimate.mean)
    np.testing.assert_array_equal(back.kernel, estimate.kernel)


def test_a_map_of_ones_own():
    """One class with one method."""

    class Matched(DirectNetwork):
        layers: dict
        digest: jax.Array

        def of_sample(self, sample):
            return self.layers["field"] @ sample

    problem = made(3)
    field = jnp.moveaxis(problem.gain * problem.prior_scale, 0, -1)
    net = Matched({"field": field}, jnp.zeros(67)).of(problem)
    found = solved(problem, net)
    assert int(jnp.linalg.norm(found.mean, axis=(1, 2)).argmax()) == 4
    with pytest.raises(ej.InputError, match="another lead field"):
        solved(made(3, moved=0.1), net)
