"""Bad data: not finite, of wrong units, flat, of other channels (rows 0 to 14)."""

import mne
import numpy as np
import pytest
from bad_rows import WORKS, Table, check_case

from esijax import EsijaxWarning, InputError

TABLE = Table()
row = TABLE.row


@row(0, "good-inputs", WORKS, lcmv=True, same=0.0)
def _(x):
    pass


@row(1, "nan-in-data", InputError, "EEG 003", "nan", "0.09", "mark the channel bad")
def _(x):
    x.evoked.data[x.evoked.ch_names.index("EEG 003"), 7] = np.nan


@row(1, "nan-in-bad-channel", WORKS)
def _(x):
    x.evoked.data[x.evoked.ch_names.index("EEG 053")] = np.nan


@row(2, "inf-in-data", InputError, "MEG 0113", "inf", "mark the channel bad")
def _(x):
    x.evoked.data[x.evoked.ch_names.index("MEG 0113"), 0] = np.inf


@row(3, "eeg-in-uV", InputError, "eeg", "units", "µV", lcmv=True)
def _(x):
    x.evoked.data[[x.evoked.ch_names.index(n) for n in x.channels("eeg")]] *= 1e6


@row(4, "all-data-1e6", InputError, "units", "rms", lcmv=True)
def _(x):
    x.evoked.data *= 1e6


@row(5, "flat-channel", EsijaxWarning, "EEG 003", "flat", "mark it bad")
def _(x):
    x.evoked.data[x.evoked.ch_names.index("EEG 003")] = 0.0


@row(6, "zero-variance-in-cov", EsijaxWarning, "EEG 003", "zero variance", "left out")
def _(x):
    i = x.noise_cov.ch_names.index("EEG 003")
    x.noise_cov["data"][i] = 0.0
    x.noise_cov["data"][:, i] = 0.0


@row(7, "channels-permuted", WORKS, same=1e-8)
def _(x):
    order = np.random.default_rng(0).permutation(len(x.evoked.ch_names))
    x.evoked.reorder_channels([x.evoked.ch_names[i] for i in order])


def _drop_rows(x, names):
    x.forward = mne.pick_channels_forward(x.forward, exclude=names, verbose="ERROR")


@row(8, "ten-missing-in-forward", EsijaxWarning, "10 good", "forward", "EEG 001", lcmv=True)
def _(x):
    _drop_rows(x, x.channels("eeg")[:10])


@row(8, "ten-missing-in-cov", EsijaxWarning, "10 good", "noise_cov", "EEG 001", lcmv=True)
def _(x):
    keep = [n for n in x.noise_cov.ch_names if n not in x.channels("eeg")[:10]]
    x.noise_cov = mne.pick_channels_cov(x.noise_cov, keep)


@row(8, "a-type-missing-in-forward", InputError, "forward", "EEG 001", "pass picks", "mag")
def _(x):
    _drop_rows(x, x.channels("eeg") + x.noise_cov["bads"])


@row(8, "extra-in-forward-and-cov", WORKS, lcmv=True)
def _(x):
    x.evoked.drop_channels(x.channels("eeg")[:10])


@row(9, "no-shared-names", InputError, "no channel is shared", "MEG 0113", "X-EEG 001")
def _(x):
    x.forward["sol"]["row_names"] = ["X-" + n for n in x.forward["sol"]["row_names"]]


@row(10, "bad-in-evoked", WORKS, check=lambda _, e: "EEG 003" not in _names(e[0]))
def _(x):
    x.evoked.info["bads"] = ["EEG 003"]


@row(10, "bad-in-cov", WORKS, check=lambda _, e: "EEG 003" not in _names(e[0]))
def _(x):
    x.noise_cov["bads"].append("EEG 003")


def _names(estimate):
    return estimate.problem.labels.ch_names


@row(11, "all-bad", InputError, "all channels are marked bad", "EEG")
def _(x):
    x.evoked.info["bads"] = list(x.evoked.ch_names)


@row(12, "complex-data", InputError, "complex", "imaginary", lcmv=True)
def _(x):
    x.evoked.data = x.evoked.data * (1 + 1j)


@row(13, "one-sample", WORKS)
def _(x):
    x.evoked.crop(0.09, 0.09)


@row(13, "one-sample-lcmv", InputError, "single sample", "data_cov", lcmv=True)
def _(x):
    x.evoked.crop(0.09, 0.09)


@row(14, "all-zero", EsijaxWarning, "all zero", lcmv=True, check=lambda _, e: not e[0].mean.any())
def _(x):
    x.evoked.data[:] = 0.0


@pytest.mark.parametrize("case", TABLE.params())
def test_bad_data(case, good_inputs, tmp_path):
    check_case(case, good_inputs, tmp_path)
