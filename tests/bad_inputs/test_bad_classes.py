"""Objects of other classes, names that MNE changes (rows 49 to 53)."""

import inspect
import pickle

import numpy as np
import pytest
from bad_rows import WORKS, Table, check_case, toy

import esijax as ej
from esijax import InputError

TABLE = Table()
row = TABLE.row


@row(49, "evoked-ndarray", TypeError, "evoked", "mne.Evoked", "ndarray")
def _(x):
    return lambda: ej.from_mne(x.evoked.data, x.forward, x.noise_cov)


@row(49, "evoked-list", TypeError, "evoked", "mne.Evoked", "list")
def _(x):
    return lambda: ej.from_mne([x.evoked], x.forward, x.noise_cov)


@row(49, "forward-ndarray", TypeError, "forward", "mne.Forward", "ndarray")
def _(x):
    return lambda: ej.from_mne(x.evoked, x.forward["sol"]["data"], x.noise_cov)


@row(49, "cov-ndarray", TypeError, "noise_cov", "mne.Covariance", "ndarray")
def _(x):
    return lambda: ej.from_mne(x.evoked, x.forward, x.noise_cov.data)


@row(49, "swapped", TypeError, "forward", "mne.Forward", "Covariance")
def _(x):
    return lambda: ej.from_mne(x.evoked, x.noise_cov, x.forward)


def _plain(function):
    """Drop the type checks that pytest wraps around: users do not have them."""
    return inspect.unwrap(function)


@row(49, "problem-evoked", TypeError, "Problem", "from_mne", "Evoked")
def _(x):
    return lambda: _plain(ej.solve)(x.evoked, x.model, ej.inference.Linear())


@row(49, "method-string", TypeError, "method", "esijax.inference", "dSPM")
def _(x):
    return lambda: _plain(ej.solve)(toy(), x.model, "dSPM")


@row(49, "method-class", TypeError, "method", "Linear()")
def _(x):
    return lambda: _plain(ej.solve)(toy(), x.model, ej.inference.Linear)


@row(49, "model-string", TypeError, "model", "MinimumNorm()")
def _(x):
    return lambda: ej.solve(toy(), "MinimumNorm", ej.inference.Linear())


@row(49, "model-class", TypeError, "model", "MinimumNorm()")
def _(x):
    return lambda: ej.solve(toy(), ej.models.MinimumNorm, ej.inference.Linear())


@row(49, "model-none", InputError, "Linear", "minimum norm")
def _(x):
    return lambda: ej.solve(toy(), None, ej.inference.Linear())


@row(49, "save-array", TypeError, "Estimate", "ndarray")
def _(x):
    return lambda: _plain(ej.save)(np.ones(3), x.folder / "x.npz")


@row(50, "nave-0", InputError, "nave", "0", "positive")
def _(x):
    x.evoked.nave = 0


@row(51, "float32-data", WORKS, same=2e-6)
def _(x):
    x.evoked.data = x.evoked.data.astype(np.float32)


def _apart(evoked):
    """Copy that shares nothing: MNE's own shares the projectors' names with the original."""
    return pickle.loads(pickle.dumps(evoked))


@row(53, "renamed-copy", InputError, "EEG 003", "reference", "renamed", "set_eeg_reference")
def _(x):
    x.evoked = _apart(x.evoked)
    x.evoked.copy().rename_channels({"EEG 003": "Fp9"})


@row(53, "renamed-copy-meg", InputError, "PCA-v1", "add_proj")
def _(x):
    x.evoked = _apart(x.evoked)
    x.evoked.copy().rename_channels({"MEG 0111": "M1"})


@pytest.mark.parametrize("case", TABLE.params())
def test_bad_classes(case, good_inputs, tmp_path):
    check_case(case, good_inputs, tmp_path)
