"""No covariance given: the noise fills the dimensions of the data, and no others."""

import warnings

import mne
import numpy as np
import pytest
from mne.minimum_norm import apply_inverse, make_inverse_operator
from worlds import CENTRE, forward_of, info_of, samples_of, scale_of

import esijax as ej

TMIN = -0.4  # 200 of 300 samples before time zero


@pytest.fixture(autouse=True, scope="module")
def _quiet():
    before = mne.set_log_level("ERROR", return_old_level=True)
    yield
    mne.set_log_level(before)


def measured(info, forward):
    """Noise before time zero, three sources after it."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((len(info["ch_names"]), 200)) * scale_of(info)[:, None]
    return np.concatenate([noise, samples_of(info, forward, rng, 100)], axis=1)


@pytest.fixture(scope="module")
def interpolated():
    """64 electrodes, eight of them interpolated from the others: rank 56, 55 after referencing."""
    info, forward = info_of("eeg64"), forward_of("eeg64", "cortex")
    data = measured(info, forward)
    evoked = mne.EvokedArray(data, info, tmin=TMIN)
    evoked.info["bads"] = evoked.ch_names[5:60:7]
    evoked.interpolate_bads()
    return evoked.set_eeg_reference(projection=True), forward


@pytest.fixture(scope="module")
def maxwell_filtered():
    """306 channels of rank 72."""
    info, forward = info_of("neuromag"), forward_of("neuromag", "cortex")
    data = measured(info, forward)
    raw = mne.preprocessing.maxwell_filter(mne.io.RawArray(data, info), origin=CENTRE)
    return mne.EvokedArray(raw.get_data(), raw.info, tmin=TMIN), forward


def said(inst, forward, **options):
    """The problem, and the one warning about its noise."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        problem = ej.from_mne(inst, forward, **options)
    [text] = [str(w.message) for w in caught]
    assert any(note in text for note in problem.labels.notes)
    return problem, text


def agreement(problem, evoked, forward, rank):
    """Correlation with the map of MNE's covariance of the same name, and whether it peaks there."""
    epochs = mne.EpochsArray(evoked.data[None], evoked.info, tmin=evoked.tmin, baseline=(None, 0))
    cov = mne.compute_covariance(epochs, tmax=-1e-6, method="ledoit_wolf", rank=rank)
    operator = make_inverse_operator(evoked.info, forward, cov, rank=rank)
    theirs = apply_inverse(evoked, operator, 1 / 9, "dSPM").data
    estimate = ej.solve(problem, ej.models.MinimumNorm(1 / 9), ej.inference.Linear("dSPM"))
    ours = ej.to_mne(estimate, pick_ori="magnitude").data
    peak = theirs.max(axis=0).argmax()
    same = ours[:, peak].argmax() == theirs[:, peak].argmax()
    return np.corrcoef(ours.ravel(), theirs.ravel())[0, 1], same


def test_interpolated_electrodes(interpolated):
    problem, text = said(*interpolated)
    assert problem.rank == 55
    assert "Ledoit-Wolf" in text
    assert "rank 55 of 64 in eeg" in text


def test_maxwell_filtered(maxwell_filtered):
    problem, text = said(*maxwell_filtered)
    assert problem.rank == 72
    assert "rank 72 of 306 in meg" in text


@pytest.mark.slow
def test_maps_of_mne_s_covariance(interpolated, maxwell_filtered):
    """0.996 and 0.957; of filtered data MNE shrinks types that are not apart any more.

    With the covariance of 8,000 samples the map of the filtered data correlates 0.988 here, 0.951
    in MNE.
    """
    cases = (interpolated, None, 0.99), (maxwell_filtered, "info", 0.94)
    for (evoked, forward), rank, least in cases:
        correlation, same = agreement(said(evoked, forward)[0], evoked, forward, rank)
        assert correlation > least
        assert same


@pytest.mark.parametrize("picks", ["mag", "grad"])
def test_one_type_of_maxwell_filtered_data(maxwell_filtered, picks):
    problem, text = said(*maxwell_filtered, picks=picks)
    assert problem.rank == 72
    assert f"in {picks}" in text


def test_history_lost(maxwell_filtered):
    """The rank is seen in the samples."""
    evoked, forward = maxwell_filtered
    evoked = evoked.copy()
    with evoked.info._unlock():
        evoked.info["proc_history"] = []
    assert said(evoked, forward)[0].rank == 72


def test_epochs(interpolated, maxwell_filtered):
    for (evoked, forward), rank in ((interpolated, 55), (maxwell_filtered, 72)):
        data = evoked.data.reshape(len(evoked.data), 3, 100).swapaxes(0, 1)
        epochs = mne.EpochsArray(data, evoked.info, tmin=-0.1, proj=False)
        problem, text = said(epochs, forward)
        assert problem.rank == rank
        assert "Ledoit-Wolf" in text


def test_ad_hoc_noise_stays_in_the_data(interpolated, maxwell_filtered):
    """Raw and what has no baseline."""
    for (evoked, forward), rank in ((interpolated, 55), (maxwell_filtered, 72)):
        raw = mne.io.RawArray(evoked.data, evoked.info)
        late = evoked.copy().crop(0.0, None)
        late = late if rank == 55 else evoked.copy().shift_time(0.0, relative=False)
        for inst in (raw, late):
            problem, text = said(inst, forward)
            assert problem.rank == rank
            assert "ad hoc" in text
            assert f"rank {rank} of" in text


def test_whole_rank_is_mne_s_ad_hoc(interpolated):
    """Where nothing is lost but the reference."""
    evoked, forward = interpolated
    rng = np.random.default_rng(1)
    plain = mne.EvokedArray(samples_of(evoked.info, forward, rng, 5), evoked.info)
    problem, text = said(plain, forward)
    given = ej.from_mne(plain, forward, mne.make_ad_hoc_cov(plain.info))
    assert "rank 63 of 64 in eeg" in text
    ours, theirs = (np.asarray(p.gain).reshape(63, -1) for p in (problem, given))
    # a whitener is known up to a rotation
    assert np.abs(ours.T @ ours - theirs.T @ theirs).max() < 1e-10 * np.abs(theirs.T @ theirs).max()


def test_too_few_samples_to_tell(maxwell_filtered):
    evoked, forward = maxwell_filtered
    with pytest.raises(ej.InputError, match="rank 72 and 11 samples do not tell"):
        ej.from_mne(evoked.copy().crop(0.0, 0.02), forward)


def test_variance_of_the_baseline(interpolated):
    """Whitened it has the variance of noise, and nave is counted once."""
    evoked, forward = interpolated
    for nave in (1, 25):
        problem, _ = said(evoked, forward, nave=nave)
        baseline = np.asarray(problem.data)[:, problem.times < 0]
        assert 0.8 < np.mean(baseline**2) < 1.2


def test_covariance_of_more_than_the_data(maxwell_filtered):
    """Given for all channels, it claims that zero was measured where nothing was."""
    evoked, forward = maxwell_filtered
    cov = mne.make_ad_hoc_cov(evoked.info)
    with pytest.warns(ej.EsijaxWarning, match="Maxwell-filtered to rank 72, noise_cov has 306"):
        ej.from_mne(evoked, forward, cov)
