"""One sparse prior under five inferences, where the answer is known."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.special
import scipy.stats

import esijax as ej
from esijax.inference.collapsed.target import Target

KEY = jax.random.key(0)
ACTIVE = {6: 1.5, 16: 2.0}
SILENT = np.setdiff1d(np.arange(24), [k + i for k in ACTIVE for i in (-1, 0, 1)])
SHAPE, SCALE = 1.0, 0.05
PRIOR = ej.models.ARD(dist.InverseGamma(SHAPE, SCALE))


@pytest.fixture(scope="module")
def sparse():
    """Sixteen sensors in a row, 24 places below them, two active."""
    rng = np.random.default_rng(3)
    apart = np.linspace(0, 1, 16)[:, None] - np.linspace(0, 1, 24)[None]
    gain = np.exp(-0.5 * (apart / 0.06) ** 2)
    sources = np.zeros((24, 40))
    for place, size in ACTIVE.items():
        sources[place] = size * rng.standard_normal(40)
    data = gain @ sources + 0.3 * rng.standard_normal((16, 40))
    return ej.from_arrays(gain, data, noise_cov=0.09), sources


@pytest.fixture(scope="module")
def modes(sparse):
    methods = {"EM": ej.inference.EM("mm", tol=1e-11), "Evidence": ej.inference.Evidence()}
    return {name: ej.solve(sparse[0], PRIOR, how) for name, how in methods.items()}


@pytest.fixture(scope="module")
def spreads(sparse):
    """The three that have a distribution of the variances."""
    methods = {
        "Laplace": ej.inference.Laplace(num_samples=4000),
        "SVI": ej.inference.SVI("full", num_samples=4000),
        "NUTS": ej.inference.NUTS(400, 1000, 2),
    }
    return {name: ej.solve(sparse[0], PRIOR, how, key=KEY) for name, how in methods.items()}


def log_gamma(estimate):
    return np.log(np.asarray(estimate.hyper["gamma"]))


def course(estimate):
    return np.asarray(estimate.mean)[:, 0].ravel()


def rms_std(estimate):
    return np.sqrt(np.mean(np.asarray(estimate.std)[:, 0] ** 2, axis=-1))


def bridge(problem, draws, seed=0):
    """Log evidence from draws u of log gamma by bridge sampling, and its standard error.

    Meng and Wong 1996: half of the draws fit a normal, the other half meets draws of it.
    """
    target = Target(PRIOR.marginal(problem))
    density = jax.jit(lambda u: jax.lax.map(lambda x: target.log_posterior({"gamma": x}), u))
    fit, used = draws[::2], draws[1::2]
    normal = scipy.stats.multivariate_normal(fit.mean(0), np.cov(fit.T))
    drawn = normal.rvs(4000, random_state=seed)
    here = np.asarray(density(jnp.asarray(used))) - normal.logpdf(used)
    there = np.asarray(density(jnp.asarray(drawn))) - normal.logpdf(drawn)
    ours = np.log(len(used) / (len(used) + len(drawn)))
    theirs = np.log(len(drawn) / (len(used) + len(drawn)))
    value = np.median(here)
    for _ in range(1000):
        above = there - np.logaddexp(ours + there, theirs + value)
        below = -np.logaddexp(ours + here, theirs + value)
        new = scipy.special.logsumexp(above) - np.log(len(drawn))
        new -= scipy.special.logsumexp(below) - np.log(len(used))
        value, before = new, value
        if abs(value - before) < 1e-10:
            break
    parts = [np.exp(x - x.max()) for x in (above, below)]
    error = sum(np.var(x) / np.mean(x) ** 2 / len(x) for x in parts)
    return value, np.sqrt(error)


@pytest.mark.slow
def test_the_two_optimisers_have_the_same_mode(modes):
    em, evidence = modes["EM"], modes["Evidence"]
    np.testing.assert_allclose(em.hyper["gamma"], evidence.hyper["gamma"], rtol=1e-6)
    density = scipy.stats.invgamma(SHAPE, scale=SCALE)
    objective = [
        float(e.log_evidence) + density.logpdf(np.asarray(e.hyper["gamma"])).sum()
        for e in modes.values()
    ]
    np.testing.assert_allclose(objective[0], objective[1], atol=1e-8)
    verdict = evidence.verdict()
    np.testing.assert_allclose(verdict["log_density_of_starts"][0], objective[1], atol=1e-9)
    assert verdict["converged"]


@pytest.mark.slow
def test_the_modes_find_what_is_active(modes, sparse):
    gamma = np.asarray(modes["Evidence"].hyper["gamma"])
    assert set(np.argsort(gamma)[-2:]) == set(ACTIVE)
    # silent places end at the prior's mode, which is not where its mass is
    np.testing.assert_allclose(gamma[SILENT], SCALE / (SHAPE + 1), rtol=0.1)
    assert np.corrcoef(course(modes["Evidence"]), sparse[1].ravel())[0, 1] > 0.98


@pytest.mark.slow
@pytest.mark.statistical
class TestDistributions:
    """Laplace, SVI and NUTS beside each other and beside the modes."""

    def test_none_is_doubted(self, spreads):
        for name, estimate in spreads.items():
            assert estimate.verdict()["result"] == "done", name

    def test_active_places_agree(self, spreads):
        want = log_gamma(spreads["NUTS"])
        for name in ("Laplace", "SVI"):
            got = log_gamma(spreads[name])
            for place in ACTIVE:
                std = want[:, place].std()
                assert abs(got[:, place].mean() - want[:, place].mean()) < 0.25 * std, name
                assert abs(got[:, place].std() / std - 1) < 0.15, name

    def test_silent_places_keep_the_prior(self, modes, spreads):
        """The prior's median lies far above its mode; so do the medians of the posterior."""
        median = np.log(scipy.stats.invgamma(SHAPE, scale=SCALE).median())
        far = np.abs(log_gamma(modes["Evidence"])[SILENT] - median)
        for name, estimate in spreads.items():
            near = np.abs(np.median(log_gamma(estimate), axis=0)[SILENT] - median)
            assert (near < 0.6 * far).all(), name

    def test_maps_agree(self, modes, spreads):
        want = course(spreads["NUTS"])
        for name, estimate in (modes | spreads).items():
            assert np.corrcoef(course(estimate), want)[0, 1] > 0.999, name

    def test_modes_hide_spread(self, modes, spreads):
        want = rms_std(spreads["NUTS"])[SILENT]
        for estimate in modes.values():
            assert (rms_std(estimate)[SILENT] < 0.7 * want).all()

    def test_evidences(self, sparse, modes, spreads):
        truth, error = bridge(sparse[0], log_gamma(spreads["NUTS"]))
        assert error < 0.05
        # importance weights: their own error beside the bridge's
        for name in ("Laplace", "SVI"):
            verdict = spreads[name].verdict()
            own = 1 / np.sqrt(verdict["importance_draws"])
            assert abs(verdict["importance_log_evidence"] - truth) < 4 * (own + error), name
            assert verdict["elbo"] < truth + 3 * error, name
            assert verdict["k_hat"] < verdict["k_hat_limit"], name
        # 24 skew tails are taken for normal ones
        assert abs(float(spreads["Laplace"].log_evidence) - truth) < 1.0
        # a maximum of the likelihood is above the integral
        assert float(modes["Evidence"].log_evidence) > truth


@pytest.mark.slow
def test_a_flat_prior_hides_more(sparse, modes):
    """Without a prior silent places are switched off: certain of zero."""
    flat = ej.solve(sparse[0], ej.models.ARD(None), ej.inference.Evidence())
    assert np.median(rms_std(flat)[SILENT]) < 0.1 * np.median(rms_std(modes["Evidence"])[SILENT])
