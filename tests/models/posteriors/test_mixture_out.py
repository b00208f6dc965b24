"""A mixture estimate on its way out: files, ArviZ, MNE, the report, the score card."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats

import esijax as ej
from esijax.estimate import Estimate

N_DRAWS = 6


def make(problem, prior=None, noise=None):
    rng = np.random.default_rng(2)
    prior = ej.models.ARD(dist.InverseGamma(1.0, 0.1)) if prior is None else prior
    noise = ej.models.noise.Scalar().prepare(problem) if noise is None else noise
    hyper = {
        "gamma": jnp.asarray(rng.lognormal(0, 1, (N_DRAWS, problem.n_locations))),
        "noise_var": jnp.asarray(rng.lognormal(0, 0.3, (N_DRAWS, 1))),
    }
    posterior = jax.jit(lambda m, h: m.mixture(h))(prior.marginal(problem, noise), hyper)
    return Estimate(problem, posterior, hyper=hyper, model="ARD", method="NUTS")


@pytest.fixture(scope="module")
def estimate(free):
    return make(free)


PRIORS = {
    "log-normal": ej.models.ARD(dist.LogNormal(0.0, 1.0)),
    "student": ej.models.StudentT(1.0),
    "horseshoe": ej.models.Horseshoe(0.1, slab=3.0),
    "laplace": ej.models.GroupLaplace(2.0),
}


@pytest.mark.parametrize("name", PRIORS)
def test_files_bring_back_priors(fixed, name, tmp_path):
    before = make(fixed, PRIORS[name])
    after = ej.load(ej.save(before, tmp_path / "x.npz"))
    assert jax.tree.structure(after) == jax.tree.structure(before)
    for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(before), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(after.interval()[1], before.interval()[1])


def test_files_refuse_what_they_cannot_make_again(fixed, tmp_path):
    for odd in (dist.TruncatedNormal(1.0, 1.0, low=0.0), dist.Gamma(1.0, 1.0).expand((1,))):
        with pytest.raises(ej.InputError, match="cannot store"):
            ej.save(make(fixed, ej.models.ARD(odd)), tmp_path / "x.npz")
    assert not list(tmp_path.iterdir())


def test_arviz_has_named_dimensions(estimate):
    groups = ("posterior", "moments")
    tree = ej.to_arviz(estimate, n=3, at=([2, 5], [1, 0, 4]), groups=groups)
    assert tree["moments"]["std"].dims == ("location", "orient", "time")
    np.testing.assert_allclose(
        tree["moments"]["std"], np.asarray(estimate.std)[[2, 5]][..., [1, 0, 4]]
    )
    assert tree["posterior"]["gamma"].dims == ("chain", "draw", "location")
    gamma = tree["posterior"]["gamma"]
    draws, places = gamma["draw"].values, gamma["location"].values
    assert (len(draws), list(places)) == (3, [2, 5])
    np.testing.assert_array_equal(gamma[0], estimate.hyper["gamma"][draws][:, places])


@pytest.mark.slow
def test_score_card_is_that_of_the_mixture(estimate):
    """Against members written out, with SciPy and Monte Carlo for the CRPS."""
    problem = estimate.problem
    rng = np.random.default_rng(0)
    truth = np.asarray(estimate.mean) + 0.7 * np.asarray(estimate.std) * rng.standard_normal(
        estimate.mean.shape
    )
    active = np.arange(problem.n_locations) == 4
    positions = np.asarray(problem.geometry.positions)
    card = ej.metrics.score(estimate, truth, active, positions[4:5], at=2)
    lower, upper = (np.asarray(x)[..., 2] for x in estimate.interval(0.9))
    true = truth[..., 2]
    assert card["coverage_90_all"] == pytest.approx(((lower <= true) & (true <= upper)).mean())
    assert card["width_90_all_nAm"] == pytest.approx(1e9 * (upper - lower).mean(), rel=1e-9)
    mean, variance = estimate.posterior.members(None, np.array([2]))
    unit = float(problem.source_unit)
    mean, std = unit * np.asarray(mean)[..., 0], unit * np.sqrt(np.asarray(variance)[..., 0])
    density = stats.norm.pdf(1e9 * true, 1e9 * mean, 1e9 * std).mean(axis=0)
    assert card["log_score_all_nats"] == pytest.approx(-np.log(density).mean(), rel=1e-9)
    draws = np.asarray(estimate.sample(jax.random.key(0), 4000, at=(None, [2])))[..., 0]
    sampled = np.asarray(ej.metrics.crps_sample(draws, true)).mean()
    assert card["crps_all_nAm"] == pytest.approx(1e9 * sampled, rel=0.02)
    averaged = ej.metrics.score(estimate, truth, active, positions[4:5], at="mean")
    assert np.isfinite(averaged["crps_all_nAm"])


def test_report_opens(estimate, tmp_path):
    text = ej.report(estimate, tmp_path / "r.html").read_text(encoding="utf-8")
    assert "20 values, posterior medians" in text
    assert "median and 90 % of 6 draws" in text


@pytest.mark.slow
def test_report_of_trials(trials, tmp_path):
    assert ej.report(make(trials), tmp_path / "r.html").exists()


def test_maps_for_mne(evoked, forward, noise_cov):
    """Standard deviations follow time; the frames turn them into head coordinates."""
    problem = ej.from_mne(evoked.copy().pick("eeg"), forward, noise_cov)
    estimate = make(problem)
    std = ej.to_mne(estimate, "std")
    frames, cov = np.asarray(problem.geometry.frames), np.asarray(estimate.cov)
    turned = np.einsum("lod,lopt,lpd->ldt", frames, cov, frames)
    np.testing.assert_allclose(std.data**2, turned, rtol=1e-8)
    size = ej.to_mne(estimate, "std", pick_ori="magnitude").data
    np.testing.assert_allclose(size**2, np.einsum("loot->lt", cov), rtol=1e-8)
    level = float(np.median(size))
    probability = ej.to_mne(estimate, "exceedance", threshold=level).data
    assert ((probability >= 0) & (probability <= 1)).all()
