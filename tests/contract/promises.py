"""What the tables of models and methods check alike."""

import jax.numpy as jnp
import numpy as np
import pytest


def small_problems(problem_factory, n_times):
    """One of each kind of orientation."""
    size = {"n_channels": 8, "n_locations": 9, "n_times": n_times, "loose": 0.3}
    return {"fixed": problem_factory(1, **size), "free": problem_factory(3, **size)}


def close(got, want, rtol):
    want = np.asarray(want)
    np.testing.assert_allclose(got, want, rtol=0, atol=rtol * np.abs(want).max())


def finite(*values):
    for value in values:
        assert np.isfinite(value).all()


def loss_of(estimate, spread=True):
    """A number that mean, evidence and, if wanted, spread enter."""
    times = estimate.problem.n_times
    probe = jnp.sum((estimate.mean / estimate.scale.mean()) ** 2) / times
    if spread:
        probe = probe + jnp.sum(jnp.log(estimate.std)) / estimate.std.shape[-1]
    return probe if estimate.log_evidence is None else probe + estimate.log_evidence


def check_gradients(both, at, skip=(), rel=2e-4, step=3e-5):
    """Finite differences along one random direction per argument.

    `both` gives value and gradients: one compiled program serves both. The gradients are returned.
    """
    _, grads = both(*at)
    rng = np.random.default_rng(0)
    for i, (x, grad) in enumerate(zip(at, grads, strict=True)):
        if i in skip:
            continue
        x = np.asarray(x)
        direction = rng.standard_normal(x.shape) * np.sqrt(np.mean(x**2))
        got = float(np.sum(grad * direction))
        for length in (step, 3 * step):  # an answer may hold fewer digits than a difference needs
            moved = [jnp.asarray(x + k * length * direction) for k in (1, -1)]
            ends = [float(both(*at[:i], m, *at[i + 1 :])[0]) for m in moved]
            want = pytest.approx(
                (ends[0] - ends[1]) / (2 * length), rel=rel, abs=1e-6 * abs(ends[0])
            )
            if got == want:
                break
        assert got == want, i
    return grads


def traces_of(monkeypatch, classes, names=("finish",)):
    """List that grows whenever one of the named functions of the classes is traced."""
    counts = []

    def counted(cls, name):
        original = getattr(cls, name)

        def wrapper(self, state):
            counts.append(f"{cls.__name__}.{name}")
            return original(self, state)

        monkeypatch.setattr(cls, name, wrapper)

    for cls in classes:
        for name in names:
            counted(cls, name)
    return counts
