"""Every model with every method that takes it: one table, one set of promises.

finite answers of the right shapes; jit = eager; vmap over data = loop; gradients = finite
differences; new numbers compile nothing anew; and none of it needs MNE.
"""

import dataclasses
import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from promises import check_gradients, close, finite, loss_of, small_problems, traces_of

import esijax as ej

LINEAR = {
    f"{model}-{norm or 'Linear'}": (model, ej.inference.Linear(norm))
    for model in ("MinimumNorm", "WeightedMinimumNorm", "LORETA", "ELORETA")
    for norm in (None, "dSPM", "sLORETA")
}
LCMV = {
    f"LCMV-{pick}-{norm}": (None, ej.inference.LCMV(pick_ori=pick, weight_norm=norm))
    for pick, norm in (
        (None, None),
        (None, "unit-noise-gain-invariant"),
        ("normal", "unit-noise-gain"),
        ("max-power", "nai"),
        ("vector", "unit-noise-gain"),
    )
}
TABLE = {**LINEAR, **LCMV}
# a new model or method comes into the table; the default run leaves out what differs by a factor
DAILY = {
    "free": (
        "MinimumNorm-Linear",
        "MinimumNorm-dSPM",
        "WeightedMinimumNorm-sLORETA",
        "LORETA-sLORETA",
        "ELORETA-Linear",
        "LCMV-None-None",
        "LCMV-normal-unit-noise-gain",
        "LCMV-max-power-nai",
    ),
    "fixed": ("MinimumNorm-sLORETA", "LCMV-None-None"),
}
NEEDS_THREE = ("max-power", "vector")


def pairs():
    """All problems x (model, method); the less telling ones marked slow."""
    for orients, daily in DAILY.items():
        for name in TABLE:
            if orients == "free" or not any(word in name for word in NEEDS_THREE):
                marks = () if name in daily else pytest.mark.slow
                yield pytest.param((orients, name), id=f"{orients}-{name}", marks=marks)


def model_of(name, problem, lambda2=0.3):
    if name is None:
        return None
    if name == "WeightedMinimumNorm":
        weights = np.linspace(0.5, 2, problem.n_locations)
        return ej.models.WeightedMinimumNorm(weights, lambda2)
    if name == "ELORETA":  # to the fixed point: its gradient is that of the fixed point
        return ej.models.ELORETA(lambda2, eps=1e-12, max_iter=300)
    return getattr(ej.models, name)(lambda2)


@pytest.fixture(scope="module")
def problems(problem_factory):
    """More samples than channels, for the beamformer's covariance."""
    return small_problems(problem_factory, 20)


@pytest.fixture
def problem(problems):
    return problems["free"]


@pytest.fixture(params=pairs())
def pair(request, problems):
    orients, name = request.param
    model, method = TABLE[name]
    return problems[orients], model_of(model, problems[orients]), method


def test_the_promises(pair):
    problem, model, method = pair
    estimate = ej.solve(problem, model, method)
    kept = estimate.mean.shape[1]
    n, times = problem.n_locations, problem.n_times

    # shapes and finite numbers
    assert kept in (1, problem.n_orients)
    assert estimate.mean.shape == (n, kept, times)
    assert estimate.std.shape == (n, kept, 1)
    assert estimate.cov.shape == (n, kept, kept)
    draws = estimate.sample(jax.random.key(0), 2)
    assert draws.shape == (2, n, kept, times)
    finite(estimate.mean, estimate.std, estimate.cov, draws, *estimate.interval())

    # under jit with the model traced, vmap over data = a loop of eager calls
    @eqx.filter_jit
    def answers(problem, model, method, data):
        def answer(d):
            estimate = ej.solve(problem.with_data(d), model, method)
            return estimate.mean, estimate.std

        return jax.vmap(answer)(data)

    data = jnp.stack([problem.recording, problem.recording[:, ::-1] * 2])
    got = answers(problem, model, method, data)
    for i, want in enumerate((estimate, ej.solve(problem.with_data(data[1]), model, method))):
        close(got[0][i], want.mean, 1e-9)
        close(got[1][i], want.std, 1e-9)


def test_gradients(pair):
    """With respect to data, lead field and lambda2, along random directions."""
    problem, model, method = pair
    assert method.differentiable

    def loss(data, gain, log_lambda2):
        p = eqx.tree_at(lambda p: p.gain, problem.with_data(data), gain)
        m = None
        if model is not None:
            m = eqx.tree_at(lambda m: m.lambda2, model, jnp.exp(log_lambda2))
        return loss_of(ej.solve(p, m, method))

    at = (problem.recording, problem.gain, jnp.log(jnp.asarray(0.3)))
    both = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2)))  # one program for both
    check_gradients(both, at, skip=(2,) if model is None else ())


@pytest.fixture
def count_traces(monkeypatch):
    """How often `finish` is traced."""
    return traces_of(monkeypatch, (ej.inference.Linear, ej.inference.LCMV))


def test_new_numbers_compile_nothing(pair, count_traces):
    problem, model, method = pair
    ej.solve(problem, model, method)
    count_traces.clear()
    other = problem.with_data(2 * problem.recording)
    other = dataclasses.replace(
        other, labels=dataclasses.replace(other.labels, comment="another", subject="someone")
    )
    if model is not None:
        model = dataclasses.replace(model, lambda2=7)
    else:
        method = dataclasses.replace(method, reg=0.2)
    ej.solve(other, model, method)
    assert not count_traces


def test_lambda2_by_name_compiles_nothing_new(problem, count_traces):
    """A rule is resolved before the compiled part."""
    ej.solve(problem, ej.models.MinimumNorm(0.5), ej.inference.Linear())
    count_traces.clear()
    ej.solve(problem, ej.models.MinimumNorm("evidence"), ej.inference.Linear())
    assert not count_traces


def test_rules_under_jit(problem):
    """By evidence within jit: the same number, without the look at its edges."""

    @jax.jit
    def inside(data):
        model = ej.models.MinimumNorm("evidence")
        return ej.solve(problem.with_data(data), model, ej.inference.Linear()).hyper["lambda2"]

    outside = ej.solve(problem, ej.models.MinimumNorm("evidence"), ej.inference.Linear())
    assert float(inside(problem.recording)) == pytest.approx(float(outside.hyper["lambda2"]))
    with pytest.raises(ej.InputError, match="ELORETA finds lambda2 on the host"):
        jax.jit(
            lambda d: (
                ej.solve(
                    problem.with_data(d), ej.models.ELORETA("evidence"), ej.inference.Linear()
                ).mean
            )
        )(problem.recording)


def test_trials_are_never_joined_in_time(trials):
    """Each trial gets the map that it would get alone; the evidence is the sum."""
    for name in ("MinimumNorm", "ELORETA"):
        model = model_of(name, trials)
        together = ej.solve(trials, model, ej.inference.Linear("dSPM"))
        alone = [
            ej.solve(trials.with_data(d), model, ej.inference.Linear("dSPM"))
            for d in trials.recording
        ]
        close(together.mean, np.stack([e.mean for e in alone]), 1e-10)
        total = sum(float(e.log_evidence) for e in alone)
        assert float(together.log_evidence) == pytest.approx(total, rel=1e-10)


def test_models_can_be_made_inside_jit(problem):
    """A loop over lambda2, or a user's function that builds its own model."""

    @jax.jit
    def answer(lambda2):
        model = ej.models.MinimumNorm(lambda2)
        loreta = ej.models.LORETA(lambda2, ridge=0.1)
        lcmv = ej.inference.LCMV(reg=lambda2)
        parts = (
            ej.solve(problem, model, ej.inference.Linear()),
            ej.solve(problem, loreta, ej.inference.Linear()),
            ej.solve(problem, ej.models.ELORETA(), ej.inference.Linear()),
            ej.solve(problem, None, lcmv),
            ej.solve(problem, None, ej.inference.LCMV()),
        )
        return [p.mean for p in parts]

    for value in answer(jnp.asarray(0.2)):
        assert np.isfinite(value).all()


@pytest.mark.slow
def test_no_mne_needed():
    """From arrays to a posterior without MNE, ArviZ or Matplotlib being imported."""
    code = """
import sys, numpy as np, esijax as ej
gain = np.random.default_rng(0).standard_normal((8, 12))
problem = ej.from_arrays(gain, gain[:, :3] + 0.3, noise_cov=0.1)
for method, model in ((ej.inference.Linear("dSPM"), ej.models.MinimumNorm("evidence")),
                      (ej.inference.LCMV(), None)):
    ej.solve(problem, model, method).std
print(sorted({m.partition(".")[0] for m in sys.modules} & {"mne", "arviz", "matplotlib", "xarray"}))
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
