"""Bad and degenerate inputs, row by row of bad-inputs.md: nothing silent, foreign or mutated."""

import copy
import hashlib
import inspect
import io
import json
import os
import pickle
import resource
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

jax.config.update("jax_enable_x64", True)

import esijax as ej  # noqa: E402
from esijax import EsijaxWarning, InputError  # noqa: E402

mne = pytest.importorskip("mne")

DATA = Path(os.environ.get("ESIJAX_DATA", Path(__file__).parents[2] / "shared" / "data"))
DATA = DATA if (DATA / "audvis-cov.fif").is_file() else DATA / "sample"
AVE, COV, FWD = (DATA / f"audvis-{n}" for n in ("ave.fif.gz", "cov.fif", "oct5-fwd.fif"))
pytestmark = pytest.mark.skipif(not FWD.is_file(), reason="needs ../shared/data/sample")


@dataclass
class Inputs:
    """What a user hands over; each case changes its own copy."""

    evoked: Any
    forward: Any
    noise_cov: Any
    folder: Path
    options: dict = field(default_factory=dict)
    lcmv: bool = False
    model: Any = field(default_factory=ej.models.MinimumNorm)

    def problem(self) -> ej.Problem:
        """What `from_mne` makes of it."""
        return ej.from_mne(self.evoked, self.forward, self.noise_cov, **self.options)

    def run(self) -> list:
        """Estimates of minimum norm, and of the beamformer where the row asks for it."""
        problem = self.problem()
        estimates = [ej.solve(problem, self.model, ej.inference.Linear("dSPM"))]
        if self.lcmv:
            estimates.append(ej.solve(problem, None, ej.inference.LCMV()))
        return estimates

    def channels(self, kind: str) -> list[str]:
        """Names of the good channels of one type."""
        types = zip(self.evoked.ch_names, self.evoked.get_channel_types(), strict=True)
        return [n for n, t in types if t == kind and n not in self.noise_cov["bads"]]

    def cov_index(self, *kinds: str) -> np.ndarray:
        """Rows of the covariance that hold channels of these types."""
        names = [n for kind in kinds for n in self.channels(kind)]
        return np.array([self.noise_cov.ch_names.index(n) for n in names])

    def digest(self) -> str:
        """Hash of everything that a public call could have changed."""
        h = hashlib.sha256()
        for thing in (self.evoked, self.forward, self.noise_cov, self.options):
            _add(h, thing)
        return h.hexdigest()


def _add(h, thing) -> None:
    if isinstance(thing, np.ndarray):
        h.update(np.ascontiguousarray(thing).tobytes())
    elif isinstance(thing, mne.Evoked):
        _add(h, [thing.data, thing.nave, thing.times, thing.info])
    elif isinstance(thing, mne.Info):
        _add(h, [thing.get(k) for k in ("ch_names", "bads", "custom_ref_applied", "projs")])
        _add(h, [thing.get("dev_head_t"), [ch["loc"] for ch in thing["chs"]]])
    elif isinstance(thing, mne.Forward):
        _add(h, [thing["sol"]["data"], thing["sol"]["row_names"], thing["source_rr"]])
        _add(h, [thing["source_nn"], thing["info"], [s["vertno"] for s in thing["src"]]])
    elif isinstance(thing, mne.Covariance):
        _add(h, [thing.data, thing.ch_names, thing["bads"], thing["projs"]])
    elif isinstance(thing, mne.Projection):
        h.update(repr((thing["desc"], thing["active"], thing["data"]["col_names"])).encode())
        _add(h, thing["data"]["data"])
    elif isinstance(thing, mne.transforms.Transform):
        _add(h, thing["trans"])
    elif isinstance(thing, list | tuple):
        for part in thing:
            _add(h, part)
    else:
        h.update(repr(thing).encode())


# ------------------------------------------------------------------ the table


@dataclass
class Case:
    """One row: what is done to the inputs, and what must come of it."""

    id: str
    build: Callable[[Inputs], Callable | None]
    outcome: type | None
    says: tuple[str, ...]
    lcmv: bool = False
    same: float | None = None
    check: Callable | None = None
    slow: bool = False

    @property
    def param(self):
        return pytest.param(self, id=self.id, marks=[pytest.mark.slow] if self.slow else [])


CASES: list[Case] = []


def row(number: int, name: str, outcome: type | None, *says: str, **more):
    """Register a function that spoils its Inputs; it may return what to call instead of `run`."""

    def register(build):
        CASES.append(Case(f"row{number:02d}-{name}", build, outcome, says, **more))
        return build

    return register


WORKS = None


# ------------------------------------------------------------------ data


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


# ------------------------------------------------------------------ reference and projectors


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


# ------------------------------------------------------------------ noise covariance


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


# ------------------------------------------------------------------ lead field


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


# ------------------------------------------------------------------ settings, sizes, geometry

for _name, _options, _say in [
    ("loose-none", {"loose": None}, "loose"),
    ("loose-text", {"loose": "free"}, "loose"),
    ("depth-negative", {"depth": -1}, "-1"),
    ("depth-text", {"depth": "deep"}, "'deep'"),
    ("depth-limit", {"depth": {"limit": -3}}, "-3"),
    ("depth-key", {"depth": {"foo": 1}}, "foo"),
    ("picks-none-left", {"picks": []}, "no MEG or EEG channel"),
    ("picks-number", {"picks": 3.5}, "3.5"),
    ("picks-unknown", {"picks": "foo"}, "'foo'"),
    ("picks-stim", {"picks": "stim"}, "no MEG or EEG channel"),
]:
    row(36, _name, InputError, _say)(lambda x, options=_options: x.options.update(options))

for _value in (-1 / 9, -10, 0.0, float("nan"), float("inf")):
    row(41, f"lambda2-{_value:.3g}", InputError, "lambda2", "positive", f"{_value:.3g}"[:6])(
        lambda _x, value=_value: lambda: ej.models.MinimumNorm(lambda2=value)
    )


def _keep_sources(x, wanted):
    """Keep some locations of the forward, as if it had been computed for them alone."""
    forward, start = x.forward, 0
    for s in forward["src"]:
        local = [i - start for i in wanted if start <= i < start + s["nuse"]]
        start += s["nuse"]
        s["vertno"] = s["vertno"][local]
        s["nuse"], s["inuse"] = len(local), np.isin(np.arange(s["np"]), s["vertno"]).astype(int)
        s["pinfo"] = s["patch_inds"] = None
    columns = np.array([3 * i + k for i in wanted for k in range(3)], dtype=int)
    forward["sol"]["data"] = forward["sol"]["data"][:, columns]
    forward["sol"]["ncol"], forward["nsource"] = len(columns), len(wanted)
    forward["source_rr"] = forward["source_rr"][np.array(wanted, dtype=int)]
    forward["source_nn"] = forward["source_nn"][columns]


@row(43, "one-source", EsijaxWarning, "single location", lcmv=True)
def _(x):
    _keep_sources(x, [300])


@row(43, "one-meg-channel", EsijaxWarning, "single channel", lcmv=True)
def _(x):
    x.options = {"picks": ["MEG 0113"]}


@row(43, "one-eeg-channel", InputError, "EEG 003", "only EEG channel", "picks without it")
def _(x):
    x.options = {"picks": ["EEG 003"]}


@row(44, "no-sources", InputError, "source space is empty")
def _(x):
    _keep_sources(x, [])


def _move_head(x, shift, degrees=0.0):
    turn = mne.transforms.rotation(0, 0, np.radians(degrees))
    with x.evoked.info._unlock():
        trans = x.evoked.info["dev_head_t"]["trans"] @ turn
        trans[0, 3] += shift
        x.evoked.info["dev_head_t"]["trans"] = trans


@row(45, "head-moved-2cm", InputError, "20.0 mm", "dev_head_t", "compute the forward", lcmv=True)
def _(x):
    _move_head(x, 0.02)


@row(45, "head-turned", InputError, "7.0 degrees", "dev_head_t", "compute the forward")
def _(x):
    _move_head(x, 0.0, 7.0)


@row(45, "head-moved-3mm", WORKS)
def _(x):
    _move_head(x, 0.003)


@row(45, "head-moved-eeg-alone", WORKS)
def _(x):
    _move_head(x, 0.02)
    x.options = {"picks": "eeg"}
    return lambda: [x.problem()]


@row(46, "forward-flag-mri", InputError, "coordinate frame 5", "flags is wrong")
def _(x):
    x.forward["coord_frame"] = 5


@row(46, "forward-flag-unknown", InputError, "coordinate frame 2", "head (4) or MRI (5)")
def _(x):
    x.forward["coord_frame"] = 2


@row(46, "source-space-flag", InputError, "source space 1", "flags is wrong")
def _(x):
    x.forward["src"][1]["coord_frame"] = 5


def _left_out_is_noted(x, estimates):
    notes = " ".join(estimates[0].problem.labels.notes)
    return "sources left out" in notes and "13 in source space 0 (vertices 11165" in notes


@row(47, "sources-dropped-by-mne", WORKS, check=_left_out_is_noted)
def _(x):
    pass  # 36 of the subject's vertices lie outside the inner skull: the forward has 1996 of 2032


@row(47, "source-outside", InputError, "1 of 1996", "outside", "17", "0.2 m", "leave them out")
def _(x):
    x.forward["source_rr"][17] = [0.2, 0.0, 0.0]


@row(48, "positions-in-mm", InputError, "metres", "farthest source")
def _(x):
    x.forward["source_rr"] *= 1000


@row(48, "positions-in-km", InputError, "metres", "farthest source")
def _(x):
    x.forward["source_rr"] /= 1000


# ------------------------------------------------------------------ classes


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
    return lambda: _plain(ej.solve)(_toy(), x.model, "dSPM")


@row(49, "method-class", TypeError, "method", "Linear()")
def _(x):
    return lambda: _plain(ej.solve)(_toy(), x.model, ej.inference.Linear)


@row(49, "model-string", TypeError, "model", "MinimumNorm()")
def _(x):
    return lambda: ej.solve(_toy(), "MinimumNorm", ej.inference.Linear())


@row(49, "model-class", TypeError, "model", "MinimumNorm()")
def _(x):
    return lambda: ej.solve(_toy(), ej.models.MinimumNorm, ej.inference.Linear())


@row(49, "model-none", InputError, "Linear", "minimum norm")
def _(x):
    return lambda: ej.solve(_toy(), None, ej.inference.Linear())


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


# ------------------------------------------------------------------ files


def _broken(x, source, content, reader):
    path = x.folder / source.name
    path.write_bytes(content)
    return lambda: reader(path)


for _kind, _path in [("read_evoked", AVE), ("read_noise_cov", COV), ("read_forward", FWD)]:
    for _share in (0.0, 0.1, 0.5, 0.9, 0.999):

        def _cut(x, kind=_kind, path=_path, share=_share):
            content = path.read_bytes()
            return _broken(x, path, content[: int(share * len(content))], getattr(ej.io, kind))

        row(54, f"{_kind}-{100 * _share:g}%", InputError, "truncated or corrupt", _path.name)(_cut)


@row(54, "missing-file", InputError, "nothing-fwd.fif", "no such file")
def _(x):
    return lambda: ej.io.read_forward(x.folder / "nothing-fwd.fif")


@row(54, "other-kind-of-file", InputError, "audvis-cov.fif", "expected kind")
def _(x):
    return lambda: ej.io.read_forward(COV)


@row(54, "unknown-condition", InputError, "Left Auditory", "Smell")
def _(x):
    return lambda: ej.io.read_evoked(AVE, "Smell")


@row(55, "bit-flips-in-fwd", WORKS)
def _(x):
    """Either an InputError or a finite answer: a FIF file has no checksum."""
    content = FWD.read_bytes()
    rng = np.random.default_rng(2)

    def act():
        for place in rng.integers(0, len(content), 10):
            flipped = bytearray(content)
            flipped[place] ^= 1 << int(rng.integers(8))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", EsijaxWarning)
                try:
                    x.forward = _broken(x, FWD, flipped, ej.io.read_forward)()
                    estimate = ej.solve(x.problem(), x.model, ej.inference.Linear())
                except InputError:
                    continue
            assert np.isfinite(estimate.mean).all()
            assert np.isfinite(estimate.std).all()

    return act


@row(55, "exponent-flip-in-gain", InputError, "lead field", "MEG 0113", "NaN or Inf")
def _(x):
    i = x.forward["sol"]["row_names"].index("MEG 0113")
    x.forward["sol"]["data"].view(np.uint32)[i, 1000] ^= 1 << 30


def _stored(x) -> Path:
    return ej.save(ej.solve(_toy(), x.model, ej.inference.Linear()), x.folder / "estimate.npz")


@row(55, "bit-flips-in-ours", InputError, "estimate.npz", "checksum")
def _(x):
    path = _stored(x)
    content = path.read_bytes()
    rng = np.random.default_rng(0)

    def act():
        for place in rng.integers(0, len(content) - 200, 300):
            flipped = bytearray(content)
            flipped[place] ^= 1 << int(rng.integers(8))
            path.write_bytes(flipped)
            with pytest.raises(InputError, match="checksum"):
                ej.load(path)
        return ej.load(path)

    return act


for _share in (0.0, 0.1, 0.5, 0.999):

    def _cut_ours(x, share=_share):
        path = _stored(x)
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])
        return lambda: ej.load(path)

    row(56, f"ours-{100 * _share:g}%", InputError, "estimate.npz", "truncated")(_cut_ours)


def _sealed(x, arrays: dict, spoil: Callable = lambda entry: entry) -> Path:
    """Write a file with a valid checksum over whatever it holds."""
    from esijax.io import files

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as z:
        for name, array in arrays.items():
            entry = io.BytesIO()
            np.save(entry, array, allow_pickle=True)
            z.writestr(f"{name}.npy", spoil(entry.getvalue()))
        z.comment = files._MARK + b"0" * files._DIGEST
    body = buffer.getvalue()[: -files._DIGEST]
    path = x.folder / "crafted.npz"
    path.write_bytes(body + hashlib.sha256(body).hexdigest().encode())
    return path


class _Trap:
    def __reduce__(self):
        return (os.mkdir, (os.environ["ESIJAX_TEST_TRAP"],))


@row(57, "pickle-in-npz", InputError, "crafted.npz", "not a plain array")
def _(x):
    trap = x.folder / "executed"
    os.environ["ESIJAX_TEST_TRAP"] = str(trap)
    path = _sealed(x, {"header": np.array([_Trap()], dtype=object)})
    del os.environ["ESIJAX_TEST_TRAP"]

    def act():
        try:
            ej.load(path)
        finally:
            assert not trap.exists()

    return act


@row(57, "foreign-class", InputError, "subprocess:Popen", "foreign class")
def _(x):
    return lambda: ej.load(_sealed(x, _header({"class": "subprocess:Popen", "fields": {}})))


for _name, _tree in [
    ("no-header", None),
    ("not-json", "{"),
    ("missing-array", {"array": "a7", "jax": True}),
    ("wrong-fields", {"class": "esijax.problem:Geometry", "fields": {"x": {"plain": 1}}}),
    ("no-estimate", {"plain": 1}),
]:
    row(57, f"crafted-{_name}", InputError, "crafted.npz")(
        lambda x, tree=_tree: lambda: ej.load(_sealed(x, _header(tree)))
    )


def _header(tree) -> dict:
    if tree is None:
        return {"a0": np.ones(3)}
    text = tree if isinstance(tree, str) else json.dumps(tree)
    return {"header": np.frombuffer(text.encode(), dtype=np.uint8)}


@row(58, "external-link-in-nc", InputError, "linked.nc", "no esijax file")
def _(x):
    h5py = pytest.importorskip("h5py")
    path = x.folder / "linked.nc"
    with h5py.File(path, "w") as f:
        f["posterior"] = h5py.ExternalLink("/etc/passwd", "/")
    return lambda: ej.load(path)


def _claim(shape: bytes) -> Callable:
    """Make an array's own header claim another shape, its length unchanged."""
    return lambda entry: entry.replace(b"(3,), }" + b" " * (len(shape) - 4), shape + b", }", 1)


@row(59, "claims-160-GB", InputError, "crafted.npz", "not a plain array of its size")
def _(x):
    path = _sealed(x, {"header": np.ones(3)}, _claim(b"(20000000000,)"))
    return lambda: ej.load(path)


@row(59, "claims-more-than-64-bits", InputError, "crafted.npz", "not a plain array of its size")
def _(x):
    path = _sealed(x, {"header": np.ones(3)}, _claim(b"(4294967296, 4294967296)"))
    return lambda: ej.load(path)


@row(60, "disk-full", InputError, "estimate.npz", "cannot be written", "untouched")
def _(x):
    path = _stored(x)
    content = path.read_bytes()
    estimate = ej.load(path)

    def act():
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(content) // 2, hard))
        try:
            ej.save(estimate, path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            assert path.read_bytes() == content
            assert [p.name for p in x.folder.iterdir()] == [path.name]

    return act


@row(60, "no-such-folder", InputError, "estimate.npz", "cannot be written")
def _(x):
    estimate = ej.load(_stored(x))
    return lambda: ej.save(estimate, x.folder / "nowhere" / "estimate.npz")


@row(60, "saved-and-loaded", WORKS, lcmv=True)
def _(x):
    def act():
        estimates = x.run()
        again = [ej.load(ej.save(e, x.folder / "estimate.npz")) for e in estimates]
        for old, new in zip(estimates, again, strict=True):
            np.testing.assert_array_equal(old.mean, new.mean)
        return again

    return act


# ------------------------------------------------------------------ memory and precision


def _limited(gigabytes: str, ask: Callable) -> Callable:
    def build(x):
        estimate = x.run()[0]

        def act():
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("ESIJAX_MAX_GB", gigabytes)
                return ask(estimate)

        return act

    return build


for _name, _gb, _ask, _need in [
    ("mean", "0.0001", lambda e: e.mean, "1996 x 3 x 13 x 8 B"),
    ("exceedance", "0.0001", lambda e: e.exceedance(1.0), "ESIJAX_MAX_GB"),
    ("draws", "1", lambda e: e.sample(jax.random.key(0), 4000), "= 2.5 GB"),
    ("std-as-stc", "0.0001", lambda e: ej.to_mne(e, "std"), "ESIJAX_MAX_GB"),
    ("no-number", "much", lambda e: e.mean, "ESIJAX_MAX_GB"),
]:
    row(64, f"memory-{_name}", InputError, _need, "ESIJAX_MAX_GB")(_limited(_gb, _ask))


SINGLE = """
import json, sys, warnings
import numpy as np
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import esijax as ej, mne
    warnings.resetwarnings(); caught.clear(); warnings.simplefilter("always")
    mne.set_log_level("ERROR")
    ave, cov, fwd, folder = sys.argv[1:]
    evoked = mne.read_evokeds(ave, verbose="ERROR")[3].apply_baseline((None, 0)).crop(0.08, 0.1)
    problem = ej.from_mne(evoked, mne.read_forward_solution(fwd), mne.read_cov(cov))
    for _ in range(2):
        first = ej.solve(problem, ej.models.MinimumNorm(), ej.inference.Linear("dSPM"))
    second = ej.solve(problem, None, ej.inference.LCMV())
    finite = all(bool(np.isfinite(a).all()) for e in (first, second) for a in (e.mean, e.std))
    np.save(folder + "/mean.npy", first.mean)
text = [(w.category.__name__, str(w.message)) for w in caught]
print(json.dumps({"dtype": str(first.mean.dtype), "finite": finite, "warnings": text}))
"""


@row(65, "float32", WORKS, slow=True)
def _(x):
    def act():
        arguments = [sys.executable, "-c", SINGLE, *map(str, (AVE, COV, FWD, x.folder))]
        environment = {**os.environ, "JAX_ENABLE_X64": "0"}
        done = subprocess.run(
            arguments, capture_output=True, text=True, env=environment, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
        said = json.loads(done.stdout.splitlines()[-1])
        assert said["dtype"] == "float32"
        assert said["finite"]
        assert [kind for kind, _ in said["warnings"]] == ["EsijaxWarning"], said["warnings"]
        assert "jax_enable_x64" in said["warnings"][0][1]
        single, double = np.load(x.folder / "mean.npy"), np.asarray(x.run()[0].mean)
        assert np.abs(single - double).max() < 1e-3 * np.abs(double).max()

    return act


# ------------------------------------------------------------------ plain arrays


def _arrays(**changes) -> dict:
    """Arguments of from_arrays for 20 channels and 50 locations."""
    rng = np.random.default_rng(0)
    gain = rng.standard_normal((20, 50, 3))
    data = gain[:, 7, :1] * np.hanning(30) + 0.3 * rng.standard_normal((20, 30))
    return {"gain": gain, "data": data, "noise_cov": 0.1 * np.eye(20), **changes}


def _toy():
    return ej.from_arrays(**_arrays())


def _set(name, index, value):
    arguments = _arrays()
    arguments[name] = arguments[name].copy()
    arguments[name][index] = value
    return arguments


def _points(scale=1.0):
    points = np.random.default_rng(1).standard_normal((50, 3))
    return 0.07 * scale * points / np.linalg.norm(points, axis=1, keepdims=True)


ARRAYS: list[tuple] = [
    (0, "good-inputs", WORKS, (), lambda: _arrays(positions=_points())),
    (
        1,
        "nan-in-data",
        InputError,
        ("data", "nan", "channel 3"),
        lambda: _set("data", (3, 4), np.nan),
    ),
    (3, "data-1e6", InputError, ("units",), lambda: _arrays(data=1e6 * _arrays()["data"])),
    (5, "flat-channel", EsijaxWarning, ("flat", "3"), lambda: _set("data", 3, 0.0)),
    (6, "dead", EsijaxWarning, ("zero variance", "3"), lambda: _set("noise_cov", (3, 3), 0.0)),
    (12, "complex-data", InputError, ("complex",), lambda: _arrays(data=1j * _arrays()["data"])),
    (12, "complex-cov", InputError, ("complex",), lambda: _arrays(noise_cov=1j * np.eye(20))),
    (13, "one-sample", WORKS, (), lambda: _arrays(data=_arrays()["data"][:, 15:16])),
    (14, "all-zero", EsijaxWarning, ("all zero",), lambda: _arrays(data=np.zeros((20, 30)))),
    (20, "indefinite", InputError, ("semi-definite",), lambda: _set("noise_cov", _PAIR, 0.2)),
    (21, "asymmetric", InputError, ("symmetric",), lambda: _set("noise_cov", (3, 4), 0.05)),
    (22, "nan-in-cov", InputError, ("noise_cov", "nan"), lambda: _set("noise_cov", (3, 3), np.nan)),
    (23, "zero-cov", InputError, ("all zero",), lambda: _arrays(noise_cov=np.zeros((20, 20)))),
    (28, "zero-columns", EsijaxWarning, ("excluded", "7"), lambda: _set("gain", _COLUMN, 0.0)),
    (28, "zero-gain", InputError, ("lead field",), lambda: _arrays(gain=np.zeros((20, 50)))),
    (29, "coincident", EsijaxWarning, ("coincide",), lambda: _arrays(positions=_coincident())),
    (30, "nan-in-gain", InputError, ("lead field", "3"), lambda: _set("gain", (3, 4, 0), np.nan)),
    (43, "one-channel", EsijaxWarning, ("single channel",), lambda: _part(slice(1), slice(None))),
    (43, "one-source", EsijaxWarning, ("single location",), lambda: _part(slice(None), slice(1))),
    (44, "no-sources", InputError, ("empty",), lambda: _part(slice(None), slice(0))),
    (48, "positions-in-mm", InputError, ("metres",), lambda: _arrays(positions=_points(1e3))),
    (48, "positions-in-km", InputError, ("metres",), lambda: _arrays(positions=_points(1e-3))),
    (49, "gain-text", TypeError, ("gain", "numbers"), lambda: _arrays(gain="gain")),
    (49, "gain-ragged", InputError, ("gain", "ragged"), lambda: _arrays(gain=[[1, 2], [3]])),
    (
        49,
        "gain-of-4-orients",
        InputError,
        ("orients", "4"),
        lambda: _arrays(gain=np.ones((20, 5, 4))),
    ),
    (49, "shapes", InputError, ("20", "19"), lambda: _arrays(data=np.ones((19, 30)))),
    (49, "cov-shape", InputError, ("noise_cov", "19"), lambda: _arrays(noise_cov=np.eye(19))),
    (49, "cov-text", TypeError, ("noise_cov", "numbers"), lambda: _arrays(noise_cov="auto")),
    (49, "cov-negative", InputError, ("negative variance",), lambda: _arrays(noise_cov=-1.0)),
    (49, "positions-shape", InputError, ("positions", "50"), lambda: _arrays(positions=np.eye(3))),
    (49, "normals-zero", InputError, ("normals", "unit"), lambda: _normals(np.zeros((50, 3)))),
    (49, "edges-out", InputError, ("edges", "49"), lambda: _arrays(edges=[[0, 50]])),
    (49, "sfreq-0", InputError, ("sfreq", "positive"), lambda: _arrays(sfreq=0)),
    (49, "sfreq-text", InputError, ("sfreq", "positive"), lambda: _arrays(sfreq="fast")),
    (49, "tmin-nan", InputError, ("tmin", "finite"), lambda: _arrays(tmin=float("nan"))),
    (49, "names", InputError, ("ch_names", "20"), lambda: _arrays(ch_names=["a"])),
    (51, "float32-data", WORKS, (), lambda: _arrays(data=_arrays()["data"].astype(np.float32))),
]
_PAIR = ((3, 4), (4, 3))
_COLUMN = (slice(None), 7)


def _coincident():
    points = _points()
    points[3] = points[4]
    return points


def _normals(normals):
    return _arrays(positions=_points(), normals=normals)


def _part(channels, locations):
    full = _arrays()
    return {
        "gain": full["gain"][channels, locations],
        "data": full["data"][channels],
        "noise_cov": full["noise_cov"][channels, channels],
    }


for _number, _name, _outcome, _says, _make in ARRAYS:

    def _through_arrays(x, make=_make):
        arguments = make()
        before = copy.deepcopy(arguments)

        def act():
            try:
                problem = ej.from_arrays(**arguments)
                return [ej.solve(problem, x.model, ej.inference.Linear("dSPM"))]
            finally:
                for name, value in before.items():
                    if isinstance(value, np.ndarray):
                        np.testing.assert_array_equal(value, arguments[name])

        return act

    row(_number, f"arrays-{_name}", _outcome, *_says)(_through_arrays)


# ------------------------------------------------------------------ the one test

CASES.sort(key=lambda case: case.id[:5])


def _read_evoked(path):
    evoked = mne.read_evokeds(path, verbose="ERROR")[3]
    return evoked.apply_baseline((None, 0), verbose="ERROR").crop(0.08, 0.1)


@pytest.fixture(scope="module")
def untouched_inputs():
    """Right visual, 13 samples around the peak, with the small forward; and the good answer."""
    forward = mne.read_forward_solution(FWD, verbose="ERROR")
    x = Inputs(_read_evoked(AVE), forward, mne.read_cov(COV, verbose="ERROR"), Path())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return x, np.asarray(x.run()[0].mean)


@pytest.mark.parametrize("case", [case.param for case in CASES])
def test_bad_input(case, untouched_inputs, tmp_path):
    good, answer = untouched_inputs
    x = Inputs(good.evoked.copy(), good.forward.copy(), good.noise_cov.copy(), tmp_path)
    x.lcmv = case.lcmv
    act = case.build(x) or x.run
    before = x.digest()
    estimates, error = (), None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            estimates = act()
        except (InputError, TypeError) as e:
            error = e
    assert case.id.startswith("row55-bit-flips-in-fwd") or x.digest() == before, "inputs changed"
    said = _outcome_text(case, error, caught)
    for words in case.says:
        assert words in said, said
    _check_answers(case, x, estimates, answer)


def _outcome_text(case, error, caught) -> str:
    """The message of the error or of the only warning, which must be of the promised class."""
    foreign = [str(w.message) for w in caught if w.category is not EsijaxWarning]
    assert not foreign, foreign
    if case.outcome in (InputError, TypeError):
        assert type(error) is case.outcome, repr(error or "no error")
        return str(error)
    if error is not None:
        raise error
    messages = [str(w.message) for w in caught]
    assert len(messages) == (case.outcome is EsijaxWarning), messages
    return " ".join(messages)


def _check_answers(case, x, estimates, answer) -> None:
    for estimate in estimates or ():
        if isinstance(estimate, ej.Problem):
            assert np.isfinite(estimate.gain).all()
            continue
        assert np.isfinite(estimate.mean).all()
        assert np.isfinite(estimate.std).all()
        assert estimate.explained_variance is None or np.isfinite(estimate.explained_variance)
    if case.same is not None:
        mean = np.asarray(estimates[0].mean)
        assert np.abs(mean - answer).max() <= case.same * np.abs(answer).max()
    if case.check is not None:
        assert case.check(x, estimates)
