"""log_likelihood of estimates against dense covariances of channels x times, in V."""

import jax
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy.stats import multivariate_normal

import esijax as ej
from esijax.models import time
from esijax.models.posteriors.drawn import DrawnPosterior

TIMES = 6


def make(n_trials=0):
    rng = np.random.default_rng(3)
    gain = rng.standard_normal((4, 5))
    shape = (n_trials, 4, TIMES) if n_trials else (4, TIMES)
    root = np.tril(rng.standard_normal((4, 4))) + 2 * np.eye(4)
    return ej.from_arrays(gain, 3 * rng.standard_normal(shape), root @ root.T, sfreq=50.0)


OMEGA = 0.6 ** np.abs(np.subtract.outer(np.arange(TIMES), np.arange(TIMES)))


def sensors(problem, hyper=1.0, noise=1.0):
    """Covariances of signal and noise at the channels, from their definition."""
    gain = np.asarray(problem.gain).reshape(problem.rank, -1)
    colorer = np.asarray(problem.whitener.colorer)
    scale = (np.asarray(problem.prior_scale) ** 2 * np.reshape(hyper, (-1, 1))).ravel()
    return colorer @ (gain * scale) @ gain.T @ colorer.T, noise * colorer @ colorer.T


def whole(problem, cov):
    flat = np.asarray(problem.recording).reshape(-1, len(cov))
    return multivariate_normal(np.zeros(len(cov)), cov).logpdf(flat)


def conditional(problem, cov):
    """Of each sample given the others of its trial, from two densities."""
    flat = np.asarray(problem.recording).reshape(-1, len(cov))
    joint, found = multivariate_normal(np.zeros(len(cov)), cov).logpdf(flat), []
    for t in range(TIMES):
        others = np.arange(len(cov)) % TIMES != t
        left = multivariate_normal(np.zeros(others.sum()), cov[np.ix_(others, others)])
        found.append(joint - left.logpdf(flat[:, others]))
    return np.stack(found, axis=-1)


def test_drawn_hyper_parameters(tree, sampled):
    """A few draws of NUTS: each sample under a covariance that is written out."""
    found, posterior = tree["log_likelihood"]["data"], tree["posterior"]
    assert found.dims == ("chain", "draw", "time")
    recording = np.asarray(sampled.problem.recording)
    for chain, draw in ((0, 0), (1, 77), (1, 149)):
        here = {"chain": chain, "draw": draw}
        hyper, noise = (posterior[name].sel(here).values for name in ("gamma", "noise_var"))
        cov = sum(sensors(sampled.problem, hyper, noise))
        scale = np.sqrt(np.diag(cov))  # V and T in one covariance
        normal = multivariate_normal(np.zeros(6), cov / np.outer(scale, scale))
        want = normal.logpdf((recording / scale[:, None]).T) - np.log(scale).sum()
        np.testing.assert_allclose(found.sel(here), want, rtol=1e-9)


def solved(problem, **options):
    return ej.solve(problem, ej.models.MinimumNorm(1.0), ej.inference.Linear(), **options)


@pytest.mark.parametrize("n_trials", [0, 2])
def test_independent_samples(n_trials):
    problem = make(n_trials)
    estimate = solved(problem)
    found = ej.to_arviz(estimate, n=2, groups="log_likelihood")["log_likelihood"]["data"]
    lead = ("trial",) if n_trials else ()
    assert found.dims == ("chain", "draw", *lead, "time")
    level = float(estimate.hyper["lambda2"]) if "lambda2" in estimate.hyper else 1.0
    want = conditional(problem, np.kron(sum(sensors(problem, 1 / level)), np.eye(TIMES)))
    np.testing.assert_allclose(found.values[0, 1], want.reshape(found.shape[2:]), rtol=1e-9)
    assert float(found[0, 0].sum()) == pytest.approx(float(estimate.log_evidence))


def stated(problem):
    """Noise and sources share a covariance between samples."""
    return solved(problem.with_noise_time(OMEGA)), lambda s, n: np.kron(s + n, OMEGA)


def in_basis(problem):
    """Sources within three rows, under noise that is independent."""
    rows = np.linalg.qr(np.random.default_rng(5).standard_normal((TIMES, 3)))[0].T
    model = ej.models.TemporalBasis(ej.models.MinimumNorm(1.0), rows, rest=None)
    estimate = ej.solve(problem, model, ej.inference.Linear())
    return estimate, lambda s, n: np.kron(s, rows.T @ rows) + np.kron(n, np.eye(TIMES))


@pytest.mark.parametrize("case", [stated, in_basis])
@pytest.mark.parametrize("n_trials", [0, 2])
def test_samples_that_go_together(case, n_trials):
    problem = make(n_trials)
    estimate, dense = case(problem)
    cov = dense(*sensors(problem))
    found = {
        by: ej.to_arviz(estimate, n=2, groups="log_likelihood", by=by)["log_likelihood"]["data"]
        for by in (None, "time", "trial")
    }
    want = {"trial": whole(problem, cov), "time": conditional(problem, cov)}
    for by, values in want.items():
        assert found[by].dims[-1] == by
        np.testing.assert_allclose(found[by][0, 1], np.squeeze(values.reshape(found[by].shape[2:])))
    usual = "trial" if n_trials else "time"
    np.testing.assert_array_equal(found[None], found[usual])
    assert float(found["trial"][0, 0].sum()) == pytest.approx(float(estimate.log_evidence))
    assert "given the other samples" in found_attrs(estimate, "time")


def found_attrs(estimate, by):
    return ej.to_arviz(estimate, n=2, groups="log_likelihood", by=by)["log_likelihood"].attrs[
        "pointwise"
    ]


@pytest.mark.parametrize("noise_time", [None, OMEGA], ids=["white", "stated"])
def test_drawn_covariances_in_time(noise_time):
    """A signal, a remainder and noise with covariances in time, at draws of the prior."""
    problem = make().with_noise_time(noise_time)
    model = ej.models.Kronecker(
        ej.models.ARD(dist.LogNormal(0.0, 1.0)), time.SquaredExponential(0.03)
    ).prepare(problem)
    noise = ej.models.noise.Scalar().prepare(problem)
    marginal = model.marginal(problem, noise)
    keys = jax.random.split(jax.random.key(0), 3)
    hyper = jax.vmap(lambda key: marginal.simulate(key).hyper)(keys)
    maps = jax.numpy.zeros((problem.n_locations, 1, TIMES))  # not asked for here
    posterior = DrawnPosterior(problem, model, noise, hyper, maps, maps)
    estimate = ej.estimate.Estimate(problem, posterior, hyper=hyper, method="NUTS")
    found = {by: ej.to_arviz(estimate, by=by, groups="log_likelihood") for by in ("time", "trial")}
    found = {by: tree["log_likelihood"]["data"].values[0] for by, tree in found.items()}
    root = np.eye(TIMES) if noise_time is None else np.asarray(problem.noise_time.root)
    colorer = np.asarray(problem.whitener.colorer)
    for draw in range(3):
        one = {name: value[draw] for name, value in hyper.items()}
        want = float(marginal.log_evidence(one))
        assert found["trial"][draw].item() == pytest.approx(want, rel=1e-9)
        known = [np.asarray(part) for part in marginal.cov(one)]
        signal, own = (colorer @ part @ colorer.T for part in known[:2])
        in_time, noise_in_time = (root @ part @ root for part in known[2:])
        cov = np.kron(signal, in_time) + np.kron(own, noise_in_time)
        np.testing.assert_allclose(found["time"][draw], conditional(problem, cov), rtol=1e-8)


@pytest.mark.slow
def test_learned_covariances_in_time():
    """Kronecker by EM, one estimate of its hyper-parameters, and by a few draws of NUTS."""
    problem = make()
    model = ej.models.Kronecker(ej.models.ARD(), time.SquaredExponential(0.03))
    estimate = ej.solve(problem, model, ej.inference.EM())
    found = ej.to_arviz(estimate, n=2, by="trial")
    assert float(found["log_likelihood"]["data"][0, 0, 0]) == pytest.approx(
        float(estimate.log_evidence)
    )
    assert found["posterior_predictive"]["data"].shape == (1, 2, 4, TIMES)


@pytest.mark.slow
def test_measured_data(evoked, forward, noise_cov):
    """In T and V, projected: samples add up to the evidence; predictions are of the channels."""
    some = evoked.copy().pick(["eeg", "mag"], exclude=())
    problem = ej.from_mne(some, forward, noise_cov)
    estimate = ej.solve(problem, ej.models.MinimumNorm(), ej.inference.Linear())
    tree = ej.to_arviz(estimate, n=4, groups=("log_likelihood", "posterior_predictive"))
    density = tree["log_likelihood"]["data"]
    np.testing.assert_allclose(density["time"], evoked.times)
    assert float(density[0, 0].sum()) == pytest.approx(float(estimate.log_evidence), rel=1e-9)
    spread = np.sqrt(np.sum(np.asarray(problem.whitener.colorer) ** 2, axis=1))
    predicted, again = np.asarray(estimate.predicted), tree["posterior_predictive"]
    for kind in ("mag", "eeg"):
        at = [i for i, k in enumerate(problem.labels.ch_types) if k == kind]
        names = [problem.labels.ch_names[i] for i in at]
        assert list(again[f"{kind}_channel"].values) == names
        left = (again[kind].values - predicted[at]) / spread[at, None]
        assert 0.95 < left.std() < 1.05 * np.sqrt(2)  # noise, and of the fit at most as much
