"""The sources integrated out: densities and derivatives against the naive ones."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import scipy.stats
from numpyro.infer.util import log_density
from textbook import flat

import esijax as ej
from esijax._ops.gaussian import pooled_log_density

RNG = np.random.default_rng(0)
HALF = RNG.standard_normal((5, 5))
SIGMA = jnp.asarray(HALF @ HALF.T + np.eye(5))
DATA = RNG.standard_normal((5, 9))
POWER, COUNT = jnp.asarray(DATA @ DATA.T), jnp.asarray(9.0)
TANGENT = jnp.asarray(HALF + HALF.T)


def naive(sigma, power, n):
    """Slogdet and solve, differentiated by JAX."""
    log_det = jnp.linalg.slogdet(2 * jnp.pi * sigma)[1]
    return -0.5 * (jnp.trace(jnp.linalg.solve(sigma, power)) + n * log_det)


def test_density_is_the_multivariate_normal():
    want = scipy.stats.multivariate_normal(np.zeros(5), SIGMA).logpdf(DATA.T).sum()
    assert float(pooled_log_density(SIGMA, POWER, COUNT)) == pytest.approx(want, rel=1e-12)


def test_first_derivatives():
    """In the covariance, the data and their number: reverse and forward."""
    got = jax.grad(pooled_log_density, argnums=(0, 1, 2))(SIGMA, POWER, COUNT)
    want = jax.grad(naive, argnums=(0, 1, 2))(SIGMA, POWER, COUNT)
    for g, w in zip(got, want, strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-10, atol=1e-12)
    tangents = (TANGENT, jnp.asarray(DATA[:, :5]), jnp.asarray(0.7))
    _, got = jax.jvp(pooled_log_density, (SIGMA, POWER, COUNT), tangents)
    _, want = jax.jvp(naive, (SIGMA, POWER, COUNT), tangents)
    assert float(got) == pytest.approx(float(want), rel=1e-10)


def test_second_derivatives():
    """The Hessian in a few variances, through the written-out rule."""
    factors = jnp.asarray(RNG.standard_normal((4, 5, 2)))

    def along(density):
        def value(v):
            return density(
                jnp.eye(5) + jnp.einsum("k,krc,ksc->rs", v, factors, factors), POWER, 9.0
            )

        return value

    at = jnp.asarray([0.3, 1.0, 2.0, 0.1])
    got, want = (jax.hessian(along(f))(at) for f in (pooled_log_density, naive))
    np.testing.assert_allclose(got, want, rtol=1e-8, atol=1e-10)


def test_many_at_once():
    scales = jnp.asarray([1.0, 2.0, 5.0])
    got = jax.vmap(lambda s: pooled_log_density(s * SIGMA, POWER, COUNT))(scales)
    want = [float(pooled_log_density(s * SIGMA, POWER, COUNT)) for s in scales]
    np.testing.assert_allclose(got, want, rtol=1e-12)
    slopes = jax.vmap(jax.grad(lambda s: pooled_log_density(s * SIGMA, POWER, COUNT)))(scales)
    want = [jax.grad(lambda s: naive(s * SIGMA, POWER, COUNT))(s) for s in scales]
    np.testing.assert_allclose(slopes, want, rtol=1e-9)


@pytest.mark.parametrize("name", ["fixed", "free", "trials", "referenced"])
def test_iid_is_minimum_norm(request, name):
    """One component everywhere with gamma = 1 / lambda2 has the evidence of minimum norm."""
    problem = request.getfixturevalue(name)
    marginal = ej.models.Components("iid").marginal(problem)
    for lambda2 in (0.2, 3.0):
        want = ej.solve(problem, ej.models.MinimumNorm(lambda2), ej.inference.Linear())
        got = marginal.log_evidence({"gamma": jnp.asarray([1 / lambda2])})
        assert float(got) == pytest.approx(float(np.sum(want.log_evidence)), rel=1e-10)


def test_units_of_the_data(fixed):
    """Data in other units: the density falls by the Jacobian, the model sees the same."""
    cov = np.asarray(fixed.whitener.colorer @ fixed.whitener.colorer.T)
    gain = np.random.default_rng(1).standard_normal((12, 20))
    data = np.asarray(fixed.recording)
    hyper = {"gamma": jnp.linspace(0.1, 2.0, 20)}
    values = [
        ej.models.ARD().marginal(ej.from_arrays(s * gain, s * data, s**2 * cov)).log_evidence(hyper)
        for s in (1.0, 1e-6)
    ]
    shift = data.size * np.log(1e6)
    assert float(values[1] - values[0]) == pytest.approx(shift, rel=1e-10)


PRIORS = {
    "ARD": lambda: ej.models.ARD(dist.InverseGamma(1.0, 0.1)),
    "StudentT": lambda: ej.models.StudentT(2.0, 0.5),
    "Horseshoe": lambda: ej.models.Horseshoe(0.2, slab=5.0),
    "GroupLaplace": lambda: ej.models.GroupLaplace(3.0),
    "Components": lambda: ej.models.Components(["iid", "smooth", np.arange(4)]),
    "Sum": lambda: ej.models.Sum(
        ej.models.Horseshoe(0.2), ej.models.Components(["iid", np.arange(4)])
    ),
}


@pytest.mark.parametrize("orients", ["fixed", "free"])
@pytest.mark.parametrize("name", PRIORS)
def test_evidence_is_the_dense_one(request, orients, name):
    """Any draw of any prior: factors and source_cov give the textbook's log-evidence."""
    problem = request.getfixturevalue(orients)
    marginal = PRIORS[name]().marginal(problem, ej.models.noise.Scalar())

    with numpyro.handlers.seed(rng_seed=3):
        hyper = marginal.hyper()
    n, o = problem.n_locations, problem.n_orients
    cov = marginal.prior.source_cov(hyper, problem)
    dense = np.asarray(cov.apply(jnp.eye(n * o).reshape(n, o, -1))).reshape(n * o, -1)
    g = flat(problem.gain)
    sigma = g @ dense @ g.T + float(hyper["noise_var"][0]) * np.eye(problem.rank)
    np.testing.assert_allclose(marginal.sigma(hyper), sigma, rtol=1e-9, atol=1e-10 * sigma.max())
    data = np.asarray(problem.data)
    want = scipy.stats.multivariate_normal(np.zeros(problem.rank), sigma).logpdf(data.T).sum()
    want += data.shape[1] * float(problem.whitener.log_pdet)
    assert float(marginal.log_evidence(hyper)) == pytest.approx(want, rel=1e-9)


def test_model_is_prior_times_evidence(fixed):
    """What NumPyro sees: the log prior of the sites and the log-evidence."""
    prior = ej.models.ARD(dist.Gamma(2.0, 1.5))
    gamma = jnp.linspace(0.1, 2.0, 20)
    value, trace = log_density(ej.models.collapsed, (fixed, prior), {}, {"gamma": gamma})
    evidence = prior.marginal(fixed).log_evidence({"gamma": gamma})
    want = evidence + jnp.sum(dist.Gamma(2.0, 1.5).log_prob(gamma))
    assert float(value) == pytest.approx(float(want), rel=1e-12)
    assert set(trace) == {"gamma", "log_evidence"}


def test_sum_keeps_its_parts_apart(fixed):
    """Names, starts and variances of each part."""
    prior = PRIORS["Sum"]().prepare(fixed)
    sizes = prior.marginal(fixed).sizes
    gamma = jnp.linspace(0.5, 1.5, prior.n_components(sizes))
    assert prior.n_components(sizes) == 22

    sites = prior.start(gamma, sizes)
    assert set(sites) == {"part0/tau", "part0/lambda", "part1/gamma"}
    with numpyro.handlers.seed(rng_seed=0), numpyro.handlers.substitute(data=sites):
        hyper = prior.hyper(sizes)
    np.testing.assert_allclose(prior.gamma(hyper), gamma, rtol=1e-10)


@pytest.mark.parametrize("priors", [(), (ej.models.MinimumNorm(),), ("iid",)])
def test_no_sum(priors):
    with pytest.raises(ej.InputError, match="Sum"):
        ej.models.Sum(*priors)
