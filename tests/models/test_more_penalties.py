"""Elastic, concave and group penalties: values, proximal maps, polars, conjugates, refusals."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize_scalar

import esijax as ej
from esijax.models import L1, L21, MCP, Elastic, Learned, LogSum, Lrq, SparseGroup

SHAPE = (6, 2, 3)
WEIGHTS = np.linspace(0.5, 2.0, 6)
ENTRIES = np.random.default_rng(4).uniform(0.5, 2.0, (6, 3))
GROUPS = np.array([0, 0, 1, 2, 2, 2])
CONVEX = {
    "elastic": Elastic(0.7, 0.6, WEIGHTS),
    "groups": SparseGroup(0.5, 0.0, GROUPS),
    "sparse groups": SparseGroup(0.5, 0.4, GROUPS),
    "sparse locations": SparseGroup(0.5, 0.4),
    "entries only": SparseGroup(0.5, 1.0),
}


@pytest.fixture
def x():
    return jnp.asarray(np.random.default_rng(0).standard_normal(SHAPE))


def test_values(x):
    dense = np.asarray(x)
    norms = np.linalg.norm(dense.reshape(6, -1), axis=1)
    heavy = np.linalg.norm((dense * ENTRIES[:, None]).reshape(6, -1), axis=1)
    squares = [np.sum(dense[g] ** 2) for g in ([0, 1], [2], [3, 4, 5])]
    groups = sum(
        np.sqrt(len(g) * s) for g, s in zip(([0, 1], [2], [3, 4, 5]), squares, strict=True)
    )
    expected = 0.7 * np.sum(WEIGHTS * (0.6 * norms + 0.2 * norms**2))
    assert float(CONVEX["elastic"].value(x)) == pytest.approx(expected)
    assert float(CONVEX["groups"].value(x)) == pytest.approx(0.5 * groups)
    both = 0.5 * (0.6 * groups + 0.4 * norms.sum())
    assert float(CONVEX["sparse groups"].value(x)) == pytest.approx(both)
    assert float(SparseGroup(0.5, 0.4).value(x)) == pytest.approx(
        0.5 * (0.6 * norms.sum() + 0.4 * np.abs(dense).sum())
    )
    for cls in (L21, L1, lambda *a: SparseGroup(a[0], 0.0, weights=a[1])):
        sums = np.abs(dense * ENTRIES[:, None]).sum() if cls is L1 else heavy.sum()
        assert float(cls(2.0, ENTRIES).value(x)) == pytest.approx(2 * sums)
    assert float(Lrq(2.0, 2, 0.5, ENTRIES).value(x)) == pytest.approx(2 * np.sqrt(heavy).sum())
    assert float(LogSum(2.0, 0.3).value(x)) == pytest.approx(2 * 0.3 * np.log1p(norms / 0.3).sum())
    low = np.minimum(norms, 1.5)
    assert float(MCP(2.0, 1.5).value(x)) == pytest.approx(2 * np.sum(low - low**2 / 3))


@pytest.mark.parametrize("name", CONVEX)
def test_prox_is_a_minimum(name, x):
    penalty, step = CONVEX[name], jnp.asarray(0.8)

    def objective(z):
        return 0.5 * jnp.sum((z - x) ** 2) + step * penalty.value(z)

    # the weights of a group penalty multiply the sources, and none are given here
    z = penalty.prox(x, step)
    moves = jax.random.normal(jax.random.key(0), (300, *SHAPE))
    moves = jnp.concatenate([moves, -z[None], (z * (x == z))[None]])
    for size in (1e-2, 1e-4):
        lowest = jnp.min(jax.vmap(lambda m, size=size: objective(z + size * m))(moves))
        assert float(lowest) >= float(objective(z)) - 1e-15


def bent(alpha, amplitude):
    """Steeper at first, then flat, then steep again."""
    return Learned(alpha, [1.4, 0.2, 0.2, 0.9], amplitude=amplitude)


@pytest.mark.parametrize("cls", [MCP, LogSum, bent])
@pytest.mark.parametrize("step", [0.05, 0.9, 6.0])
def test_prox_of_concave_ones_by_brute_force(cls, step):
    """On a fine grid, for norms below and above the amplitude; convex or not in one norm."""
    penalty = cls(1.3, 0.7)
    grid = np.linspace(0, 12, 240_001)
    heights = 1.3 * np.asarray(penalty.height(jnp.asarray(grid)))
    for norm in (0.0, 0.3, 0.9, 1.7, 4.0, 9.0):
        x = jnp.full((1, 1, 1), norm)
        cost = 0.5 * (grid - norm) ** 2 + step * heights
        z = float(penalty.prox(x, jnp.asarray(step))[0, 0, 0])
        own = 0.5 * (z - norm) ** 2 + step * float(penalty.value(jnp.full((1, 1, 1), z)))
        assert own <= cost.min() + 1e-12
        assert abs(z - grid[cost.argmin()]) < 1e-3


def test_learned_ones_that_have_names(x):
    """All slopes 1: the mixed norm; one slope of 0: the minimax concave penalty."""
    step = jnp.asarray(0.4)
    for learned, named in (
        (Learned(0.7, np.ones(4), amplitude=0.5, weights=WEIGHTS), L21(0.7, WEIGHTS)),
        (Learned(0.7, [0.0], [1.0], 2.5, WEIGHTS), MCP(0.7, 2.5, WEIGHTS)),
    ):
        assert float(learned.value(x)) == pytest.approx(float(named.value(x)), rel=1e-14)
        np.testing.assert_allclose(learned.prox(x, step), named.prox(x, step), atol=1e-14)


@pytest.mark.parametrize("name", [n for n in CONVEX if n != "elastic"])
def test_polar_is_the_dual_norm(name, x):
    penalty = dataclasses.replace(CONVEX[name], alpha=1.0)
    s = jnp.asarray(np.random.default_rng(1).standard_normal(SHAPE))
    level = penalty.polar(s)
    assert float(jnp.sum(x * s)) <= float(penalty.value(x) * level) + 1e-12
    one = jnp.asarray(1.0)
    assert not penalty.prox(s / level * (1 - 1e-10), one).any()
    assert penalty.prox(s / level * (1 + 1e-9), one).any()
    if name == "entries only":  # the root is a kink: its derivative is that of L1
        return
    numeric = (penalty.polar(s + 1e-6 * x) - penalty.polar(s - 1e-6 * x)) / 2e-6
    np.testing.assert_allclose(jax.jvp(penalty.polar, (s,), (x,))[1], numeric, rtol=1e-6)


def test_conjugate_of_the_elastic_norm():
    """Against a maximum along the slope, where it is attained."""
    penalty = Elastic(0.7, 0.6)
    s = jnp.asarray(np.random.default_rng(2).standard_normal((1, 2, 3)))
    size = float(jnp.linalg.norm(s))

    def negative(t):
        return -(t * size - float(penalty.value(s / size * t)))

    best = -minimize_scalar(
        negative, bounds=(0, 100), method="bounded", options={"xatol": 1e-9}
    ).fun
    assert float(penalty.conjugate(s)) == pytest.approx(best, rel=1e-9)
    assert np.isinf(float(Elastic(0.7, 1.0).conjugate(s)))


def test_refusals(problem_factory):
    fixed = problem_factory(1)
    for ratio in (-0.1, 1.5, np.nan):
        for cls in (Elastic, SparseGroup):
            with pytest.raises(ej.InputError, match="ratio"):
                cls(1.0, ratio)
    with pytest.raises(ej.InputError, match="MinimumNorm"):
        Elastic(1.0, 0.0)
    for amplitude in (0.0, -1.0, np.nan):
        with pytest.raises(ej.InputError, match="amplitude"):
            MCP(1.0, amplitude)
    for slopes, knots in (([-0.1], [1.0]), ([np.nan], [1.0])):
        with pytest.raises(ej.InputError, match="slopes must be finite"):
            Learned(1.0, slopes, knots)
    for knots in ([0.0, 1.0], [2.0, 1.0], [1.0, np.inf]):
        with pytest.raises(ej.InputError, match="knots must be finite"):
            Learned(1.0, [1.0, 0.5], knots)
    with pytest.raises(ej.InputError, match="as many"):
        Learned(1.0, [1.0, 0.5])
    with pytest.raises(ej.InputError, match="not known yet"):
        MCP(1.0).value(jnp.ones((2, 1, 1)))
    for groups in ([0.5, 1.0], [-1, 0], [[0, 1]], []):
        with pytest.raises(ej.InputError, match="groups must be integers"):
            SparseGroup(1.0, 0.5, np.array(groups))
    with pytest.raises(ej.InputError, match=r"groups must be \(20,\), got \(2,\)"):
        ej.solve(fixed, SparseGroup(1.0, 0.5, np.array([0, 1])), ej.inference.MAP())
