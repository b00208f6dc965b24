"""Lead fields that are damaged, of wrong units, or of other channels (rows 28 to 36)."""

import mne
import numpy as np
import pytest
from bad_rows import WORKS, Table, check_case

from esijax import EsijaxWarning, InputError

TABLE = Table()
row = TABLE.row


@row(28, "zero-columns", EsijaxWarning, "5 of 1996", "excluded", "17", lcmv=True)
def _(x):
    x.forward["sol"]["data"][:, 3 * 17 : 3 * 22] = 0.0


@row(29, "coincident-sources", EsijaxWarning, "coincide", "1 of 1996", lcmv=True)
def _(x):
    x.forward["source_rr"][11] = x.forward["source_rr"][10]
    x.forward["sol"]["data"][:, 33:36] = x.forward["sol"]["data"][:, 30:33]


@row(30, "nan-in-lead-field", InputError, "lead field", "NaN", "EEG 003", "compute it again")
def _(x):
    x.forward["sol"]["data"][x.forward["sol"]["row_names"].index("EEG 003"), 100] = np.nan


def _scale_gain(factor, *kinds):
    def build(x):
        rows = [i for i, n in enumerate(x.forward["sol"]["row_names"]) if n[:3] in kinds]
        x.forward["sol"]["data"][rows] *= factor

    return build


for _name, _factor, _kinds in [
    ("per-nAm", 1e-9, ("EEG", "MEG")),
    ("in-uV-and-fT", 1e9, ("EEG", "MEG")),
    ("in-mV", 1e3, ("EEG",)),
    ("per-mAm", 1e-3, ("MEG",)),
]:
    _build = _scale_gain(_factor, *_kinds)
    row(31, f"gain-{_name}", InputError, "lead field", "rms", "units")(_build)


@row(31, "one-gain-row-in-uV", InputError, "lead field", "EEG 003", "units", "Compute it again")
def _(x):
    x.forward["sol"]["data"][x.forward["sol"]["row_names"].index("EEG 003")] *= 1e6


@row(32, "rows-permuted-with-names", WORKS, same=1e-8)
def _(x):
    sol = x.forward["sol"]
    order = np.random.default_rng(0).permutation(len(sol["row_names"]))
    sol["data"], sol["row_names"] = sol["data"][order], [sol["row_names"][i] for i in order]


def _permute_names(share, *kinds):
    def build(x):
        rng = np.random.default_rng(0)
        names = x.forward["sol"]["row_names"]
        new = list(names)
        for kind in kinds:
            index = [names.index(n) for n in x.channels(kind)]
            index = rng.choice(index, int(share * len(index)), replace=False)
            for i, j in zip(index, rng.permutation(index), strict=True):
                new[i] = names[j]
        x.forward["sol"]["row_names"] = new

    return build


for _name, _share, _kinds in [
    ("all", 1.0, ("mag", "grad", "eeg")),
    ("eeg", 1.0, ("eeg",)),
    ("half-of-the-meg", 0.5, ("mag", "grad")),
]:
    row(33, f"names-permuted-{_name}", EsijaxWarning, "lead field", "row names", "channels")(
        _permute_names(_share, *_kinds)
    )


def _fixed(x):
    x.forward = mne.convert_forward_solution(x.forward, force_fixed=True, verbose="ERROR")


@row(34, "fixed-forward-loose", InputError, "fixed orientations", "loose=0", "force_fixed=False")
def _(x):
    _fixed(x)
    x.options = {"loose": 0.2}


@row(35, "fixed-forward-depth", InputError, "depth", "fixed", "allow_fixed_depth")
def _(x):
    _fixed(x)
    x.options = {"loose": 0.0, "depth": 0.8}


@row(35, "fixed-forward-alone", WORKS)
def _(x):
    _fixed(x)
    x.options = {"loose": 0.0, "depth": None}


@row(36, "loose-2", InputError, "loose", "between 0 (fixed) and 1 (free)", "2")
def _(x):
    x.options = {"loose": 2}


@row(36, "loose-nan", InputError, "loose", "between 0 (fixed) and 1 (free)", "nan")
def _(x):
    x.options = {"loose": float("nan")}


@pytest.mark.parametrize("case", TABLE.params())
def test_bad_lead_field(case, good_inputs, tmp_path):
    check_case(case, good_inputs, tmp_path)
