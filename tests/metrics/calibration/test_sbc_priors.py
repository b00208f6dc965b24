"""Calibration of priors and methods: exact posteriors pass, wrong assumptions do not."""

import dataclasses
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
from esijax.inference.method import Method
from esijax.metrics.calibration.sbc import Assumed, Fit, Simulate
from esijax.models.posteriors.gaussian import GaussianPosterior
from esijax.models.source_cov import Diagonal

KEY = jax.random.key(0)


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


class ScaledPrior(ej.models.Prior):
    """Minimum norm with an unknown size: a hyper-parameter that must be inferred."""

    spread: float = eqx.field(static=True, default=0.7)

    def hyper(self, sizes):
        assert sizes["n_locations"] == 5
        return {"gamma": numpyro.sample("gamma", dist.LogNormal(0.5, self.spread))}

    def source_cov(self, hyper, problem):
        return Diagonal(hyper["gamma"] * problem.prior_scale**2)


class Mixture(GaussianPosterior):
    """One Gaussian posterior per draw of gamma."""

    each: Any = None

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
        marginal = prior.marginal(p)
        log_p = jax.vmap(lambda g: marginal.log_evidence({"gamma": g}))(jnp.exp(z))
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


class ScaledNoise(ej.models.noise.Noise):
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
