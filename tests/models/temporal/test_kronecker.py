"""Kronecker: evidence, moments, draws and courses are those of the dense Gaussian."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from dense_time import Dense

import esijax as ej
from esijax.models.marginals.marginal import seeded_hyper

KEY = jax.random.key(1)
time = ej.models.time
LEARNED = ej.models.noise.InTime(ej.models.noise.Scalar(), time.Autoregressive(2))
SIZE = {"n_channels": 6, "n_locations": 5, "n_times": 8}
RTOL = 1e-9


@pytest.fixture(scope="module")
def problems(problem_factory):
    """With times of 100 Hz."""
    made = {
        "fixed": problem_factory(1, **SIZE),
        "free": problem_factory(3, loose=0.3, **SIZE),
        "trials": problem_factory(1, trials=2, **SIZE),
    }
    correlated = 1.3 * 0.5 ** np.abs(np.subtract.outer(np.arange(8), np.arange(8)))
    return made | {"stated": made["fixed"].with_noise_time(correlated)}


def model(rest="iid", length=None):
    own = time.SquaredExponential(dist.LogNormal(-3.5, 0.5) if length is None else length)
    return ej.models.Kronecker(ej.models.ARD(dist.HalfCauchy(1.0)), own, rest)


def marginal_of(problem, rest="iid", noise=LEARNED):
    noise = ej.models.noise.Scalar() if problem.noise_time is not None else noise
    return model(rest).prepare(problem).marginal(problem, noise.prepare(problem))


@jax.jit
def _answers(marginal, hyper, weights):
    member = marginal.posterior(hyper)
    answers = member.mean(), member.variance(), member.cov(), member.courses(weights)
    return marginal.log_evidence(hyper), answers, member


@pytest.mark.parametrize("rest", ["iid", None])
@pytest.mark.parametrize("kind", ["fixed", "free", "trials", "stated"])
def test_equals_the_dense_gaussian(problems, kind, rest):
    problem = problems[kind]
    marginal = marginal_of(problem, rest)
    hyper = seeded_hyper(marginal, KEY)
    dense = Dense(marginal, hyper)
    weights = np.random.default_rng(0).standard_normal((2, *problem.gain.shape[1:]))
    evidence, (mean, variance, cov, courses), member = _answers(marginal, hyper, weights)
    n_columns = problem.data.size / problem.rank
    want = dense.log_density() + n_columns * float(problem.log_jacobian)
    assert float(evidence) == pytest.approx(want, rel=RTOL)
    np.testing.assert_allclose(mean, dense.mean(), rtol=0, atol=RTOL)
    each = np.broadcast_to(dense.variance(), variance.shape)
    np.testing.assert_allclose(variance, each, rtol=0, atol=RTOL)
    np.testing.assert_allclose(np.diagonal(cov, axis1=-3, axis2=-2), np.moveaxis(each, -2, -1))
    np.testing.assert_allclose(
        member.fitted(), np.einsum("rlo,...lot->...rt", problem.gain, dense.mean()), atol=RTOL
    )
    # the covariance of a course over time
    over = np.kron(weights.reshape(2, -1), np.eye(problem.n_times))
    whole = (over @ dense.cov() @ over.T).reshape(2, problem.n_times, 2, problem.n_times)
    root = np.asarray(courses.root[0])
    for k in range(2):
        found = root * np.asarray(courses.variance[0, k]) @ root.T
        np.testing.assert_allclose(found, whole[k, :, k], rtol=0, atol=RTOL)
    np.testing.assert_allclose(
        courses.at_times[0], np.stack([np.diag(whole[k, :, k]) for k in range(2)]), atol=RTOL
    )


@pytest.mark.statistical
def test_draws_have_these_moments(problems):
    problem = problems["trials"]
    marginal = marginal_of(problem)
    hyper = seeded_hyper(marginal, KEY)
    dense = Dense(marginal, hyper)
    member = marginal.posterior(hyper)
    n = 4000
    draws = jax.jit(lambda m, k: m.draw(k, n, jnp.arange(5), jnp.arange(8)))(member, KEY)
    left = (np.asarray(draws) - dense.mean()).reshape(n, 2, -1)
    std = np.sqrt(np.diag(dense.cov()))
    assert (np.abs(left.mean(axis=0)) < 5 * std / np.sqrt(n)).all()
    for trial in range(2):
        found = np.cov(left[:, trial].T) / np.outer(std, std)
        want = dense.cov() / np.outer(std, std)
        assert np.abs(found - want).max() < 5 * np.sqrt(2 / n)


def test_mixture_is_the_average_of_its_members(problems):
    problem = problems["fixed"]
    marginal = marginal_of(problem)
    each = [seeded_hyper(marginal, jax.random.key(k)) for k in range(3)]
    drawn = jax.tree.map(lambda *x: jnp.stack(x), *each)
    mixture = jax.jit(lambda m, h: m.mixture(h))(marginal, drawn)
    dense = [Dense(marginal, h) for h in each]
    means = np.stack([d.mean() for d in dense])
    variances = np.stack([d.variance() for d in dense])
    np.testing.assert_allclose(mixture.mean(), means.mean(axis=0), atol=RTOL)
    total = variances.mean(axis=0) + means.var(axis=0)
    np.testing.assert_allclose(mixture.variance(), total, atol=RTOL)
    some = jnp.array([1, 3]), jnp.array([0, 4, 7])
    found = mixture.members(*some)
    np.testing.assert_allclose(found[0], means[:, [1, 3]][..., [0, 4, 7]], atol=RTOL)
    np.testing.assert_allclose(found[1], variances[:, [1, 3]][..., [0, 4, 7]], atol=RTOL)
    weights = jnp.ones((1, 5, 1))
    mean, variance = mixture.combine(weights)
    over = np.kron(np.ones((1, 5)), np.eye(8))
    each_var = np.stack([np.diag(over @ d.cov() @ over.T) for d in dense])
    each_mean = means.sum(axis=(1, 2))
    np.testing.assert_allclose(mean[0], each_mean.mean(axis=0), atol=RTOL)
    np.testing.assert_allclose(
        variance[0], each_var.mean(axis=0) + each_mean.var(axis=0), atol=RTOL
    )


def test_derivatives_are_differences(problems):
    """First and second ones, in hyper-parameters, data and lead field."""
    problem = problems["fixed"]
    marginal = marginal_of(problem)
    hyper = seeded_hyper(marginal, KEY)
    del hyper["noise_scale"]

    def value(hyper, data, gain):
        p = dataclasses.replace(problem, data=data, gain=gain)
        return marginal_of(p).log_evidence(hyper)

    at = hyper, problem.data, problem.gain
    rng = np.random.default_rng(0)
    towards = jax.tree.map(lambda x: jnp.asarray(0.1 * rng.standard_normal(x.shape)) * x, at)

    def along(t):
        return value(*jax.tree.map(lambda x, d: x + t * d, at, towards))

    first, second = jax.jit(jax.grad(along)), jax.jit(jax.grad(jax.grad(along)))
    along = jax.jit(along)
    h = 1e-4
    for derivative, of in ((first, along), (second, first)):
        want = float((of(h) - of(-h)) / (2 * h))
        assert float(derivative(0.0)) == pytest.approx(want, rel=1e-6)


def test_order_of_the_noise_by_the_baseline():
    """AR(2) noise of 200 samples before time zero, on ten channels."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((10, 260))
    for k in range(2, 260):
        noise[:, k] += 1.2 * noise[:, k - 1] - 0.6 * noise[:, k - 2]
    gain = rng.standard_normal((10, 6))
    problem = ej.from_arrays(gain, noise, noise_cov=np.var(noise), sfreq=100.0, tmin=-2.0)
    found = model().default_noise(problem)
    assert found.time.order == 2
    assert "order 2 by the evidence of 200 samples" in found.notes[0]
    white = problem.with_data(rng.standard_normal((10, 260)) * np.std(noise))
    assert isinstance(model().default_noise(white).time, time.White)


def test_what_is_refused(problems):
    problem, kronecker = problems["fixed"], ej.models.Kronecker
    ard = ej.models.ARD(dist.HalfCauchy(1.0))
    for make, told in (
        (lambda: kronecker(ej.models.L21(1.0), time.White()), "takes a prior in space"),
        (lambda: kronecker(model(), time.White()), "takes a prior in space"),
        (lambda: kronecker(ard, "smooth"), "esijax.models.time"),
        (lambda: kronecker(ard, time.White(), rest="white"), "rest must be"),
        (lambda: ej.models.noise.InTime(time.White(), time.White()), "noise model of the sensors"),
        (lambda: ej.models.noise.InTime(LEARNED, time.White()), "noise model of the sensors"),
        (lambda: ej.models.noise.InTime(ej.models.noise.White(), 3), "covariance of esijax"),
    ):
        with pytest.raises(ej.InputError, match=told):
            make()
    with pytest.raises(ej.InputError, match="does not separate"):
        ej.solve(problem, ard, ej.inference.Evidence(), noise=LEARNED)
    with pytest.raises(ej.InputError, match="order"):
        ej.solve(problem, kronecker(ard, time.Autoregressive(8)), ej.inference.Evidence())
    with pytest.raises(ej.InputError, match="two covariances in time"):
        ej.solve(problems["stated"], model(), ej.inference.Evidence(), noise=LEARNED)
    with pytest.raises(ej.InputError, match="use inference"):
        ej.solve(problem, model(), ej.inference.Gibbs(), key=KEY)
    found = marginal_of(problem)
    with pytest.raises(ej.InputError, match="no kernel"):
        found.posterior(seeded_hyper(found, KEY)).kernel()


@pytest.mark.parametrize("trials", [None, 2])
def test_few_columns_have_the_same_evidence(problem_factory, trials):
    """Their span and the silent rest, against all sensors."""
    problem = problem_factory(1, trials=trials, n_channels=9, n_locations=6, n_times=8)
    prior = ej.models.Components([np.arange(3), np.arange(3, 6)], dist.HalfCauchy(1.0))
    kronecker = ej.models.Kronecker(prior, time.SquaredExponential(0.03), rest=None)
    marginal = kronecker.prepare(problem).marginal(problem, LEARNED.prepare(problem))
    assert marginal.few is not None
    hyper = seeded_hyper(marginal, KEY)
    n_columns = problem.data.size / problem.rank
    want = Dense(marginal, hyper).log_density() + n_columns * float(problem.log_jacobian)
    assert float(marginal.log_evidence(hyper)) == pytest.approx(want, rel=RTOL)


def test_moments_have_derivatives(problems):
    """Mean and variance follow hyper-parameters, data and lead field."""
    problem = problems["fixed"]
    marginal = marginal_of(problem)
    hyper = seeded_hyper(marginal, KEY)
    del hyper["noise_scale"]
    at = hyper, problem.data, problem.gain
    rng = np.random.default_rng(0)
    towards = jax.tree.map(lambda x: jnp.asarray(0.1 * rng.standard_normal(x.shape)) * x, at)
    probe = jnp.asarray(rng.standard_normal((2, 5, 1, 8)))

    def along(t):
        hyper, data, gain = jax.tree.map(lambda x, d: x + t * d, at, towards)
        own = marginal_of(dataclasses.replace(problem, data=data, gain=gain)).posterior(hyper)
        return jnp.sum(probe[0] * own.mean()) + jnp.sum(probe[1] * jnp.log(own.variance()))

    value = jax.jit(along)
    want = float((value(1e-4) - value(-1e-4)) / 2e-4)
    assert float(jax.jit(jax.grad(along))(0.0)) == pytest.approx(want, rel=1e-6)
