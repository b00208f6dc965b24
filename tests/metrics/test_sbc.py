"""Simulation-based calibration: exact posteriors pass, planted bugs do not."""

import dataclasses
import doctest
import importlib
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import esijax as ej
from esijax.inference.gaussian_posterior import GaussianPosterior
from esijax.inference.method import Method
from esijax.metrics import mutants
from esijax.metrics._sbc_ranks import _lag1, _position
from esijax.metrics._sbc_result import Calibration, _bin_edges
from esijax.metrics.sbc import Assumed, Fit, Simulate
from esijax.models.source_cov import Diagonal

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
    from esijax.metrics import _sbc_ranks

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


# ------------------------------------------------------------------ priors and methods
@pytest.fixture(scope="module")
def small(problem_factory):
    return problem_factory(3, n_channels=8, n_locations=9, n_times=2, loose=0.4)


@pytest.fixture(scope="module")
def tiny(problem_factory):
    return problem_factory(1, n_channels=4, n_locations=5, n_times=4)


def check(problem, prior, method=None, n=200, **kwargs):
    method = ej.inference.Linear() if method is None else method
    options = {"key": KEY, "progress": False, "draws": 39, **kwargs}
    return ej.metrics.sbc(prior, None, method, problem, n, **options)


@pytest.fixture(scope="module")
def plain(tiny):
    return check(tiny, ej.models.MinimumNorm(0.3), n=2000)


@pytest.mark.statistical
def test_the_minimum_norm_family_is_calibrated(plain, small, referenced):
    assert plain.passes()
    smooth = check(small, ej.models.LORETA(0.3))
    assert len(smooth.names) == 4 * 3 + 1
    assert "source[8,2,1]" in smooth.names
    assert "log_likelihood" in smooth.names
    assert smooth.passes()
    prior = ej.models.WeightedMinimumNorm(np.linspace(0.5, 2, 20), 0.3)
    chosen = check(referenced, prior, locations=[7, 2], times=[0, 6])
    places = {f"source[{where},0,{when}]" for where in (2, 7) for when in (0, 6)}
    assert set(chosen.names) == {*places, "log_likelihood"}
    assert chosen.passes()


def test_names_of_sources_are_where_they_lie(tiny):
    """A prior that switches one location off: truth and draws are tied at zero there."""
    scale = tiny.prior_scale.at[3].set(0.0)
    silent = eqx.tree_at(lambda p: p.prior_scale, tiny, scale)
    assumed = Assumed(silent, ej.models.MinimumNorm(0.3), None, (1, 3), (2,))
    fit = Fit(assumed, assumed.prior, None, ej.inference.Linear(), 9)

    @eqx.filter_jit
    def both(simulate, fit):
        theta, data = simulate(KEY)
        return theta, fit(KEY, data)["source"]

    theta, draws = both(Simulate(assumed), fit)
    assert theta["source"].shape == (2, 1, 1)
    assert draws.shape == (9, 2, 1, 1)
    for values in (theta["source"][1], draws[:, 1]):
        np.testing.assert_array_equal(values, 0.0)
    assert float(jnp.abs(draws[:, 0]).min()) > 0


@pytest.mark.statistical
def test_another_prior_than_the_truth_is_caught(tiny):
    wrong = (ej.models.MinimumNorm(1.0), None)
    result = check(tiny, ej.models.MinimumNorm(0.1), fitted=wrong)
    assert result.p_value < 1e-6
    assert result.coverage(0.9)["source[0,0,2]"] < 0.8


def test_a_map_without_unit_is_ranked_in_units(plain, tiny):
    normed = check(tiny, ej.models.MinimumNorm(0.3), ej.inference.Linear("dSPM"), n=40)
    np.testing.assert_array_equal(plain.ranks[:40], normed.ranks)


class ScaledPrior(eqx.Module):
    """Minimum norm with an unknown size: a hyper-parameter that must be inferred."""

    spread: float = eqx.field(static=True, default=0.7)

    def hyper(self, sizes):
        assert sizes["n_locations"] == 5
        return {"gamma": numpyro.sample("gamma", dist.LogNormal(0.5, self.spread))}

    def source_cov(self, hyper, problem):
        return Diagonal(hyper["gamma"] * problem.prior_scale**2)


class Mixture(GaussianPosterior):
    """One Gaussian posterior per draw of gamma."""

    each: GaussianPosterior

    def draw(self, key, n, locations, times):
        def one(key, posterior):
            return posterior.draw(key, 1, locations, times)[0]

        return jax.vmap(one)(jax.random.split(key, n), self.each)


class OnGrid(Method):
    """Exact draws of gamma from its posterior on a fine grid, then sources given each."""

    n_draws: int = eqx.field(static=True, default=39)
    power: Any = eqx.field(converter=jnp.asarray, default=1.0)

    def finish(self, state):
        p, prior, key = state.setup.problem, state.setup.model, state.setup.key
        z = jnp.linspace(-3, 4, 200)
        problem = Assumed(p, prior, None, (0,), (0,))
        log_p = jax.vmap(lambda g: problem.log_evidence({"gamma": g}, p.data))(jnp.exp(z))
        log_p = self.power * log_p + dist.Normal(0.5, prior.spread).log_prob(z)
        gamma = jnp.exp(z[jax.random.categorical(key, log_p, shape=(self.n_draws,))])

        def given(g):
            cov = prior.source_cov({"gamma": g}, p)
            chol = jnp.linalg.cholesky(cov.sensor(p.gain) + jnp.eye(p.rank))
            return GaussianPosterior(p.gain, cov, chol, p.data)

        first = given(gamma[0])
        fields = {f.name: getattr(first, f.name) for f in dataclasses.fields(first)}
        mixture = Mixture(**fields, each=jax.vmap(given)(gamma))
        return ej.Estimate(p, mixture, hyper={"gamma": gamma})


@pytest.mark.statistical
def test_hyper_parameters_are_ranked_where_the_method_draws_them(tiny):
    right = check(tiny, ScaledPrior(), OnGrid(), locations=[1, 3])
    assert set(right.names) == {
        "gamma", "source[1,0,2]", "source[3,0,2]", "log_likelihood", "log_evidence"
    }  # fmt: skip
    assert right.passes()
    wrong = check(tiny, ScaledPrior(), OnGrid(power=0.2), locations=[1, 3])
    assert wrong.ks["log_evidence"] < 1e-6
    # draws that hardly look at the data are nearly the prior's, among which the truth has its
    # place: only quantities that look at the data tell
    assert min(wrong.ks["gamma"], wrong.chi2["gamma"]) > 1e-4


class ScaledNoise(eqx.Module):
    """Noise of unknown size on each whitened dimension."""

    def hyper(self):
        return {"scale": numpyro.sample("scale", dist.LogNormal(1.0, 0.2))}

    def covariance(self, hyper, whitener):
        return hyper["scale"] ** 2 * jnp.diag(jnp.arange(1.0, len(whitener.matrix) + 1))


@pytest.mark.statistical
def test_data_come_from_the_noise_model(tiny):
    """Mean square of the data: G R G' + E[scale^2] N, by the log-normal's second moment."""
    assumed = Assumed(tiny, ej.models.MinimumNorm(0.5), ScaledNoise(), (0, 2), (1,))
    theta, data = jax.jit(jax.vmap(Simulate(assumed)))(jax.random.split(KEY, 20_000))
    assert set(theta) == {"lambda2", "scale", "source", "log_likelihood", "log_evidence"}
    got = np.einsum("nrt,nst->rs", data, data) / data.shape[0] / data.shape[2]
    gain = np.asarray(tiny.gain[..., 0]) * np.asarray(tiny.prior_scale[:, 0])
    want = 2 * gain @ gain.T + math.exp(2 + 2 * 0.04) * np.diag([1.0, 2, 3, 4])
    np.testing.assert_allclose(got, want, atol=0.04 * want.max())


def test_sbc_bad_inputs(tiny):
    with pytest.raises(ej.InputError, match="lambda2 must be a number"):
        check(tiny, ej.models.MinimumNorm("evidence"))
    with pytest.raises(ej.InputError, match="has none to draw from"):
        check(tiny, None)
    with pytest.raises(ej.InputError, match="draws must be"):
        check(tiny, ej.models.MinimumNorm(), draws=1)
    with pytest.raises(ej.InputError, match="locations must be integers from 0 to 4"):
        check(tiny, ej.models.MinimumNorm(), locations=[5])
    with pytest.raises(ej.InputError, match="times"):
        check(tiny, ej.models.MinimumNorm(), times=[-1])
    with pytest.raises(ej.InputError, match="no mutant named 'typo'"):
        ej.metrics.gauntlet(key=KEY, only=["typo"])


# ------------------------------------------------------------------ the mutants
def test_log_evidence_of_the_model_is_that_of_the_data():
    from scipy.stats import multivariate_normal

    model = mutants.component_model(3, 5, 4)
    theta, _ = model.simulate(KEY)
    hyper = {name: theta[name] for name in ("gamma", "noise")}
    y = np.random.default_rng(1).standard_normal((5, 4))
    cov = sum(g * c for g, c in zip(theta["gamma"], model.components, strict=True))
    cov = np.asarray(cov) + float(theta["noise"]) ** 2 * np.eye(5)
    want = multivariate_normal(np.zeros(5), cov).logpdf(y.T).sum()
    got = model.log_evidence(hyper, jnp.asarray(y @ y.T)) - 10 * math.log(2 * math.pi)
    assert float(got) == pytest.approx(want, rel=1e-10)


def potential(model, data, z):
    """Log density of the logarithms, as NumPyro's sampler sees it."""
    from numpyro.infer.util import potential_energy

    def seeded(data):  # the potential substitutes all sites, but asks for a key all the same
        with numpyro.handlers.seed(rng_seed=0):
            return model(data)

    return -potential_energy(seeded, (data,), {}, z)


def test_each_mutant_changes_what_its_name_says():
    """Differences of log densities, by the formula of each bug."""
    model = mutants.component_model(3, 5, 4)
    _, power = model.simulate(KEY)
    z = {"gamma": jnp.array([0.3, -0.5, 1.0]), "noise": jnp.asarray(0.4)}
    hyper = {name: jnp.exp(v) for name, v in z.items()}
    right = potential(model, power, z)
    normal = -0.5 * jnp.sum(z["gamma"] ** 2) - 1.5 * math.log(2 * math.pi)
    log_det = jnp.linalg.slogdet(model.covariance(hyper))[1]
    squared = {**hyper, "noise": hyper["noise"] ** 2}
    want = {
        "log-determinant scaled by 0.9": 0.1 * 0.5 * 4 * log_det,
        "noise scale squared": model.log_evidence(squared, power)
        - model.log_evidence(hyper, power),
        "dropped prior term": -(normal - jnp.sum(z["gamma"])),  # the Jacobian stays
        "wrong Jacobian": -jnp.sum(z["gamma"]),
    }
    for name, difference in want.items():
        wrong = dataclasses.replace(model, **mutants.MUTANTS[name])
        got = potential(wrong, power, z) - right
        assert float(got) == pytest.approx(float(difference), rel=1e-9), name
    assert set(mutants.MUTANTS) == {*want, "posterior variance halved"}
    draws = jnp.exp(jax.random.normal(KEY, (50, 2)))
    half = mutants.halved(draws)
    np.testing.assert_allclose(jnp.log(half).mean(0), jnp.log(draws).mean(0), rtol=1e-9)
    np.testing.assert_allclose(jnp.log(half).var(0), jnp.log(draws).var(0) / 2, rtol=1e-9)


def test_gauntlet_runs_any_sampler():
    """Draws of the prior that look at no data: too wide, each truth is one of them."""

    def from_prior(model, key, _data):
        gamma, noise = jax.random.normal(key, (2, 39, 2))
        return {"gamma": jnp.exp(gamma), "noise": 2 * jnp.exp(0.5 * noise[:, 0])}

    results = ej.metrics.gauntlet(
        from_prior,
        600,
        key=KEY,
        model=mutants.component_model(2, 4, 3),
        only=["correct", "posterior variance halved"],
        progress=False,
    )
    assert list(results) == ["correct", "posterior variance halved"]
    right, wrong = results.values()
    assert min(right.ks["gamma[0]"], right.chi2["gamma[0]"], right.ks["noise"]) > 0.01
    assert right.ks["log_evidence"] < 1e-6  # only the quantity that looks at the data tells
    assert wrong.chi2["gamma[0]"] < 1e-6


@pytest.mark.slow
@pytest.mark.statistical
@pytest.mark.parametrize("name", ["correct", *mutants.MUTANTS])
def test_the_gauntlet(name):
    """NUTS on 6 components x 20 sensors, 1,000 data sets."""
    result = ej.metrics.gauntlet(key=jax.random.key(1), only=[name])[name]
    if name == "correct":
        assert result.passes(), str(result)
        assert np.abs(result.autocorrelation).max() < 0.15
    else:
        assert result.p_value < 1e-6, str(result)


@pytest.mark.parametrize(
    "name", ["metrics._sbc_ranks", "metrics._sbc_result", "metrics._sbc_band", "metrics.sbc"]
)
def test_examples(name):
    done = doctest.testmod(importlib.import_module(f"esijax.{name}"))
    assert done.attempted > 0
    assert done.failed == 0
