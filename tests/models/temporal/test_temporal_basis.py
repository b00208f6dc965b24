"""A basis that is given, against the dense Gaussian over sources and times."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats

import esijax as ej
from esijax.inference.collapsed.answers import marginal
from esijax.inference.solve import prepare_inputs

BASIS = np.random.default_rng(5).standard_normal((3, 7))
HALF = dist.HalfCauchy(1.0)
SCALAR = ej.models.noise.Scalar()


@pytest.fixture(autouse=True)
def _written_out():
    """Trials may stand in front: shapes of other ranks are broadcast, unlike in the rest."""


def omega_of(n):
    lag = np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    size = np.sqrt(1.3 * (1 + 0.1 * np.arange(n)))
    return 0.6**lag * np.outer(size, size)


class Dense:
    """Vectors over (source, time) and (dimension, time): nothing is assumed to separate."""

    def __init__(self, problem, gamma, time, noise_time, noise=1.0, rest=0.0):
        gain = np.asarray(problem.gain).reshape(problem.rank, -1)
        scale = np.asarray(problem.prior_scale).ravel() ** 2
        gamma = np.repeat(gamma, problem.n_orients)
        prior = np.kron(np.diag(scale * gamma), time) + rest * np.kron(np.diag(scale), noise_time)
        field = np.kron(gain, np.eye(len(time)))
        self.cov = field @ prior @ field.T
        self.cov += noise * np.kron(np.eye(problem.rank), noise_time)
        self.back = prior @ field.T @ np.linalg.inv(self.cov)
        self.left = prior - self.back @ field @ prior
        self.shape = (problem.n_locations, problem.n_orients, problem.n_times)
        self.jacobian = problem.n_times * float(problem.whitener.log_pdet)

    def mean(self, white):
        return (self.back @ np.asarray(white).ravel()).reshape(self.shape)

    @property
    def variance(self):
        return np.diag(self.left).reshape(self.shape)

    def log_density(self, white):
        white = np.asarray(white)
        law = stats.multivariate_normal(None, self.cov)
        each = [law.logpdf(y.ravel()) for y in white.reshape(-1, *white.shape[-2:])]
        return sum(each) + len(each) * self.jacobian


def gamma_of(problem):
    return np.exp(np.random.default_rng(1).standard_normal(problem.n_locations))


def world(name, request):
    """A problem, white data at the samples, the projection in time, the noise's covariance."""
    problem = request.getfixturevalue(name.removesuffix("+omega"))
    white, omega, basis = problem.data, np.eye(7), BASIS
    if name.endswith("+omega"):
        omega = omega_of(7)
        problem = problem.with_noise_time(omega)
        half = np.asarray(problem.noise_time.root)
        basis = BASIS @ np.linalg.inv(half)
        time = half @ np.linalg.pinv(basis) @ basis @ half
    else:
        time = np.linalg.pinv(basis) @ basis
    return problem, white, time, omega


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("fixed", marks=pytest.mark.slow),
        "fixed+omega",
        pytest.param("trials", marks=pytest.mark.slow),
    ],
)
def test_columns_are_the_dense_gaussian(name, request):
    """Evidence, mean, variance of one member and of a mixture; noise known and learned."""
    problem, white, time, omega = world(name, request)
    model = ej.models.TemporalBasis(ej.models.ARD(HALF), BASIS, rest=None)
    for noise, level in ((None, 1.0), (SCALAR, 0.7)):
        _, setup = prepare_inputs(problem, model, ej.inference.Evidence(), noise=noise)
        target = marginal(setup)
        assert target.sizes["n_times"] == 3 * max(1, problem.data.size // (7 * problem.rank))
        gammas = [gamma_of(problem), 0.3 * gamma_of(problem)[::-1]]
        hypers = [{"gamma": jnp.asarray(g), "noise_var": jnp.array([level])} for g in gammas]
        dense = [Dense(problem, g, time, omega, level) for g in gammas]
        found = eqx.filter_jit(target.log_evidence)(hypers[0])
        want = dense[0].log_density(white)
        assert float(found) == pytest.approx(want, rel=1e-11)
        draws = jax.tree.map(lambda *x: jnp.stack(x), *hypers)
        posteriors = [(target.posterior(hypers[0]), dense[:1])]
        if noise is not None:
            posteriors += [(eqx.filter_jit(target.mixture)(draws), dense)]
        for posterior, members in posteriors:
            _check_moments(_answer(problem, setup, posterior), members, white)


def _check_moments(estimate, members, white):
    """Mean and deviation of an equal mixture of dense Gaussians."""
    recordings = np.asarray(white).reshape(-1, *white.shape[-2:])
    mean = np.array([[d.mean(y) for y in recordings] for d in members])
    want = np.array([d.variance for d in members]).mean(axis=0) + mean.var(axis=0)
    unit, shape = float(estimate.problem.source_unit), estimate.mean.shape
    mean = unit * mean.mean(axis=0).reshape(shape)
    np.testing.assert_allclose(estimate.mean, mean, atol=1e-9 * np.abs(mean).max())
    std = np.broadcast_to(estimate.std, shape).reshape(want.shape)
    np.testing.assert_allclose(std, unit * np.sqrt(want), rtol=1e-8)
    # the mean over a window: samples go together as the basis has them
    window = estimate.label([3, 7], mode="mean", window=(0.0, 0.02))
    w = np.zeros(members[0].shape)
    w[[3, 7], -1, 2:5] = unit / 6
    means = np.array([[w.ravel() @ d.mean(y).ravel() for y in recordings] for d in members])
    power = np.mean([w.ravel() @ d.left @ w.ravel() for d in members])
    np.testing.assert_allclose(np.ravel(window.std), np.sqrt(power + means.var(axis=0)), rtol=1e-8)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("fixed", marks=pytest.mark.slow),
        "fixed+omega",
        pytest.param("trials", marks=pytest.mark.slow),
    ],
)
def test_the_remainder_is_that_of_the_dense_gaussian(name, request):
    """With it the model is Kronecker; also for courses as they are given."""
    problem, white, time, omega = world(name, request)
    gamma = gamma_of(problem)
    hyper = {"gamma": jnp.asarray(gamma), "noise_var": jnp.array([0.7])}
    for rest, orthonormal in ((0.4, True), (0.0, False)):
        model = ej.models.TemporalBasis(
            ej.models.ARD(HALF), BASIS, "iid" if rest else None, orthonormal=orthonormal
        )
        _, setup = prepare_inputs(problem, model, ej.inference.NUTS(), noise=SCALAR, key=0)
        target = marginal(setup)
        assert target.sizes["n_times"] == 3 * max(1, problem.data.size // (7 * problem.rank))
        own = time if orthonormal else BASIS.T @ BASIS
        dense = Dense(problem, gamma, own, omega, 0.7, rest)
        now = hyper | ({"rest/gamma": jnp.array([rest])} if rest else {})
        found = eqx.filter_jit(target.log_evidence)(now)
        assert float(found) == pytest.approx(dense.log_density(white), rel=1e-11)
        _check_moments(_answer(problem, setup, target.posterior(now)), [dense], white)


def test_both_ways_are_one_model(fixed):
    """K columns and columns of noise alone, and the marginal that NumPyro is handed."""
    model = ej.models.TemporalBasis(ej.models.ARD(HALF), "dct:3", rest=None)
    _, setup = prepare_inputs(fixed, model, ej.inference.Evidence(), noise=SCALAR)
    columns, whole = marginal(setup), model.marginal(fixed, SCALAR)
    gamma = jnp.asarray(gamma_of(fixed))

    def values(target):
        def value(log):
            variance = jnp.exp(log)
            return target.log_evidence({"gamma": variance[:-1], "noise_var": variance[-1:]})

        log = jnp.append(jnp.log(gamma), -0.3)
        return value, log, jax.jit(jax.value_and_grad(value))(log)

    (value, log, (one, slope)), (_, _, (two, other)) = values(columns), values(whole)
    assert float(one) == pytest.approx(float(two), rel=1e-12)
    np.testing.assert_allclose(slope, other, atol=1e-9 * np.abs(slope).max())
    step = 1e-5 * jnp.eye(len(log))[jnp.array([3, -1])]
    f = jax.jit(jax.vmap(value))
    differences = (f(log[None] + step) - f(log[None] - step)) / 2e-5
    np.testing.assert_allclose(differences, slope[jnp.array([3, -1])], rtol=1e-6)

    drawn = whole.simulate(jax.random.key(0))
    assert drawn.data.shape == fixed.data.shape
    left = drawn.sources - drawn.sources @ whole.time.rows.T @ whole.time.rows
    assert float(jnp.abs(left).max()) < 1e-6 * float(jnp.abs(drawn.sources).max())


@pytest.mark.slow
def test_second_derivatives_are_written_out(fixed):
    """Columns of noise alone have theirs."""
    model = ej.models.TemporalBasis(ej.models.ARD(HALF), "dct:3", rest=None)
    _, setup = prepare_inputs(fixed, model, ej.inference.Evidence(), noise=SCALAR)
    columns = marginal(setup)
    log = jnp.append(jnp.log(jnp.asarray(gamma_of(fixed))), -0.3)

    def hyper_of(log):
        return {"gamma": jnp.exp(log[:-1]), "noise_var": jnp.exp(log[-1:])}

    written = columns.evidence_hessian(hyper_of, log)
    np.testing.assert_allclose(
        written,
        jax.hessian(lambda u: columns.log_evidence(hyper_of(u)))(log),
        atol=1e-8 * np.abs(written).max(),
    )


def _answer(problem, setup, posterior):
    from esijax.inference.solve import finish_estimate

    estimate = ej.Estimate(setup.problem, posterior, model="ARD", method="NUTS")
    return finish_estimate(problem, setup, estimate)
