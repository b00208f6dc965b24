"""Hyper-priors: what they draw, where they live, and that a start is what it says."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import scipy.stats
from numpyro.infer.util import log_density

import esijax as ej
from esijax.models import hyperpriors as hp

SIZES = {"n_locations": 5, "n_orients": 3, "n_times": 7}
N = 5
GIVEN = {
    "gamma": (dist.Gamma(2.0, 3.0), scipy.stats.gamma(2.0, scale=1 / 3)),
    "inverse gamma": (dist.InverseGamma(3.0, 0.5), scipy.stats.invgamma(3.0, scale=0.5)),
    "log-normal": (dist.LogNormal(0.5, 0.7), scipy.stats.lognorm(0.7, scale=np.exp(0.5))),
    "half-Cauchy": (dist.HalfCauchy(0.2), scipy.stats.halfcauchy(scale=0.2)),
    "uniform": (dist.Uniform(0.5, 2.0), scipy.stats.uniform(0.5, 1.5)),
    "weibull": (dist.Weibull(2.0, 1.5), scipy.stats.weibull_min(1.5, scale=2.0)),
}
TIED = {
    "horseshoe": hp.HalfCauchyScale(0.2),
    "regularised": hp.HalfCauchyScale(0.2, slab=3.0),
    "hierarchical": hp.HierarchicalLogNormal(),
    "simplex": hp.SparseSimplex(),
    "block norm": hp.BlockNorm(2.0),
    "flat": hp.Flat(),
}
ALL = {**{name: hp.Given(d) for name, (d, _) in GIVEN.items()}, **TIED}
PROPER = [name for name in ALL if name != "flat"]


def draws(prior, n_draws=4000, n=N, seed=0):
    """Entry "gamma" of many draws."""

    def one(key):
        with numpyro.handlers.seed(rng_seed=key):
            return prior.sample(n, SIZES)["gamma"]

    return np.asarray(jax.vmap(one)(jax.random.split(jax.random.key(seed), n_draws)))


@pytest.mark.statistical
@pytest.mark.parametrize("name", GIVEN)
def test_given_draws(name):
    """Kolmogorov and Smirnov see no difference from SciPy's distribution."""
    prior, want = hp.Given(GIVEN[name][0]), GIVEN[name][1]
    assert scipy.stats.kstest(draws(prior).ravel(), want.cdf).pvalue > 1e-3


@pytest.mark.statistical
def test_tied_draws():
    """Each against its definition."""
    rng = np.random.default_rng(1)
    n = 20_000
    tau, local = (np.abs(rng.standard_cauchy(n)) for _ in range(2))
    plain = (0.2 * tau * local) ** 2
    level, spread = rng.normal(-2, 2, n), np.abs(rng.normal(0, 2, n))
    shares = rng.dirichlet(np.full(N, 0.3), n)[:, 0]
    want = {
        "horseshoe": plain,
        "regularised": plain * 9.0 / (9.0 + plain),
        "hierarchical": np.exp(level + spread * rng.standard_normal(n)),
        "simplex": np.exp(1.5 * rng.standard_normal(n)) * shares,
        "block norm": rng.gamma(11.0, 1 / 2.0, n),
    }
    for name, values in want.items():
        got = draws(TIED[name])[:, 0]
        assert scipy.stats.ks_2samp(np.log(got + 1e-300), np.log(values + 1e-300)).pvalue > 1e-3


@pytest.mark.parametrize("name", PROPER)
def test_draws_are_variances(name):
    got = draws(ALL[name], 200)
    assert got.shape == (200, N)
    assert np.all(got >= 0)
    assert np.isfinite(got).all()


# values that lie within every support, and spread that no start has to clip
GAMMA = jnp.asarray([0.6, 0.8, 1.0, 1.5, 1.9])


@pytest.mark.parametrize("name", ALL)
def test_start_undoes_sample(name):
    prior = ALL[name]
    sites = prior.start(GAMMA)
    with numpyro.handlers.seed(rng_seed=0), numpyro.handlers.substitute(data=sites):
        got = prior.sample(N, SIZES)["gamma"]
    np.testing.assert_allclose(got, GAMMA, rtol=1e-10)


@pytest.mark.parametrize("name", PROPER)
def test_start_is_inside(name):
    """However far off the variances are, the density at the start and its slope are finite."""
    prior = ALL[name]
    sites = prior.start(jnp.asarray([1e-6, 1e-3, 1.0, 50.0, 1e4]))

    def density(sites):
        return log_density(lambda: prior.sample(N, SIZES), (), {}, sites)[0]

    value, slope = jax.value_and_grad(density)(sites)
    assert np.isfinite(value)
    assert all(np.isfinite(s).all() for s in jax.tree.leaves(slope))


@pytest.mark.parametrize(
    "make",
    [
        lambda r: hp.Given(dist.InverseGamma(1.0, r)),
        lambda r: hp.Given(dist.LogNormal(r, 1.0)),
        lambda r: hp.Given(dist.Uniform(0.1, 3.0 + r)),
        lambda r: hp.HalfCauchyScale(r),
        lambda r: hp.HierarchicalLogNormal(spread=r),
        lambda r: hp.SparseSimplex(r),
        lambda r: hp.BlockNorm(r),
    ],
)
def test_slope_in_own_parameters(make):
    """A distribution is a pytree: traced parameters, exact slopes, no new compilation."""
    count = 0

    @jax.jit
    def density(prior):
        nonlocal count
        count += 1
        sites = prior.start(GAMMA)
        sites = jax.tree.map(jax.lax.stop_gradient, sites)
        return log_density(lambda: prior.sample(N, SIZES), (), {}, sites)[0]

    values = [float(density(make(r))) for r in (0.5, 0.7, 0.9)]
    assert count == 1
    assert len(set(values)) == 3
    fixed = jax.tree.map(jnp.asarray, make(0.7).start(GAMMA))

    def at(r):
        return log_density(lambda: make(r).sample(N, SIZES), (), {}, fixed)[0]

    step = 1e-5
    want = (at(0.7 + step) - at(0.7 - step)) / (2 * step)
    assert float(jax.grad(at)(0.7)) == pytest.approx(float(want), rel=1e-6)


def test_one_entry_a_component():
    """A distribution may have one entry for each component, and no other number."""
    prior = hp.Given(dist.HalfNormal(jnp.arange(1.0, 6.0)))
    assert draws(prior, 10).shape == (10, N)
    with pytest.raises(ej.InputError, match=r"\(3,\) entries for 5"):
        draws(hp.Given(dist.HalfNormal(jnp.ones(3))), 2)


@pytest.mark.parametrize(
    "bad",
    [
        dist.Normal(0.0, 1.0),
        dist.Uniform(-1.0, 1.0),
        dist.Poisson(2.0),
        dist.Dirichlet(jnp.ones(3)),
        dist.MultivariateNormal(jnp.zeros(2), jnp.eye(2)),
        dist.Bernoulli(0.5),
    ],
    ids=lambda d: type(d).__name__,
)
def test_no_variances(bad):
    with pytest.raises(ej.InputError, match="variances are positive"):
        ej.models.ARD(bad)


@pytest.mark.parametrize(
    "make",
    [
        lambda: hp.hyperprior(3.0),
        lambda: ej.models.Horseshoe(scale=0.0),
        lambda: ej.models.Horseshoe(slab=-1.0),
        lambda: ej.models.StudentT(nu=np.nan),
        lambda: ej.models.StudentT(scale=-1.0),
        lambda: ej.models.GroupLaplace(0.0),
        lambda: hp.HierarchicalLogNormal(spread=0.0),
        lambda: hp.SparseSimplex(-0.3),
    ],
)
def test_no_parameters(make):
    with pytest.raises(ej.InputError):
        make()


def test_flat_is_no_distribution():
    assert not ej.models.ARD().proper
    assert ej.models.ARD(dist.HalfCauchy(1.0)).proper
    assert not ej.models.Sum(ej.models.ARD(), ej.models.Horseshoe()).proper


@pytest.mark.statistical
def test_block_norm_is_the_exponential_of_the_norm():
    r"""X given gamma ~ N(0, gamma I): p(X) is proportional to exp(-alpha |X|), in 21 dimensions."""
    alpha, size = 2.0, SIZES["n_times"] * SIZES["n_orients"]
    gamma = draws(hp.BlockNorm(alpha), 20_000, 1).ravel()
    norm = np.sqrt(gamma * np.random.default_rng(0).chisquare(size, len(gamma)))
    # the radius of p(X) ~ exp(-alpha |X|) is Gamma(size, alpha)
    assert scipy.stats.kstest(norm, scipy.stats.gamma(size, scale=1 / alpha).cdf).pvalue > 1e-3


@pytest.mark.statistical
def test_student_t_sources():
    prior = ej.models.StudentT(nu=3.0, scale=0.4)
    gamma = draws(prior.local, 20_000, 1).ravel()
    x = np.sqrt(gamma) * np.random.default_rng(0).standard_normal(len(gamma))
    assert scipy.stats.kstest(x, scipy.stats.t(3.0, scale=0.4).cdf).pvalue > 1e-3
