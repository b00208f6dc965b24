"""Which condition of a file is meant: names win, what is ambiguous is refused."""

import re

import mne
import numpy as np
import pytest

import esijax as ej


def held(path, *entries):
    """Write a file of (name, kind): the i-th has i + 1 averages, which tells it apart."""
    info = mne.create_info(["EEG 001", "EEG 002"], 100.0, "eeg")
    each = [
        mne.EvokedArray(np.ones((2, 3)), info, comment=name, nave=i + 1, kind=kind)
        for i, (name, kind) in enumerate(entries)
    ]
    mne.write_evokeds(path, each, verbose="ERROR")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("evokeds")
    held(path / "digits-ave.fif", ("1", "average"), ("2", "average"), ("3", "average"))
    held(path / "both-ave.fif", ("aud", "standard_error"), ("aud", "average"))
    held(path / "twice-ave.fif", ("vis", "average"), ("aud", "average"), ("aud", "average"))
    held(path / "error-ave.fif", ("aud", "standard_error"))
    return path


@pytest.mark.parametrize(
    ("file", "condition", "nave"),
    [
        ("digits", "1", 1),  # the one named "1", not the one at index 1
        ("digits", "3", 3),
        ("digits", "#1", 2),
        ("digits", "0", 1),  # no name: a number
        ("digits", 1, 2),
        ("digits", np.int64(2), 3),
        ("both", "aud", 2),  # the average, as MNE-Python
        ("both", None, 2),
        ("both", 0, 1),
        ("twice", "vis", 1),
        ("twice", "#2", 3),
    ],
)
def test_the_right_one_is_read(folder, file, condition, nave):
    path = folder / f"{file}-ave.fif"
    found = ej.io.read_evoked(path, condition)
    assert found.nave == nave
    if isinstance(condition, str) and condition in ("1", "3", "aud", "vis"):
        assert found.nave == mne.read_evokeds(path, condition, verbose="ERROR").nave


@pytest.mark.parametrize(
    ("file", "condition", "message"),
    [
        ("twice", "aud", "2 averages named 'aud': choose by number, '#1' or '#2'"),
        ("error", "aud", "no average, but a standard error, named 'aud': choose by number, '#0'"),
        ("error", None, "0 conditions, name one of: 0 'aud' (standard error)"),
        ("digits", None, "3 conditions, name one of: 0 '1', 1 '2', 2 '3'"),
        ("digits", "4", "3 conditions, there is no 4: 0 '1', 1 '2', 2 '3'"),
        ("digits", -1, "there is no -1"),
        ("digits", "-1", "no condition '-1'; it has 0 '1'"),
        ("digits", "²", "no condition '²'"),
        ("digits", "", "no condition ''"),
        ("digits", True, "condition must be a name or a number, got True"),
        ("digits", np.bool_(False), "a name or a number"),
        ("digits", 1.0, "a name or a number, got 1.0"),
        ("digits", ["1"], "a name or a number"),
    ],
)
def test_what_is_ambiguous_or_missing_is_refused(folder, file, condition, message):
    with pytest.raises(ej.InputError, match=re.escape(message)):
        ej.io.read_evoked(folder / f"{file}-ave.fif", condition)
