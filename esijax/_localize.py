"""A user's own files, from evoked to report: `esijax localize`."""

import dataclasses
import logging
import warnings
from pathlib import Path

import jax
import mne
import numpy as np
from rich.console import Console

from esijax import inference, io
from esijax._cli_methods import METHODS
from esijax._console import console
from esijax._report import report
from esijax._types import EsijaxWarning, InputError
from esijax.estimate import Estimate
from esijax.problem import Problem
from esijax.viz import figures
from esijax.viz.summary import place_name, summarise


def run(
    evoked: Path,
    *,
    forward: Path | None,
    noise_cov: Path | None,
    condition: str | None,
    window: tuple[float | None, float | None],
    method: str,
    lambda2: float | str,
    loose: float | str,
    depth: float | str | None,
    baseline: bool,
    bads: tuple[str, ...],
    out: Path,
) -> Estimate:
    """Read, reconstruct, write estimate, stc files, pictures and report.

    Parameters are those of the command line. Warnings are shown as one line each.

    Returns
    -------
    estimate : Estimate
    """
    screen = console()
    recipe = METHODS[method](lambda2)
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out}: not a folder.")
    logging.getLogger("esijax").setLevel(logging.INFO)
    with warnings.catch_warnings(record=True) as caught, screen.status("reading") as status:
        warnings.simplefilter("always", EsijaxWarning)
        response = _read(evoked, condition, bads, baseline)
        head = _head(forward, response, screen)
        cov = None if noise_cov is None else io.read_noise_cov(noise_cov)
        if cov is None and response.times[0] < 0:
            screen.log("no --noise-cov: estimating it from the samples before time zero")
        screen.log(f"whitening {len(response.ch_names)} channels, {head['nsource']} sources")
        problem = io.from_mne(response, head, cov, loose=loose, depth=depth)
        problem = _within(problem, window)
        screen.log(f"solving with {method}")
        status.stop()  # the bar of the steps takes its line
        direct = isinstance(recipe.method, inference.Linear | inference.LCMV)
        estimate = jax.block_until_ready(recipe.solve(problem, progress=not direct))
        status.start()
        screen.log("writing estimate, stc files, pictures and report")
        _write(estimate, out)
    notes = [str(w.message) for w in caught if issubclass(w.category, EsijaxWarning)]
    _tell(estimate, notes, screen)
    screen.print(f"report: {(out / 'report.html').resolve()}", soft_wrap=True)
    return estimate


def _write(estimate: Estimate, out: Path) -> None:
    import matplotlib.pyplot as plt

    out.mkdir(parents=True, exist_ok=True)
    io.save(estimate, out / "estimate.npz")
    io.write_stc(estimate, out / "mean")
    if estimate.std is not None:
        io.write_stc(estimate, out / "std", "std")
    figure = figures.plot_map(estimate)
    figure.savefig(out / "map.png", dpi=110)
    plt.close(figure)
    report(estimate, out / "report.html")


def _read(path: Path, condition: str | None, bads: tuple[str, ...], baseline: bool) -> mne.Evoked:
    number = int(condition) if condition is not None and condition.isdigit() else condition
    response = io.read_evoked(path, number)
    unknown = [name for name in bads if name not in response.ch_names]
    if unknown:
        raise InputError(f"--bads: {path} has no channels {unknown}.")
    response.info["bads"] = sorted({*response.info["bads"], *bads})
    if baseline and response.baseline is None and response.times[0] < 0:
        response.apply_baseline((None, 0), verbose="ERROR")
    return response


def _head(path: Path | None, response: mne.Evoked, screen: Console) -> mne.Forward:
    """Read the user's forward, or compute the template's for the EEG names that it knows."""
    if path is not None:
        return io.read_forward(path)
    names = [
        name
        for name, kind in zip(response.ch_names, response.get_channel_types(), strict=True)
        if kind == "eeg"
    ]
    if not names:
        raise InputError("--forward is needed for MEG: the template head has no sensors of yours.")
    screen.log(f"no --forward: computing one on the template head for {len(names)} EEG channels")
    try:
        return io.template(names, meg=False).forward
    except InputError as error:
        raise InputError(f"--forward is needed, the template head does not fit: {error}") from error


def _within(problem: Problem, window: tuple[float | None, float | None]) -> Problem:
    """Give the same problem between two times; the noise covariance has seen the baseline."""
    tmin, tmax = window
    times = problem.times
    low = -np.inf if tmin is None else tmin - 1e-9
    high = np.inf if tmax is None else tmax + 1e-9
    keep = np.flatnonzero((times >= low) & (times <= high))
    if len(keep) == 0:
        raise InputError(
            f"--tmin {tmin} --tmax {tmax}: the data go from {times[0]:.3f} to {times[-1]:.3f} s."
        )
    part = slice(keep[0], keep[-1] + 1)
    return dataclasses.replace(
        problem,
        data=problem.data[..., part],
        recording=problem.recording[..., part],
        labels=dataclasses.replace(problem.labels, tmin=float(times[keep[0]])),
    )


def _tell(estimate: Estimate, notes: list[str], screen: Console) -> None:
    summary = summarise(estimate)
    moment = 1e3 * estimate.problem.times[summary.peak_time]
    where = place_name(estimate, summary.places[0]) if summary.places else "nowhere"
    height = float(summary.amplitude[:, summary.peak_time].max())
    screen.print(f"peak: {where} at {moment:.0f} ms, {height:.3g} {summary.unit}", soft_wrap=True)
    if estimate.explained_variance is not None:
        screen.print(f"explained variance: {100 * float(estimate.explained_variance):.1f} %")
    for note in dict.fromkeys([*notes, *estimate.notes]):
        screen.print(f"[yellow]note:[/] {note}", soft_wrap=True)
