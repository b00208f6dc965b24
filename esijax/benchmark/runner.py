"""Cells of the table: one scenario, one method, all seeds; kept on disk as they are finished."""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from esijax import metrics
from esijax._files import replacing
from esijax._types import InputError
from esijax.benchmark.case import Case
from esijax.benchmark.methods import METHODS
from esijax.benchmark.protocols import PROTOCOLS
from esijax.benchmark.scenarios import SCENARIOS
from esijax.benchmark.study import Study

_score_map = eqx.filter_jit(metrics.score_map)


def run(
    study: Study,
    out: Path,
    *,
    scenarios: Sequence[str] = tuple(SCENARIOS),
    methods: Sequence[str] = tuple(METHODS),
    peers: dict[str, Callable[[Case], Any]] | None = None,
    seeds: int = 50,
    tell: Callable[[str], None] = print,
) -> pd.DataFrame:
    """Run every method on every scenario; cells that are on disk already are read, not run.

    Parameters
    ----------
    study : Study
    out : Path
        Folder; ``cells/`` holds a csv per finished cell, ``results.csv`` all of them.
    scenarios, methods : sequence of str
        Names in `SCENARIOS` or `PROTOCOLS`, and in `METHODS`.
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
    _known(scenarios, kinds, "scenario")
    _known(methods, METHODS, "method")
    solvers = {name: METHODS[name] for name in methods} | (peers or {})
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
                _fill(cells, scenario, setting, {m: solvers[m] for m in left}, seeds, bar)
    wanted = [_cell(cells, s, m) for s in scenarios for m in solvers]
    found = [pd.read_csv(path) for path in wanted if path.exists()]
    if not found:
        raise InputError("no scenario could be run.")
    results = pd.concat(found, ignore_index=True)
    with replacing(out / "results.csv") as path:
        results.to_csv(path, index=False)
    return results


def _fill(cells: Path, scenario: str, setting, solvers, seeds: int, bar) -> None:
    """Run what is missing of one scenario, a method at a time."""
    cases = list(setting.cases(seeds))
    for name, solve in solvers.items():
        bar.set_description(f"{scenario}, {name}")
        rows = []
        for seed, case in enumerate(cases):
            card = scored(case, solve)
            rows += [(scenario, name, seed, metric, value) for metric, value in card.items()]
            bar.update()
        frame = pd.DataFrame(rows, columns=["scenario", "method", "seed", "metric", "value"])
        with replacing(_cell(cells, scenario, name)) as path:
            frame.to_csv(path, index=False)


def scored(case: Case, solve: Callable[[Case], Any]) -> dict[str, float]:
    """Scores of one answer, and the seconds that it took; a failure of a peer is counted."""
    start = time.perf_counter()
    if solve in METHODS.values():
        estimate = solve(case)
        jax.block_until_ready((estimate.mean, estimate.std))
        seconds = time.perf_counter() - start
        card = metrics.score(estimate, case.truth, case.active, case.centres, at=case.at)
        # what a map alone can be asked, all are asked alike
        card |= _sizes(case, np.asarray(estimate.mean))
        return {**card, "seconds": seconds, "failed": 0.0}
    try:
        answer = solve(case)
    except Exception:  # whatever another program raises
        return {"failed": 1.0}
    seconds = time.perf_counter() - start
    return {**_sizes(case, np.asarray(answer.mean)), "seconds": seconds, "failed": 0.0}


def _sizes(case: Case, mean: np.ndarray) -> dict[str, float]:
    """Scores of a map without uncertainty, from the sizes of its vectors."""
    truth, mean = (np.linalg.norm(x, axis=1) for x in (case.truth, mean))
    sample = int(np.argmax(np.sum(truth**2, axis=0)))
    here, true = (x.mean(1) if case.at == "mean" else x[:, sample] for x in (mean, truth))
    where = case.problem.geometry
    assert where.positions is not None
    grid = metrics.Grid(where.positions, where.areas, where.edges)
    one = metrics.SourceMap(
        jnp.asarray(here)[:, None],
        jnp.asarray(true)[:, None],
        jnp.asarray(case.active),
        jnp.asarray(case.centres),
    )
    card = {name: float(value) for name, value in _score_map(one, grid).items()}
    if where.edges is not None:
        errors = metrics.matched_error(here, where.positions, case.centres, where.edges)
        card["matched_error_mm"] = 1e3 * float(np.mean(errors))
    course = metrics.correlation(mean[case.active], truth[case.active])
    card["course_correlation"] = float(np.nanmean(course)) if np.isfinite(course).any() else np.nan
    return card


def _cell(cells: Path, scenario: str, method: str) -> Path:
    plain = "".join(c if c.isalnum() else "-" for c in f"{scenario}__{method}")
    return cells / f"{plain}.csv"


def _known(names: Sequence[str], table, what: str) -> None:
    unknown = [name for name in names if name not in table]
    if unknown:
        raise InputError(f"there is no {what} {unknown[0]!r}; there are {list(table)}.")


def _same_run(out: Path, study: Study, seeds: int) -> None:
    """Refuse to mix cells of other data or another number of seeds."""
    digest = hashlib.sha256()
    for forward in (study.forward, study.truth_forward):
        digest.update(np.ascontiguousarray(forward["sol"]["data"]).tobytes())
    digest.update(np.ascontiguousarray(study.noise_cov.data).tobytes())
    settings = {"seeds": seeds, "nave": study.nave, "data": digest.hexdigest()}
    path = out / "settings.json"
    if path.exists() and json.loads(path.read_text()) != settings:
        raise InputError(
            f"{out} holds the cells of another run (other files, or other --seeds): give another "
            "--out, or remove it."
        )
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(settings, indent=1))
