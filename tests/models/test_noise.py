"""Noise models against channel-space formulas, W N W'."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.infer.util import log_density

import esijax as ej
from esijax.models import noise as models
from esijax.models.noise.noise import variance_prior

TYPES = np.array(["eeg"] * 3 + ["mag"] * 9)


def types_apart(problem_factory, coupled=0.0):
    """A small problem whose noise covariance does not couple its two types of channels."""
    problem = problem_factory(1)
    rng = np.random.default_rng(4)
    half = rng.standard_normal((12, 12))
    cov = half @ half.T / 12 + 0.3 * np.eye(12)
    cov[TYPES[:, None] != TYPES[None]] *= coupled
    gain = rng.standard_normal((12, 20))
    return ej.from_arrays(gain, problem.recording, cov, ch_types=TYPES), cov


@pytest.fixture
def apart(problem_factory):
    return types_apart(problem_factory)


def white(problem, channel_cov):
    w = np.asarray(problem.whitener.matrix)
    return w @ channel_cov @ w.T


def own_cov(problem):
    c = np.asarray(problem.whitener.colorer)
    return c @ c.T


def close(got, want, rtol=1e-10):
    want = np.asarray(want)
    np.testing.assert_allclose(got, want, rtol=rtol, atol=rtol * max(np.abs(want).max(), 1.0))


def by_scalar(problem, v):
    return v[0] * own_cov(problem)


def by_diagonal(problem, v):
    return np.diag(v * np.diag(own_cov(problem)))


@pytest.mark.parametrize("name", ["fixed", "referenced"])
@pytest.mark.parametrize(
    ("noise", "formula"), [(models.Scalar(), by_scalar), (models.Diagonal(), by_diagonal)]
)
def test_covariance_is_that_of_the_channels(request, name, noise, formula):
    """Also where the average reference has taken a dimension."""
    problem = request.getfixturevalue(name)
    noise = noise.prepare(problem)
    v = np.random.default_rng(0).uniform(0.3, 2.0, noise.n_variances)
    hyper = {"noise_var": jnp.asarray(v)}
    got = noise.covariance(hyper, problem.whitener)
    assert got.shape == (problem.rank, problem.rank)
    close(got, white(problem, formula(problem, v)))
    factor, member = noise.factor(problem.whitener)
    close((factor * v[np.asarray(member)][None]) @ factor.T, got)


def test_types(apart):
    problem, cov = apart
    noise = models.PerType().prepare(problem)
    assert noise.types == ("eeg", "mag")
    v = np.array([0.4, 3.0])
    scaled = cov * np.where(TYPES == "eeg", v[0], v[1])  # types are apart: rows suffice
    got = noise.covariance({"noise_var": jnp.asarray(v)}, problem.whitener)
    close(got, white(problem, scaled))
    factor, member = noise.factor(problem.whitener)
    close((factor * v[np.asarray(member)][None]) @ factor.T, got)
    assert noise.prepare(problem) is noise


def test_ones_are_white(apart, fixed, referenced):
    """Scalar and PerType with variances of one are the noise covariance itself."""
    for problem in (apart[0], fixed, referenced):
        for noise in (models.Scalar().prepare(problem), models.PerType().prepare(problem)):
            ones = {"noise_var": jnp.ones(noise.n_variances)}
            close(noise.covariance(ones, problem.whitener), np.eye(problem.rank))


def test_coupled_types_share_a_factor(problem_factory, referenced):
    """A noise covariance that couples them, or a reference over both."""
    problem, _ = types_apart(problem_factory, coupled=0.5)
    assert models.PerType().prepare(problem).types == ("eeg+mag",)
    assert models.PerType().prepare(referenced).types == ("eeg+mag",)


def test_low_rank(fixed):
    with pytest.warns(ej._types.EsijaxWarning, match="without a baseline"):
        noise = models.LowRank(2, scale=0.5).prepare(fixed)
    rng = np.random.default_rng(0)
    v, fields = rng.uniform(0.3, 2.0, 12), rng.standard_normal((12, 2))
    hyper = {"noise_var": jnp.asarray(v), "noise_fields": jnp.asarray(fields)}
    root = np.sqrt(np.diag(own_cov(fixed)))
    channels = root[:, None] * (np.diag(v) + fields @ fields.T) * root
    close(noise.covariance(hyper, fixed.whitener), white(fixed, channels))


def prepared(problem, noise):
    if isinstance(noise, models.LowRank):
        with pytest.warns(ej._types.EsijaxWarning, match="without a baseline"):
            return noise.prepare(problem)
    return noise.prepare(problem)


ALL = [models.White(), models.Scalar(), models.PerType(), models.Diagonal(), models.LowRank(2)]


@pytest.mark.parametrize("noise", ALL, ids=lambda n: type(n).__name__)
def test_draws_and_start(apart, noise):
    """Drawn covariances are definite; a start has the variances asked for."""
    problem, _ = apart
    noise = prepared(problem, noise)
    with numpyro.handlers.seed(rng_seed=0):
        hyper = noise.hyper()
    cov = np.asarray(noise.covariance(hyper, problem.whitener))
    assert np.linalg.eigvalsh(cov).min() > 0
    want = jnp.linspace(0.5, 1.5, noise.n_variances)
    with numpyro.handlers.seed(rng_seed=0), numpyro.handlers.substitute(data=noise.start(want)):
        again = noise.hyper()
    if noise.n_variances:
        np.testing.assert_allclose(again["noise_var"], want, rtol=1e-12)
        np.testing.assert_allclose(again["noise_scale"] ** 2, want, rtol=1e-12)
    slope = jax.grad(lambda h: jnp.sum(noise.covariance(h, problem.whitener) ** 2))(hyper)
    assert all(np.isfinite(s).all() for s in jax.tree.leaves(slope))


@pytest.mark.parametrize("noise", [models.PerType(), models.Diagonal(), models.LowRank(1)])
def test_not_prepared(noise):
    with pytest.raises(ej.InputError, match="prepare"):
        _ = noise.n_variances


@pytest.mark.parametrize(
    "make",
    [
        lambda: models.LowRank(0),
        lambda: models.LowRank(True),
        lambda: models.LowRank(1, scale=0.0),
        lambda: models.Scalar(dist.Normal(0.0, 1.0)),
        lambda: models.Diagonal("big"),
    ],
)
def test_what_is_no_noise(make):
    with pytest.raises(ej.InputError):
        make()


def test_types_must_be_known(fixed):
    nameless = dataclasses.replace(fixed, labels=dataclasses.replace(fixed.labels, ch_types=()))
    with pytest.raises(ej.InputError, match="channel types"):
        models.PerType().prepare(nameless)


def test_types_under_jit(fixed):
    noise = models.PerType()
    with pytest.raises(ej.InputError, match="prepare"):
        jax.jit(lambda p: noise.prepare(p).member)(fixed)
    ready = noise.prepare(fixed)
    assert jax.jit(lambda p: ready.prepare(p).member)(fixed).shape == (12,)


def test_flat_noise_is_improper():
    assert models.Scalar().proper
    assert models.White().proper
    assert not models.Scalar(None).proper
    assert not models.LowRank(1, variance=None).proper


def noise_only(scale, n_times, ch_types, noise_cov):
    """Data of noise alone on channels of two kinds, standard deviations `scale`."""
    rng = np.random.default_rng(8)
    data = scale[:, None] * rng.standard_normal((len(scale), n_times))
    gain = rng.standard_normal((len(scale), 15))
    return ej.from_arrays(gain, data, noise_cov, ch_types=ch_types)


def best(problem, noise, gamma=1e-9):
    """Variances that maximise the evidence of noise alone, by scalar equations (Newton)."""
    prior = ej.models.ARD()
    marginal = prior.marginal(problem, noise)
    gammas = jnp.full(problem.n_locations, gamma)

    def fit(log_v):
        return marginal.log_evidence({"gamma": gammas, "noise_var": jnp.exp(log_v)})

    @jax.jit
    def newton(at):
        return at - jnp.linalg.solve(jax.hessian(fit)(at), jax.grad(fit)(at))

    at = jnp.zeros(marginal.noise.n_variances)
    for _ in range(30):
        at = newton(at)
    return np.exp(np.asarray(at))


def test_noise_without_a_baseline():
    """No noise covariance at all: one variance is assumed, and the evidence finds the true one."""
    with pytest.warns(ej._types.EsijaxWarning, match="no noise_cov"):
        problem = noise_only(np.full(12, 2.0), 400, TYPES, None)
    (found,) = best(problem, models.Scalar(dist.LogNormal(0.0, 3.0)))
    assumed = own_cov(problem)[0, 0]
    assert found * assumed == pytest.approx(np.mean(np.asarray(problem.recording) ** 2), rel=1e-6)
    assert found * assumed == pytest.approx(4.0, rel=0.1)


def test_types_without_a_baseline():
    """Two kinds of sensors, the given covariance wrong by a factor of its own in each."""
    scale = np.where(TYPES == "eeg", 3.0, 0.5)
    problem = noise_only(scale, 300, TYPES, np.ones(12))
    found = best(problem, models.PerType(dist.LogNormal(0.0, 3.0)))
    data = np.asarray(problem.recording)
    want = [np.mean(data[TYPES == t] ** 2) for t in ("eeg", "mag")]
    np.testing.assert_allclose(found, want, rtol=1e-6)


def test_new_values_compile_nothing(apart):
    problem, _ = apart
    noise = models.PerType(dist.InverseGamma(2.0, 1.0)).prepare(problem)
    count = 0

    @eqx.filter_jit
    def density(noise, sites):
        nonlocal count
        count += 1
        return log_density(noise.hyper, (), {}, sites)[0]

    for rate in (1.0, 2.0):
        other = eqx.tree_at(
            lambda n: n.variance, noise, variance_prior(dist.InverseGamma(2.0, rate))
        )
        density(other, noise.start(jnp.ones(2)))
    assert count == 1
