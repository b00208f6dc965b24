"""Random combinations of what MNE-Python takes: the same map, or both refuse.

Shapes repeat (37 or 74 locations, most ranks given), or the compiler would take most of the time.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import mne
import numpy as np
import pytest
from mne.minimum_norm import (
    apply_inverse,
    apply_inverse_epochs,
    apply_inverse_raw,
    make_inverse_operator,
)
from worlds import ARRAYS, SPACES, covariance_of, forward_of, info_of, samples_of

import esijax as ej

pytestmark = pytest.mark.slow
TOLERANCE = {"MNE": 1e-8, "dSPM": 1e-8, "sLORETA": 1e-8, "eLORETA": 1e-6}
LOOSE = {
    "surface": [0.0, 0.2, 0.7, 1.0],
    "discrete": [0.0, 0.3, 1.0],
    "volume": [1.0],
}
DEPTHS = [
    None,
    0.8,
    0.0,
    1.5,
    {"exp": 0.5, "limit": None},
    {"exp": 0.8, "limit": 3.0},
    {"limit_depth_chs": False},
    {"limit_depth_chs": "whiten"},
    {"combine_xyz": "fro"},
]


@pytest.fixture(autouse=True, scope="module")
def _quiet():
    before = mne.set_log_level("ERROR", return_old_level=True)
    yield
    mne.set_log_level(before)


@dataclass
class Combination:
    """One call of each side."""

    inst: Any
    forward: Any
    cov: Any
    options: dict
    picks: Any
    chosen: list
    nave: float | None
    method: str
    lambda2: float
    pick_ori: str | None
    said: str


def kinds_of(space):
    first = {"left": "cortex", "right": "cortex", "patches": "cortex", "volumes": "volume"}
    parts = {
        "cortex": ["surface"],
        "mixed": ["surface", "volume"],
        "mixed discrete": ["surface", "discrete"],
    }
    return parts.get(first.get(space, space), [first.get(space, space)])


def orientation(rng, kinds, space):
    """Form of the forward, loose and depth that go together."""
    form = rng.choice(["head", "surf_ori", "fixed"] if "volume" not in kinds else ["head"] * 2)
    form = rng.choice(["head", "surf_ori"]) if "volume" in kinds else form
    if form == "fixed":
        return form, 0.0, None
    loose = {kind: float(rng.choice(LOOSE[kind])) for kind in kinds}
    whole = len(set(loose.values())) == 1 and rng.random() < 0.5
    loose = next(iter(loose.values())) if whole else loose
    if rng.random() < 0.2 and space not in ("left", "right"):  # MNE calls one hemisphere mixed
        loose = "auto"
    return str(form), loose, DEPTHS[rng.integers(len(DEPTHS))]


def projected(rng, inst):
    """Two signal-space projectors of the magnetometers and the average reference, or none."""
    types = np.array(inst.get_channel_types())
    mags = [name for name, kind in zip(inst.ch_names, types, strict=True) if kind == "mag"]
    if mags and rng.random() < 0.5:
        axes = np.linalg.qr(rng.standard_normal((len(mags), 2)))[0].T
        for i, axis in enumerate(axes):
            data = dict(nrow=1, ncol=len(mags), row_names=None, col_names=mags, data=axis[None])
            inst.add_proj(mne.Projection(active=False, data=data, desc=f"SSP-{i}", kind=1))
    if "eeg" in types:
        inst.set_eeg_reference(projection=True)
    if rng.random() < 0.5:
        inst.apply_proj()
    return inst


def channels(rng, info):
    """Picks, the names that they stand for, and bad channels."""
    names, own = info["ch_names"], np.random.default_rng(0)
    types = info.get_channel_types()
    bads = list(own.choice(names, 3, replace=False)) if rng.random() < 0.3 else []
    how = rng.choice(["all", "all", "type", "names", "numbers"])
    if how == "type":
        kind = str(rng.choice(types))
        return kind, [n for n, t in zip(names, types, strict=True) if t == kind], bads
    if how == "all":
        return None, list(names), bads
    share = np.sort(own.choice(len(names), int(0.8 * len(names)), replace=False))
    chosen = [names[i] for i in share]
    return share if how == "numbers" else chosen, chosen, bads


def measured(rng, info, forward):
    """Evoked, Epochs or Raw, and the averages behind them."""
    kind = rng.choice(["evoked", "evoked", "epochs", "raw"])
    n_times = 1 if rng.random() < 0.05 else 4
    data = samples_of(info, forward, rng, n_times, 2 if kind == "epochs" else None)
    nave = None
    if kind == "evoked":
        inst = mne.EvokedArray(data, info, tmin=-0.01, nave=int(rng.choice([1, 7, 50])))
    elif kind == "epochs":
        inst = mne.EpochsArray(data, info, tmin=-0.01, proj=False)
        nave = [None, 1, np.int64(5), 2.5][rng.integers(4)]
    else:
        inst = mne.io.RawArray(data, info)
        nave = [None, 3][rng.integers(2)]
    return inst, nave


def combination(seed):
    rng = np.random.default_rng(seed)
    arrays, spaces = list(ARRAYS), list(SPACES)
    place = int(rng.integers(len(arrays)))
    array, space = arrays[place], spaces[(place + 3 * int(rng.integers(3))) % len(spaces)]
    kinds = kinds_of(space)
    form, loose, depth = orientation(rng, kinds, space)
    forward, info = forward_of(array, space, form), info_of(array)
    if rng.random() < 0.2:  # rows in another order
        forward = mne.pick_channels_forward(forward, info["ch_names"][::-1], ordered=True)
    inst, nave = measured(rng, info, forward)
    inst = projected(rng, inst)
    picks, chosen, bads = channels(rng, info)
    inst.info["bads"] = [str(bad) for bad in bads]
    noise = str(rng.choice(["full", "singular", "diagonal", "ad hoc"], p=[0.5, 0.2, 0.2, 0.1]))
    if noise == "ad hoc":
        cov = mne.make_ad_hoc_cov(inst.info)
    else:
        projs = list(inst.info["projs"]) if rng.random() < 0.5 else []
        square = covariance_of(info, rng, noise)
        cov = mne.Covariance(square, info["ch_names"], [], projs, 10_000)
        cov = cov.as_diag() if noise == "diagonal" else cov
    kinds_of_channel = dict(zip(inst.ch_names, inst.get_channel_types(), strict=True))
    rank = ranks(rng, {kinds_of_channel[name] for name in chosen}, noise)
    method = str(rng.choice(list(TOLERANCE)))
    pick_ori = orientations(rng, kinds, loose, form)
    lambda2 = float(rng.choice([1 / 9, 1.0, 1e-2]))
    options = {"loose": loose, "depth": depth, "rank": rank}
    said = (
        f"seed {seed}: {array}, {space}, {form}, {options}, {type(inst).__name__}, nave {nave}, "
        f"{noise} cov, picks {type(picks).__name__}, {method} {lambda2:.2g} {pick_ori}"
    )
    return Combination(
        inst, forward, cov, options, picks, chosen, nave, method, lambda2, pick_ori, said
    )


def ranks(rng, types, noise):
    """Below what projectors and picks leave; equal eigenvalues leave no choice of dimensions."""
    if noise == "ad hoc" or rng.random() < 0.2:
        return None if noise == "singular" or rng.random() < 0.7 else "info"
    rank = {"eeg": 20} if "eeg" in types else {}
    meg = sorted(types & {"mag", "grad"})
    return rank | ({meg[0] if len(meg) == 1 else "meg": 60} if meg else {})


def orientations(rng, kinds, loose, form):
    """What MNE can give of the orientation that was asked for."""
    values = loose.values() if isinstance(loose, dict) else [loose]
    if form == "fixed" or all(v == 0.0 for v in values):
        return None
    free = all(v in (1.0, "auto") for v in values)
    normals = ["normal"] if kinds == ["surface"] and not (free and form == "head") else []
    return [None, "vector", *normals][rng.integers(2 + len(normals))]


def by_mne(c):
    """MNE-Python's map, one or one per trial."""
    inst = c.inst.copy().pick(c.chosen, exclude=())
    operator = make_inverse_operator(inst.info, c.forward, c.cov, **c.options)
    operator["src"] = both_hemispheres(operator["src"])
    common = dict(lambda2=c.lambda2, method=c.method, pick_ori=c.pick_ori)
    if isinstance(inst, mne.Evoked):
        return [apply_inverse(inst, operator, **common).data]
    nave = 1 if c.nave is None else c.nave
    if isinstance(inst, mne.BaseEpochs):
        stcs = apply_inverse_epochs(inst, operator, nave=nave, **common)
        return [stc.data for stc in stcs]
    return [apply_inverse_raw(inst, operator, nave=nave, **common).data]


def both_hemispheres(src):
    """MNE has no source estimate of one hemisphere: the other joins without sources."""
    if len(src) > 1 or src[0]["type"] != "surf":
        return src
    other = {**src[0], "nuse": 0, "vertno": np.zeros(0, int), "inuse": 0 * src[0]["inuse"]}
    other["id"] = 203 - src[0]["id"]
    return mne.SourceSpaces([src[0], other] if other["id"] == 102 else [other, src[0]])


def by_us(c):
    problem = ej.from_mne(c.inst, c.forward, c.cov, picks=c.picks, nave=c.nave, **c.options)
    noise_norm = c.method if c.method in ("dSPM", "sLORETA") else None
    family = ej.models.ELORETA if c.method == "eLORETA" else ej.models.MinimumNorm
    estimate = ej.solve(problem, family(c.lambda2), ej.inference.Linear(noise_norm=noise_norm))
    pick_ori = c.pick_ori
    if problem.n_orients == 3 and pick_ori is None:
        pick_ori = "magnitude"
    stcs = ej.to_mne(estimate, "mean", pick_ori)
    return [stc.data for stc in (stcs if isinstance(stcs, list) else [stcs])]


def outcome(function, c):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return function(c)
        except Exception as error:  # of any class: it is looked at below
            return error


def verdict(c):
    """What is wrong with our answer; None where it is MNE's, or where MNE has none."""
    theirs, ours = outcome(by_mne, c), outcome(by_us, c)
    if isinstance(ours, Exception):
        refused = isinstance(ours, ej.InputError | TypeError)
        if isinstance(theirs, Exception) and refused:
            return None
        return f"{c.said}\n    {type(ours).__name__}: {ours}; MNE: {type(theirs).__name__}"
    if isinstance(theirs, Exception):
        return None
    worst = max(
        np.abs(a - b).max() / np.abs(b).max() if a.shape == b.shape else np.inf
        for a, b in zip(ours, theirs, strict=True)
    )
    return None if worst < TOLERANCE[c.method] else f"{c.said}\n    differs by {worst:.1e}"


@pytest.mark.parametrize("chunk", range(8))
def test_the_same_maps_as_mne(chunk):
    wrong = [verdict(combination(seed)) for seed in range(50 * chunk, 50 * chunk + 50)]
    wrong = [text for text in wrong if text]
    assert not wrong, "\n".join([f"{len(wrong)} of 50", *wrong])
