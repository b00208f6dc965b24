"""EEG reference and projectors that do not fit (rows 15 to 19)."""

import pytest
from bad_rows import WORKS, Table, check_case

from esijax import InputError

TABLE = Table()
row = TABLE.row


def _projs(inst, keep):
    with inst.info._unlock():
        inst.info["projs"] = [p for p in inst.info["projs"] if keep(p)]


def _is_reference(p):
    return p["kind"] == 10


@row(15, "eeg-without-reference", InputError, "no average reference", "set_eeg_reference")
def _(x):
    _projs(x.evoked, lambda p: not _is_reference(p))
    x.evoked.data[[x.evoked.ch_names.index(n) for n in x.channels("eeg")]] += 1e-6


@row(15, "no-projectors-anywhere", InputError, "no average reference", "set_eeg_reference")
def _(x):
    _projs(x.evoked, lambda _: False)
    x.noise_cov["projs"] = []
    x.evoked.data[[x.evoked.ch_names.index(n) for n in x.channels("eeg")]] += 1e-6


@row(
    16,
    "single-channel-reference",
    InputError,
    "custom EEG reference",
    "set_eeg_reference",
    lcmv=True,
)
def _(x):
    x.evoked.set_eeg_reference(["EEG 001"], verbose="ERROR")


def _names_the_reference(x, estimates):
    return "EEG 001 is zero before" in " ".join(estimates[0].problem.labels.notes)


@row(16, "way-out-of-it", WORKS, same=1e-6, check=_names_the_reference)
def _(x):
    x.evoked.set_eeg_reference(["EEG 001"], verbose="ERROR")
    x.evoked.set_eeg_reference(projection=True, verbose="ERROR")


@row(17, "average-reference-applied", WORKS, same=1e-9)
def _(x):
    x.evoked.set_eeg_reference("average", projection=False, verbose="ERROR")


@row(17, "average-without-the-bads", WORKS, same=1e-9)
def _(x):
    x.evoked.info["bads"] = ["EEG 053", "MEG 2443"]
    x.evoked.set_eeg_reference("average", projection=False, verbose="ERROR")


@row(18, "cov-without-projectors", WORKS, same=1e-9)
def _(x):
    x.noise_cov["projs"] = []


@row(19, "evoked-lost-projectors", InputError, "PCA-v1", "add_proj", lcmv=True)
def _(x):
    _projs(x.evoked, lambda _: False)


@row(19, "evoked-lost-one", InputError, "PCA-v2", "add_proj", lcmv=True)
def _(x):
    _projs(x.evoked, lambda p: p["desc"] != "PCA-v2")


@row(19, "half-of-the-magnetometers", WORKS)
def _(x):
    x.evoked.drop_channels(x.channels("mag")[:50])
    return lambda: [x.problem()]


@row(19, "eeg-alone-has-no-meg-projectors", WORKS)
def _(x):
    x.evoked.pick("eeg")
    return lambda: [x.problem()]


@row(19, "meg-alone-has-no-reference", WORKS)
def _(x):
    x.evoked.pick("meg")
    return lambda: [x.problem()]


@pytest.mark.parametrize("case", TABLE.params())
def test_bad_reference(case, good_inputs, tmp_path):
    check_case(case, good_inputs, tmp_path)
