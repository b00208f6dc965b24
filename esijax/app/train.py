"""`esijax train`: a task file in, trained weights out; heads of the average brain."""

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import mne
import numpy as np

from esijax import io, learn, simulate
from esijax._checks import names as quoted
from esijax._types import InputError
from esijax.benchmark.scenarios import SCENARIOS
from esijax.benchmark.study import STD, Study
from esijax.learn.task import SCHEDULE
from esijax.models.networks import NETWORKS, VarianceNetwork
from esijax.problem import Problem
from esijax.simulate import Scenario

SFREQ, N_TIMES, NAVE = 500.0, 100, 100
N_HEADS = 2  # of a scenario, in calibration
DEFAULTS: dict[str, dict[str, Any]] = {
    "network": {"kind": "mesh"},
    "training": {"steps": 1200, "patience": 12},
    "heads": {
        "montage": "biosemi64",
        "spacing": "ico3",
        "finer": "ico4",
        "channels": [28, 36, 64],
        "wrong": 24,
        "skull": [0.003, 0.012],
        "shift_mm": 4.0,
        "rotation_deg": 3.0,
        "electrode_mm": 5.0,
    },
    "sources": {
        "patches": [1, 1, 2, 2, 3, 4],
        "flat": 1,
        "dipoles": 1,
        "area_cm2": [1.0, 14.0],
        "correlation": 0.9,
        "snr_db": [-6.0, 14.0],
    },
    "calibration": {
        "scenarios": ["extended", "two correlated", "low SNR", "wrong head"],
        "data_sets": 24,
    },
}


def read_task(path: Path) -> dict[str, dict[str, Any]]:
    """Read a task file; keys that it leaves out have their defaults, others are errors."""
    try:
        given = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path} cannot be read as TOML: {error}") from error
    out = {}
    for section, keys in given.items():
        if section not in DEFAULTS or not isinstance(keys, dict):
            raise InputError(f"{path}: no section {section!r}; there are {quoted(list(DEFAULTS))}.")
        known = {*DEFAULTS[section], *(SCHEDULE if section == "training" else ())}
        unknown = sorted(set(keys) - known)
        if unknown:
            raise InputError(
                f"{path}: [{section}] has no key {unknown[0]!r}; it has {quoted(sorted(known))}."
            )
    for section, keys in DEFAULTS.items():
        out[section] = {**keys, **given.get(section, {})}
    _check_network(path, out, given)
    return out


def _check_network(path: Path, settings: dict[str, Any], given: dict[str, Any]) -> None:
    """Refuse what the kind of network cannot take; no constant is fitted where there is none."""
    kind, channels = settings["network"]["kind"], settings["heads"]["channels"]
    if kind not in list(NETWORKS):
        raise InputError(f"{path}: [network] kind is {kind!r}; there are {', '.join(NETWORKS)}.")
    if not isinstance(channels, list) or not channels:
        raise InputError(f"{path}: [heads] channels = {channels} must be a list, as [28, 64].")
    if NETWORKS[kind].one_head and len(channels) > 1:
        raise InputError(
            f"{path}: [heads] channels = {channels} are several lead fields, and a network of the "
            f"kind {kind!r} is of one: give one number, channels = [64]."
        )
    if not issubclass(NETWORKS[kind], VarianceNetwork):
        if given.get("calibration", {}).get("scenarios"):
            raise InputError(
                f"{path}: [calibration] is of the constant of variances, which a network of the "
                f"kind {kind!r} has not: leave it out."
            )
        settings["calibration"]["scenarios"] = []


def task_of(
    settings: dict[str, dict[str, Any]], seed: int, tell: Callable[[str], None] = print
) -> learn.Task:
    """Make the heads and the scenarios of a task."""
    heads, sources = settings["heads"], settings["sources"]
    coarse = io.template(heads["montage"], meg=False, spacing=heads["spacing"])
    fine = io.template(heads["montage"], meg=False, spacing=heads["finer"], bem=coarse.bem)
    cov = _brain_noise(coarse.info, fine.forward)
    rng = np.random.default_rng(seed)
    forwards = [fine.forward]
    for i in range(heads["wrong"]):
        tell(f"wrong head {i + 1} of {heads['wrong']}")
        forwards.append(_wrong_head(fine.forward, coarse.bem, heads, rng, seed + i))
    table = simulate.patch_table(io.geometry(fine.forward), 1e-4 * sources["area_cm2"][1])
    problems = [
        _problem(coarse, cov, _some_channels(coarse.info, k, rng)) for k in heads["channels"]
    ]
    kinds, scenarios = _sources(table, sources), []
    for shift, problem in enumerate(problems):
        right, *wrong = (io.simulation_head(f, problem, fixed=True) for f in forwards)
        for i, (placed, wave) in enumerate(kinds):
            others = [wrong[(len(problems) * i + shift) % len(wrong)]] if wrong else []
            scenarios += [
                Scenario(head, problem, placed, wave, simulate.FromCov(), tuple(sources["snr_db"]))
                for head in (right, *others)
            ]
    return learn.Task(scenarios, settings["network"]["kind"], **settings["training"])


def _brain_noise(info: mne.Info, forward: mne.Forward) -> mne.Covariance:
    """Independent activity of 1 nA m everywhere, and sensor noise."""
    fixed = mne.convert_forward_solution(forward, force_fixed=True, verbose="ERROR")
    gain = 1e-9 * fixed["sol"]["data"].astype(float)
    std = np.array([STD[kind] for kind in info.get_channel_types()])
    return mne.Covariance(gain @ gain.T + np.diag(std**2), list(info["ch_names"]), [], [], 10_000)


def _wrong_head(forward: mne.Forward, bem: Any, heads: dict, rng, seed: int) -> mne.Forward:
    low, high = np.log(heads["skull"])
    skull = float(np.exp(rng.uniform(low, high)))
    share = rng.uniform()  # from a good co-registration to a bad one
    return io.perturbed_forward(
        forward,
        io.with_conductivity(bem, (0.3, skull, 0.3)),
        key=jax.random.key(seed),
        **{k: 1.5 * share * heads[k] for k in ("shift_mm", "rotation_deg", "electrode_mm")},
    )


def _some_channels(info: mne.Info, n: int, rng) -> list[str]:
    names = np.array(info["ch_names"])
    return list(names[np.sort(rng.choice(len(names), min(n, len(names)), replace=False))])


def _problem(head: Any, cov: mne.Covariance, picks: list[str]) -> Problem:
    """Problem of some channels; its data are noise, to be replaced."""
    info = head.info.copy()
    with info._unlock():
        info["sfreq"] = SFREQ
    std = np.array([STD[kind] for kind in info.get_channel_types()])[:, None] / np.sqrt(NAVE)
    noise = std * np.random.default_rng(0).standard_normal((len(std), N_TIMES))
    evoked = mne.EvokedArray(noise, info, tmin=0.0, nave=NAVE, verbose="ERROR")
    return io.from_mne(evoked, head.forward, cov, 0.0, 0.8, picks=picks)


def _sources(table: Any, sources: dict) -> list[tuple[Any, Any]]:
    """Kinds of sources with their waveforms; every second pair is correlated."""
    area = tuple(1e-4 * a for a in sources["area_cm2"])
    erp, related = simulate.Gabors(), simulate.Gabors(correlation=sources["correlation"])
    out: list[tuple[Any, Any]] = []
    for i, n in enumerate(sources["patches"]):
        wave = related if n == 2 and i % 2 else erp
        out.append((simulate.Patches(table, n, area), wave))
    out += [(simulate.Patches(table, 1, area, profile="flat"), erp)] * sources["flat"]
    out += [(simulate.Dipoles(1), erp)] * sources["dipoles"]
    return out


def _scenarios_of_the_benchmark(names: list[str]) -> list[Scenario]:
    """Those of the template head, MEG and EEG together; of several wrong heads two."""
    unknown = sorted(set(names) - set(SCENARIOS))
    if unknown:
        raise InputError(f"there is no scenario {unknown[0]!r}; there are {list(SCENARIOS)}.")
    study = Study.template()
    return [s for name in names for s in SCENARIOS[name](study).scenarios[:N_HEADS]]


def run_train(
    path: Path, out: Path, seed: int, resume: bool, tell: Callable[[str], None], ready: Any
) -> Path:
    """Train what a task file says, and write the weights.

    Parameters
    ----------
    path : Path
        Task file.
    out : Path
        Folder.
    seed : int
    resume : bool
        Go on from the checkpoint there; without it a folder that holds one is refused.
    tell, ready : callable
        Told what begins; called before the progress bar comes.
    """
    settings = read_task(path)
    if (out / learn.CHECKPOINT).exists() and not resume:
        raise InputError(
            f"{out} holds a training already: --resume goes on, or give another --out."
        )
    out.mkdir(parents=True, exist_ok=True)
    task = task_of(settings, seed, tell)
    ready()
    trained = learn.train(task, key=seed, checkpoint=out)
    calibration = settings["calibration"]
    if calibration["scenarios"]:
        tell("fitting the constant of the variances")
        trained = learn.calibrate(
            trained,
            _scenarios_of_the_benchmark(calibration["scenarios"]),
            key=jax.random.fold_in(jax.random.key(seed), 1),
            n=calibration["data_sets"],
        )
    about = json.dumps({"task": settings, "seed": seed, **trained.about})
    return learn.save(learn.Trained(trained.network, about), out / "weights.npz")
