"""Simulation-based calibration: exact posteriors pass, planted bugs do not."""

import doctest
import importlib
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import esijax as ej
from esijax.metrics.calibration.ranks import _lag1, _position
from esijax.metrics.calibration.result import Calibration, _bin_edges

KEY = jax.random.key(0)


def simulate(key):
    """A mean of two numbers: mu ~ N(0, 1), y ~ N(mu, 1)."""
    k_mu, k_y = jax.random.split(key)
    mu = jax.random.normal(k_mu, (2,))
    return {"mu": mu, "never": jnp.zeros(3)}, mu + jax.random.normal(k_y, (2,))


def posterior(variance=0.5, shift=0.0, n=59):
    def fit(key, y):
        return {"mu": y / 2 + shift + variance**0.5 * jax.random.normal(key, (n, 2))}

    return fit


RIGHT = posterior()  # one object, compiled once for any n up to 50


def run(fit, n=1000, **kwargs):
    return ej.metrics.ranks(simulate, fit, n, **{"key": KEY, "progress": False, **kwargs})


def made(position, n_draws):
    position = np.asarray(position, float).reshape(-1, 1)
    return Calibration(("a",), (n_draws,), position, np.zeros(1))


# ------------------------------------------------------------------ the engine
@pytest.fixture(scope="module")
def exact():
    return run(RIGHT)


@pytest.mark.statistical
def test_an_exact_posterior_passes(exact):
    assert exact.names == ("mu[0]", "mu[1]")
    assert exact.ranks.shape == (1000, 2)
    assert exact.ranks.min() == 0
    assert exact.ranks.max() == 59
    assert exact.passes()
    assert exact.p_value > 0.01
    for level in (0.5, 0.8, 0.9, 0.95):
        error = 4 * math.sqrt(level * (1 - level) / 1000)
        assert exact.coverage(level)["mu[0]"] == pytest.approx(level, abs=error)
    assert np.abs(exact.autocorrelation).max() < 4 / math.sqrt(59 * 1000)


@pytest.mark.statistical
@pytest.mark.parametrize(
    "bug",
    [{"variance": 0.25}, {"variance": 1.0}, {"shift": 0.3}],
    ids=["narrow", "wide", "shifted"],
)
def test_a_wrong_posterior_is_caught(bug):
    result = run(posterior(**bug))
    assert not result.passes()
    assert result.p_value < 1e-6
    if "variance" in bug:
        narrow = result.coverage(0.9)["mu[0]"] < 0.85
        assert narrow == (bug["variance"] < 0.5)


def test_ranks_against_a_loop(exact):
    """The same draws, data set by data set, without jit."""
    for i in (0, 1, 999):
        k_model, _ = jax.random.split(jax.random.fold_in(KEY, i))
        k_truth, k_fit = jax.random.split(k_model)
        theta, y = simulate(k_truth)
        draws = np.asarray(RIGHT(k_fit, y)["mu"])
        want = [(draws[:, j] < float(theta["mu"][j])).sum() for j in range(2)]
        np.testing.assert_array_equal(exact.ranks[i], want)


def test_neither_number_nor_chunks_nor_threads_change_a_data_set(exact):
    for options in ({"threads": 1}, {"threads": 3}, {"batch_size": 7}):
        np.testing.assert_allclose(run(RIGHT, 45, **options).position, exact.position[:45])
    assert not np.allclose(run(RIGHT, 45, key=jax.random.key(1)).position, exact.position[:45])


def test_thinning_keeps_every_third_draw():
    def fit(key, y):
        return {"mu": jnp.repeat(RIGHT(key, y)["mu"], 3, axis=0)}

    thinned, plain = run(fit, 40, thin=3), run(RIGHT, 40)
    assert thinned.n_draws == (59, 59)
    np.testing.assert_array_equal(thinned.position, plain.position)
    assert "autocorrelated" in str(run(fit, 40))
    assert "autocorrelated" not in str(thinned)


@pytest.mark.statistical
def test_autocorrelated_draws_fail_until_thinned():
    """AR(1) around the right posterior: right in distribution, not in rank."""

    def walk(n):
        def fit(key, y):
            steps = jax.random.normal(key, (n + 1, 2))

            def move(x, e):
                x = 0.95 * x + math.sqrt(1 - 0.95**2) * e
                return x, x

            return {"mu": y / 2 + math.sqrt(0.5) * jax.lax.scan(move, steps[0], steps[1:])[1]}

        return fit

    together = run(walk(39))
    assert together.p_value < 1e-6
    assert together.autocorrelation.min() > 0.6  # 0.95 but for the mean of so short a walk
    assert run(walk(60 * 39), thin=60).passes()


def test_lag_1_autocorrelation():
    walk = np.cumsum(np.random.default_rng(0).standard_normal((50, 2)), axis=0)
    left = walk - walk.mean(axis=0)
    want = [(c[1:] @ c[:-1]) / (c @ c) + 1 / 50 for c in left.T]
    np.testing.assert_allclose(_lag1(jnp.asarray(walk)), want)
    np.testing.assert_array_equal(_lag1(jnp.ones((50, 1))), [0.0])


@pytest.mark.statistical
def test_ties_are_broken_uniformly():
    draws = jnp.array([1.0, 2.0, 2.0, 2.0, 5.0])[:, None]
    keys = jax.random.split(KEY, 4000)
    place = jax.vmap(lambda k, t: _position(k, t, draws), in_axes=(0, None))
    tied = np.floor(place(keys, jnp.array([2.0])))
    values, counts = np.unique(tied, return_counts=True)
    np.testing.assert_array_equal(values, [1, 2, 3, 4])
    assert np.abs(counts - 1000).max() < 4 * math.sqrt(4000 * 3 / 16)
    np.testing.assert_array_equal(np.floor(place(keys, jnp.array([3.0]))), 4)
    np.testing.assert_array_equal(np.floor(place(keys, jnp.array([0.0]))), 0)
    np.testing.assert_array_equal(np.floor(place(keys, jnp.array([9.0]))), 5)


@pytest.mark.statistical
def test_a_discrete_parameter():
    """Two values and a useless observation: nearly all draws are tied with the truth."""

    def toss(key):
        return {"z": jax.random.bernoulli(key, 0.3).astype(float)}, ()

    def right(key, _):
        return {"z": jax.random.bernoulli(key, 0.3, (49,)).astype(float)}

    def wrong(key, _):
        return {"z": jax.random.bernoulli(key, 0.6, (49,)).astype(float)}

    def go(fit):
        return ej.metrics.ranks(toss, fit, 1000, key=KEY, progress=False)

    assert go(right).passes()
    assert go(wrong).p_value < 1e-6


def test_progress(capsys, monkeypatch):
    run(RIGHT, 23, progress=False)
    assert capsys.readouterr().err == ""
    from esijax.metrics.calibration import ranks as _sbc_ranks

    plain = _sbc_ranks.tqdm
    monkeypatch.setattr(_sbc_ranks, "tqdm", lambda **kw: plain(**{**kw, "delay": 0}))
    run(RIGHT, 23, progress=True)
    assert "23/23" in capsys.readouterr().err


def test_bad_inputs():
    nan = posterior(variance=float("nan"))
    with pytest.raises(ej.InputError, match=r"mu\[0\], mu\[1\] are not finite in 1 of 1 data sets"):
        run(nan, 20)
    with pytest.raises(ej.InputError, match="n must be at least 1, got 0"):
        run(RIGHT, 0)
    with pytest.raises(ej.InputError, match="keeps 1 draws"):
        run(RIGHT, 10, thin=59)
    with pytest.raises(ej.InputError, match="draws of 'nu', which simulate does not"):
        run(lambda _, y: {"nu": y}, 10)
    with pytest.raises(ej.InputError, match=r"must be \(draws, \*\(2,\)\)"):
        run(lambda _, y: {"mu": y}, 10)
    with pytest.raises(ej.InputError, match="nothing to rank"):
        run(lambda *_: {}, 10)


# ------------------------------------------------------------------ the result
def test_p_values_against_scipy(exact):
    from scipy.stats import chi2, kstwo

    u = np.sort(exact.pit[:, 1])
    n = len(u)
    gap = max((np.arange(1, n + 1) / n - u).max(), (u - np.arange(n) / n).max())
    assert exact.ks["mu[1]"] == pytest.approx(kstwo.sf(gap, n), rel=1e-6)
    counts = np.bincount(exact.ranks[:, 1] // 3, minlength=20)  # 60 ranks, 20 bins
    value = ((counts - n / 20) ** 2 / (n / 20)).sum()
    assert exact.chi2["mu[1]"] == pytest.approx(chi2.sf(value, 19), rel=1e-9)
    smallest = min(*exact.ks.values(), *exact.chi2.values())
    assert exact.p_value == pytest.approx(min(1.0, 4 * smallest))


@pytest.mark.statistical
def test_false_alarms_are_as_rare_as_stated():
    """Uniform positions of 5 quantities: between alpha (one test each) and 2 alpha (two)."""
    rng = np.random.default_rng(8)
    names, draws, lag = tuple("abcde"), (39,) * 5, np.zeros(5)
    results = [Calibration(names, draws, rng.uniform(0, 40, (200, 5)), lag) for _ in range(150)]
    error = 3 * math.sqrt(0.2 * 0.8 / 150)
    share = np.mean([not result.passes(0.1) for result in results])
    assert 0.1 - error < share < 0.2 + error
    share = np.mean([result.p_value < 0.1 for result in results])
    assert share < 0.1 + error


def test_uneven_bins_expect_what_they_hold():
    """10 ranks in 7 bins: flat counts per rank are a perfect fit."""
    np.testing.assert_array_equal(_bin_edges(10, 1000), np.arange(11))
    edges = _bin_edges(50, 35)
    assert len(edges) == 8
    assert len(set(np.diff(edges))) == 2
    flat = np.repeat(np.arange(50), 20)
    assert made(flat + 0.5, 49).chi2["a"] == pytest.approx(1.0)
    odd = made(np.repeat(np.arange(47), 20) + 0.5, 46)  # 47 ranks, 20 bins of 2 and 3
    assert odd.chi2["a"] == pytest.approx(1.0)
    assert made([0.5, 3.2, 2.0], 4).chi2["a"] > 0


def test_coverage_by_hand():
    """Rank 0 of 0..9 lies in the lowest tenth: half of it within 90 %, none within 80 %."""
    lowest = made([0.3], 9)
    assert lowest.coverage(0.9)["a"] == pytest.approx(0.5)
    assert lowest.coverage(0.8)["a"] == pytest.approx(0.0)
    flat = made(np.arange(10) + 0.5, 9)
    for level in (0.5, 0.77, 0.9, 0.95):
        assert flat.coverage(level)["a"] == pytest.approx(level)
    with pytest.raises(ej.InputError, match="level"):
        flat.coverage(1.0)


def test_table(exact):
    rows = exact.rows()
    assert [row["quantity"] for row in rows] == ["mu[0]", "mu[1]"]
    assert rows[0]["coverage 0.9"] == exact.coverage(0.9)["mu[0]"]
    assert "1000 data sets: passes" in str(exact)
    assert "FAILS" in str(run(posterior(variance=0.1), 200))


@pytest.mark.statistical
@pytest.mark.parametrize(("n", "points"), [(40, 100), (500, 25)])
def test_the_band_holds_the_whole_curve_as_often_as_it_says(n, points):
    z, lower, upper = ej.metrics.ecdf_band(n, 0.9, points=points)
    assert len(z) == min(n, points) - 1
    u = np.sort(np.random.default_rng(5).uniform(size=(4000, n)), axis=1)
    shares = np.stack([np.searchsorted(row, z, side="right") for row in u]) / n
    inside = ((lower <= shares) & (shares <= upper)).all(axis=1).mean()
    # binomial limits are steps: never less, and a little more
    assert 0.9 - 4 * math.sqrt(0.09 / 4000) < inside < 0.94
    for bad in ({"level": 1.0}, {"n": 1}):
        with pytest.raises(ej.InputError):
            ej.metrics.ecdf_band(**{"n": 50, **bad})


@pytest.mark.parametrize("name", ["ranks", "result", "band", "sbc"])
def test_examples(name):
    done = doctest.testmod(importlib.import_module(f"esijax.metrics.calibration.{name}"))
    assert done.attempted > 0
    assert done.failed == 0
