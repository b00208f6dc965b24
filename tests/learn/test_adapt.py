"""Adaptation without truth: densities by NumPy, what moves, and a guard that can say no."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import esijax as ej
from esijax.learn.inputs import inputs_of
from esijax.learn.without_truth import (
    Recording,
    channel_basis,
    channels_loss,
    evidence_loss,
    sure_loss,
)
from esijax.models.networks import MeshNetwork, Smoothing
from esijax.testing.promises import programs_compiled

N_CHANNELS, N, N_TIMES = 14, 20, 24
PLAIN = MeshNetwork(jax.random.key(0), n_layers=3)


def problem(seed=0, n_trials=0):
    """One source, channels of unequal noise; `n_trials` of them where there are trials."""
    rng = np.random.default_rng(seed)
    gain = rng.standard_normal((N_CHANNELS, N))
    std = np.linspace(0.5, 2.0, N_CHANNELS)[:, None]
    shape = (n_trials, N_CHANNELS, N_TIMES) if n_trials else (N_CHANNELS, N_TIMES)
    data = 3 * gain[:, [4]] * np.hanning(N_TIMES) + std * rng.standard_normal(shape)
    positions = 0.03 * np.random.default_rng(9).standard_normal((N, 3))
    return ej.from_arrays(gain, data, noise_cov=np.diag(std[:, 0] ** 2), positions=positions)


def recording_of(of):
    cov = jnp.asarray(of.data @ of.data.T / N_TIMES)
    made = inputs_of(of, of.rank, distance=False)
    exact = jax.tree.map(lambda a: a.astype(float) if a.dtype == jnp.float32 else a, made)
    return Recording(exact, of.data, cov, cov)


def test_held_out_channels_have_their_conditional_density():
    """The basis splits the data as the channels do, whatever the noise covariance."""
    of = problem()
    recording, kept = recording_of(of), np.array([0, 3, 4, 7, 8, 9, 11, 13])
    rest = np.setdiff1d(np.arange(N_CHANNELS), kept)
    colorer = np.asarray(of.whitener.colorer)
    basis = channel_basis(colorer, kept)
    np.testing.assert_allclose(basis.T @ basis, np.eye(of.rank), atol=1e-12)
    got = float(channels_loss(PLAIN, recording, jnp.asarray(basis), len(kept)))
    few = jnp.tensordot(basis.T[: len(kept)], recording.inputs.gain, 1)
    few = eqx.tree_at(lambda i: i.gain, recording.inputs, few)
    heard = basis.T[: len(kept)] @ np.asarray(of.data)
    gamma = np.exp(few.solve(PLAIN, jnp.asarray(heard @ heard.T / N_TIMES)))
    variance = gamma * np.asarray(of.prior_scale * of.source_unit)[:, 0] ** 2
    gain = np.asarray(colorer @ of.gain[:, :, 0]) / float(of.source_unit)
    sigma = gain * variance @ gain.T + colorer @ colorer.T
    x = np.asarray(of.recording)

    def density(rows):
        return scipy.stats.multivariate_normal(cov=sigma[np.ix_(rows, rows)]).logpdf(x[rows].T)

    every = np.concatenate([kept, rest])
    conditional = np.mean(density(every) - density(kept))
    # what is left out of the loss: constants, and the Jacobian of whitening the rest
    noise = colorer @ colorer.T
    given = noise[np.ix_(rest, rest)] - noise[np.ix_(rest, kept)] @ np.linalg.solve(
        noise[np.ix_(kept, kept)], noise[np.ix_(kept, rest)]
    )
    constant = 0.5 * (len(rest) * np.log(2 * np.pi) + np.linalg.slogdet(given)[1])
    np.testing.assert_allclose(got * len(rest), -conditional - constant, rtol=1e-8)


def test_evidence_is_that_of_the_estimate():
    of = problem()
    got = float(evidence_loss(PLAIN, recording_of(of))) * of.rank
    estimate = ej.solve(of, ej.models.ARD(), ej.inference.Unrolled(PLAIN))
    constant = 0.5 * of.rank * np.log(2 * np.pi) - float(of.whitener.log_pdet)
    np.testing.assert_allclose(-got - constant, float(estimate.log_evidence) / N_TIMES, rtol=1e-8)


@pytest.mark.slow
def test_sure_is_unbiased_over_probes():
    """Its mean over probes is the one with the dense divergence."""
    of = problem()
    recording = recording_of(of)
    inputs, data = recording.inputs, recording.data

    def fitted(data):
        gamma = jnp.exp(inputs.solve(PLAIN, data @ data.T / N_TIMES))
        return data - jnp.linalg.solve(inputs.sigma(gamma), data)

    dense = jax.jacobian(lambda d: fitted(d.reshape(data.shape)).ravel())(data.ravel())
    error = jnp.mean((data - fitted(data)) ** 2)
    want = float(error + 2 * jnp.trace(dense) / data.size)
    keys = jax.random.split(jax.random.key(0), 400)
    found = jax.lax.map(lambda k: sure_loss(PLAIN, recording, k), keys)
    assert abs(float(found.mean()) - want) < 4 * float(found.std()) / 20
    assert float(found.std()) < 0.2 * abs(want)


@pytest.mark.parametrize(
    ("by", "n_trials"),
    [
        ("channels", 0),
        pytest.param("trials", 16, marks=pytest.mark.slow),
        pytest.param("sure", 0, marks=pytest.mark.slow),
        pytest.param("evidence", 0, marks=pytest.mark.slow),
    ],
)
def test_what_no_step_saw_becomes_more_likely(by, n_trials):
    """Steps that overshoot are mended; nothing but steps and the last layer moves."""
    start = PLAIN.layers | {"step": jnp.full(3, 2.6)}
    network = eqx.tree_at(lambda n: n.layers, PLAIN, start)
    trained = ej.learn.adapt(
        network, [problem(i, n_trials) for i in range(3)], key=0, by=by, steps=40, rate=0.02,
        progress=False,
    )  # fmt: skip
    about = trained.about["adapted"]
    assert about["kept"]
    assert set(about["before"]) == ({"channels", "trials"} if n_trials else {"channels"})
    assert all(about["after"][k] > about["before"][k] for k in about["before"])
    for name, weights in trained.network.layers.items():
        same = np.array_equal(weights, start[name])
        assert same == (name not in ("step", "w3", "b3")), name
    assert float(trained.network.scale) == float(network.scale)


def test_the_guard_brings_old_weights_back():
    """Steps far too long spoil the weights; none of it is left, and it is said."""
    with pytest.warns(ej.EsijaxWarning, match="did not become more likely"):
        trained = ej.learn.adapt(
            PLAIN, [problem()], key=0, steps=6, rate=30.0, progress=False
        )  # fmt: skip
    assert not trained.about["adapted"]["kept"]
    for name, weights in trained.network.layers.items():
        np.testing.assert_array_equal(weights, PLAIN.layers[name])


def test_the_same_key_gives_the_same_weights():
    """And the second call compiles nothing."""
    given = {"key": 3, "steps": 3, "progress": False}
    one = ej.learn.adapt(Smoothing(n_layers=3), [problem()], **given)
    with programs_compiled() as names:
        two = ej.learn.adapt(Smoothing(n_layers=3), [problem()], **given)
    assert not names
    for name, weights in one.network.layers.items():
        np.testing.assert_array_equal(weights, two.network.layers[name])


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"by": "votes"}, "by must be one of"),
        ({"by": "trials"}, "problem of 8 trials"),
        ({"steps": 0}, "steps must be"),
        ({"rate": -1.0}, "rate"),
        ({"problems": []}, "at least one"),
        ({"network": "mine"}, "adapt takes a network of variances"),
    ],
)
def test_what_cannot_be_adapted_is_refused(given, told):
    arguments = {"network": PLAIN, "problems": [problem()]} | given
    network, problems = arguments.pop("network"), arguments.pop("problems")
    with pytest.raises(ej.InputError, match=told):
        ej.learn.adapt(network, problems, key=0, progress=False, **arguments)


def test_few_dimensions_are_refused():
    gain = np.random.default_rng(0).standard_normal((4, 6))
    places = 0.03 * np.random.default_rng(1).standard_normal((6, 3))
    small = ej.from_arrays(gain, gain[:, :3], noise_cov=1.0, positions=places)
    with pytest.raises(ej.InputError, match="rank 4"):
        ej.learn.adapt(PLAIN, [small], key=0, progress=False)
