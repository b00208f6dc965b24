"""How often `estimate.trust()` sees what is wrong, and how often it doubts what is right.

    uv run python benchmarks/trust.py --sets 100     # some 20 minutes of CPU
    uv run python benchmarks/trust.py --sets 12 --no-heads

Data come from a finer grid (ico4) than the one inverted (oct5), on the template head: a dipole,
a patch of 6 to 10 cm2 or two of them in turn, 0 to 15 dB of whitened power, noise that is
independent between samples or goes together by 0.6, 55 samples before time zero and 60 after, and
the window is what comes after. A row is caught where the light is not green. docs/trust.md holds
the tables.
"""

import argparse
import dataclasses
import warnings

import jax
import mne
import numpy as np

jax.config.update("jax_enable_x64", True)

import esijax as ej  # noqa: E402
from esijax import io, simulate  # noqa: E402
from esijax.arrays import ledoit_wolf  # noqa: E402
from esijax.benchmark.study import STD, Study  # noqa: E402
from esijax.models.time import Autoregressive  # noqa: E402

SFREQ, BEFORE, AFTER = 200.0, 55, 60
PATCH = (6e-4, 10e-4)
SNR = (0.0, 15.0)
MOVED = (5.0, 10.0, 20.0)  # mm
ARRAYS = {"64 EEG": "eeg", "306 MEG, 64 EEG": None}
BAND, FAST = 40.0, 400.0  # Hz: of the low-pass, sampling where bands differ
METHODS = {
    "MNE": (ej.models.MinimumNorm(), ej.inference.Linear()),
    "dSPM": (ej.models.MinimumNorm(), ej.inference.Linear("dSPM")),
    "MNE, evidence": (ej.models.MinimumNorm("evidence"), ej.inference.Linear()),
    "ARD by EM": (ej.models.ARD(), ej.inference.EM("mm")),
    "MxNE by MAP": (ej.models.L21(ej.relative(0.2)), ej.inference.MAP()),
}


@dataclasses.dataclass(frozen=True)
class World:
    """Sensors with a problem for all samples, and the head that makes the data."""

    study: Study
    problem: ej.Problem
    head: simulate.Head

    def recording(self, seed: int, head=None, snr_db=SNR, noise=None) -> np.ndarray:
        """One data set, (channels, times)."""
        first, second = jax.random.split(jax.random.key(seed))
        kinds = (
            simulate.Dipoles(1),
            simulate.Patches(self.study.patches, 1, PATCH),
            simulate.Patches(self.study.patches, 2, PATCH, min_distance=0.04),
        )
        if noise is None:
            time = (None, Autoregressive.of([0.6]))[seed // 3 % 2]
            noise = np.asarray(
                simulate.FromCov(time).draw(second, self.problem, self.problem.n_times)
            )
        one = simulate.simulate(
            first,
            self.head if head is None else head,
            self.problem.crop(0.0),
            kinds[seed % 3],
            simulate.Gabors(),
            simulate.FromCov(),
            snr_db,
        )
        out = np.array(noise)
        out[:, -one.draws.clean.shape[-1] :] += np.asarray(one.draws.clean)
        return out


def world_of(study: Study, picks, noise_cov=None, sfreq: float = SFREQ) -> World:
    """Problem with noise as its data, and the head on the finer grid."""
    info = study.info.copy()
    with info._unlock():
        info["sfreq"] = sfreq
    std = np.array([STD[kind] for kind in info.get_channel_types()])[:, None]
    white = np.random.default_rng(0).standard_normal((len(std), BEFORE + AFTER))
    evoked = mne.EvokedArray(
        std * white / np.sqrt(study.nave), info, tmin=-BEFORE / sfreq, nave=study.nave
    )
    cov = study.noise_cov if noise_cov is None else noise_cov
    problem = io.from_mne(evoked, study.forward, cov, picks=picks)
    return World(study, problem, study.head(problem))


def light(world: World, recording, method: str = "MNE", scale: float = 1.0) -> str:
    """Light of the map of one data set; the covariance is `scale` times what it should be."""
    problem, root, known = world.problem, np.sqrt(scale), world.problem.whitener
    whitener = dataclasses.replace(
        known,
        matrix=known.matrix / root,
        colorer=known.colorer * root,
        log_pdet=known.log_pdet - problem.rank * np.log(root),
    )
    problem = dataclasses.replace(
        problem,
        whitener=whitener,
        gain=problem.gain / root,
        prior_scale=problem.prior_scale * root,
    )
    model, how = METHODS[method]
    estimate = ej.solve(problem.with_data(recording).crop(0.0), model, how)
    return estimate.trust().light


def broadband(world: World, n: int, seed: int, cutoff: float | None) -> np.ndarray:
    """Noise of averages: 1/f activity everywhere and white sensors, below `cutoff`."""
    brain, sensor = jax.random.split(jax.random.key(seed))
    types, names = world.problem.labels.ch_types, world.problem.labels.sfreq
    gain = np.asarray(world.head.gain[..., -1]) * 1e-9
    pink = np.asarray(simulate.pink_noise(brain, (gain.shape[1], n), names))
    std = np.array([STD[kind] for kind in types])[:, None]
    out = gain @ pink + std * np.asarray(jax.random.normal(sensor, (len(std), n)))
    eeg = np.array(types) == "eeg"
    out[eeg] -= out[eeg].mean(axis=0) if eeg.any() else 0.0
    if cutoff is not None:
        out = mne.filter.filter_data(out, names, None, cutoff, verbose="ERROR")
    return out / np.sqrt(world.study.nave)


def in_band(study: Study, picks, cutoff: float | None) -> World:
    """World whose covariance is estimated from 20 s of noise below `cutoff`."""
    world = world_of(study, picks, sfreq=FAST)
    long = broadband(world, int(20 * FAST), 10_000, cutoff) * np.sqrt(study.nave)
    types = np.array(world.problem.labels.ch_types)
    cov = np.zeros((len(long), len(long)))
    for rows in (types == "eeg", types != "eeg"):
        if rows.any():
            cov[np.ix_(rows, rows)] = ledoit_wolf(long[rows])
    names = list(world.problem.labels.ch_names)
    found = mne.Covariance(cov, names, [], list(study.info["projs"]), long.shape[1])
    return world_of(study, picks, found, FAST)


def moved(study: Study, distance: float, n: int = 2) -> list[mne.Forward]:
    """Lead fields of heads that sit elsewhere, none of them against a sensor."""
    found: list[mne.Forward] = []
    for key in range(100):
        try:
            found.append(
                io.perturbed_forward(
                    study.truth_forward, study.bem, key=jax.random.key(key), shift_mm=distance
                )
            )
        except RuntimeError:  # a coil would lie inside the head
            continue
        if len(found) == n:
            break
    return found


def row(name: str, lights: list[str]) -> str:
    """Shares of each light, as a row of a Markdown table."""
    shares = [100 * np.mean([seen == one for seen in lights]) for one in ("green", "amber", "red")]
    return f"| {name} | {len(lights)} | " + " | ".join(f"{share:.0f} %" for share in shares) + " |"


def rows_of(array: str, world: World, sets: int) -> None:
    """Print all rows that need no other head."""
    study, picks = world.study, ARRAYS[array]

    def told(name: str, lights) -> None:
        print(row(f"{array}: {name}", list(lights)), flush=True)

    clean = [world.recording(seed) for seed in range(2 * sets)]
    told("as it should be", (light(world, x) for x in clean))
    clean = clean[:sets]
    for method in tuple(METHODS)[1:]:
        few = sets // (10 if method.startswith("ARD") else 4)
        told(f"as it should be, {method}", (light(world, x, method) for x in clean[: max(few, 3)]))
    for scale in (100.0, 4.0, 1 / 4, 1 / 100):
        told(f"noise_cov times {scale:g}", (light(world, x, scale=scale) for x in clean))
    for kind, factor in (("noisy", 10.0), ("noisy", 3.0), ("flat", 1.0)):
        spoilt = (
            np.asarray(simulate.bad_channels(jax.random.key(i), x, 1, kind, factor)[0])
            for i, x in enumerate(clean)
        )
        size = f", noise {factor:g} times its own deviation" * (kind == "noisy")
        told(f"a {kind} channel{size}", (light(world, x) for x in spoilt))
    for name, of_cov, of_data in (
        ("same band, covariance of 20 s", None, None),
        ("covariance below 40 Hz, data below 200 Hz", BAND, None),
        ("covariance below 200 Hz, data below 40 Hz", None, BAND),
    ):
        other = in_band(study, picks, of_cov)
        n = BEFORE + AFTER
        noises = (broadband(other, n + 400, s, of_data)[:, 200 : 200 + n] for s in range(sets // 2))
        told(name, (light(other, other.recording(s, noise=x)) for s, x in enumerate(noises)))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=100)
    parser.add_argument("--arrays", nargs="*", default=list(ARRAYS), choices=list(ARRAYS))
    parser.add_argument("--heads", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--rest", action=argparse.BooleanOptionalAction, default=True)
    asked = parser.parse_args()
    mne.set_log_level("ERROR")
    warnings.simplefilter("ignore")
    study = Study.template()
    worlds = {
        array: world_of(study, picks) for array, picks in ARRAYS.items() if array in asked.arrays
    }
    print("| | data sets | green | amber | red |\n|---|---|---|---|---|", flush=True)
    for array, world in worlds.items():
        if not asked.rest:
            break
        rows_of(array, world, asked.sets if world.problem.rank < 100 else asked.sets // 3)
    if not asked.heads:
        return
    for distance in MOVED:
        forwards = moved(study, distance)
        for array, world in worlds.items():
            heads = [io.simulation_head(f, world.problem, fixed=True) for f in forwards]
            for snr in (5.0, 10.0, 15.0, 20.0):
                data = (
                    world.recording(s, heads[s // 6 % len(heads)], snr)
                    for s in range(max(asked.sets // 5, 6))
                )
                name = f"{array}: head moved {distance:g} mm, {snr:g} dB"
                print(row(name, [light(world, x) for x in data]), flush=True)


if __name__ == "__main__":
    main()
