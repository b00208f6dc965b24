"""Penalties: values, proximal maps, polars; what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import esijax as ej
from esijax.models import L1, L21, Lrq

SHAPE = (5, 3, 4)
WEIGHTS = np.linspace(0.5, 2.0, 5)


@pytest.fixture
def x():
    return jnp.asarray(np.random.default_rng(0).standard_normal(SHAPE))


def test_values(x):
    norms = np.linalg.norm(np.asarray(x).reshape(5, -1), axis=1)
    sums = np.abs(x).sum((1, 2))
    assert float(L21(2.0).value(x)) == pytest.approx(2 * norms.sum())
    assert float(L21(2.0, WEIGHTS).value(x)) == pytest.approx(2 * (WEIGHTS * norms).sum())
    assert float(L1(2.0, WEIGHTS).value(x)) == pytest.approx(2 * (WEIGHTS * sums).sum())
    assert float(Lrq(2.0, 2, 0.5).value(x)) == pytest.approx(2 * np.sqrt(norms).sum())
    assert float(Lrq(2.0, 1, 0.3).value(x)) == pytest.approx(2 * (sums**0.3).sum())
    assert float(Lrq(2.0, 2, 1.0).value(x)) == pytest.approx(float(L21(2.0).value(x)))


@pytest.mark.parametrize("penalty", [L21(0.7), L21(0.7, WEIGHTS), L1(0.4), L1(0.4, WEIGHTS)])
def test_prox_is_a_minimum(penalty, x):
    """No step in any of many directions lowers its objective."""
    step = jnp.asarray(0.8)

    def objective(z):
        return 0.5 * jnp.sum((z - x) ** 2) + step * penalty.value(z)

    z = penalty.prox(x, step)
    keys = jax.random.split(jax.random.key(0), 200)
    moves = jax.vmap(lambda k: jax.random.normal(k, SHAPE))(keys)
    lowest = jnp.min(jax.vmap(lambda m: objective(z + 1e-3 * m))(moves))
    assert float(lowest) >= float(objective(z))


@pytest.mark.parametrize("penalty", [L21(1.0), L21(1.0, WEIGHTS), L1(1.0), L1(1.0, WEIGHTS)])
def test_polar_is_the_dual_norm(penalty, x):
    """<x, s> <= value(x) polar(s), and zero is the prox of s where polar(s) <= 1."""
    s = jnp.asarray(np.random.default_rng(1).standard_normal(SHAPE))
    assert float(jnp.sum(x * s)) <= float(penalty.value(x) * penalty.polar(s)) + 1e-12
    edge = s / penalty.polar(s)
    one = jnp.asarray(1.0)
    assert not penalty.prox(edge * (1 - 1e-12), one).any()
    assert penalty.prox(edge * (1 + 1e-9), one).any()


@pytest.mark.parametrize("cls", [L21, L1, Lrq])
@pytest.mark.parametrize("alpha", [0.0, -1.0, np.nan, np.inf, None, "40"])
def test_alpha_must_be_positive(cls, alpha):
    with pytest.raises(ej.InputError, match="alpha"):
        cls(alpha)


def test_other_refusals(fixed):
    with pytest.raises(ej.InputError, match="alpha_max must be positive"):
        ej.relative(0.0)
    for weights in (np.zeros(3), np.array([1.0, np.nan]), -np.ones(2)):
        with pytest.raises(ej.InputError, match="weights"):
            L21(1.0, weights)
    with pytest.raises(ej.InputError, match=r"weights must be \(20,\) or \(20, 7\), got \(3,\)"):
        ej.solve(fixed, L21(1.0, np.ones(3)), ej.inference.MAP())
    with pytest.raises(ej.InputError, match="r must be 1 or 2"):
        Lrq(1.0, 3, 0.5)
    for q in (0.0, 1.5, -0.5):
        with pytest.raises(ej.InputError, match="q must lie"):
            Lrq(1.0, 2, q)
    with pytest.raises(ej.InputError, match="majorisation"):
        Lrq(1.0).prox(jnp.ones(SHAPE), jnp.asarray(1.0))


def test_alpha_max(fixed, free, trials):
    """Zero from there on, not below; of trials the largest; relative() is a share of it."""
    select = ej.inference.select
    for penalty in (L21(1.0), L1(1.0, np.linspace(1, 2, 20)), Lrq(1.0)):
        for problem in (fixed, free):
            largest = float(select.alpha_max(problem, penalty))
            slope = np.einsum("rlo,rt,lo->lot", problem.gain, problem.data, problem.prior_scale)
            weights = 1.0 if penalty.weights is None else np.asarray(penalty.weights)
            by_entry = isinstance(penalty, L1)
            norms = np.abs(slope).max((1, 2)) if by_entry else np.linalg.norm(slope, axis=(1, 2))
            assert largest == pytest.approx((norms / weights).max(), rel=1e-12)
    each = [float(select.alpha_max(trials.with_data(d), L21(1.0))) for d in trials.recording]
    assert float(select.alpha_max(trials, L21(1.0))) == pytest.approx(max(each))
    estimate = ej.solve(free, L21(ej.relative(0.4)), ej.inference.MAP())
    want = 0.4 * float(select.alpha_max(free, L21(1.0)))
    assert float(estimate.hyper["alpha"]) == pytest.approx(want)
