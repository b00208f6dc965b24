"""Training: what is drawn, what is lowered, taken up by another process."""

import hashlib
import subprocess
import sys
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import training

import esijax as ej
from esijax.app.train import DEFAULTS, read_task
from esijax.learn import inputs, loss
from esijax.learn.calibrate import fitted_scale
from esijax.models.networks import MeshNetwork

learner = sys.modules["esijax.learn.train"]


@pytest.fixture(scope="module")
def task():
    return training.task()


@pytest.fixture(scope="module")
def data(task):
    return learner.TrainingData(task, jax.random.key(1))


def test_examples_are_the_simulations(task, data):
    """Covariance, peak and truth of each, by NumPy from the same draws."""
    keys = jax.random.split(jax.random.key(5), 8)
    found = data.draw(0, keys)
    scenario = task.scenarios[0]
    rank = scenario.problem.rank
    assert found.cov.shape == (8, task.rank, task.rank)
    whitener = np.asarray(scenario.problem.whitener.matrix)
    for i, key in enumerate(keys):
        drawn = scenario.draw(jax.random.split(key)[0])
        y = whitener @ np.asarray(drawn.recording)
        peak = int(np.argmax((y**2).sum(axis=0)))
        windows = [
            np.abs(np.arange(y.shape[1]) - peak) <= n // 2 for n in (*inputs.WINDOWS, y.shape[1])
        ]
        covs = [y[:, w] @ y[:, w].T / w.sum() for w in windows]
        cov = np.asarray(found.cov[i])[:rank, :rank]
        assert min(np.abs(cov - c).max() for c in covs) < 1e-4 * np.abs(cov).max()
        np.testing.assert_allclose(found.peak[i, :rank], y[:, peak], rtol=1e-4, atol=1e-4)
        truth = 1e9 * np.asarray(drawn.truth.sources_on(scenario.problem))[..., peak]
        np.testing.assert_allclose(found.sources[i], truth, rtol=1e-4, atol=1e-5)


def test_training_solves_as_the_product_does(task, data):
    """The single precision of training against `Unrolled` in double."""
    scenario = task.scenarios[0]
    problem = scenario.problem
    network = MeshNetwork(jax.random.key(1))
    w3 = 0.05 * jax.random.normal(jax.random.key(2), network.layers["w3"].shape)
    network = eqx.tree_at(lambda n: n.layers, network, network.layers | {"w3": w3})
    drawn = scenario.draw(jax.random.key(3))
    problem = problem.with_data(drawn.recording)
    want = ej.solve(problem, ej.models.ARD(), ej.inference.Unrolled(network))
    y = np.asarray(problem.data, np.float32)
    pad = task.rank - problem.rank
    y = np.pad(y, ((0, pad), (0, 0)))
    single = jax.tree.map(lambda w: w.astype(jnp.float32), network)
    cov = jnp.asarray(y @ y.T / y.shape[1])
    gamma = np.exp(np.asarray(data.inputs[0].solve(single, cov)))
    np.testing.assert_allclose(gamma, want.hyper["gamma"], rtol=2e-2)
    peak = int(np.argmax((y**2).sum(axis=0)))
    mean, std = loss.posterior_at(data.inputs[0], jnp.asarray(gamma), jnp.asarray(y[:, peak]))
    scale = 1e9 * np.abs(want.mean[..., peak]).max()
    np.testing.assert_allclose(mean, 1e9 * want.mean[..., peak], atol=2e-2 * scale)
    np.testing.assert_allclose(std, 1e9 * want.std[..., 0], rtol=2e-2)


def test_the_score_is_bounded_and_proper():
    """The right spread of a normal scores best; being sure of a silent source gains little."""
    rng = np.random.default_rng(0)
    truth = jnp.asarray(rng.standard_normal((20_000, 1)))
    spread = [0.6, 0.8, 1.0, 1.25, 1.7]
    scores = [float(loss.log_score(0 * truth, jnp.full_like(truth, s), truth)) for s in spread]
    assert int(np.argmin(scores)) == 2
    silent = jnp.zeros((5, 1)).at[0].set(1.0)
    sure = loss.log_score(silent, jnp.full((5, 1), 1e-9), silent)
    assert float(sure) == pytest.approx(np.log(loss.LEAST_STD), rel=1e-6)


def test_the_map_distance_is_the_energy_distance():
    """Of normalised amplitudes: E|X - Y| - (E|X - X'| + E|Y - Y'|) / 2, pair by pair."""
    rng = np.random.default_rng(1)
    places = rng.standard_normal((12, 3))
    distance = np.linalg.norm(places[:, None] - places[None], axis=-1)
    a, b = rng.random((2, 12)) + 0.1
    p, q = a / a.sum(), b / b.sum()
    energy = p @ distance @ q - 0.5 * p @ distance @ p - 0.5 * q @ distance @ q
    kl = np.sum(q * np.log(q / p))
    got = loss.map_distance(jnp.asarray(a), jnp.asarray(b), jnp.asarray(distance))
    assert float(got) == pytest.approx(energy + loss.KL_SHARE * kl, rel=1e-4)


@pytest.fixture(scope="module")
def trained(task, tmp_path_factory):
    """A trained network, and the folder of its checkpoint."""
    folder = tmp_path_factory.mktemp("training")
    return ej.learn.train(task, key=0, checkpoint=folder, progress=False), folder


def test_training_lowers_the_held_out_score(task, data, trained):
    """On data that neither training nor the choice of the best weights has seen."""

    def score(network):
        pairs = zip(data.inputs, data.held_out, strict=True)
        each = [learner._held_out_loss(network, i, e, task.energy_weight) for i, e in pairs]
        return float(np.mean(each))

    start = inputs.in_float32(task.start(jax.random.key(0)))
    assert score(trained[0].network) < score(start) - 0.02


def test_the_constant_makes_the_chosen_nominal(task, data):
    """Of variances a quarter as large, four times as large."""
    network = jax.tree.map(lambda w: w.astype(jnp.float32), MeshNetwork(jax.random.key(0)))
    found = fitted_scale(network, data.inputs, data.held_out).network.scale
    low = jnp.full_like(network.layers["b3"], 0.0).at[-1].set(float(np.arctanh(-np.log(4.0) / 3.0)))
    small = eqx.tree_at(lambda n: n.layers["b3"], network, low)
    again = fitted_scale(small, data.inputs, data.held_out).network.scale
    assert float(again / found) == pytest.approx(4.0, rel=0.15)


# ------------------------------------------------------------------ resumed
def in_a_process(folder, steps):
    line = [sys.executable, training.__file__, str(folder), str(steps)]
    done = subprocess.run(line, capture_output=True, text=True, check=True, timeout=600)
    return done.stdout.split()[-1]


@pytest.mark.slow
def test_another_process_goes_on_bitwise(tmp_path):
    whole = in_a_process(tmp_path / "whole", 0)
    assert in_a_process(tmp_path / "parts", 4) == "stopped"
    assert in_a_process(tmp_path / "parts", 0) == whole


def test_a_checkpoint_of_another_task_is_refused(trained):
    with pytest.raises(ej.InputError, match="another problem"):
        ej.learn.train(training.task(patience=99), key=0, checkpoint=trained[1], progress=False)


def test_a_finished_training_is_not_trained_again(task, trained, monkeypatch):
    """Nothing but the constant is worked out anew."""
    monkeypatch.setattr(learner, "_step", None)
    again = ej.learn.train(task, key=0, checkpoint=trained[1], progress=False)
    assert training.digest(again.network) == training.digest(trained[0].network)


def test_a_loss_that_is_not_finite_goes_back_once(task, data):
    network = inputs.in_float32(task.start(jax.random.key(0)))
    carry = learner._first(task, network)
    spoilt = eqx.tree_at(lambda c: c.layers["w1"], carry, carry.layers["w1"] * jnp.nan)
    again, value = learner._step(task, network, data, spoilt, jax.random.key(1))
    assert not np.isfinite(float(value))
    assert float(again.rate) == 0.5
    assert np.isfinite(np.asarray(again.layers["w1"])).all()
    spoilt = eqx.tree_at(lambda c: c.layers["w1"], again, again.layers["w1"] * jnp.nan)
    last, _ = learner._step(task, network, data, spoilt, jax.random.key(1))
    assert int(last.step) == task.steps


# ------------------------------------------------------------------ task files
def test_a_task_file(tmp_path):
    path = tmp_path / "task.toml"
    path.write_text("")
    assert read_task(path) == DEFAULTS
    path.write_text('[network]\nkind = "smoothing"\n[training]\nsteps = 7\n')
    found = read_task(path)
    assert (found["network"]["kind"], found["training"]["steps"]) == ("smoothing", 7)
    assert found["heads"] == DEFAULTS["heads"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[network]\nlayers = 3\n", r"\[network\] has no key 'layers'"),
        ("[nets]\nkind = 1\n", "no section 'nets'"),
        ("steps = 3\n", "no section 'steps'"),
        ("[training\n", "cannot be read as TOML"),
    ],
)
def test_mistakes_in_a_task_file(tmp_path, text, said):
    path = tmp_path / "task.toml"
    path.write_text(text)
    with pytest.raises(ej.InputError, match=said):
        read_task(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"steps": 0}, "steps must be a positive whole number"),
        ({"rate": -1.0}, "rate"),
        ({"epochs": 3}, "no 'epochs'"),
        ({"network": "transformer"}, "network must be one of"),
    ],
)
def test_bad_tasks(task, change, said):
    with pytest.raises(ej.InputError, match=said):
        ej.learn.Task(task.scenarios, **change)
    with pytest.raises(ej.InputError, match="at least one"):
        ej.learn.Task([])


def test_digest_is_of_the_weights():
    """What `training.py` prints in its process."""
    one = MeshNetwork(jax.random.key(0))
    assert training.digest(one) == training.digest(one)
    assert training.digest(one) != training.digest(MeshNetwork(jax.random.key(1)))
    assert len(training.digest(one)) == len(hashlib.sha256().hexdigest())
    assert Path(training.__file__).name == "training.py"
