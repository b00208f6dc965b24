"""Noise in time, stated: the dense Gaussian over sensors and samples is what all must equal."""

import dataclasses

import jax
import numpy as np
import pytest
from scipy import stats

import esijax as ej

LINEAR = ej.inference.Linear()


def omega_of(n, phi=0.6, level=1.7, ramp=0.1):
    """AR(1) noise whose variance grows."""
    lag = np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    size = np.sqrt(level * (1 + ramp * np.arange(n)))
    return phi**lag * np.outer(size, size)


def pair(problem):
    omega = omega_of(problem.n_times)
    return problem.with_noise_time(omega), omega


class Dense:
    """Vectors over (source, time) and (channel, time): nothing is assumed to separate."""

    def __init__(self, problem, omega, lambda2=1 / 9):
        gain = np.asarray(problem.gain).reshape(problem.rank, -1)
        prior = np.diag(np.asarray(problem.prior_scale).ravel() ** 2) / lambda2
        colorer = np.asarray(problem.whitener.colorer)
        eye = np.eye(len(omega))
        noise, prior = np.kron(colorer @ colorer.T, omega), np.kron(prior, omega)
        field = np.kron(colorer @ gain, eye)
        self.cov = field @ prior @ field.T + noise
        self.gain = prior @ field.T @ np.linalg.inv(self.cov)
        self.left = prior - self.gain @ field @ prior
        self.shape = (problem.n_locations, problem.n_orients, problem.n_times)
        self.unit = float(problem.source_unit)

    def mean(self, recording):
        return self.unit * (self.gain @ recording.ravel()).reshape(self.shape)

    @property
    def std(self):
        return self.unit * np.sqrt(np.diag(self.left)).reshape(self.shape)

    def log_density(self, recording):
        return stats.multivariate_normal.logpdf(recording.ravel(), None, self.cov)


@pytest.mark.parametrize("name", ["fixed", "free"])
def test_evidence_mean_and_variance_are_those_of_the_dense_gaussian(name, request):
    problem, omega = pair(request.getfixturevalue(name))
    estimate, dense = ej.solve(problem, ej.models.MinimumNorm(), LINEAR), Dense(problem, omega)
    recording = np.asarray(problem.recording)
    want = dense.mean(recording)
    np.testing.assert_allclose(estimate.mean, want, atol=1e-9 * np.abs(want).max())
    np.testing.assert_allclose(estimate.std, dense.std, rtol=1e-9)
    assert float(estimate.log_evidence) == pytest.approx(dense.log_density(recording), rel=1e-11)
    # the kernel is that of single samples, and what is predicted is in the data's units
    np.testing.assert_allclose(estimate.kernel @ recording, estimate.mean, rtol=1e-9)
    flat = np.asarray(problem.gain).reshape(problem.rank, -1)
    sources = np.asarray(estimate.mean).reshape(flat.shape[1], -1) / float(problem.source_unit)
    np.testing.assert_allclose(
        estimate.predicted, np.asarray(problem.whitener.colorer) @ flat @ sources, rtol=1e-8
    )


def test_trials_are_apart(trials):
    problem, omega = pair(trials)
    estimate = ej.solve(problem, ej.models.MinimumNorm(), LINEAR)
    dense = Dense(problem, omega)
    recording = np.asarray(problem.recording)
    want = np.stack([dense.mean(trial) for trial in recording])
    np.testing.assert_allclose(estimate.mean, want, atol=1e-9 * np.abs(want).max())
    total = sum(dense.log_density(trial) for trial in recording)
    assert float(estimate.log_evidence) == pytest.approx(total, rel=1e-11)
    draws = estimate.sample(0, 3, at=([1, 4], [2, 5]))
    assert draws.shape == (3, 4, 2, 3, 2)


def test_draws_courses_and_intervals(fixed):
    """Draws at a few samples have the covariance of those in the dense Gaussian."""
    problem, omega = pair(fixed)
    estimate, dense = ej.solve(problem, ej.models.MinimumNorm(), LINEAR), Dense(problem, omega)
    at, n = ([3, 7], [1, 2, 5]), 20000
    draws = np.asarray(estimate.sample(0, n, at=at)).reshape(n, -1)
    index = np.arange(np.prod(dense.shape)).reshape(dense.shape)[np.ix_(at[0], [0], at[1])].ravel()
    cov = dense.unit**2 * dense.left[np.ix_(index, index)]
    size = np.sqrt(np.diag(cov))
    mean = dense.mean(np.asarray(problem.recording)).ravel()[index]
    assert np.abs((draws.mean(axis=0) - mean) / size).max() < 5 / np.sqrt(n)
    off = (np.cov(draws.T) - cov) / np.outer(size, size)
    assert np.abs(off).max() < 7 / np.sqrt(n)
    lower, upper = (np.asarray(x) for x in estimate.interval(0.9, at=at))
    want = stats.norm.interval(0.9, mean, size)
    np.testing.assert_allclose([lower.ravel(), upper.ravel()], want, rtol=1e-9)
    twice = np.asarray(estimate.sample(0, 4, at=([3], [2, 2])))
    np.testing.assert_allclose(twice[..., 0], twice[..., 1], rtol=1e-6)
    course = estimate.label(np.array([3, 7]), mode="mean")
    w = np.zeros(dense.shape[:2])
    w[[3, 7]] = 0.5
    w = np.kron(w.ravel()[None], np.eye(problem.n_times))
    np.testing.assert_allclose(
        course.std, dense.unit * np.sqrt(np.diag(w @ dense.left @ w.T)), rtol=1e-9
    )


@pytest.mark.parametrize("along", ["norm", "mean"])
@pytest.mark.parametrize("name", ["fixed", "free"])
def test_exceedance_is_that_of_each_sample(name, along, request):
    """Against problems of one sample each, whose noise covariance is that of the sample."""
    problem, omega = pair(request.getfixturevalue(name))
    estimate = ej.solve(problem, ej.models.MinimumNorm(), LINEAR)
    level = float(np.abs(estimate.mean).mean())
    found = np.asarray(estimate.exceedance(level, along))
    for t in (0, 4):
        one = dataclasses.replace(
            problem, data=problem.data[..., :1], recording=problem.recording[..., [t]],
            noise_time=None,
        ).with_data(problem.recording[..., [t]])  # fmt: skip
        one = one.with_noise_time(omega[t : t + 1, t : t + 1])
        alone = ej.solve(one, ej.models.MinimumNorm(), LINEAR)
        np.testing.assert_allclose(found[..., t], alone.exceedance(level, along)[..., 0], atol=1e-9)
        np.testing.assert_allclose(
            estimate.exceedance(level, along, at=([2], [t])), found[2:3, t : t + 1], atol=1e-12
        )


# ------------------------------------------------------------------ windows
def test_a_crop_has_the_part_of_omega(fixed):
    problem, omega = pair(fixed)
    part = problem.crop(0.0, 0.03)
    np.testing.assert_allclose(part.times, [0, 0.01, 0.02, 0.03], atol=1e-12)
    np.testing.assert_allclose(part.noise_time.cov, omega[2:6, 2:6])
    np.testing.assert_array_equal(part.recording, fixed.recording[..., 2:6])
    alone = fixed.crop(0.0, 0.03)
    np.testing.assert_array_equal(alone.data, fixed.data[..., 2:6])
    np.testing.assert_allclose(part.with_noise_time(None).data, alone.data, atol=1e-12)
    with pytest.raises(ej.InputError, match=r"the data go from -0\.020 to 0\.040 s"):
        problem.crop(1.0)


@pytest.mark.parametrize("stated", [False, True])
def test_bins_are_means_with_the_noise_scaled(stated, trials):
    """As a problem of the means with the noise covariance over n would be."""
    problem, omega = pair(trials) if stated else (trials, np.eye(trials.n_times))
    bins = problem.binned(3)
    assert (bins.n_times, bins.labels.sfreq) == (2, pytest.approx(100 / 3))
    np.testing.assert_allclose(bins.times, [-0.01, 0.02])
    mean = np.asarray(problem.recording)[..., :6].reshape(4, 12, 2, 3).mean(axis=-1)
    np.testing.assert_allclose(bins.recording, mean)
    a = np.kron(np.eye(2), np.ones((3, 1)) / np.sqrt(3))
    got = np.eye(2) if bins.noise_time is None else bins.noise_time.cov
    np.testing.assert_allclose(got, a.T @ omega[:6, :6] @ a, atol=1e-12)
    white = np.asarray(bins.whitener.matrix) @ mean
    half = np.asarray(bins.whitener.colorer)
    np.testing.assert_allclose(3 * half @ half.T, _noise_cov(problem), atol=1e-12)
    np.testing.assert_allclose(bins.with_noise_time(None).data, white, atol=1e-10)
    np.testing.assert_allclose(bins.gain * bins.prior_scale, problem.gain * problem.prior_scale)
    again = bins.with_data(mean)
    np.testing.assert_allclose(again.data, bins.data, atol=1e-10)
    # sources keep their unit: what explains the means explains the data
    one = ej.solve(bins, ej.models.MinimumNorm(1e-9), LINEAR)
    np.testing.assert_allclose(one.predicted, mean, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(problem.binned(1).data, problem.data, atol=1e-12)
    for wrong in (0, 8, True):
        with pytest.raises(ej.InputError, match="n must be a whole number of samples from 1 to 7"):
            problem.binned(wrong)


def _noise_cov(problem):
    half = np.asarray(problem.whitener.colorer)
    return half @ half.T


# ------------------------------------------------------------------ inputs, transformations, files
def test_bad_omegas_are_refused(fixed):
    good = omega_of(fixed.n_times)
    wrong = {
        "must be \\(times, times\\)": good[:, :3],
        "for the times of the data": good[:3, :3],
        "NaN or Inf": np.where(np.eye(7) > 0, np.nan, good),
        "not symmetric": good + np.triu(np.ones((7, 7)), 1),
        "no covariance: it has the eigenvalue": np.eye(7) - 0.5,
        "has the variance 0 at sample 2": good * np.outer(np.arange(7) != 2, np.arange(7) != 2),
        "singular: .*Decimate .*binned": np.ones((7, 7)) + np.diag([0, 0, 1.0, 1, 1, 1, 1]),
        "must have 2 axes": np.ones(7),
    }
    for match, omega in wrong.items():
        with pytest.raises(ej.InputError, match=match):
            fixed.with_noise_time(omega)
    problem = fixed.with_noise_time(good)
    with pytest.raises(ej.InputError, match="stated for 7 samples, the data have 5"):
        problem.with_data(fixed.recording[:, :5])
    gain, data = np.asarray(fixed.gain)[..., 0], np.asarray(fixed.data)
    made = ej.from_arrays(gain, data, 1.0, noise_time=good)
    np.testing.assert_allclose(made.noise_time.cov, good)
    estimate = ej.solve(problem, ej.models.MinimumNorm(), LINEAR)
    truth, on = np.zeros(estimate.mean.shape), np.arange(problem.n_locations) == 3
    with pytest.raises(ej.InputError, match="at='mean' takes samples as independent"):
        ej.metrics.score(estimate, truth, on, np.zeros((1, 3)), at="mean")


def test_new_data_heads_and_operators_keep_it(fixed):
    problem, _ = pair(fixed)
    again = problem.with_data(problem.recording)
    np.testing.assert_allclose(again.data, problem.data, atol=1e-12)
    np.testing.assert_allclose(problem.data @ problem.noise_time.root, fixed.data, atol=1e-12)
    less = ej.simulate.through(problem, ej.simulate.project_out(np.ones((12, 1))))
    white = np.asarray(less.whitener.matrix @ less.recording)
    np.testing.assert_allclose(less.data @ less.noise_time.root, white, atol=1e-10)


def test_jit_vmap_and_gradient(fixed):
    problem, omega = pair(fixed)

    def mean(recording, omega):
        stated = problem.with_noise_time(omega).with_data(recording)
        return ej.solve(stated, ej.models.MinimumNorm(), LINEAR).std[0, 0].sum()

    want = float(mean(problem.recording, omega))
    assert float(jax.jit(mean)(problem.recording, omega)) == pytest.approx(want, rel=1e-10)
    slope = jax.grad(lambda c: mean(problem.recording, c * omega))(1.0)
    assert float(slope) == pytest.approx(want / 2, rel=1e-6)
    spread = ej.inference.local.point_spread(problem, ej.models.MinimumNorm(), LINEAR, 3)
    plain = ej.inference.local.point_spread(fixed, ej.models.MinimumNorm(), LINEAR, 3)
    np.testing.assert_allclose(spread, plain, atol=1e-9)


def test_checkpoints_see_it(fixed, tmp_path):
    problem, omega = pair(fixed)
    path, method = tmp_path / "em.checkpoint", ej.inference.EM(max_iter=3)
    with pytest.warns(ej.EsijaxWarning):
        ej.solve(problem, ej.models.ARD(), method, checkpoint=path)
    other = fixed.with_noise_time(omega + np.eye(len(omega)))
    with pytest.raises(ej.InputError, match="of another problem, model or method"):
        ej.solve(other, ej.models.ARD(), method, checkpoint=path)


def test_evidence_compares_with_and_without(fixed):
    problem, _ = pair(fixed)
    estimates = {
        "white": ej.solve(fixed, ej.models.MinimumNorm(), LINEAR),
        "stated": ej.solve(problem, ej.models.MinimumNorm(), LINEAR),
    }
    assert "stated" in str(ej.compare(estimates))
    with pytest.warns(ej.EsijaxWarning):
        em = ej.solve(problem, ej.models.ARD(), ej.inference.EM(max_iter=2))
    marginal = ej.models.ARD().prepare(problem).marginal(problem, None)
    assert float(em.log_evidence) == pytest.approx(float(marginal.log_evidence(em.hyper)), rel=1e-9)
