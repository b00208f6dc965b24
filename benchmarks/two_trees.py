"""Speed of two trees of esijax on the same work, after compilation, in turns, on one core.

    taskset -c 0 python benchmarks/two_trees.py OLD NEW [NAME ...]

OLD and NEW are folders that hold `esijax`. Prints the shortest of the times of each, and their
ratio. Data: the sample subject (`ESIJAX_DATA`, or ../shared/data).
"""

import os
import subprocess
import sys
import time
import warnings
from pathlib import Path

TURNS, REPEATS = 3, 3
NAMES = ("from_mne", "Linear", "MAP", "irMxNE", "path", "EM", "Laplace", "NUTS")


def work(name):
    """A function that solves, and is compiled."""
    import jax
    import mne

    import esijax as ej

    jax.config.update("jax_enable_x64", True)
    folder = Path(os.environ.get("ESIJAX_DATA", Path(__file__).parents[2] / "shared" / "data"))
    folder = folder if (folder / "audvis-ave.fif.gz").exists() else folder / "sample"
    evoked = mne.read_evokeds(folder / "audvis-ave.fif.gz", "Left Auditory", verbose="ERROR")
    evoked.info["bads"] = ["MEG 2443", "EEG 053"]
    forward = mne.read_forward_solution(
        next(folder.glob("*oct5*fwd.fif*"), next(folder.glob("*fwd.fif*"))), verbose="ERROR"
    )
    cov = mne.read_cov(next(folder.glob("*cov.fif*")), verbose="ERROR")
    problem = ej.from_mne(evoked.crop(0.05, 0.15), forward, cov, loose=0)
    patches, key = ej.models.Components(ej.models.components.Patches(60)), jax.random.key(0)
    given = {
        "from_mne": lambda: ej.from_mne(evoked, forward, cov, loose=0).data,
        "Linear": lambda: ej.solve(problem, ej.models.MinimumNorm(), ej.inference.Linear()).std,
        "MAP": lambda: ej.solve(problem, ej.models.L21(ej.relative(0.3)), ej.inference.MAP()).mean,
        "irMxNE": lambda: (
            ej.solve(
                problem, ej.models.L21(ej.models.relative(0.3)), ej.inference.Reweighted()
            ).mean
        ),
        "path": lambda: ej.inference.select.path(problem, ej.models.L21(1.0))[-1].mean,
        "EM": lambda: ej.solve(problem, ej.models.ARD(), ej.inference.EM(max_iter=100)).mean,
        "Laplace": lambda: ej.solve(problem, patches, ej.inference.Laplace(), key=key).mean,
        "NUTS": lambda: ej.solve(problem, patches, ej.inference.NUTS(40, 40, 1), key=key).mean,
    }
    return lambda: jax.block_until_ready(given[name]())


def one(name):
    """Shortest time in this process, after the first call."""
    warnings.simplefilter("ignore")
    solve = work(name)
    solve()
    times = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        solve()
        times.append(time.perf_counter() - begin)
    print(min(times))


def main(old, new, *chosen):
    for name in chosen or NAMES:
        times = {old: [], new: []}
        for _ in range(TURNS):
            for tree in (old, new):
                env = {**os.environ, "PYTHONPATH": tree}
                line = [sys.executable, __file__, "--one", name]
                done = subprocess.run(line, env=env, capture_output=True, text=True, check=True)
                times[tree].append(float(done.stdout.split()[-1]))
        before, after = (min(times[tree]) for tree in (old, new))
        print(f"{name:10} {before:8.3f} s {after:8.3f} s  {after / before:5.2f}", flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "--one":
        one(sys.argv[2])
    else:
        main(*(str(Path(tree).resolve()) for tree in sys.argv[1:3]), *sys.argv[3:])
