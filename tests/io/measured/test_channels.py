"""Channels that take part: picks, dead ones, types, averages."""

import mne
import numpy as np
import pytest
from worlds import covariance_of, forward_of, info_of, samples_of

import esijax as ej


@pytest.fixture(autouse=True, scope="module")
def _quiet():
    before = mne.set_log_level("ERROR", return_old_level=True)
    yield
    mne.set_log_level(before)


@pytest.fixture(scope="module")
def eeg():
    """Evoked with its reference still to be applied, forward, covariance of no reference."""
    info, forward = info_of("eeg32"), forward_of("eeg32", "discrete")
    rng = np.random.default_rng(0)
    evoked = mne.EvokedArray(samples_of(info, forward, rng, 5), info)
    cov = mne.Covariance(covariance_of(info, rng), info["ch_names"], [], [], 10_000)
    return evoked.set_eeg_reference(projection=True), forward, cov


def square(problem):
    """The whitened lead field, up to the rotation that a whitener leaves open."""
    flat = np.asarray(problem.gain).reshape(problem.rank, -1)
    return flat.T @ flat


# ------------------------------------------------------------------ picks
MASK = [k >= 16 for k in range(32)]


@pytest.mark.parametrize(
    "picks", [MASK, np.array(MASK), [np.True_, 3], [False]], ids=["list", "array", "mixed", "one"]
)
def test_a_mask_is_not_taken_for_numbers(eeg, picks):
    with pytest.raises(ej.InputError, match=r"np.flatnonzero\(mask\)"):
        ej.from_mne(*eeg, picks=picks)


NUMBERS = [
    [0, 1, 2],
    np.arange(3),
    (np.int64(0), 1, np.uint8(2)),
    [2, 1, 0, 0],
    slice(3),
    range(3),
    [-32, -31, -30],
]


@pytest.mark.parametrize("picks", NUMBERS, ids=str)
def test_numbers(eeg, picks):
    assert ej.from_mne(*eeg, picks=picks).labels.ch_names == tuple(eeg[0].ch_names[:3])


def test_names_and_types(eeg):
    names = eeg[0].ch_names
    for picks in (names[:3], tuple(names[:3]), np.array(names[:3]), set(names[:3])):
        assert ej.from_mne(*eeg, picks=picks).labels.ch_names == tuple(names[:3])
    for picks in ("eeg", np.str_("eeg"), ["eeg"], "data", "all"):
        assert len(ej.from_mne(*eeg, picks=picks).labels.ch_names) == 32


REFUSED = [
    ([], "selects no MEG or EEG channel; there are eeg"),
    (np.arange(3.0), "0.0"),
    ([32], "there is no channel 32; there are 32"),
    ("meg", "'meg' is neither a channel nor a channel type here"),
    (b"eeg", "b'eeg'"),
    ({"eeg": True}, "eeg"),
    (True, "True"),
]


@pytest.mark.parametrize(("picks", "says"), REFUSED, ids=str)
def test_what_is_no_pick(eeg, picks, says):
    with pytest.raises(ej.InputError, match=says):
        ej.from_mne(*eeg, picks=picks)


# ------------------------------------------------------------------ types
@pytest.mark.parametrize("kind", ["ecog", "seeg", "dbs", "csd", "misc"])
def test_types_that_cannot_be_localised(eeg, kind):
    evoked, forward, cov = eeg
    other = mne.EvokedArray(evoked.data, mne.create_info(evoked.ch_names, 500.0, kind))
    for picks in (None, kind):
        with pytest.raises(ej.InputError, match=f"type {kind} alone; .* from mag, grad, eeg"):
            ej.from_mne(other, forward, cov, picks=picks)


# ------------------------------------------------------------------ dead or a reference
def referred(eeg, electrodes=(0,)):
    """Everything against the mean of some electrodes, these then set to zero."""
    evoked, forward, cov = eeg
    to = np.eye(32)
    to[:, list(electrodes)] -= 1 / len(electrodes)
    to[list(electrodes)] = 0
    data = mne.EvokedArray(to @ evoked.data, info_of("eeg32")).set_eeg_reference(projection=True)
    return data, forward, mne.Covariance(to @ cov.data @ to.T, cov.ch_names, [], [], 10_000)


def test_recovered_reference_electrode(eeg):
    """The average reference makes a full channel of it: which one it was does not matter."""
    problem, same = ej.from_mne(*referred(eeg)), ej.from_mne(*eeg)
    assert problem.rank == 31
    assert np.abs(square(problem) - square(same)).max() < 1e-9 * np.abs(square(same)).max()
    assert "taken for the reference electrode" in " ".join(problem.labels.notes)


def test_flat_where_the_noise_is_known(eeg):
    """In the data alone: the covariance may have been made with another reference."""
    evoked, forward, _ = referred(eeg)
    assert ej.from_mne(evoked, forward, eeg[2]).rank == 31


def test_two_silent_electrodes_are_not_both_the_reference(eeg):
    evoked, forward, cov = referred(eeg, (0, 5))
    with pytest.warns(ej.EsijaxWarning, match=f"flat in the data: {evoked.ch_names[0]}, "):
        ej.from_mne(evoked, forward, eeg[2])
    with pytest.warns(ej.EsijaxWarning, match="zero variance in noise_cov: .*; they are left out"):
        assert ej.from_mne(eeg[0], forward, cov).rank == 29


def test_silent_after_the_average_reference_is_dead(eeg):
    evoked = eeg[0].copy().apply_proj()
    evoked.data[3] = 0.0
    with pytest.warns(ej.EsijaxWarning, match=f"flat in the data: {evoked.ch_names[3]}"):
        ej.from_mne(evoked, *eeg[1:])


def test_dead_magnetometer_under_a_projector():
    """A projector leaks into it, which makes no channel of it."""
    info, forward = info_of("opm"), forward_of("opm", "discrete")
    rng = np.random.default_rng(0)
    evoked = mne.EvokedArray(samples_of(info, forward, rng, 5), info)
    axis = np.full((1, 90), 90**-0.5)
    data = dict(nrow=1, ncol=90, row_names=None, col_names=info["ch_names"], data=axis)
    evoked.add_proj(mne.Projection(active=False, data=data, desc="mean", kind=1))
    cov = covariance_of(info, rng)
    cov[4] = cov[:, 4] = 0.0
    cov = mne.Covariance(cov, info["ch_names"], [], [], 10_000)
    with pytest.warns(ej.EsijaxWarning, match=f"zero variance in noise_cov: {info['ch_names'][4]}"):
        assert "MEG 004" not in ej.from_mne(evoked, forward, cov).labels.ch_names


# ------------------------------------------------------------------ averages, empty measurements
def test_nave(eeg):
    evoked, forward, cov = eeg
    epochs = mne.EpochsArray(np.stack([evoked.data] * 2), evoked.info, proj=False)
    averaged = evoked.copy()
    averaged.nave = 5
    want = np.asarray(ej.from_mne(averaged, forward, cov).data)
    for nave in (5, 5.0, np.int64(5), np.float32(5)):
        for inst in (epochs, evoked, mne.io.RawArray(evoked.data, evoked.info)):
            got = np.asarray(ej.from_mne(inst, forward, cov, nave=nave).data)
            got = got[0] if got.ndim == 3 else got
            assert np.abs(got - want).max() < 1e-12 * np.abs(want).max()


@pytest.mark.parametrize("nave", [0, -1, np.nan, np.inf, "5", True, [5], 5j], ids=str)
def test_what_is_no_number_of_averages(eeg, nave):
    with pytest.raises(ej.InputError, match=r"nave is .*: .* positive and finite"):
        ej.from_mne(*eeg, nave=nave)


def test_nothing_measured(eeg):
    evoked, forward, cov = eeg
    epochs = mne.EpochsArray(evoked.data[None], evoked.info, proj=False).drop([0])
    with pytest.raises(ej.InputError, match=r"the Epochs hold no trial: epochs.drop_log"):
        ej.from_mne(epochs, forward, cov)
    raw = mne.io.RawArray(evoked.data, evoked.info)
    events = np.array([[2, 0, 1]])
    lazy = mne.Epochs(raw, events, tmin=0, tmax=0.004, reject={"eeg": 1e-15}, baseline=None)
    with pytest.raises(ej.InputError, match="the Epochs hold no trial"):
        ej.from_mne(lazy, forward, cov)
    with pytest.raises(ej.InputError, match="holds no sample"):
        ej.from_mne(mne.EvokedArray(evoked.data[:, :0], evoked.info), forward, cov)


@pytest.mark.parametrize(
    "options", [{"loose": {1: 0.2}}, {"depth": {1: 2, "a": 3}}, {"rank": {1: 2}}]
)
def test_keys_of_another_type(eeg, options):
    with pytest.raises(ej.InputError, match="1"):
        ej.from_mne(*eeg, **options)


# ------------------------------------------------------------------ ranks by type
def test_rank_of_one_kind_of_meg():
    """MNE reads 'mag' where there are magnetometers alone, 'meg' where there are both."""
    info, forward = info_of("opm"), forward_of("opm", "discrete")
    rng = np.random.default_rng(0)
    evoked = mne.EvokedArray(samples_of(info, forward, rng, 5), info)
    cov = mne.Covariance(covariance_of(info, rng), info["ch_names"], [], [], 10_000)
    assert ej.from_mne(evoked, forward, cov, rank={"mag": 60}).rank == 60
    assert ej.from_mne(evoked, forward, cov, rank={"mag": 60, "grad": 9, "eeg": 5}).rank == 60
    with pytest.raises(ej.InputError, match=r"for 'meg', .* are mag, .* pass rank=\{'mag': ...\}"):
        ej.from_mne(evoked, forward, cov, rank={"meg": 60})


def test_rank_of_both_kinds_of_meg():
    info, forward = info_of("neuromag"), forward_of("neuromag", "discrete")
    rng = np.random.default_rng(0)
    evoked = mne.EvokedArray(samples_of(info, forward, rng, 2), info)
    cov = mne.Covariance(covariance_of(info, rng), info["ch_names"], [], [], 10_000)
    assert ej.from_mne(evoked, forward, cov, rank={"meg": 60}).rank == 60
    with pytest.raises(ej.InputError, match=r"for 'mag', .* mag and grad, .* rank=\{'meg': ...\}"):
        ej.from_mne(evoked, forward, cov, rank={"mag": 30, "grad": 30})
