"""Cells of the table: one scenario, one method, all seeds; kept on disk as they are finished."""

import hashlib
import json
from collections.abc import Callable, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from esijax import __version__, metrics
from esijax._files import replacing
from esijax._types import InputError
from esijax.benchmark.case import Case
from esijax.benchmark.methods import COMPARED, SLOW_COMPARED
from esijax.benchmark.protocols import PROTOCOLS
from esijax.benchmark.scenarios import SCENARIOS
from esijax.benchmark.study import Study
from esijax.estimate import Estimate

GIVE_UP = 3  # failures from the start
HAS_EMD = find_spec("ot") is not None  # POT, the extra "emd"


def run(
    study: Study,
    out: Path,
    *,
    scenarios: Sequence[str] = tuple(SCENARIOS),
    methods: Sequence[str] = tuple(COMPARED),
    peers: dict[str, Callable[[Case], Any]] | None = None,
    seeds: int = 50,
    tell: Callable[[str], None] = print,
) -> pd.DataFrame:
    """Run every method on every scenario; cells that are on disk already are read, not run.

    Parameters
    ----------
    study : Study
        What to run.
    out : Path
        Folder; ``cells/`` holds a csv per finished cell, ``results.csv`` all of them.
    scenarios, methods : sequence of str
        Names in `SCENARIOS` or `PROTOCOLS`, and in `esijax.benchmark.METHODS`.
    peers : dict of callables, optional
        Further methods by name, from a `Case` to a map.
    seeds : int
        Data sets per scenario.
    tell : callable
        Told what is left out, and why.

    Returns
    -------
    results : DataFrame
        One row per scenario, method, seed and metric.

    Raises
    ------
    InputError
        For an unknown name, or a folder that holds the cells of another run.
    """
    kinds = {**SCENARIOS, **PROTOCOLS}
    _check_names(scenarios, kinds, "scenario")
    ours = COMPARED | SLOW_COMPARED
    _check_names(methods, ours, "method")
    solvers = {name: ours[name] for name in methods} | (peers or {})
    cells = out / "cells"
    cells.mkdir(parents=True, exist_ok=True)
    _same_run(out, study, seeds)
    total = len(scenarios) * len(solvers) * seeds
    with tqdm(total=total, unit="fit", dynamic_ncols=True) as bar:
        for scenario in scenarios:
            left = [m for m in solvers if not _cell(cells, scenario, m).exists()]
            bar.update(seeds * (len(solvers) - len(left)))
            if left:
                try:
                    setting = kinds[scenario](study)
                except InputError as error:
                    tell(f"{scenario} is left out: {error}")
                    bar.update(seeds * len(left))
                    continue
                _run_scenario(
                    cells, scenario, setting, {m: solvers[m] for m in left}, seeds, bar, tell
                )
    wanted = [_cell(cells, s, m) for s in scenarios for m in solvers]
    found = [pd.read_csv(path) for path in wanted if path.exists()]
    if not found:
        raise InputError("no scenario could be run.")
    results = pd.concat(found, ignore_index=True)
    with replacing(out / "results.csv") as path:
        results.to_csv(path, index=False)
    return results


def _run_scenario(cells: Path, scenario: str, setting, solvers, seeds: int, bar, tell) -> None:
    """Run what is missing of one scenario, a method at a time."""
    cases = list(setting.cases(seeds))
    for name, solve in solvers.items():
        bar.set_description(f"{scenario}, {name}")
        rows, failures = [], []
        for seed, case in enumerate(cases):
            card = scored(case, solve, failures)
            rows += [(scenario, name, seed, metric, value) for metric, value in card.items()]
            bar.update()
            if len(failures) == seed + 1 == GIVE_UP:
                bar.update(len(cases) - GIVE_UP)
                break  # whatever it is, it will not pass
        if failures:
            tell(f"{scenario}, {name}: {len(failures)} data sets failed: {failures[0]}")
        if len(failures) in (GIVE_UP, len(cases)) and len(rows) == len(failures):
            continue  # nothing but failures is not kept: mended, it will run
        frame = pd.DataFrame(rows, columns=["scenario", "method", "seed", "metric", "value"])
        with replacing(_cell(cells, scenario, name)) as path:
            frame.to_csv(path, index=False)


def scored(case: Case, solve: Callable[[Case], Any], failures: list[str]) -> dict[str, float]:
    """Scores of one answer; what it stumbles over is added to the failures.

    What a map alone can be asked all are asked alike; scores of uncertainty are added where
    there is any.
    """
    about = case.truth, case.active, case.centres
    try:
        answer = solve(case)
        mean = np.asarray(answer.mean)
        if not (np.isfinite(mean).all() and mean.any()):
            raise InputError("the map is zero or not finite")
        card = metrics.score(answer, *about, at=case.at) if isinstance(answer, Estimate) else {}
    except Exception as error:  # another program may raise whatever it likes
        failures.append(f"{type(error).__name__}: {error}".splitlines()[0])
        return {"failed": 1.0}
    sizes = metrics.score_sizes(case.problem, mean, *about, at=case.at, emd=HAS_EMD)
    return {**card, **sizes, "failed": 0.0}


def _cell(cells: Path, scenario: str, method: str) -> Path:
    plain = "".join(c if c.isalnum() else "-" for c in f"{scenario}__{method}")
    return cells / f"{plain}.csv"


def _check_names(names: Sequence[str], table, what: str) -> None:
    unknown = [name for name in names if name not in table]
    if unknown:
        raise InputError(f"there is no {what} {unknown[0]!r}; there are {list(table)}.")


def _settings(path: Path) -> object:
    """Settings of the earlier run; None where the file cannot be read."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def _same_run(out: Path, study: Study, seeds: int) -> None:
    """Refuse to mix cells of other data or another number of seeds."""
    digest = hashlib.sha256()
    for forward in (study.forward, study.truth_forward):
        digest.update(np.ascontiguousarray(forward["sol"]["data"]).tobytes())
        digest.update(np.ascontiguousarray(forward["source_rr"]).tobytes())
    digest.update(np.ascontiguousarray(study.noise_cov.data).tobytes())
    info = study.info
    names = info["ch_names"], sorted(info["bads"]), [p["desc"] for p in info["projs"]]
    layers = [] if study.bem is None else [(len(s["rr"]), s["sigma"]) for s in study.bem["surfs"]]
    digest.update(repr((names, layers)).encode())
    settings = {
        "seeds": seeds,
        "nave": study.nave,
        "data": digest.hexdigest(),
        "esijax": __version__,
        "mne": version("mne"),
    }
    path = out / "settings.json"
    if path.exists() and _settings(path) != settings:
        raise InputError(
            f"{out} holds the cells of another run (other files, options or versions): give "
            "another --out, or remove it."
        )
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(settings, indent=1))
