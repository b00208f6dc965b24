"""Peers that live in an environment of their own: invertmeeg and CaliBrain, in a subprocess.

The environment variable ESIJAX_PEERS_PYTHON names its Python. Data go over as files; what comes
back is a map, without the posterior covariance that CaliBrain has. invertmeeg inverts along the
cortical normals, whatever the orientations of the problem.
"""

import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import mne
import numpy as np

from esijax.benchmark.case import Case
from esijax.benchmark.peers import PeerAnswer

VARIABLE = "ESIJAX_PEERS_PYTHON"
LIMIT = 600  # s, for one map

CALIBRAIN = """
import sys, numpy as np
from calibrain import SourceEstimator
from calibrain.source_estimation import {solver} as solve
given = np.load(sys.argv[1])
estimator = SourceEstimator(solver=solve, n_orient=int(given["n_orient"]), noise_var=1.0)
estimator.fit(given["gain"], given["data"])
np.save(sys.argv[2], estimator.predict()["posterior_mean"])
"""
INVERTMEEG = """
import sys, mne, numpy as np
from invert import Solver
folder = sys.argv[1]
evoked = mne.read_evokeds(folder + "/case-ave.fif", 0, verbose="ERROR")
forward = mne.read_forward_solution(folder + "/case-fwd.fif", verbose="ERROR")
if forward["source_ori"] != 1:
    forward = mne.convert_forward_solution(forward, force_fixed=True, verbose="ERROR")
cov = mne.read_cov(folder + "/case-cov.fif", verbose="ERROR")
solver = Solver("{solver}")
solver.make_inverse_operator(forward, evoked, alpha="auto", noise_cov=cov)
np.save(sys.argv[2], solver.apply_inverse_operator(evoked).data)
"""


def available(tell: Callable[[str], None]) -> dict[str, Callable[[Case], PeerAnswer]]:
    """Peers that are installed; says which are not, and what to do."""
    python = os.environ.get(VARIABLE)
    if not python:
        tell(
            f"--peers all: {VARIABLE} is not set, so that invertmeeg and CaliBrain are left out; "
            "it names the Python of an environment that has them"
        )
        return {}
    out: dict[str, Callable[[Case], PeerAnswer]] = {}
    for module, names, make in (
        ("calibrain", ("gamma_map", "BMN"), _calibrain_solver),
        ("invert", ("champagne", "eloreta"), _invertmeeg),
    ):
        try:
            found = subprocess.run([python, "-c", f"import {module}"], capture_output=True)
            why = found.stderr.decode(errors="replace") if found.returncode else ""
        except OSError as error:
            why = f"{VARIABLE}={python}: {error.strerror}"
        if why:
            tell(f"--peers all: {module} is left out: {why.strip().splitlines()[-1]}")
            continue
        out |= {f"{module}: {name}": make(python, name) for name in names}
    return out


def _calibrain_solver(python: str, solver: str) -> Callable[[Case], PeerAnswer]:
    def run(case: Case) -> PeerAnswer:
        problem = case.problem
        gain = np.asarray(problem.gain)
        with tempfile.TemporaryDirectory() as folder:
            given, found = Path(folder) / "given.npz", Path(folder) / "found.npy"
            flat = gain.reshape(len(gain), -1)
            np.savez(given, gain=flat, data=np.asarray(problem.data), n_orient=gain.shape[2])
            _call([python, "-c", CALIBRAIN.format(solver=solver), str(given), str(found)])
            mean = np.load(found).reshape(*gain.shape[1:], -1)
        return PeerAnswer(mean * float(problem.source_unit))

    return run


def _invertmeeg(python: str, solver: str) -> Callable[[Case], PeerAnswer]:
    def run(case: Case) -> PeerAnswer:
        with tempfile.TemporaryDirectory() as folder:
            mne.write_evokeds(f"{folder}/case-ave.fif", case.evoked, verbose="ERROR")
            mne.write_cov(f"{folder}/case-cov.fif", case.noise_cov, verbose="ERROR")
            names = list(case.problem.labels.ch_names)
            forward = mne.pick_channels_forward(case.forward, names, ordered=True, verbose="ERROR")
            mne.write_forward_solution(f"{folder}/case-fwd.fif", forward, verbose="ERROR")
            found = f"{folder}/found.npy"
            _call([python, "-c", INVERTMEEG.format(solver=solver), folder, found])
            data = np.load(found)
        return PeerAnswer(data.reshape(case.problem.n_locations, -1, data.shape[-1]))

    return run


def _call(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["no message"])[-1])
