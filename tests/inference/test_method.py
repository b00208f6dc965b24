"""The driver, with a toy method: fixed-point iteration for the posterior mean of minimum norm."""

import dataclasses
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import esijax as ej
from esijax.estimate import RESULT, Estimate
from esijax.inference.linear.beamformer import FilterPosterior
from esijax.inference.method import Method, State


class Toy(Method):
    """x <- x + step * (G'(y - G x) - x), random start; stops after n steps."""

    n_steps: int = eqx.field(static=True, default=6)
    step_size: Any = eqx.field(converter=lambda v: jnp.asarray(v, dtype=float), default=0.01)
    needs_key: ClassVar[bool] = True
    interrupt_at: ClassVar[int | None] = None
    n_traced: ClassVar[int] = 0

    def init(self, setup):
        p = setup.problem
        x = jax.random.normal(setup.key, (p.n_locations, p.n_orients, p.n_times))
        if setup.start is not None:
            x = setup.start.mean / p.source_unit
        return State(setup, {"x": x, "n": jnp.asarray(0), "key": jax.random.key_data(setup.key)})

    def step(self, state):
        type(self).n_traced += 1
        p, x = state.setup.problem, state.carry["x"]
        left = p.data - jnp.tensordot(p.gain, x, axes=2)
        x = x + self.step_size * (jnp.einsum("rlo,rt->lot", p.gain, left) - x)
        key = jax.random.fold_in(jax.random.wrap_key_data(state.carry["key"]), state.carry["n"])
        x = x + 1e-3 * jax.random.normal(key, x.shape)
        return State(state.setup, {**state.carry, "x": x, "n": state.carry["n"] + 1})

    def done(self, state):
        n = state.carry["n"]
        if self.interrupt_at is not None and not isinstance(n, jax.core.Tracer):
            if int(n) == self.interrupt_at:
                raise KeyboardInterrupt
        return n >= self.n_steps

    def finish(self, state):
        p, x = state.setup.problem, state.carry["x"]
        # X as filters on the identity: any posterior class will do
        weights = jnp.swapaxes(x, 1, 1)
        posterior = FilterPosterior(weights, jnp.eye(p.n_times))
        return Estimate(p, posterior, model="toy", method="Toy", hyper={"n": state.carry["n"]})


KEY = jax.random.key(5)


@pytest.fixture
def interrupted(monkeypatch):
    def set_at(n):
        monkeypatch.setattr(Toy, "interrupt_at", n)

    return set_at


def run(problem, **kwargs):
    return ej.solve(problem, None, Toy(), **{"key": KEY, **kwargs})


def test_a_stochastic_method_needs_a_key(fixed):
    with pytest.raises(ej.InputError, match=r"key=jax\.random\.key"):
        ej.solve(fixed, None, Toy())


def test_host_loop_and_compiled_loop_agree(fixed):
    host = run(fixed)
    assert int(host.hyper["n"]) == 6
    assert RESULT[host.result] == "done"

    @eqx.filter_jit
    def compiled(problem, key):
        return run(problem, key=key).mean

    np.testing.assert_allclose(compiled(fixed, KEY), host.mean, rtol=1e-12)


def test_vmap_over_data(fixed):
    data = jnp.stack([fixed.recording, 2 * fixed.recording])
    got = jax.vmap(lambda d: run(fixed.with_data(d)).mean)(data)
    for g, d in zip(got, data, strict=True):
        want = np.asarray(run(fixed.with_data(d)).mean)
        np.testing.assert_allclose(g, want, rtol=1e-9, atol=1e-12 * np.abs(want).max())


def test_step_compiles_once(fixed):
    run(fixed)
    before = Toy.n_traced
    run(fixed.with_data(3 * fixed.recording), key=jax.random.key(9))
    ej.solve(fixed, None, Toy(step_size=0.02), key=KEY)
    other = dataclasses.replace(
        fixed, labels=dataclasses.replace(fixed.labels, subject="another", comment="condition")
    )
    run(other)
    assert Toy.n_traced == before


def test_start(fixed):
    first = run(fixed)
    assert not np.allclose(run(fixed, init=first).mean, first.mean)
    np.testing.assert_array_equal(
        run(fixed, init=first).mean, run(fixed, init=first, key=jax.random.key(5)).mean
    )


def test_progress(fixed, capsys):
    run(fixed, progress=True)
    shown = capsys.readouterr().err
    assert "Toy" in shown
    assert "6step" in shown
    run(fixed)
    assert capsys.readouterr().err == ""


def test_ctrl_c_returns_what_is_done(fixed, interrupted):
    interrupted(3)
    estimate = run(fixed)
    assert RESULT[estimate.result].startswith("interrupted")
    assert estimate.verdict()["result"].startswith("interrupted")
    assert int(estimate.hyper["n"]) == 3
    assert np.isfinite(estimate.mean).all()


def test_checkpoint_resumes_bitwise(fixed, tmp_path, interrupted):
    path = tmp_path / "toy.ckpt"
    whole = run(fixed)
    interrupted(2)
    assert int(run(fixed, checkpoint=path).hyper["n"]) == 2
    interrupted(4)
    assert int(run(fixed, checkpoint=str(path)).hyper["n"]) == 4
    interrupted(None)
    resumed = run(fixed, checkpoint=path)
    np.testing.assert_array_equal(resumed.mean, whole.mean)
    # a finished one is done at once
    np.testing.assert_array_equal(run(fixed, checkpoint=path).mean, whole.mean)
    assert [p.name for p in tmp_path.iterdir()] == ["toy.ckpt"]


@pytest.fixture
def checkpoint(fixed, tmp_path, interrupted):
    path = tmp_path / "toy.ckpt"
    interrupted(2)
    run(fixed, checkpoint=path)
    interrupted(None)
    return path


def test_checkpoint_of_something_else_is_refused(fixed, free, checkpoint):
    others = {
        "data": lambda: run(fixed.with_data(2 * fixed.recording), checkpoint=checkpoint),
        "shape": lambda: run(free, checkpoint=checkpoint),
        "key": lambda: run(fixed, key=jax.random.key(6), checkpoint=checkpoint),
        "method": lambda: ej.solve(fixed, None, Toy(n_steps=9), key=KEY, checkpoint=checkpoint),
        "number": lambda: ej.solve(fixed, None, Toy(step_size=0.1), key=KEY, checkpoint=checkpoint),
        "start": lambda: run(fixed, init=run(fixed), checkpoint=checkpoint),
    }
    for other in others.values():
        with pytest.raises(ej.InputError, match="another problem, model or method"):
            other()


@pytest.mark.parametrize("keep", [0, 10, 32, 33, 100, -1])
def test_truncated_checkpoint_is_refused(fixed, checkpoint, keep):
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(content[:keep])
    with pytest.raises(ej.InputError, match=r"toy\.ckpt is"):
        run(fixed, checkpoint=checkpoint)


def test_every_flipped_bit_of_a_checkpoint_is_seen(fixed, checkpoint):
    """Resumed bitwise means from the very bits that were written."""
    content = bytearray(checkpoint.read_bytes())
    rng = np.random.default_rng(0)
    for position in rng.choice(len(content), 25, replace=False):
        broken = content.copy()
        broken[position] ^= 1 << rng.integers(8)
        checkpoint.write_bytes(broken)
        with pytest.raises(ej.InputError, match=r"toy\.ckpt is"):
            run(fixed, checkpoint=checkpoint)


def test_failing_write_keeps_the_old_checkpoint(fixed, checkpoint, monkeypatch):
    before = checkpoint.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("esijax._files.os.fsync", full)
    with pytest.raises(ej.InputError, match="No space"):
        run(fixed, checkpoint=checkpoint)
    assert checkpoint.read_bytes() == before


def test_direct_methods_write_no_checkpoint(fixed, tmp_path):
    path = tmp_path / "linear.ckpt"
    ej.solve(fixed, ej.models.MinimumNorm(), ej.inference.Linear(), checkpoint=path)
    assert not path.exists()


def test_noise_is_taken_as_it_is_or_learned(fixed):
    model, method = ej.models.MinimumNorm(), ej.inference.Linear()
    with pytest.raises(TypeError, match="noise"):
        ej.solve(fixed, model, method, noise="white")
    with pytest.raises(ej.InputError, match="takes the noise covariance as it is"):
        ej.solve(fixed, model, method, noise=ej.models.noise.Scalar())
    same = ej.solve(fixed, model, method, noise=ej.models.noise.White())
    assert np.array_equal(same.mean, ej.solve(fixed, model, method).mean)


def test_single_precision_is_said_once(fixed):
    from esijax.inference import _arguments

    _arguments._warn_single_precision.cache_clear()
    half = jax.tree.map(lambda x: x.astype("float32") if eqx.is_inexact_array(x) else x, fixed)
    with jax.enable_x64(False):
        with pytest.warns(ej.EsijaxWarning, match="float32"):
            _arguments.check_arguments(half, None, Toy(), None, None, KEY)
        _arguments.check_arguments(half, None, Toy(), None, None, KEY)
        with pytest.raises(ej.InputError, match="made in float64 and JAX computes in float32"):
            _arguments.check_arguments(fixed, None, Toy(), None, None, KEY)
    with pytest.raises(ej.InputError, match="made in float32 and JAX computes in float64"):
        ej.solve(half, ej.models.MinimumNorm(), ej.inference.Linear())
