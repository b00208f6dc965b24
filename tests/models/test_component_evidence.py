"""The fast log-evidence of linear priors equals the textbook's, derivatives included."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import esijax as ej
from esijax._ops.gaussian import pooled_log_density
from esijax.models.marginals._evidence import AnyNoise, ColumnSpace, MatrixSpace, SensorSpace

NOISES = {
    "white": ej.models.noise.White,
    "scalar": ej.models.noise.Scalar,
    "per type": ej.models.noise.PerType,
    "diagonal": ej.models.noise.Diagonal,
}
SHAPES = {
    "many columns": {"n_locations": 20},
    "many columns, long": {"n_locations": 20, "n_times": 30},
    "few columns": {"n_locations": 6},
    "few columns, trials": {"n_locations": 6, "n_times": 30, "trials": 2},
    "few columns, reference": {"n_locations": 6, "average_reference": True},
}


def plain(hyper, marginal):
    """Dense covariance, one Cholesky factorisation."""
    data = marginal.data
    density = pooled_log_density(marginal.sigma(hyper), data.power, data.n_columns)
    return density + data.n_columns * marginal.problem.whitener.log_pdet


def fast(hyper, marginal):
    return marginal.log_evidence(hyper)


def case(problem, noise):
    marginal = ej.models.ARD(dist.InverseGamma(1.0, 0.1)).marginal(problem, noise)
    rng = np.random.default_rng(0)
    hyper = {"gamma": jnp.asarray(rng.gamma(1.0, 1.0, problem.n_locations))}
    if not isinstance(noise, ej.models.noise.White):
        hyper["noise_var"] = jnp.asarray(rng.gamma(2.0, 0.5, marginal.noise.n_variances) + 0.2)
    return marginal, hyper


def same(left, right, rtol):
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * np.abs(a).max())


def pairs():
    """Each noise in the default run, with a shape of its own."""
    for i, shape in enumerate(SHAPES):
        for j, noise in enumerate(NOISES):
            daily = i == j
            yield pytest.param(shape, noise, marks=() if daily else pytest.mark.slow)


@pytest.mark.parametrize(("shape", "noise"), list(pairs()))
def test_fast_equals_plain(problem_factory, shape, noise):
    problem = problem_factory(1, **SHAPES[shape])
    marginal, hyper = case(problem, NOISES[noise]())
    few = shape.startswith("few") and noise != "diagonal"
    assert isinstance(marginal.evidence, ColumnSpace if few else SensorSpace)
    for derive in (lambda f: f, jax.grad, jax.hessian):
        same(derive(plain)(hyper, marginal), derive(fast)(hyper, marginal), 1e-10)

    def of(data, gain, function):
        changed = dataclasses.replace(problem, data=data, gain=gain)
        return function(hyper, marginal.prior.marginal(changed, marginal.noise))

    derived = jax.grad(of, (0, 1))
    at = problem.data, problem.gain
    same(derived(*at, plain), derived(*at, fast), 1e-9)


def test_variances_of_any_size(problem_factory):
    """Strong, tiny and vanishing components: no digits are lost in the space of columns."""
    marginal, hyper = case(problem_factory(1, n_locations=6), NOISES["per type"]())
    hyper = hyper | {"gamma": jnp.array([1e5, 1e-9, 0.0, 1.0, 1e3, 1e-30])}
    same(plain(hyper, marginal), fast(hyper, marginal), 1e-10)
    same(jax.grad(plain)(hyper, marginal), jax.grad(fast)(hyper, marginal), 1e-8)


def test_other_noise_keeps_the_dense_path(fixed):
    with pytest.warns(ej.EsijaxWarning, match="without a baseline"):
        noise = ej.models.noise.LowRank(1).prepare(fixed)
    prior = ej.models.ARD(dist.InverseGamma(1.0, 0.1))
    marginal = prior.marginal(fixed, noise)
    assert isinstance(marginal.evidence, AnyNoise)


def test_sensors_in_several_blocks(problem_factory):
    """170 sensors are eliminated in two steps."""
    problem = problem_factory(1, n_channels=170, n_locations=190, n_times=5)
    marginal, hyper = case(problem, ej.models.noise.Scalar())
    for derive in (lambda f: f, jax.grad):
        same(derive(plain)(hyper, marginal), derive(fast)(hyper, marginal), 1e-9)


@pytest.mark.parametrize(
    "noise", ["white", *(pytest.param(n, marks=pytest.mark.slow) for n in ("scalar", "per type"))]
)
def test_few_large_components_are_matrices(problem_factory, noise):
    """36 columns for each of two components; noise that is not diagonal is two more."""
    problem = problem_factory(1, n_locations=72, average_reference=noise == "per type")
    halves = ej.models.Components([np.arange(36), np.arange(36, 72)], dist.Gamma(2.0, 1.0))
    marginal = halves.marginal(problem, NOISES[noise]())
    hyper = {"gamma": jnp.array([0.7, 0.2])}
    if noise != "white":
        hyper["noise_var"] = 0.5 + 0.1 * jnp.arange(marginal.noise.n_variances)
    assert isinstance(marginal.evidence, MatrixSpace)

    def dense(hyper, marginal):
        problem, data = marginal.problem, marginal.data
        signal = marginal.prior.source_cov(hyper, problem).sensor(problem.gain)
        density = pooled_log_density(signal + marginal.noise_cov(hyper), data.power, data.n_columns)
        return density + data.n_columns * problem.whitener.log_pdet

    np.testing.assert_allclose(
        marginal.sigma(hyper),
        halves.prepare(problem).source_cov(hyper, problem).sensor(problem.gain)
        + marginal.noise_cov(hyper),
        rtol=1e-12,
        atol=1e-12,
    )
    for derive in (lambda f: f, jax.grad):
        same(derive(dense)(hyper, marginal), derive(fast)(hyper, marginal), 1e-10)

    def of(gain, function):
        changed = dataclasses.replace(problem, gain=gain)
        return function(hyper, marginal.prior.marginal(changed, marginal.noise))

    derived = jax.grad(of)
    same(derived(problem.gain, dense), derived(problem.gain, fast), 1e-9)
