"""The main job on a head that needs no download: `esijax demo`."""

import functools
import time as clock
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import jax
import mne
import numpy as np

from esijax import io, metrics, simulate
from esijax.app.output import claimed
from esijax.arrays import ledoit_wolf
from esijax.estimate import Estimate
from esijax.io.template_head import Template
from esijax.problem import Problem
from esijax.registry import METHODS as ENTRIES
from esijax.registry import Recipe
from esijax.viz import maps
from esijax.viz.report import report

AUDITORY = np.array([[-0.050, -0.021, 0.007], [0.052, -0.017, 0.007]])  # m, MNI, Heschl's gyri
AREA = 8e-4  # m2, within the 6 to 10 cm2 that EEG sees
PEAK = 0.1  # s
MOMENT = 60e-9  # A m, of a whole patch
NAVE = 100
INVERTED, SIMULATED = "oct5", "ico4"  # grids: never the same, or localising would be too easy


@dataclass(frozen=True)
class DemoTruth:
    """What was simulated, on the grid that is inverted.

    Parameters
    ----------
    centres : (patches, 3)
        Seeds, head coordinates, m.
    sources : (locations, 3, times)
        Moment gathered to the nearest location of the inverted grid, head axes, A m.
    positions : (sources, 3)
        Positions of all active simulated sources, head coordinates, m.
    """

    centres: np.ndarray
    sources: np.ndarray
    positions: np.ndarray


CAPTION = (
    "error: from the peak to the middle of the simulated patch; spread: of the map around the "
    "patches; active, inactive: share of such sources inside their 90 % interval"
)
LONG = {  # headings where there is room
    "left error": "peak error, left",
    "right error": "peak error, right",
    "spread": "spatial dispersion",
    "active": "active in 90 % interval",
    "inactive": "inactive in 90 % interval",
}
PICTURES = {"Data": "data", "Time courses at the peaks": "courses", "Source maps": "eloreta"}
DEMO_METHODS: dict[str, Callable[[], Recipe]] = {
    entry.variant(lambda2): functools.partial(entry.make, lambda2)
    for entry in ENTRIES.values()
    for lambda2 in entry.in_demo
}


def simulated(seed: int = 0) -> tuple[mne.Evoked, mne.Covariance, Template, DemoTruth]:
    """Auditory-like response on the template head, 64 EEG and 306 MEG channels.

    Two patches of 8 cm2 on Heschl's gyri answer at 100 ms, the left a little later and weaker;
    1/f activity of all of the cortex and sensor noise are added. The sources are simulated on
    another grid (ico4) than the one to be inverted (oct5).

    Parameters
    ----------
    seed : int
        Of the noise.

    Returns
    -------
    evoked, noise_cov, head, truth
    """
    coarse = io.template("biosemi64", meg=True, spacing=INVERTED)
    fine = io.template("biosemi64", meg=True, spacing=SIMULATED, bem=coarse.bem)
    fixed = mne.convert_forward_solution(fine.forward, force_fixed=True, verbose="ERROR")
    gain = fixed["sol"]["data"].astype(float)
    geometry = io.geometry(fixed)
    positions = np.asarray(geometry.positions)
    to_mri = coarse.trans["trans"]
    in_mri = positions @ to_mri[:3, :3].T + to_mri[:3, 3]
    seeds = [int(np.argmin(np.linalg.norm(in_mri - a, axis=1))) for a in AUDITORY]
    profiles = [simulate.patch(geometry, s, AREA) for s in seeds]
    sfreq = coarse.info["sfreq"]
    times = np.arange(-0.2, 0.4, 1 / sfreq)
    waves = [
        MOMENT * 0.8 * simulate.erp(times, PEAK + 0.008, 0.03, 7.0),
        MOMENT * simulate.erp(times, PEAK, 0.03, 7.0),
    ]
    sources = np.stack([p / p.sum() for p in profiles], axis=1) @ np.stack(waves)
    noise, baseline = _noise(gain, coarse.info, len(times), sfreq, jax.random.key(seed))
    evoked = mne.EvokedArray(
        gain @ sources + noise / np.sqrt(NAVE),
        coarse.info,
        tmin=times[0],
        nave=NAVE,
        comment="simulated auditory response",
        verbose="ERROR",
    )
    noise_cov = _covariance(baseline, coarse.info)
    evoked.apply_proj(verbose="ERROR")
    active = np.flatnonzero(np.sum(profiles, axis=0) > 0)
    normals = np.asarray(geometry.normals)
    moments = sources[active, None, :] * normals[active, :, None]
    truth = DemoTruth(
        positions[seeds], _gathered(moments, positions[active], coarse), positions[active]
    )
    return evoked, noise_cov, coarse, truth


def _noise(gain, info, n_times: int, sfreq: float, key) -> tuple[np.ndarray, np.ndarray]:
    """Single-trial noise: 1/f activity everywhere and white sensor noise; and a long baseline."""
    std = {"eeg": 1e-6, "mag": 15e-15, "grad": 3e-13}
    sensor = np.array([std[t] for t in info.get_channel_types()])

    def draw(k, n):
        brain, white = jax.random.split(k)
        activity = np.asarray(simulate.pink_noise(brain, (gain.shape[1], n), sfreq)) * 1e-9
        return gain @ activity + sensor[:, None] * np.asarray(
            jax.random.normal(white, (len(sensor), n))
        )

    first, *rest = jax.random.split(key, 5)
    return draw(first, n_times), np.concatenate([draw(k, 1000) for k in rest], axis=1)


def _covariance(baseline: np.ndarray, info: mne.Info) -> mne.Covariance:
    names, types = list(info["ch_names"]), np.array(info.get_channel_types())
    cov = np.zeros((len(names), len(names)))
    for kind in ("eeg", "meg"):
        rows = np.flatnonzero((types == "eeg") == (kind == "eeg"))
        cov[np.ix_(rows, rows)] = ledoit_wolf(baseline[rows])
    return mne.Covariance(cov, names, [], [], baseline.shape[1])


def _gathered(moments: np.ndarray, positions: np.ndarray, head: Template) -> np.ndarray:
    """Moments (sources, 3, times) added up at the nearest location of another grid."""
    grid = np.asarray(head.forward["source_rr"])
    nearest = np.argmin(np.linalg.norm(positions[:, None] - grid[None], axis=-1), axis=1)
    out = np.zeros((len(grid), *moments.shape[1:]))
    np.add.at(out, nearest, moments)
    return out


def reconstruct(problem: Problem) -> Iterator[tuple[str, Estimate, float]]:
    """Solve with each method; yields name, estimate, seconds (with compilation)."""
    for name, make in DEMO_METHODS.items():
        recipe = make()
        start = clock.perf_counter()
        estimate = recipe.solve(problem)
        jax.block_until_ready((estimate.mean, estimate.std))
        yield name, estimate, clock.perf_counter() - start


def scores(name: str, estimate: Estimate, truth: DemoTruth, seconds: float) -> dict[str, object]:
    """One row of the demo's table."""
    problem = estimate.problem
    at = int(np.argmin(np.abs(problem.times - PEAK)))
    positions = np.asarray(problem.geometry.positions)
    amplitude = np.asarray(jax.numpy.linalg.norm(estimate.mean[..., at], axis=-1))
    errors = []
    for centre in truth.centres:
        side = np.sign(positions[:, 0]) == np.sign(centre[0])
        errors.append(float(metrics.peak_error(amplitude * side, positions, centre[None])))
    frames = np.asarray(problem.geometry.frames)
    true = np.einsum("lod,ldt->lot", frames, truth.sources)[..., at]
    if estimate.norm is not None:
        true = true * np.asarray(estimate.scale)[..., 0] / float(problem.source_unit)
    low, high = (np.asarray(x)[..., at] for x in estimate.interval(0.9))
    active = np.abs(truth.sources).max(axis=(1, 2)) > 0
    dispersion = float(metrics.spatial_dispersion(amplitude, positions, truth.positions))
    row: dict[str, object] = {
        "method": name,
        "left error": f"{1e3 * errors[0]:.1f} mm",
        "right error": f"{1e3 * errors[1]:.1f} mm",
        "spread": f"{1e3 * dispersion:.1f} mm",
    }
    for who, where in (("active", active), ("inactive", ~active)):
        share = float(metrics.coverage(low, high, true, where[:, None]))
        row[who] = f"{100 * share:.0f} %" if estimate.posterior.spread_is_posterior else "-"
    row["time"] = f"{seconds:.2f} s"
    return row


def run_demo(
    out: Path, seed: int, report_progress: Callable[[str], None], overwrite: bool = False
) -> list[dict[str, object]]:
    """Simulate, reconstruct, score, write pictures, estimates, the report and a log.

    Parameters
    ----------
    out : Path
        Folder; made where it does not exist.
    seed : int
    report_progress : callable
        Told what begins.
    overwrite : bool
        Replace the results of another command in that folder.

    Returns
    -------
    table : list of dict
        A row per method.
    """
    writes = (*(f"{_slug(name)}.npz" for name in DEMO_METHODS), "problem-*.npz", "*.png")
    writes = (*writes, "report.html", "demo.log")
    place = claimed(out, "demo", {"seed": seed}, writes, overwrite)
    report_progress("building the template head and simulating")
    evoked, noise_cov, head, truth = simulated(seed)
    problem = io.from_mne(evoked, head.forward, noise_cov)
    place.begin()
    table, kept, files = [], {}, []
    for name, estimate, seconds in reconstruct(problem):
        report_progress(f"reconstructed with {name}")
        table.append(scores(name, estimate, truth, seconds))
        kept[name] = place.stamped(estimate)
        files.append(io.save(kept[name], out / f"{_slug(name)}.npz", share_problem=True))
    files.append(io.shared_problem(kept["eLORETA"], out))
    report_progress("drawing dSPM")
    files.append(place.picture(maps.plot_map(kept["dSPM"], patches=truth.positions), _slug("dSPM")))
    report_progress("drawing eLORETA and writing the report")
    page = report(
        kept["eLORETA"],
        out / "report.html",
        title="esijax demo: simulated auditory response",
        patches=truth.positions,
        beside=kept,
        tables={
            "Methods compared with the truth": [
                {LONG.get(key, key): value for key, value in row.items()} for row in table
            ]
        },
        keep=place.kept(PICTURES, files),
    )
    place.finish([*files, page])
    return table


def _slug(name: str) -> str:
    return name.lower().replace(", ", "-").replace(" ", "-")
