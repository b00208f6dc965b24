"""A solve in a process of its own, which may be killed at any moment and taken up by another.

    python tests/killed.py METHOD CHECKPOINT LOG

prints a digest of the answer. The log has a line for each state: `at` what it was taken up with,
`to` what a chunk led to. `survived` kills and resumes until the answer is there.
"""

import hashlib
import os
import random
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import NamedTuple

PAUSE = 0.02  # s between a chunk and its checkpoint
NAMES = (
    "EM",
    "Evidence",
    "Laplace",
    "SVI",
    "NUTS",
    "Gibbs",
    "MAP",
    "MAP of blocks",
    "MAP of proximal steps",
    "MAP of Gabor frames",
    "MAP of linear maps",
    "MAP under robust noise",
    "MAP of trials",
    "Reweighted",
)
DIRECT = ("Linear", "eLORETA", "LORETA", "LCMV")  # nothing to resume


def case(name):
    """Problem, model, method and noise; each takes some dozens of small chunks."""
    import numpy as np
    import numpyro.distributions as dist

    import esijax as ej
    from esijax import inference as way
    from esijax import models

    rng = np.random.default_rng(0)
    places = np.stack(np.meshgrid(np.arange(4), np.arange(3), [0.0]), -1).reshape(-1, 3) * 0.01
    gain = rng.standard_normal((8, 12))
    lead = (2,) if name == "MAP of trials" else ()
    data = 4 * gain[:, [3]] * np.hanning(24) + rng.standard_normal((*lead, 8, 24))
    types = ["grad"] * 4 + ["mag"] * 4
    problem = ej.from_arrays(gain, data, noise_cov=1.0, positions=places, ch_types=types)
    ard, tight = models.ARD(dist.InverseGamma(1.0, 0.1)), way.MAP(tol=1e-10)
    per_type = models.noise.PerType(dist.LogNormal(0.0, 0.5))
    found = {
        "EM": (models.ARD(), way.EM(tol=1e-9), models.noise.PerType()),
        "Evidence": (models.ARD(dist.LogNormal(0.0, 1.0)), way.Evidence(), per_type),
        "Laplace": (models.ARD(dist.Gamma(1.0, 1.0)), way.Laplace(), per_type),
        "SVI": (models.Horseshoe(), way.SVI(steps=300), per_type),
        "NUTS": (ard, way.NUTS(40, 200, 2, chunk=10), per_type),
        "Gibbs": (ard, way.Gibbs(200, 400, 2), None),
        "MAP": (models.L21(0.05), tight, None),
        "MAP of blocks": (models.L21(0.05), way.MAP(solver="bcd", tol=1e-10), None),
        "MAP of proximal steps": (models.Elastic(2.0, 0.8), tight, None),
        "MAP of Gabor frames": (models.TimeFrequency(4.0, 0.2, 8, 4), tight, None),
        "MAP of linear maps": (models.SISSY(0.1, 0.4), tight, None),
        "MAP under robust noise": (models.L21(2.0), tight, models.noise.Huber(1.0)),
        "MAP of trials": (models.Elastic(2.0, 0.8), tight, None),
        "Reweighted": (models.L21(0.5), way.Reweighted(8, tol=1e-10), None),
        "Linear": (models.MinimumNorm("evidence"), way.Linear("dSPM"), None),
        "eLORETA": (models.ELORETA(), way.Linear(), None),
        "LORETA": (models.LORETA(), way.Linear("sLORETA"), None),
        "LCMV": (None, way.LCMV(), None),
    }
    return problem, *found[name]


def digest(tree) -> str:
    """Hash of all numbers."""
    import jax
    import numpy as np

    h = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        h.update(np.asarray(leaf).tobytes())
    return h.hexdigest()[:16]


def small_chunks():
    """Let a chunk be a few steps, so that there are many."""
    from esijax.inference.collapsed import _search, variational
    from esijax.inference.collapsed.em import em
    from esijax.inference.collapsed.sampling import _side_by_side
    from esijax.inference.sparse.base import descent as _descent

    em.iterations_per_step = lambda *_: 3
    variational.updates_per_step = lambda *_: 10
    _search.WORK_PER_STEP = 3 * 8 * 8**2 * 20
    _descent.SECONDS = 0.0
    _side_by_side._paced = lambda *_: 15


def main(name, checkpoint, log) -> None:
    """Solve, with a line in the log for each state."""
    import jax

    jax.config.update("jax_enable_x64", True)
    import esijax as ej

    warnings.simplefilter("ignore", ej.EsijaxWarning)
    small_chunks()
    problem, model, method, noise = case(name)
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    cls, known = type(method), [False]
    advance = cls.advance

    def slowly(self, state):
        if not known[0]:
            known[0] = True
            os.write(file, f"at {digest(state.carry)}\n".encode())
        state = advance(self, state)
        os.write(file, f"to {digest(state.carry)}\n".encode())
        time.sleep(PAUSE)
        return state

    cls.advance = slowly
    path = None if checkpoint == "none" else checkpoint
    key = jax.random.key(0)
    estimate = ej.solve(problem, model, method, noise=noise, key=key, checkpoint=path)
    print("answer", digest((estimate.mean, estimate.hyper, estimate.result)), flush=True)


def started(name, checkpoint, log, seed):
    """The solve in a new process of its own hash seed."""
    env = {**os.environ, "PYTHONHASHSEED": str(seed), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, __file__, name, str(checkpoint), str(log)]
    return subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def whole(name, folder, seed=0) -> tuple[str, int]:
    """Answer of an uninterrupted process, and its number of chunks."""
    run = started(name, "none", folder / "whole.log", seed)
    out, errors = run.communicate(timeout=600)
    assert out.startswith("answer"), errors[-2000:]
    return out, (folder / "whole.log").read_text().count("to ")


class Survived(NamedTuple):
    """What came of being killed: kills, wrong answers, refused files, chunks lost at most."""

    kills: int
    wrong: int
    refused: int
    lost: int
    leftovers: int


def survived(name, folder: Path, kills: int, seed: int = 0) -> Survived:
    """Kill a solve at random moments, take it up with other hash seeds, compare the answer."""
    rng = random.Random(seed)
    answer, n_chunks = whole(name, folder)
    done = wrong = refused = lost = 0
    round_number = 0
    while done < kills:
        round_number += 1
        path, log = folder / f"{round_number}.ckpt", folder / f"{round_number}.log"
        out = ""
        while not out:
            before = log.read_text().splitlines() if log.exists() else []
            run = started(name, path, log, rng.randrange(1, 1000))
            if done < kills:
                # some die before their first chunk is compiled, most between two chunks
                first = "at " if rng.random() < 0.2 else "to "
                wait = rng.uniform(0.0, 1.5 * PAUSE * min(n_chunks, 20))
                done += _killed(run, log, len(before), first, wait)
            out, errors = run.communicate(timeout=600)
            lost = max(lost, _lost(before, log.read_text().splitlines()))
            if "esijax._types.InputError:" in errors:
                refused, out = refused + 1, "refused"
            elif run.returncode not in (0, -9):
                raise RuntimeError(errors[-2000:])
        wrong += out not in (answer, "refused")
    leftovers = len([p for p in folder.iterdir() if p.name.startswith(".")])
    return Survived(done, wrong, refused, lost, leftovers)


def _killed(run, log: Path, seen: int, first: str, wait: float) -> bool:
    """Kill some time after the first such line of this process; tell whether it was there."""
    while run.poll() is None:
        lines = log.read_text().splitlines()[seen:] if log.exists() else []
        if any(line.startswith(first) for line in lines):
            time.sleep(wait)
            break
        time.sleep(0.002)
    alive = run.poll() is None
    run.kill()
    return alive


def _lost(before: list[str], after: list[str]) -> int:
    """Chunks that the process before had finished and this one began without."""
    ours = [line.split()[1] for line in after[len(before) :] if line.startswith("at ")]
    starts = [i for i, line in enumerate(before) if line.startswith("at ")]
    if not ours or not starts:
        return 0
    known = [line.split()[1] for line in before[starts[-1] :]]  # where it began, and went
    if ours[0] not in known:
        return 10**6
    return known[::-1].index(ours[0])


if __name__ == "__main__":
    main(*sys.argv[1:])
