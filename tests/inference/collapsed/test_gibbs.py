"""Gibbs sampling: its two conditionals against closed forms, itself against NUTS, its driver."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.stats

import esijax as ej
from esijax.estimate import RESULT
from esijax.inference.collapsed.sampling._sweep import draw_block, sliced, sweep_model
from esijax.models._variance_blocks import variance_blocks
from esijax.models.hyperpriors import Given

KEY = jax.random.key(0)
PRIOR = dist.InverseGamma(2.0, 0.5)
few = pytest.mark.filterwarnings("ignore::esijax.EsijaxWarning")


@pytest.fixture(scope="module")
def fixed(problem_factory):
    return problem_factory(1, n_channels=8, n_locations=9, n_times=5)


@pytest.mark.statistical
def test_slice_sampling_leaves_a_distribution_as_it_is():
    """Two peaks, ten thousand numbers at once, each moved forty times from the same place."""

    def density(u):
        return jnp.logaddexp(-0.5 * (u + 2.0) ** 2, -0.5 * ((u - 2.0) / 0.5) ** 2)

    def move(u, key):
        return sliced(key, density, u), None

    u, _ = jax.lax.scan(move, jnp.zeros(10_000), jax.random.split(KEY, 40))
    weight = 1.0 / 1.5  # of the left peak

    def cdf(x):
        norm = scipy.stats.norm
        return weight * norm.cdf(x, -2, 1) + (1 - weight) * norm.cdf(x, 2, 0.5)

    assert scipy.stats.kstest(np.asarray(u), cdf).pvalue > 0.01


@pytest.mark.slow
@pytest.mark.statistical
def test_slice_and_closed_form_draw_the_same():
    """The inverse gamma through both branches."""
    log, count, square = jnp.zeros(20_000), jnp.full(20_000, 5.0), jnp.full(20_000, 3.0)

    class Plain(dist.LogNormal):
        """The same density under a name without a closed form."""

        def log_prob(self, value):
            return PRIOR.log_prob(value)

    def block(law):
        return variance_blocks(Given(law).distributions(20_000, {}))[0]

    exact = draw_block(block(PRIOR), KEY, log, count, square)
    want = scipy.stats.invgamma(2.0 + 2.5, scale=0.5 + 1.5)
    assert scipy.stats.kstest(np.exp(exact), want.cdf).pvalue > 0.01
    for key in jax.random.split(KEY, 15):
        log = draw_block(block(Plain(0.0, 1.0)), key, log, count, square)
    assert scipy.stats.kstest(np.exp(log), want.cdf).pvalue > 0.01


@pytest.mark.statistical
@pytest.mark.parametrize(
    "noise", [None, ej.models.noise.Diagonal(PRIOR)], ids=["white", "diagonal"]
)
def test_sources_are_drawn_from_their_posterior(fixed, noise):
    """Variance drawn given the sources: its expectation, from the closed form of the sources."""
    marginal = ej.models.ARD(PRIOR).marginal(fixed, noise)
    model = sweep_model(marginal)
    log = jnp.asarray(np.random.default_rng(0).normal(-1.0, 1.0, model.n))
    variance = jnp.exp(log)[model.owner]
    sigma = (model.factor * variance) @ model.factor.T + (noise is None) * jnp.eye(fixed.rank)
    gain = jnp.linalg.solve(sigma, model.factor * variance).T
    mean = gain @ model.data
    spread = variance - jnp.sum(gain * (model.factor * variance).T, axis=1)
    power = jnp.sum(mean**2, axis=1) + mean.shape[1] * spread
    draws = jax.vmap(lambda k: model.sweep(k, log)[0])(jax.random.split(KEY, 20_000))
    # 1 / v is Gamma(a + T / 2) / (b + s / 2) given s: E v = (b + E s / 2) / (a + T / 2 - 1)
    got, error = np.exp(draws).mean(0), np.exp(draws).std(0) / np.sqrt(len(draws))
    want = (0.5 + 0.5 * power) / (2.0 + 0.5 * mean.shape[1] - 1.0)
    assert (np.abs(got - want) < 4.5 * error).all()


@pytest.mark.slow
@pytest.mark.statistical
@pytest.mark.parametrize("prior", [ej.models.StudentT, ej.models.ARD])
def test_agrees_with_nuts(fixed, prior):
    given = (3.0, 0.5) if prior is ej.models.StudentT else (dist.LogNormal(-1.0, 1.0),)
    prior = prior(*given)
    noise = ej.models.noise.Scalar()
    gibbs = ej.solve(fixed, prior, ej.inference.Gibbs(1000, 12_000), noise=noise, key=KEY)
    nuts = ej.solve(fixed, prior, ej.inference.NUTS(300, 1000), noise=noise, key=KEY)
    for estimate in (gibbs, nuts):
        assert estimate.result == RESULT.successful, estimate.verdict()
    from arviz_stats.base import array_stats

    for name in ("gamma", "noise_var"):
        both = [np.log(np.asarray(e.diagnostics.draws[name])) for e in (gibbs, nuts)]
        errors = [array_stats.mcse(np.moveaxis(d, 2, 0), method="mean") for d in both]
        gap = both[0].mean((0, 1)) - both[1].mean((0, 1))
        assert (np.abs(gap) < 4 * np.hypot(*errors)).all()


@few
def test_interrupted_and_resumed_bitwise(fixed, tmp_path, monkeypatch):
    prior, method, path = ej.models.StudentT(), ej.inference.Gibbs(10, 30, 2), tmp_path / "x"
    whole = ej.solve(fixed, prior, method, key=KEY)
    advance, calls = ej.inference.Gibbs.advance, []

    def stop_later(self, state):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return advance(self, state)

    monkeypatch.setattr(ej.inference.Gibbs, "advance", stop_later)
    part = ej.solve(fixed, prior, method, key=KEY, checkpoint=path)
    assert part.result == RESULT.interrupted
    n = part.diagnostics.potential.shape[1]
    assert 1 <= n < 30
    rest = ej.solve(fixed, prior, method, key=KEY, checkpoint=path)
    np.testing.assert_array_equal(rest.hyper["gamma"], whole.hyper["gamma"])


@few
def test_stays_within_the_support(fixed):
    prior = ej.models.ARD(dist.Uniform(0.2, 0.4))
    estimate = ej.solve(fixed, prior, ej.inference.Gibbs(20, 100, 2), key=KEY)
    gamma = np.asarray(estimate.hyper["gamma"])
    assert 0.2 <= gamma.min() < 0.21
    assert 0.39 < gamma.max() <= 0.4


def test_doubts_and_bad_inputs(fixed):
    with pytest.warns(ej.EsijaxWarning, match="ESS"):
        short = ej.solve(fixed, ej.models.StudentT(), ej.inference.Gibbs(2, 10, 2), key=KEY)
    assert short.result == RESULT.doubtful
    assert {"rhat", "ess_bulk", "ess_tail"} <= set(short.verdict())
    for options in ({"num_warmup": 0}, {"num_chains": -1}, {"num_maps": 0}):
        with pytest.raises(ej.InputError, match="positive integer"):
            ej.inference.Gibbs(**options)
