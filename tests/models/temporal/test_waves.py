"""Waves: what they refuse, and the posterior of the product against dense algebra and draws."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import esijax as ej

MATERN = ej.models.time.Matern(1.5, 0.05)
KEY = jax.random.key(0)


def model(k=2, prior=None, **kwargs):
    prior = ej.models.ARD(dist.InverseGamma(1.0, 0.1)) if prior is None else prior
    return ej.models.TemporalBasis(prior, ej.models.Waves(k, MATERN), **kwargs)


def recording(orients=1, channels=6, locations=5, n_times=12):
    rng = np.random.default_rng(2)
    gain = rng.standard_normal((channels, locations, orients))
    course = np.sin(np.arange(n_times) / 3)
    data = 2 * gain[:, 0, :1] * course + rng.standard_normal((channels, n_times))
    return ej.from_arrays(gain, data, noise_cov=1.0, sfreq=100.0)


def solved(problem, **kwargs):
    method = ej.inference.VB(tol=None, max_iter=4)
    return ej.solve(problem, model(**kwargs), method, noise=ej.models.noise.White())


@pytest.fixture(scope="module")
def estimate():
    return solved(recording(), rest="iid")


def test_what_waves_refuse():
    for k in (0, -1, 1.5, True, "two"):
        with pytest.raises(ej.InputError, match="whole number"):
            ej.models.Waves(k, MATERN)
    with pytest.raises(ej.InputError, match="SquaredExponential"):
        ej.models.Waves(2, 0.05)
    problem = recording()
    for k, match in ((12, "samples"), (7, "rank")):
        with pytest.raises(ej.InputError, match=match):
            model(k).prepare(problem)
    trials = jnp.stack([problem.recording] * 2)
    with pytest.raises(ej.InputError, match="vmap"):
        model().prepare(problem.with_data(trials))
    with pytest.raises(ej.InputError, match="iid"):
        model(rest="smooth")


def test_prepared_once():
    problem = recording()
    prepared = ej.models.Waves(2, MATERN).prepare(problem)
    np.testing.assert_allclose(np.asarray(prepared.times), problem.times)
    assert prepared.prepare(problem) is prepared
    assert isinstance(prepared.default_noise(problem), ej.models.noise.Scalar)


def dense_moments(posterior):
    """Mean and variance of W Phi from the factors' own moments, without a remainder."""
    law, space = posterior.waves, posterior.space
    gain = np.asarray(posterior.gain)
    g = gain.reshape(len(gain), -1)
    prior = np.asarray(jnp.diag(posterior.source_cov.variance.ravel()))
    noise = np.asarray(space.root @ space.root.T)
    level, seen = np.asarray(law.level), np.asarray(posterior.seen)
    maps, covs = [], []
    for s, b in zip(level, seen.T, strict=True):
        filt = np.sqrt(s) * prior @ g.T @ np.linalg.inv(s * g @ prior @ g.T + noise)
        maps.append(filt @ b)
        covs.append(prior - np.sqrt(s) * filt @ g @ prior)
    maps, mixing = np.array(maps), np.asarray(law.mixing)
    mean = maps.T @ law.mean
    root, variance = np.asarray(law.root), np.asarray(law.variance)
    between = np.einsum("kp,lp,tj,pj->klt", mixing, mixing, root**2, variance)
    second = np.asarray(law.mean)[:, None] * np.asarray(law.mean)[None] + between
    total = np.einsum("kxy,kkt->xyt", np.array(covs), second)
    return mean, total + np.einsum("kx,ly,klt->xyt", maps, maps, between)


@pytest.mark.parametrize("orients", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_moments_are_those_of_the_product(orients):
    posterior = solved(recording(orients), rest=None).posterior
    mean, cov = dense_moments(posterior)
    n, t = 5 * orients, mean.shape[1]
    np.testing.assert_allclose(np.asarray(posterior.mean()).reshape(n, t), mean, atol=1e-10)
    blocks = cov.reshape(5, orients, 5, orients, t)
    want = np.stack([blocks[i, :, i] for i in range(5)])
    np.testing.assert_allclose(np.asarray(posterior.cov()), want, atol=1e-10)
    # a linear combination, with its covariance over time
    weights = np.random.default_rng(0).standard_normal((2, 5, orients))
    flat = weights.reshape(2, n)
    found = posterior.courses(jnp.asarray(weights))
    np.testing.assert_allclose(np.asarray(found.mean[0]), flat @ mean, atol=1e-10)
    want = np.einsum("cx,xyt,cy->ct", flat, cov, flat)
    np.testing.assert_allclose(np.asarray(found.at_times[0]), want, atol=1e-10)


def test_draws_have_the_moments(estimate):
    posterior, n = estimate.posterior, 4000
    draws = np.asarray(estimate.sample(KEY, n))
    scale = float(estimate.scale)
    mean, variance = np.asarray(estimate.mean), np.asarray(estimate.std) ** 2
    error = (draws.mean(0) - mean) / np.sqrt(variance / n)
    assert np.abs(error).max() < 5
    np.testing.assert_allclose(draws.var(0), variance, rtol=0.25)
    assert abs(np.mean(draws.var(0) / variance) - 1) < 0.02
    # a course over time, its neighbours together
    weights = jnp.asarray(np.random.default_rng(1).standard_normal((1, 5, 1)))
    found = posterior.courses(weights)
    root, own = np.asarray(found.root[0]), np.asarray(found.variance[0, 0])
    course = np.einsum("lo,nlot->nt", np.asarray(weights[0]), draws) / scale
    want = (root * own[None]) @ root.T
    got = np.cov(course.T)
    size = np.sqrt(np.outer(np.diag(want), np.diag(want)))
    assert np.abs((got - want) / size).max() < 0.12


def test_single_locations_and_questions(estimate):
    p = estimate.problem
    whole, (low, high) = estimate.std, estimate.interval(0.9)
    some = estimate.interval(0.9, at=([1, 3], [2, 4]))
    np.testing.assert_allclose(some[0], np.asarray(low)[[1, 3]][..., [2, 4]], rtol=1e-10)
    np.testing.assert_allclose(np.asarray(high - low), 2 * 1.6448536269514722 * whole, rtol=1e-6)
    chance = np.asarray(estimate.exceedance(float(np.max(np.abs(estimate.mean))) / 2))
    assert chance.shape == (p.n_locations, p.n_times)
    assert chance.min() >= 0
    assert chance.max() <= 1
    # one weight at a time is the map itself
    unit = jnp.eye(p.n_locations)[:, :, None]
    mean, variance = estimate.posterior.combine(unit)
    np.testing.assert_allclose(mean, estimate.posterior.mean()[:, 0], atol=1e-10)
    np.testing.assert_allclose(variance, estimate.posterior.variance()[:, 0], atol=1e-10)
    with pytest.raises(ej.InputError, match="no kernel"):
        _ = estimate.kernel


def test_noise_in_time_is_stated():
    """Columns are whitened in time; waves, maps and draws come back to the samples."""
    omega = 0.5 ** np.abs(np.subtract.outer(np.arange(12), np.arange(12)))
    problem = recording().with_noise_time(omega)
    estimate = solved(problem, k=1, rest=None)
    mean = np.asarray(estimate.mean)[:, 0]
    wave = np.asarray(estimate.hyper["waves"])[0]
    place = np.abs(mean).sum(1).argmax()
    assert abs(np.corrcoef(mean[place], wave)[0, 1]) > 1 - 1e-9
    draws = np.asarray(estimate.sample(KEY, 2000))
    variance = np.asarray(estimate.std) ** 2
    assert abs(np.mean(draws.var(0) / variance) - 1) < 0.04
    # as if the columns had been given, T in their place
    own = problem.noise_time
    space, time = jax.tree.map(lambda x: x, (own.inverse, MATERN))
    turned = np.asarray(space @ time.cov({}, problem.times).dense() @ space)
    root = estimate.posterior.waves.root
    value = np.linalg.eigvalsh(turned)
    np.testing.assert_allclose(np.diag(root.T @ turned @ root), value, atol=1e-10)


def test_files_bring_it_back(estimate, tmp_path):
    estimate.posterior.mean()
    ej.save(estimate, tmp_path / "waves.npz")
    again = ej.load(tmp_path / "waves.npz")
    np.testing.assert_array_equal(np.asarray(again.mean), np.asarray(estimate.mean))
    np.testing.assert_array_equal(np.asarray(again.std), np.asarray(estimate.std))
    assert eqx.tree_equal(again.hyper, estimate.hyper)
    assert again.diagnostics.evidence_note == "lower bound"
