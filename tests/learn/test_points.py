"""Training of networks that give a map alone: of sources by proximal steps, and direct ones."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import training

import esijax as ej
from esijax.app.train import DEFAULTS, read_task
from esijax.learn import inputs, loss
from esijax.models.networks import FISTA, ISTA, MLP, LinearMap

learner = sys.modules["esijax.learn.train"]
KINDS = ("ista", "fista", "linear", "mlp")
DIRECT = ("linear", "mlp")


@pytest.fixture(scope="module")
def scenarios():
    return training.task().scenarios


def task_of(scenarios, kind, **schedule):
    some = scenarios[:1] if kind in DIRECT else scenarios
    few = {"steps": 40, "batch": 8, "held_out": 8, "score_every": 10}
    return ej.learn.Task(some, kind, **(few | schedule))


def held_out(task, key, network):
    data = learner.TrainingData(task, key)
    pairs = zip(data.inputs, data.held_out, strict=True)
    return float(np.mean([learner._held_out_loss(network, *p, task.energy_weight) for p in pairs]))


def test_the_loss_is_what_its_formula_says(scenarios):
    """Squared error over the truth's, and the energy distance of the amplitudes; in NumPy."""
    task = task_of(scenarios, "linear")
    data = learner.TrainingData(task, jax.random.key(1))
    net = inputs.in_float32(task.start(jax.random.key(0)))
    one, given = data.held_out[0], data.inputs[0]
    matrix, size = np.asarray(net.matrix, float), np.asarray(given.amplitude, float)
    each = []
    for y, x in zip(np.asarray(one.peak, float), np.asarray(one.sources, float), strict=True):
        found = size * (matrix @ y)
        p, q = (np.linalg.norm(a, axis=-1) for a in (found, x))
        p, q = p / p.sum(), q / q.sum()
        energy = -0.5 * (p - q) @ np.asarray(given.distance, float) @ (p - q)
        seen = q > 0
        kl = np.sum(q[seen] * np.log(q[seen] / p[seen]))
        error = ((found - x) ** 2).sum() / (x**2).sum()
        each.append(error + 0.2 * (energy + loss.KL_SHARE * kl))
    got = float(loss.loss(net, given, one, 0.2))
    assert got == pytest.approx(np.mean(each), rel=1e-3)


@pytest.mark.parametrize("kind", ["fista", "mlp"])
def test_training_solves_as_the_product_does(scenarios, kind):
    """The single precision of training, ranks padded, against `solve` in double."""
    task = task_of(scenarios, kind)
    problem = task.scenarios[0].problem
    data = learner.TrainingData(task, jax.random.key(1))
    net = task.start(jax.random.key(0))
    peak = data.held_out[0].peak[0]
    problem = problem.with_data(problem.whitener.colorer @ peak[: problem.rank, None].astype(float))
    if kind == "mlp":
        want = ej.solve(problem, None, ej.inference.Direct(net)).mean
    else:
        want = ej.solve(problem, ej.models.L21(ej.relative(0.4)), ej.inference.Unrolled(net)).mean
    found = inputs.in_float32(net).sources(data.inputs[0].gain, peak[:, None])
    got = 1e-9 * found[..., 0] * data.inputs[0].amplitude
    np.testing.assert_allclose(got, want[..., 0], atol=1e-4 * np.abs(want).max())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore:the map explains")
def test_training_lowers_the_loss_of_data_that_it_never_sees(scenarios, kind, tmp_path):
    task = task_of(scenarios, kind)
    net = ej.learn.train(task, key=0, progress=False)
    start = inputs.in_float32(task.start(jax.random.key(0)))
    unseen = jax.random.key(77)
    assert held_out(task, unseen, net.network) < held_out(task, unseen, start) - 0.005
    back = ej.learn.load(ej.learn.save(net, tmp_path / "weights.npz"))
    assert training.digest(inputs.in_float32(back.network)) == training.digest(net.network)
    direct = kind in DIRECT
    method = (ej.inference.Direct if direct else ej.inference.Unrolled)(back)
    model = None if direct else ej.models.L21(ej.relative(0.4))
    mean = ej.solve(scenarios[0].problem, model, method).mean
    assert np.isfinite(np.asarray(mean)).all()
    with pytest.raises(ej.InputError, match="another lead field" if direct else "L21"):
        ej.solve(scenarios[1].problem, None, method)


@pytest.mark.parametrize("kind", ["fista", "mlp"])
def test_it_goes_on_bitwise(scenarios, kind, tmp_path, monkeypatch):
    task = task_of(scenarios, kind, steps=6, score_every=2)
    whole = ej.learn.train(task, key=0, checkpoint=tmp_path / "whole", progress=False)
    step, made = learner._step, []

    def counted(*args):
        if len(made) == 3:
            raise KeyboardInterrupt
        made.append(1)
        return step(*args)

    with monkeypatch.context() as patch:
        patch.setattr(learner, "_step", counted)
        with pytest.raises(KeyboardInterrupt):
            ej.learn.train(task, key=0, checkpoint=tmp_path / "parts", progress=False)
    parts = ej.learn.train(task, key=0, checkpoint=tmp_path / "parts", progress=False)
    assert training.digest(parts.network) == training.digest(whole.network)


def test_tasks_of_direct_networks_have_one_lead_field(scenarios):
    for network in (*DIRECT, MLP.untrained(jax.random.key(0), scenarios[0].problem)):
        with pytest.raises(ej.InputError, match=r"of one lead field.*several.*'mesh', 'ista'"):
            ej.learn.Task(scenarios, network)
    again = scenarios[0].problem.with_data(jnp.ones_like(scenarios[0].problem.recording))
    same = ej.simulate.Scenario(
        scenarios[0].head, again, scenarios[0].sources, scenarios[0].waveform, scenarios[0].noise
    )
    ej.learn.Task([scenarios[0], same], "linear")


def test_a_network_of_another_head_is_not_trained(scenarios):
    net = LinearMap.untrained(jax.random.key(0), scenarios[1].problem)
    with pytest.raises(ej.InputError, match="another lead field"):
        ej.learn.Task(scenarios[:1], net)


def test_tasks_take_networks_by_name_or_as_objects(scenarios):
    assert len(task_of(scenarios, ISTA(n_layers=3)).start(None).layers["step"]) == 3
    assert isinstance(task_of(scenarios, "fista").start(jax.random.key(0)), FISTA)
    with pytest.raises(ej.InputError, match=r"one of \['mesh'.*'mlp'\].*got 'ISTA'"):
        ej.learn.Task(scenarios, "ISTA")
    with pytest.raises(ej.InputError, match="got 'dict'"):
        ej.learn.Task(scenarios, {})


def test_there_is_no_constant_to_fit(scenarios):
    with pytest.raises(ej.InputError, match="ISTA states no spread"):
        ej.learn.calibrate(ej.learn.Trained(ISTA()), scenarios, key=0)


# ------------------------------------------------------------------ task files
@pytest.mark.parametrize("kind", KINDS)
def test_a_task_file(tmp_path, kind):
    path = tmp_path / "task.toml"
    path.write_text(f'[network]\nkind = "{kind}"\n[heads]\nchannels = [20]\n')
    found = read_task(path)
    assert found["network"]["kind"] == kind
    assert found["calibration"]["scenarios"] == []
    path.write_text("")
    assert read_task(path) == DEFAULTS


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[network]\nkind = "transformer"\n', "kind is 'transformer'.*mlp"),
        ('[network]\nkind = ["mlp"]\n', "kind is .'mlp'."),
        ('[network]\nkind = "mlp"\n', r"channels = \[28, 36, 64\].*give one number"),
        ('[network]\nkind = "mlp"\n[heads]\nchannels = 64\n', "must be a list"),
        (
            '[network]\nkind = "ista"\n[calibration]\nscenarios = ["low SNR"]\n',
            r"\[calibration\].*leave it out",
        ),
    ],
)
def test_mistakes_in_a_task_file(tmp_path, text, said):
    path = tmp_path / "task.toml"
    path.write_text(text)
    with pytest.raises(ej.InputError, match=said):
        read_task(path)
