"""Means over windows and latencies against the dense Gaussian over sources and times."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import optimize, stats

import esijax as ej

REGION, WINDOW = np.array([3, 7]), (0.0, 0.021)
PART = slice(2, 5)  # samples of the window: the first is at -0.02 s, 100 Hz


class Dense:
    """The course of a region over time in the dense Gaussian: nothing is assumed to separate."""

    def __init__(self, problem, gamma, time, noise_time):
        gain = np.asarray(problem.gain).reshape(problem.rank, -1)
        scale = np.asarray(problem.prior_scale).ravel() ** 2
        prior = np.kron(np.diag(scale * gamma), time)
        field = np.kron(gain, np.eye(len(time)))
        cov = field @ prior @ field.T + np.kron(np.eye(problem.rank), noise_time)
        back = prior @ field.T @ np.linalg.inv(cov)
        w = np.zeros(gain.shape[1])
        w[REGION] = float(problem.source_unit) / len(REGION)
        w = np.kron(w[None], np.eye(len(time)))
        self.back, self.left = w @ back, w @ (prior - back @ field @ prior) @ w.T

    def mean(self, white):
        return self.back @ np.asarray(white).ravel()


def gammas(n, problem):
    return np.exp(np.random.default_rng(1).standard_normal((n, problem.n_locations)))


def case(name, problem):
    """An estimate and the Gaussian of each of its members."""
    n = problem.n_times
    lag = np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    time, omega = np.exp(-0.5 * (lag / 2) ** 2), 1.3 * 0.6**lag
    gamma = gammas(3, problem)
    prior, white = ej.models.ARD(dist.HalfCauchy(1.0)), np.asarray(problem.data)
    if name == "stated":
        problem, time = problem.with_noise_time(omega), omega
    elif name == "static":
        time, omega = np.eye(n), np.eye(n)
    else:
        prior = ej.models.Kronecker(prior, ej.models.time.SquaredExponential(0.02), rest=None)
        omega = np.eye(n)
    marginal = prior.marginal(problem)
    posterior = marginal.mixture({"gamma": jnp.asarray(gamma)})
    dense = [Dense(problem, one, time, omega) for one in gamma]
    return ej.Estimate(problem, posterior, method="NUTS"), dense, white


@pytest.mark.parametrize("name", ["static", "stated", "Kronecker"])
def test_window_means_are_those_of_the_dense_gaussian(name, fixed):
    estimate, dense, white = case(name, fixed)
    found = estimate.label(REGION, level=0.8, mode="mean", window=WINDOW)
    mean = np.array([d.mean(white)[PART].mean() for d in dense])
    std = np.sqrt([d.left[PART, PART].mean() for d in dense])
    assert found.mean == pytest.approx(mean.mean(), rel=1e-9)
    assert found.std == pytest.approx(np.sqrt((std**2).mean() + mean.var()), rel=1e-9)

    def below(x, p):
        return stats.norm.cdf((x - mean) / std).mean() - p

    ends = mean.min() - 5 * std.max(), mean.max() + 5 * std.max()
    for got, p in ((found.lower, 0.1), (found.upper, 0.9)):
        want = optimize.brentq(below, *ends, args=(p,), xtol=1e-13 * std.max())
        assert got == pytest.approx(want, rel=1e-8)
    assert found.window == pytest.approx((0.0, 0.02), abs=1e-12)
    # the course itself has the same moments at single times
    course = estimate.label(REGION, mode="mean")
    each = np.array([d.mean(white) for d in dense])
    total = np.array([np.diag(d.left) for d in dense]).mean(axis=0) + each.var(axis=0)
    np.testing.assert_allclose(course.std, np.sqrt(total), rtol=1e-9)


@pytest.mark.parametrize("name", ["stated", pytest.param("Kronecker", marks=pytest.mark.slow)])
def test_latency_is_that_of_draws_of_the_dense_gaussian(name, fixed):
    estimate, dense, white = case(name, fixed)
    n = 20000
    window = (-0.01, 0.03)
    found = estimate.latency(REGION, window, 0.8, n=n, key=3, mode="mean")
    rng, part = np.random.default_rng(0), slice(1, 6)
    draws = np.concatenate(
        [
            rng.multivariate_normal(d.mean(white)[part], d.left[part, part], n, method="eigh")
            for d in dense
        ]
    )
    want = np.bincount(np.abs(draws).argmax(axis=1), minlength=5) / len(draws)
    assert np.abs(found.probability - want).max() < 5 * np.sqrt(0.25 / n + 0.25 / len(draws))
    np.testing.assert_allclose(found.times, fixed.times[part])
    assert found.probability.sum() == pytest.approx(1.0)
    assert found.mean == pytest.approx(found.probability @ found.times)
    assert found.lower <= found.median <= found.upper
    again = estimate.latency(REGION, window, 0.8, n=n, key=3, mode="mean")
    np.testing.assert_array_equal(again.probability, found.probability)


def test_trials_have_windows_and_latencies_of_their_own(trials):
    estimate = ej.solve(trials, ej.models.MinimumNorm(), ej.inference.Linear())
    mean = estimate.label([1, 2], mode="mean")
    found = estimate.label([1, 2], mode="mean", window=WINDOW)
    np.testing.assert_allclose(found.mean, mean.mean[:, PART].mean(axis=-1))
    # independent samples: the mean of three has a third of the variance
    np.testing.assert_allclose(found.std, mean.std[:, 0] / np.sqrt(3))
    peak = estimate.latency([1, 2], WINDOW, n=50)
    assert peak.probability.shape == (4, 3)
    assert peak.mean.shape == peak.lower.shape == (4,)


def test_what_has_no_window_and_no_latency(fixed):
    estimate = ej.solve(fixed, ej.models.MinimumNorm(), ej.inference.Linear())
    with pytest.raises(ej.InputError, match=r"no sample lies between 1 and 2 s"):
        estimate.label([0], window=(1, 2))
    for bad in (0.1, (0.1,), "peak", (None, 0.1)):
        with pytest.raises(ej.InputError, match=r"window must be \(tmin, tmax\)"):
            estimate.latency([0], bad)
    with pytest.raises(ej.InputError, match="n must be at least 1"):
        estimate.latency([0], WINDOW, n=0)
    with pytest.raises(ej.InputError, match="latency gives NumPy arrays"):
        jax.jit(lambda e: e.latency([0], WINDOW).mean)(estimate)
    point = ej.solve(fixed, ej.models.L21(ej.models.relative(0.5)), ej.inference.MAP())
    with pytest.raises(ej.InputError, match="MAP gives a point estimate"):
        point.latency([0], WINDOW)
