"""Files with one bit turned or the end lost: an InputError, or an answer.

What has a checksum gives the right answer or an InputError; in other files a turned bit may be a
number that nobody can tell from another, but never another exception, a hang or all the memory.
Each kind of file is read in a process of its own, whose memory is bounded.
"""

import collections
import json
import os
import resource
import subprocess
import sys
import warnings
from pathlib import Path

import mne
import numpy as np
import pytest
import scipy.io
from damage import damaged

import esijax as ej
from esijax.forward import Sensors, SphereModel

pytestmark = pytest.mark.slow
NAMES = ["Fz", "Cz", "Pz"]
MEMORY = 6 * 2**30  # address space; a file of a few kB takes 0.3 GB of memory, the libraries'
SECONDS = 400


# ------------------------------------------------------------------ what is read, and what counts
def _lead_field(path):
    named = "brainstorm" in path.name
    field = ej.io.read_leadfield(path, ch_names=NAMES if named else None)
    return field.gain, field.positions, np.array(field.ch_names)


def _estimate(path):
    estimate = ej.load(path)
    return estimate.mean, estimate.std


def _problem(path):
    """A problem from the damaged file and its whole companions."""
    folder = path.parent
    files = {k: folder / f"{k}.fif" for k in ("x-ave", "x-fwd", "x-cov")}
    files[next(k for k in files if k[1:] in path.name)] = path
    evoked = ej.io.read_evoked(files["x-ave"])
    forward = ej.io.read_forward(files["x-fwd"])
    problem = ej.from_mne(evoked, forward, ej.io.read_noise_cov(files["x-cov"]))
    return problem.gain, problem.data


READERS = {".mat": _lead_field, ".npz": _estimate, ".fif": _problem}


def outcomes(path, seed):
    """How often what happened; run in a process of its own."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    warnings.simplefilter("ignore")
    mne.set_log_level("ERROR")
    read, seen = READERS[path.suffix], collections.Counter()
    right, content = read(path), path.read_bytes()
    broken = path.with_name(f"broken{path.name}")
    for i, (kind, other) in enumerate(damaged(content, np.random.default_rng(seed))):
        broken.write_bytes(other)
        try:
            same = all(np.array_equal(a, b) for a, b in zip(read(broken), right, strict=True))
            end = "right" if same else "another"
        except ej.InputError:
            end = "InputError"
        except BaseException as error:
            end = f"{type(error).__name__} of number {i}, seed {seed}: {error}"[:300]
        seen[f"{kind}: {end}"] += 1
    return seen


if __name__ == "__main__":
    print(json.dumps(outcomes(Path(sys.argv[1]), int(sys.argv[2]))))
    sys.exit()


def told(path, seed=0):
    """Outcomes by kind of damage, of a process whose memory and time are bounded."""
    run = subprocess.run(
        [sys.executable, __file__, path, str(seed)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert run.returncode == 0, run.stderr[-2000:]
    seen = json.loads(run.stdout.splitlines()[-1])
    print(path.name, seen)
    foreign = {k: n for k, n in seen.items() if k.split(": ")[1] not in ENDS}
    assert not foreign
    assert sum(seen.values()) == 400
    return seen


ENDS = ("right", "another", "InputError")


# ------------------------------------------------------------------ own files
def test_estimates(fixed, tmp_path):
    estimate = ej.solve(fixed, ej.models.MinimumNorm(), ej.inference.Linear("dSPM"))
    seen = told(ej.save(estimate, tmp_path / "x.npz"))
    assert seen == {"flip: InputError": 300, "truncation: InputError": 100}


# ------------------------------------------------------------------ MATLAB
@pytest.fixture(scope="module")
def field():
    v = np.array([[0.3, 0.5, 1.0], [0.0, 0.0, 1.0], [-0.2, -0.6, 0.8]])
    at = 0.09 * v / np.linalg.norm(v, axis=1, keepdims=True) + [0, 0, 0.04]
    places = np.random.default_rng(0).uniform(-0.04, 0.04, (12, 3)) + np.array([0, 0, 0.04])
    return SphereModel().leadfield(places, None, Sensors.eeg(at, ch_names=NAMES))


def brainstorm(path, field, compressed):
    gain = np.asarray(field.gain).reshape(3, -1)
    content = {"Gain": gain, "GridLoc": np.asarray(field.positions)}
    scipy.io.savemat(path, content, do_compression=compressed)


def fieldtrip(path, field, compressed):
    cells = np.empty(12, dtype=object)
    cells[:] = list(np.asarray(field.gain).transpose(1, 0, 2))
    grid = {"leadfield": cells, "pos": np.asarray(field.positions), "unit": "m"}
    grid |= {"label": np.array(NAMES, dtype=object), "cfg": {"method": "sphere", "n": 3}}
    scipy.io.savemat(path, {"grid": grid}, do_compression=compressed)


@pytest.mark.parametrize("write", [brainstorm, fieldtrip])
@pytest.mark.parametrize("compressed", [True, False], ids=["compressed", "plain"])
def test_matlab_5(field, tmp_path, write, compressed):
    """Compressed: right only where a bit of the head's text was turned, 124 bytes nobody reads."""
    path = tmp_path / f"{write.__name__}.mat"
    write(path, field, compressed)
    seen = told(path)
    assert seen["truncation: InputError"] == 100
    if compressed:
        assert "flip: another" not in seen
        share = 124 / path.stat().st_size
        assert seen.get("flip: right", 0) < 300 * share + 4 * np.sqrt(300 * share)


@pytest.mark.parametrize("options", [{}, {"compression": "gzip", "chunks": True}], ids=str)
def test_matlab_7_3(field, tmp_path, options):
    import h5py

    path = tmp_path / "new_york.mat"
    with h5py.File(path, "w") as file:
        cortex = file.create_group("sa/cortex75K")
        cortex.create_dataset("V_fem", data=np.asarray(field.gain).T / 1e3, **options)
        cortex.create_dataset("vc", data=1e3 * np.asarray(field.positions).T, **options)
        for i, name in enumerate(NAMES):
            file[f"#refs#/{i}"] = np.array([[ord(c)] for c in name], dtype=np.uint16)
        refs = [[file[f"#refs#/{i}"].ref for i in range(3)]]
        file["sa/clab_electrodes"] = np.array(refs, dtype=h5py.ref_dtype)
    assert told(path)["truncation: InputError"] == 100


# ------------------------------------------------------------------ FIF
@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Thirty-two electrodes on a sphere, forty sources, a covariance: small files of MNE."""
    folder = tmp_path_factory.mktemp("fif")
    montage = mne.channels.make_standard_montage("biosemi32")
    info = mne.create_info(montage.ch_names, 500.0, "eeg")
    info.set_montage(montage)
    rng = np.random.default_rng(0)
    normals = rng.standard_normal((40, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    places = {"rr": np.array([0, 0, 0.04]) + 0.06 * normals, "nn": normals}
    src = mne.setup_volume_source_space(pos=places, verbose="ERROR")
    sphere = mne.make_sphere_model((0.0, 0.0, 0.04), 0.095, verbose="ERROR")
    trans = mne.transforms.Transform("head", "mri")
    forward = mne.make_forward_solution(info, trans, src, sphere, verbose="ERROR")
    evoked = mne.EvokedArray(1e-6 * rng.standard_normal((32, 9)), info, nave=10, verbose="ERROR")
    evoked.set_eeg_reference(projection=True, verbose="ERROR")
    cov = mne.make_ad_hoc_cov(evoked.info, std={"eeg": 1e-6}, verbose="ERROR")
    mne.write_forward_solution(folder / "x-fwd.fif", forward, verbose="ERROR")
    mne.write_evokeds(folder / "x-ave.fif", evoked, verbose="ERROR")
    mne.write_cov(folder / "x-cov.fif", cov, verbose="ERROR")
    return folder


@pytest.mark.parametrize("name", ["x-ave.fif", "x-fwd.fif", "x-cov.fif"])
@pytest.mark.parametrize("seed", [0, 1])
def test_fif(folder, name, seed):
    told(folder / name, seed)
