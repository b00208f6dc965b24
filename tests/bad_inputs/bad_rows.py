"""Rows of bad-inputs.md as tests: inputs to spoil, what must come of them, the one check."""

import hashlib
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pytest

import esijax as ej
from esijax import EsijaxWarning, InputError

DATA = Path(os.environ.get("ESIJAX_DATA", Path(__file__).parents[3] / "shared" / "data"))
DATA = DATA if (DATA / "audvis-cov.fif").is_file() else DATA / "sample"
AVE, COV, FWD = (DATA / f"audvis-{n}" for n in ("ave.fif.gz", "cov.fif", "oct5-fwd.fif"))
WORKS = None


# ------------------------------------------------------------------ inputs
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


def read_inputs() -> Inputs:
    """Right visual, 13 samples around the peak, with the small forward."""
    evoked = mne.read_evokeds(AVE, verbose="ERROR")[3]
    evoked.apply_baseline((None, 0), verbose="ERROR").crop(0.08, 0.1)
    forward = mne.read_forward_solution(FWD, verbose="ERROR")
    return Inputs(evoked, forward, mne.read_cov(COV, verbose="ERROR"), Path())


def arrays(**changes) -> dict:
    """Arguments of from_arrays for 20 channels and 50 locations."""
    rng = np.random.default_rng(0)
    gain = rng.standard_normal((20, 50, 3))
    data = gain[:, 7, :1] * np.hanning(30) + 0.3 * rng.standard_normal((20, 30))
    return {"gain": gain, "data": data, "noise_cov": 0.1 * np.eye(20), **changes}


def toy() -> ej.Problem:
    """A small problem of plain arrays."""
    return ej.from_arrays(**arrays())


# ------------------------------------------------------------------ rows
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


class Table:
    """The rows of one file of tests."""

    def __init__(self):
        self.cases: list[Case] = []

    def row(self, number: int, name: str, outcome: type | None, *says: str, **more):
        """Register a function that spoils its Inputs; it may return what to call, not `run`."""

        def register(build):
            self.cases.append(Case(f"row{number:02d}-{name}", build, outcome, says, **more))
            return build

        return register

    def params(self) -> list:
        """Cases for `pytest.mark.parametrize`, in the order of their numbers."""
        return [case.param for case in sorted(self.cases, key=lambda case: case.id[:5])]


# ------------------------------------------------------------------ the one check
def check_case(case: Case, good_inputs, folder: Path) -> None:
    """Spoil a copy of the inputs, call, and look at what was said, answered and changed."""
    good, answer = good_inputs
    x = Inputs(good.evoked.copy(), good.forward.copy(), good.noise_cov.copy(), folder)
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
