"""Noise in time from baselines: the sample subject, and what cannot be used."""

import mne
import numpy as np
import pytest

import esijax as ej
from esijax.trust.silent import silent_directions, silent_note

CLEAR = ("Right Auditory", "Left visual", "Right visual")  # of 6 averages; the other has 3
WINDOWS = {
    "Right visual": (0.08, 0.12),
    "Left visual": (0.105, 0.135),
    "Right Auditory": (0.08, 0.105),
    "Left Auditory": (0.07, 0.11),
}


@pytest.fixture(scope="module")
def corrected(evokeds):
    return {
        name: evoked.copy().pick("meg").apply_baseline((None, 0), verbose="ERROR")
        for name, evoked in evokeds.items()
    }


@pytest.fixture(scope="module")
def pooled(corrected, noise_cov):
    return ej.io.noise_time(list(corrected.values()), noise_cov)


def problem_of(evoked, forward, noise_cov, noise_time):
    return ej.from_mne(evoked, forward, noise_cov, loose=0.0, noise_time=noise_time)


def ratios(problem, axes):
    """Power of what no source reaches over what is stated: at single samples, along Omega."""
    samples = axes.T @ np.asarray(problem.samples)
    columns = axes.T @ np.asarray(problem.data)
    return np.mean(samples**2), np.mean(columns**2)


@pytest.mark.parametrize("source", ["auto", "pooled"])
def test_silent_directions_show_what_was_foretold(source, corrected, forward, noise_cov, pooled):
    """The diagonal of Omega within 30 % in three conditions, of samples and of four bins."""
    for name in CLEAR:
        omega = "auto" if source == "auto" else pooled
        problem = problem_of(corrected[name], forward, noise_cov, omega)
        axes = silent_directions(problem)
        assert axes.shape[1] > 50
        window = problem.crop(*WINDOWS[name])
        for some in (window, window.binned(window.n_times // 4), problem.crop(0.02, 0.3)):
            diagonal, along = ratios(some, axes)
            assert diagonal == pytest.approx(1.0, abs=0.3), (name, some.n_times)
            assert along == pytest.approx(1.0, abs=0.3), (name, some.n_times)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the map explains")
def test_the_evidence_prefers_it_in_all_conditions(corrected, forward, noise_cov):
    """Four bins; against independent ones with the variance of the corrected baseline."""
    prior, method = ej.models.Components(ej.models.components.Patches(200)), ej.inference.EM()
    for name, window in WINDOWS.items():
        problem = problem_of(corrected[name], forward, noise_cov, "auto")
        bins = [problem.crop(*w) for w in (window, (None, 0.0))]
        stated, before = (b.binned(bins[0].n_times // 4) for b in bins)
        level = np.mean(np.asarray(before.with_noise_time(None).data) ** 2)
        white = stated.with_noise_time(level * np.eye(stated.n_times))
        nats = [float(ej.solve(p, prior, method).log_evidence) for p in (stated, white)]
        assert nats[0] > nats[1] + 50, (name, nats)


def test_it_is_read_from_the_measurement(corrected, forward, noise_cov, pooled):
    evoked = corrected["Right visual"]
    auto = problem_of(evoked, forward, noise_cov, "auto")
    alone = ej.io.noise_time(evoked, noise_cov)
    np.testing.assert_allclose(auto.noise_time.cov, alone, rtol=1e-9, atol=1e-12)
    assert "noise_time: from 121 samples of the baseline" in auto.labels.notes
    assert "no source reaches the noise has" in auto.labels.notes[-1]
    # a measurement that was cropped has no baseline of its own; the correction is on record
    cropped = evoked.copy().crop(0.05, 0.1)
    with pytest.raises(ej.InputError, match="no measurement has 20 samples of its baseline"):
        problem_of(cropped, forward, noise_cov, "auto")
    omega = ej.io.noise_time(list(corrected.values()), noise_cov, like=cropped)
    part = (evoked.times > 0.0495) & (evoked.times < 0.1005)
    np.testing.assert_allclose(omega, pooled[np.ix_(part, part)], atol=1e-9)
    stated = problem_of(cropped, forward, noise_cov, omega)
    assert stated.labels.notes[-1].startswith("in ")
    # nothing is changed where nothing is asked for
    plain = problem_of(evoked, forward, noise_cov, None)
    assert plain.noise_time is None
    np.testing.assert_allclose(auto.with_noise_time(None).data, plain.data, atol=1e-9)
    assert "4." in silent_note(plain)[0]
    assert 'noise_time="auto"' in silent_note(plain)[0]


def test_without_a_correction_the_offset_is_noise(evokeds, noise_cov):
    evoked = evokeds["Right visual"].copy().pick("meg")
    omega = ej.io.noise_time(evoked, noise_cov)
    other = ej.io.noise_time(evoked.apply_baseline((None, 0), verbose="ERROR"), noise_cov)
    far = omega[0, -1]
    assert far > 0.5  # what two samples share that have nothing else in common
    lag = np.abs(np.subtract.outer(np.arange(len(omega)), np.arange(len(omega))))
    assert omega[lag == 3].std() < 1e-9  # the same at all times
    assert other[0, -1] < 0.5 * far


def test_what_it_cannot_be_made_of(evokeds, forward, noise_cov, corrected):
    evoked = corrected["Right visual"]
    with pytest.raises(ej.InputError, match="must be 'auto' or an array, got 'on'"):
        problem_of(evoked, forward, noise_cov, "on")
    with pytest.raises(ej.InputError, match=r"must be \(421, 421\)"):
        problem_of(evoked, forward, noise_cov, np.eye(3))
    raw = mne.io.RawArray(evoked.data, evoked.info, verbose="ERROR")
    with pytest.raises(ej.InputError, match="no measurement has 20 samples"):
        problem_of(raw, forward, noise_cov, "auto")
    with pytest.raises(TypeError, match=r"takes mne.Evoked or Epochs, got RawArray"):
        ej.io.noise_time(raw, noise_cov)
    with pytest.raises(ej.InputError, match="a measurement at least"):
        ej.io.noise_time([], noise_cov)
    slow = evoked.copy().decimate(2, verbose="ERROR")
    with pytest.raises(ej.InputError, match="several sampling frequencies"):
        ej.io.noise_time([evoked, slow], noise_cov)


def test_epochs_pool_their_trials(evokeds, noise_cov, forward):
    info = evokeds["Right visual"].copy().pick("meg").info
    names = evokeds["Right visual"].copy().pick("meg").ch_names
    cov = noise_cov.copy().pick_channels(names)
    rng, n, phi = np.random.default_rng(0), 160, 0.7
    values, vectors = np.linalg.eigh(cov.data)
    half = vectors * np.sqrt(np.maximum(values, 0.0))
    x = rng.standard_normal((6, len(names), n))
    for t in range(1, n):
        x[..., t] = phi * x[..., t - 1] + np.sqrt(1 - phi**2) * x[..., t]
    epochs = mne.EpochsArray(half @ x, info, tmin=-0.1, verbose="ERROR")
    epochs.apply_baseline((None, 0), verbose="ERROR")
    omega = ej.io.noise_time(epochs, cov)
    sure = np.arange(80, 150)
    lags = np.abs(np.subtract.outer(sure, sure))
    for lag in range(1, 4):  # the mean of 60 samples is noise as well
        assert omega[np.ix_(sure, sure)][lags == lag].mean() == pytest.approx(phi**lag, abs=0.15)
