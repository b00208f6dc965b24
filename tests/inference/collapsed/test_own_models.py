"""Priors and noise of one's own, written as the guide says, and advice that is followed."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import esijax as ej
from esijax.models.parts import Separate
from esijax.models.source_cov import Diagonal

# few steps and few draws do not pass their own checks
pytestmark = pytest.mark.filterwarnings("ignore::esijax.EsijaxWarning")
KEY = jax.random.key(0)


class Halves(ej.models.LinearPrior):
    """Two components, and nothing said of their variances."""

    def parts(self, problem):
        n = problem.n_locations
        return (Separate(jnp.ones(n), jnp.arange(n) // (n // 2 + 1), 2),)


class WideHalves(Halves):
    """With a distribution of the variances."""

    def variance_prior(self):
        return dist.LogNormal(0.0, 2.0)


class Level(ej.models.Prior):
    """Two methods."""

    def hyper(self, sizes):  # noqa: ARG002
        return {"level": numpyro.sample("level", dist.LogNormal(0.0, 1.0))}

    def source_cov(self, hyper, problem):
        return Diagonal(hyper["level"] * problem.prior_scale**2)


class Common(ej.models.noise.Noise):
    """Noise that all channels share, of unknown strength."""

    def hyper(self):
        return {"common": numpyro.sample("common", dist.LogNormal(0.0, 1.0))}

    def covariance(self, hyper, whitener):
        field = jnp.sum(whitener.matrix, axis=1)
        return jnp.eye(len(field)) + hyper["common"] * jnp.outer(field, field)


METHODS = {
    "EM": ej.inference.EM(),
    "Evidence": ej.inference.Evidence(),
    "Laplace": ej.inference.Laplace(num_samples=100, num_maps=6),
    "SVI": ej.inference.SVI(steps=12, num_particles=1, num_samples=100, num_maps=6),
    "NUTS": ej.inference.NUTS(20, 20, 1, max_tree_depth=4, num_maps=6),
    "Gibbs": ej.inference.Gibbs(20, 20, 1, num_maps=6),
    "Linear": ej.inference.Linear(),
}
COLLAPSED = [name for name in METHODS if name != "Linear"]
READ_COVARIANCES = [name for name in COLLAPSED if name not in ("EM", "Gibbs")]


def daily(names, *chosen):
    return [n if n in chosen else pytest.param(n, marks=pytest.mark.slow) for n in names]


@pytest.fixture(scope="module")
def problem(problem_factory):
    return problem_factory(1, n_channels=8, n_locations=9, n_times=6)


def solved(problem, prior, method, noise=None, init=None):
    estimate = ej.solve(problem, prior, METHODS[method], noise=noise, key=KEY, init=init)
    assert np.isfinite(estimate.mean).all()
    return estimate


@pytest.mark.parametrize("method", daily(COLLAPSED, "EM", "NUTS"))
def test_parts_are_enough(problem, method):
    estimate = solved(problem, Halves(), method)
    assert estimate.hyper["gamma"].shape[-1] == 2
    assert estimate.model == "Halves"


@pytest.mark.slow
@pytest.mark.parametrize("method", COLLAPSED)
def test_sums_of_ones_own(problem, method):
    """Each keeps its number of components and its distribution."""
    hyper = solved(
        problem, ej.models.Sum(WideHalves(), ej.models.ARD(dist.Gamma(2.0, 1.0))), method
    ).hyper
    assert hyper["part0/gamma"].shape[-1] == 2
    assert hyper["part1/gamma"].shape[-1] == 9


def test_one_method_sets_the_distribution(problem):
    """The default is that of Components; a log-normal gives what Evidence finds of it."""
    same = ej.models.Components([np.arange(5), np.arange(5, 9)])
    marginal = Halves().marginal(problem)
    assert marginal.sizes["n_components"] == marginal.n_sources == 2
    (own,), (theirs,) = marginal.distributions(), same.marginal(problem).distributions()
    at = jnp.asarray([0.3, 2.0])
    np.testing.assert_array_equal(own.log_prob(at), theirs.log_prob(at))
    wide = WideHalves().marginal(problem).distributions()[0]
    np.testing.assert_allclose(wide.log_prob(at), dist.LogNormal(0.0, 2.0).log_prob(at))
    em, evidence = (solved(problem, WideHalves(), m).hyper["gamma"] for m in ("EM", "Evidence"))
    np.testing.assert_allclose(em, evidence, rtol=1e-2)


@pytest.mark.parametrize("method", daily(READ_COVARIANCES, "NUTS"))
@pytest.mark.parametrize("prior", [Halves(), pytest.param(Level(), marks=pytest.mark.slow)])
def test_noise_of_ones_own(problem, prior, method):
    estimate = solved(problem, prior, method, Common())
    assert estimate.hyper["common"].shape in ((), (100,), (20,))
    assert np.isfinite(np.asarray(estimate.hyper["common"])).all()


@pytest.mark.slow
@pytest.mark.parametrize("method", READ_COVARIANCES)
def test_noise_of_ones_own_from_an_earlier_estimate(problem, method):
    for prior in (Halves(), Level()):
        init = solved(problem, prior, "Laplace", Common())
        solved(problem, prior, method, Common(), init)


def test_pack_and_unpack_are_inverse(problem):
    sum_of_two = ej.models.Sum(Halves(), ej.models.ARD())
    marginal = sum_of_two.marginal(problem, ej.models.noise.Diagonal())
    variances = jnp.exp(jnp.asarray(np.random.default_rng(0).standard_normal(2 + 9 + 8)))
    hyper = marginal.unpack(variances)
    assert set(hyper) == {"part0/gamma", "part1/gamma", "noise_var", "noise_scale"}
    np.testing.assert_array_equal(marginal.pack(hyper), variances)


def test_the_linear_marginal_is_the_pooled_one(problem):
    """Fast paths and the one of any prior agree."""
    from esijax.models.marginals import PooledMarginal

    for noise in (ej.models.noise.Scalar(), Common()):
        fast = Halves().marginal(problem, noise)
        plain = PooledMarginal(problem, Halves(), noise)
        hyper = {"gamma": jnp.asarray([0.3, 2.0]), "common": jnp.asarray(0.7)}
        hyper |= {"noise_var": jnp.asarray([0.8])}
        assert float(fast.log_evidence(hyper)) == pytest.approx(float(plain.log_evidence(hyper)))
        np.testing.assert_allclose(fast.sigma(hyper), plain.sigma(hyper), rtol=1e-10)
        draw = fast.simulate(KEY)
        assert draw.data.shape == problem.data.shape
        assert draw.sources.shape == (9, 1, 6)
        assert float(fast.log_evidence(draw.hyper)) < 0


# ------------------------------------------------------------------ advice is followed
LEARNED = ej.models.Components(
    [np.arange(4), np.arange(4, 9)], ej.models.hyperpriors.HierarchicalLogNormal()
)
REFUSED = {
    "minimum norm": (ej.models.MinimumNorm(), None),
    "minimum norm, noise": (ej.models.MinimumNorm(), ej.models.noise.Scalar()),
    "own": (Level(), None),
    "horseshoe": (ej.models.Horseshoe(0.3, slab=3.0), None),
    "learned": (LEARNED, None),
    "own noise": (Halves(), Common()),
    "low rank": (ej.models.ARD(dist.InverseGamma(1.0, 0.1)), ej.models.noise.LowRank(1)),
}


@pytest.mark.parametrize("method", ["EM", "Gibbs"])
@pytest.mark.parametrize("name", daily(REFUSED, "minimum norm"))
def test_advice_of_a_refusal_is_good(problem, name, method):
    prior, noise = REFUSED[name]
    with pytest.raises(ej.InputError) as refusal:
        solved(problem, prior, method, noise)
    advice = str(refusal.value).partition(": use ")[2]
    named = re.findall(r"Linear|Evidence|Laplace|SVI|NUTS", advice)
    assert named
    for other in named:
        solved(problem, prior, other, noise)
    if "noise.Diagonal" in advice:
        solved(problem, prior, method, ej.models.noise.Diagonal())


@pytest.mark.parametrize("method", daily(["Laplace", "SVI", "NUTS", "Gibbs"], "Gibbs"))
def test_advice_for_a_flat_hyper_prior_is_good(problem, method):
    with pytest.raises(ej.InputError, match=r"e.g. ARD\(numpyro.distributions.InverseGamma"):
        solved(problem, ej.models.ARD(), method)
    solved(problem, ej.models.ARD(dist.InverseGamma(1.0, 0.1)), method)


@pytest.mark.slow
@pytest.mark.parametrize("method", READ_COVARIANCES)
def test_advice_where_nothing_is_learned_is_good(problem, method):
    with pytest.raises(ej.InputError, match=r"use Linear for it, or noise=.*noise\.Scalar\(\)"):
        solved(problem, ej.models.MinimumNorm(), method)
    solved(problem, ej.models.MinimumNorm(), "Linear")
    solved(problem, ej.models.MinimumNorm(), method, ej.models.noise.Scalar())
