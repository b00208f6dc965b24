"""Long solves go round by round: Ctrl-C, checkpoints, and the answer of the compiled loop."""

import contextlib

import jax
import numpy as np
import pytest

import esijax as ej
from esijax.estimate import RESULT
from esijax.inference import MAP, select
from esijax.inference.sparse.base import descent as _descent
from esijax.models import L21, SISSY, Elastic, TimeFrequency
from esijax.models.noise import Huber

TIGHT, LOOSE = MAP(tol=1e-10), MAP(tol=1e-5)
# samples, model, noise: one of each descent
CASES = {
    "proximal": (5, Elastic(2.0, 0.8), None),
    "time-frequency": (24, TimeFrequency(4.0, 0.2, 8, 4), None),
    "primal-dual": (5, SISSY(0.1, 0.4), None),
    "robust": (5, L21(2.0), Huber(1.0)),
    "robust, proximal": (5, Elastic(2.0, 0.8), Huber(1.0)),
    "robust, primal-dual": (5, SISSY(0.3, 0.4), Huber(1.0)),
    "robust, time-frequency": (24, TimeFrequency(4.0, 0.2, 8, 4), Huber(1.0)),
}


def method_of(name):
    """Robust noise takes many turns of what is slow."""
    return LOOSE if name.startswith("robust, ") else TIGHT


FEW = ("proximal",)
pytestmark = pytest.mark.filterwarnings("ignore:the map explains:esijax.EsijaxWarning")


def sheet(n_times, trials=()):
    rng = np.random.default_rng(0)
    places = np.stack(np.meshgrid(np.arange(4), np.arange(3), [0.0]), -1).reshape(-1, 3) * 0.01
    gain = rng.standard_normal((8, 12))
    data = 4 * gain[:, [3]] * np.hanning(n_times) + rng.standard_normal((*trials, 8, n_times))
    return ej.from_arrays(gain, data, noise_cov=1.0, positions=places)


@contextlib.contextmanager
def stopping(monkeypatch, round_number):
    """Ctrl-C in one of the rounds."""
    advance, calls = MAP.advance, []

    def interrupted(self, state):
        calls.append(1)
        if len(calls) == round_number:
            raise KeyboardInterrupt
        return advance(self, state)

    with monkeypatch.context() as patch:
        patch.setattr(MAP, "advance", interrupted)
        yield


@pytest.mark.parametrize(
    "name", [n if n in FEW else pytest.param(n, marks=pytest.mark.slow) for n in CASES]
)
def test_ctrl_c_and_checkpoint(name, monkeypatch, tmp_path):
    """What is done is returned; the rest is done later, to the same bits; jit agrees."""
    (n_times, model, noise), method = CASES[name], method_of(name)
    problem, path = sheet(n_times), tmp_path / "map"
    monkeypatch.setattr(_descent, "SECONDS", 0.0)  # a round, then the host looks
    straight = ej.solve(problem, model, method, noise=noise)
    assert bool(straight.diagnostics.converged)
    with pytest.warns(ej.EsijaxWarning, match="not converged"), stopping(monkeypatch, 2):
        part = ej.solve(problem, model, method, noise=noise, checkpoint=path)
    assert RESULT[part.result].startswith("interrupted")
    assert np.isfinite(np.asarray(part.mean)).all()
    assert not np.array_equal(part.mean, straight.mean)
    resumed = ej.solve(problem, model, method, noise=noise, checkpoint=path)
    np.testing.assert_array_equal(resumed.mean, straight.mean)
    inside = jax.jit(lambda p: ej.solve(p, model, method, noise=noise).posterior.sources)(problem)
    np.testing.assert_allclose(inside, straight.posterior.sources, atol=100 * float(method.tol))


@pytest.mark.slow
def test_working_sets_that_grew_are_taken_up(problem_factory, monkeypatch, tmp_path):
    """A checkpoint holds more locations than a fresh start does."""
    problem = problem_factory(1, n_channels=60, n_locations=300, n_times=40, seed=2)
    model, path = L21(0.03 * select.alpha_max(problem, L21(1.0))), tmp_path / "map"
    straight = ej.solve(problem, model, TIGHT)
    assert int(straight.diagnostics.rounds) > 2
    with pytest.warns(ej.EsijaxWarning, match="not converged"), stopping(monkeypatch, 3):
        part = ej.solve(problem, model, TIGHT, checkpoint=path)
    assert int(part.diagnostics.n_active) > 64
    resumed = ej.solve(problem, model, TIGHT, checkpoint=path)
    np.testing.assert_array_equal(resumed.mean, straight.mean)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_trials_are_solved_one_by_one(name):
    """As if each were a problem of its own."""
    (n_times, model, noise), method = CASES[name], method_of(name)
    problem = sheet(n_times, trials=(2,))
    both = ej.solve(problem, model, method, noise=noise)
    for k in range(2):
        one = ej.solve(problem.with_data(problem.recording[k]), model, method, noise=noise)
        np.testing.assert_allclose(both.mean[k], one.mean, atol=100 * float(method.tol))


def test_progress_is_shown(capsys):
    """A bar of the method's name."""
    n_times, model, noise = CASES["proximal"]
    ej.solve(sheet(n_times), model, TIGHT, noise=noise, progress=True)
    assert "MAP" in capsys.readouterr().err
