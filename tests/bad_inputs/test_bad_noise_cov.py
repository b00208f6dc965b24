"""Noise covariances that are none, and ranks (rows 20 to 27)."""

import mne
import numpy as np
import pytest
from bad_rows import WORKS, Table, check_case

from esijax import EsijaxWarning, InputError

TABLE = Table()
row = TABLE.row


def _reshape_spectrum(x, change, *kinds):
    """Change the eigenvalues (ascending) of the correlation matrix of some channels."""
    index = x.cov_index(*kinds)
    block = np.ix_(index, index)
    std = np.sqrt(np.diag(x.noise_cov.data))[index]
    values, vectors = np.linalg.eigh(x.noise_cov.data[block] / np.outer(std, std))
    square = (vectors * change(values)) @ vectors.T
    x.noise_cov["data"][block] = (square + square.T) / 2 * np.outer(std, std)


@row(
    20,
    "largest-negated",
    InputError,
    "noise_cov",
    "negative variance",
    "estimate it again",
    lcmv=True,
)
def _(x):
    _reshape_spectrum(x, lambda v: np.r_[v[:-20], -v[-20:]], "mag", "grad")


@row(
    20,
    "smallest-negated",
    InputError,
    "positive semi-definite",
    "eigenvalue",
    "shrinkage",
    lcmv=True,
)
def _(x):
    _reshape_spectrum(x, lambda v: np.r_[[-0.01] * 5, v[5:]], "eeg")


@row(21, "asymmetric", InputError, "not symmetric", "MEG 0113", "estimate it again")
def _(x):
    i, j = x.cov_index("grad")[:2]
    x.noise_cov["data"][i, j] *= 1.4


@row(22, "nan-in-cov", InputError, "noise_cov", "nan", "EEG 003", "estimate it again")
def _(x):
    i = x.noise_cov.ch_names.index("EEG 003")
    x.noise_cov["data"][i, i] = np.nan


@row(22, "nan-between-types", InputError, "noise_cov", "nan", "MEG 0113", "estimate it again")
def _(x):
    names = x.noise_cov.ch_names
    x.noise_cov["data"][names.index("MEG 0113"), names.index("EEG 003")] = np.nan


@row(23, "all-zero-cov", InputError, "noise_cov", "all zero", "estimate it again")
def _(x):
    x.noise_cov["data"][:] = 0.0


@row(23, "all-zero-for-eeg", InputError, "noise_cov", "all zero", "eeg", "estimate it again")
def _(x):
    index = x.cov_index("eeg")
    x.noise_cov["data"][np.ix_(index, index)] = 0.0


def _rank_40(x, *kinds):
    _reshape_spectrum(x, lambda v: np.r_[np.zeros(len(v) - 40), v[-40:]], *kinds)


@row(24, "rank-40", EsijaxWarning, "rank 40 in meg", "rank 40 in eeg", "shrinkage", lcmv=True)
def _(x):
    _rank_40(x, "mag", "grad")
    _rank_40(x, "eeg")


@row(25, "rank-40-said-full", InputError, "rank", "meg", "40", "rank=None")
def _(x):
    _rank_40(x, "mag", "grad")
    x.options = {"rank": "full"}


@row(25, "good-cov-said-full", InputError, "rank", "eeg", "59", "rank=None")
def _(x):
    x.options = {"rank": "full", "picks": "eeg"}


@row(25, "good-cov-given-ranks", WORKS, same=1e-6)
def _(x):
    x.options = {"rank": {"meg": 302, "eeg": 58}}


@row(25, "ranks-of-other-types", WORKS)
def _(x):
    x.options = {"rank": {"meg": 302, "eeg": 58}, "picks": "eeg"}
    return lambda: [x.problem()]


for _name, _rank, _say in [
    ("too-many", {"eeg": 400}, "more than its 59 channels"),
    ("negative", {"eeg": -3}, "-3"),
    ("text", {"eeg": "a"}, "'a'"),
    ("of-unknown", {"foo": 3}, "'foo'"),
    ("number", 5, "got 5"),
]:
    row(25, f"rank-{_name}", InputError, "rank", _say)(
        lambda x, rank=_rank: x.options.update(rank=rank)
    )


@row(26, "ad-hoc", WORKS, lcmv=True)
def _(x):
    x.noise_cov = mne.make_ad_hoc_cov(x.evoked.info, verbose="ERROR")


@row(27, "cov-1e12", InputError, "units", "noise_cov", lcmv=True)
def _(x):
    x.noise_cov["data"] *= 1e12


@row(27, "eeg-cov-in-uV2", InputError, "units", "noise_cov", "eeg", lcmv=True)
def _(x):
    index = x.cov_index("eeg")
    x.noise_cov["data"][np.ix_(index, index)] *= 1e12


@pytest.mark.parametrize("case", TABLE.params())
def test_bad_noise_cov(case, good_inputs, tmp_path):
    check_case(case, good_inputs, tmp_path)
