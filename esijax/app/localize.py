"""A user's own files, from evoked to report: `esijax localize`."""

import dataclasses
import hashlib
import logging
import re
import warnings
from pathlib import Path
from typing import Any

import jax
import mne
from rich.console import Console
from rich.markup import escape

from esijax import io
from esijax._types import EsijaxWarning, InputError
from esijax.app.console import console, listed, mark_bad, spoken
from esijax.app.output import Output, claimed, usable
from esijax.estimate import RESULT, Estimate
from esijax.io.measured.silent import silent_note
from esijax.problem import Problem
from esijax.registry import METHODS
from esijax.viz import maps
from esijax.viz.report import report
from esijax.viz.summary import place_name, summarise

LOCALIZE_WRITES = ("estimate.npz", "map.png", "report.html", "mean-*.stc", "mean-*.h5", "std-*.stc",
          "std-*.h5", "localize.log")  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What the user asks for; the fields are the options of the command line."""

    evoked: Path
    forward: Path | None = None
    noise_cov: Path | None = None
    condition: str | None = None
    window: tuple[float | None, float | None] = (None, None)
    method: str = "dSPM"
    lambda2: float | str = 1 / 9
    loose: Any = "auto"
    depth: Any = 0.8
    rank: Any = None
    baseline: bool = True
    average_reference: bool = False
    nave: float | None = None
    noise_time: str | None = None
    picks: tuple[str, ...] = ()
    bads: tuple[str, ...] = ()
    out: Path = Path("esijax_localize")
    overwrite: bool = False
    checkpoint: Path | None = None

    @property
    def arguments(self) -> dict[str, Any]:
        """What makes it the same command: not where it is kept, nor what it may replace."""
        fields = (f.name for f in dataclasses.fields(self))
        left_out = ("out", "overwrite", "checkpoint")
        return {name: getattr(self, name) for name in fields if name not in left_out}


def run_localize(wanted: Wanted) -> Estimate:
    """Read, reconstruct, write estimate, stc files, pictures, report and log.

    Warnings are shown as one line each.

    Returns
    -------
    estimate : Estimate

    Raises
    ------
    KeyboardInterrupt
        If it was interrupted, after what had been computed was written.
    """
    screen = console()
    recipe = METHODS[wanted.method].make(wanted.lambda2)
    out = claimed(wanted.out, "localize", wanted.arguments, LOCALIZE_WRITES, wanted.overwrite)
    if wanted.checkpoint is not None:
        usable(wanted.checkpoint, "--checkpoint")
    logging.getLogger("esijax").setLevel(logging.INFO)
    with warnings.catch_warnings(record=True) as caught, screen.status("reading") as status:
        warnings.simplefilter("always", EsijaxWarning)
        response = _read_response(wanted)
        problem = _cropped(_problem_of(wanted, response, screen), wanted.window)
        screen.log(f"solving with {wanted.method}")
        status.stop()  # the bar of the steps takes its line
        direct = recipe.method.direct
        checkpoint = None if direct else _checkpoint(wanted, response.comment)
        estimate = recipe.solve(problem, progress=not direct, checkpoint=checkpoint)
        estimate = jax.block_until_ready(estimate)
        status.start()
        told = [str(w.message) for w in caught if issubclass(w.category, EsijaxWarning)]
        lines = _summary_lines(estimate, told)
        _write_results(estimate, out, lines, screen)
    for line in map(escape, lines):
        screen.print(re.sub("^note:", "[yellow]note:[/]", line), soft_wrap=True)
    screen.print(f"report: {(wanted.out / 'report.html').resolve()}", soft_wrap=True)
    if estimate.result == RESULT.interrupted:
        raise KeyboardInterrupt(f"what was computed until then is in {wanted.out}")
    return estimate


def _write_results(estimate: Estimate, out: Output, lines: list[str], screen: Console) -> None:
    screen.log("writing estimate and stc files")
    out.begin()
    estimate, folder = out.stamped(estimate), out.folder
    files = [io.save(estimate, folder / "estimate.npz"), *io.write_stc(estimate, folder / "mean")]
    if estimate.std is not None:
        files += io.write_stc(estimate, folder / "std", "std")
    screen.log("drawing the map")
    files.append(out.picture(maps.plot_map(estimate), "map"))
    screen.log("writing the report")
    files.append(report(estimate, folder / "report.html"))
    out.finish(files, spoken(RESULT[estimate.result]), lines)


def _checkpoint(wanted: Wanted, condition: str) -> Path | None:
    """Path of the checkpoint of this condition and method; its folder is made."""
    folder = wanted.checkpoint
    if folder is None:
        return None
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--checkpoint {folder}: cannot be made ({error.strerror}).") from error
    return folder / f"{_file_name(condition)}-{wanted.method}.ckpt"


def _file_name(name: str) -> str:
    """Condition as part of a file name: never the same for two, and of a length that disks take."""
    safe = "".join(c if c.isalnum() or c in " _-" else f"%{ord(c):02X}" for c in name)
    if len(safe.encode()) <= 120:
        return safe
    return f"{safe[:30]}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def _read_response(wanted: Wanted) -> mne.Evoked:
    response = io.read_evoked(wanted.evoked, wanted.condition)
    if response.kind != "average":
        raise InputError(
            f"--condition {wanted.condition} is the standard error of {response.comment!r}: name "
            "the average."
        )
    mark_bad(response, wanted.bads, wanted.evoked)
    if wanted.average_reference:
        _reference(response)
    if wanted.baseline and response.baseline is None and response.times[0] < 0:
        response.apply_baseline((None, 0), verbose="ERROR")
    return response


def _reference(response: mne.Evoked) -> None:
    """Refer the EEG to its average, whatever projector was meant to do so before."""
    if "eeg" not in response:
        raise InputError("--average-reference: the measurement has no EEG.")
    old = [i for i, p in enumerate(response.info["projs"]) if p["kind"] == 10 and not p["active"]]
    response.del_proj(old)
    response.set_eeg_reference(projection=True, verbose="ERROR")


def _problem_of(wanted: Wanted, response: mne.Evoked, screen: Console) -> Problem:
    """Make the problem of measurement, head and noise covariance."""
    head = _head(wanted.forward, response, screen)
    cov = None if wanted.noise_cov is None else io.read_noise_cov(wanted.noise_cov)
    if cov is None and response.times[0] < 0:
        screen.log("no --noise-cov: estimating it from the samples before time zero")
    picks = listed(wanted.picks, response.ch_names) or None
    about = f"{len(response.ch_names)} channels" if picks is None else f"picks {', '.join(picks)}"
    screen.log(f"whitening {about}, {head['nsource']} sources")
    problem = io.from_mne(
        response,
        head,
        cov,
        loose=wanted.loose,
        depth=wanted.depth,
        rank=wanted.rank,
        picks=picks,
        nave=wanted.nave,
        noise_time=wanted.noise_time,
    )
    return problem if wanted.noise_time else problem.with_notes(*silent_note(problem))


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


def _cropped(problem: Problem, window: tuple[float | None, float | None]) -> Problem:
    """Crop a problem in time, after the noise covariance has used the baseline."""
    try:
        return problem.crop(*window)
    except InputError as error:
        raise InputError(f"--tmin {window[0]} --tmax {window[1]}: {error}") from error


def _summary_lines(estimate: Estimate, told: list[str]) -> list[str]:
    """Summarise the result in lines: peak, explained variance, notes."""
    summary = summarise(estimate)
    moment = 1e3 * estimate.problem.times[summary.peak_time]
    where = place_name(estimate, summary.places[0]) if summary.places else "nowhere"
    height = float(summary.amplitude[:, summary.peak_time].max())
    lines = [f"peak: {where} at {moment:.0f} ms, {height:.3g} {summary.unit}"]
    if estimate.explained_variance is not None:
        lines.append(f"explained variance: {100 * float(estimate.explained_variance):.1f} %")
    new = [text for text in told if not any(note in text for note in estimate.notes)]
    return lines + [f"note: {spoken(note)}" for note in dict.fromkeys([*new, *estimate.notes])]
