"""Lead fields of the sample subject's head: esijax against MNE-Python."""

import os
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import mne
import numpy as np
import pytest

import esijax as ej

pytestmark = pytest.mark.bench
WHO = ["esijax", "mne"]
ROOT = Path(os.environ.get("ESIJAX_DATA", "../shared/data")) / "sample"
LAYERS = {"3 x 320": "three-layer-320-bem-sol.fif", "1280": "one-layer-1280-bem-sol.fif"}


@pytest.fixture(scope="module")
def head(sample):
    """Info, source space of 8,003 locations, transform, solutions."""
    _, _, forward = sample
    info = ej.io.read_evoked(ROOT / "audvis-ave.fif.gz", "Right visual").info
    trans = mne.read_trans(ROOT / "head-mri-trans.fif")
    bems = {name: mne.read_bem_solution(ROOT / file) for name, file in LAYERS.items()}
    return info, forward["src"], trans, bems


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("layers", LAYERS)
def test_leadfield(head, race, layers, who):
    """8,003 x 3 sources: 366 channels in three layers, 306 (MEG) in one."""
    info, src, trans, bems = head
    eeg = layers != "1280"
    positions = np.concatenate([s["rr"][s["vertno"]] for s in src])

    def ours():
        picks = [
            n
            for n, k in zip(info["ch_names"], info.get_channel_types(), strict=True)
            if k in ("mag", "grad") or (eeg and k == "eeg")
        ]
        model = ej.io.head_model(bems[layers], trans)
        sensors = ej.io.sensors(info, picks=picks)
        return model.leadfield(positions, None, sensors).gain.block_until_ready()

    def theirs():
        return mne.make_forward_solution(info, trans, src, bems[layers], eeg=eeg)

    run = ours if who == "esijax" else theirs
    race(f"lead field of 8,003 x 3, layers of {layers} triangles", who, run, rounds=3)


@pytest.mark.parametrize("who", WHO)
def test_assembly(head, race, who):
    """3 x 1280 triangles: the inner skull, grown twice, to a full solution."""
    one = head[3]["1280"]["surfs"][0]
    middle = one["rr"].mean(axis=0)
    layers = []
    for grow, number, sigma in ((1.25, 4, 0.3), (1.1, 3, 0.006), (1.0, 1, 0.3)):
        layer = dict(one, id=number, sigma=sigma, tris=one["tris"].astype(np.int32))
        layers.append(dict(layer, rr=middle + grow * (one["rr"] - middle)))

    def ours():
        model = ej.io.head_model(layers, head[2])
        return model.solved().solution.block_until_ready()

    def theirs():
        return mne.make_bem_solution([dict(layer) for layer in layers])

    run = ours if who == "esijax" else theirs
    race("BEM solution, 3 x 1280 triangles", who, run, rounds=3)


def test_gradient(head, race):
    """A scalar of the lead field of 8,003 x 3 x 366, and its gradient in three conductivities."""
    info, src, trans, bems = head
    positions = jnp.asarray(np.concatenate([s["rr"][s["vertno"]] for s in src]))
    model = ej.io.head_model(bems["3 x 320"], trans, assemble=True)
    sensors = ej.io.sensors(info)
    weight = np.array([1.0 if k == "eeg" else 1e6 for k in sensors.ch_types])[:, None, None]

    @jax.jit
    def value(sigma, model, positions, sensors):
        field = model.with_conductivities(sigma).leadfield(positions, None, sensors)
        return jnp.mean((weight * field.gain) ** 2)

    slope = jax.jit(jax.value_and_grad(value))
    arguments = (model.conductivities, model, positions, sensors)
    took = {}
    for name, function in (("value", value), ("value and gradient", slope)):
        jax.block_until_ready(function(*arguments))
        times = []
        for _ in range(5):
            start = time.perf_counter()
            jax.block_until_ready(function(*arguments))
            times.append(time.perf_counter() - start)
        took[name] = float(np.median(times))
    print(f"\n{took}: {took['value and gradient'] / took['value']:.2f} evaluations")
    race(
        "gradient in the conductivities",
        "esijax",
        lambda: jax.block_until_ready(slope(*arguments)),
        rounds=3,
    )


COLD = {
    "esijax": """
import jax
jax.config.update("jax_enable_x64", True)
if cache:
    jax.config.update("jax_compilation_cache_dir", cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
import esijax as ej
model = ej.io.head_model(root + "/three-layer-320-bem-sol.fif", root + "/head-mri-trans.fif")
sensors = ej.io.sensors(info)
model.leadfield(np.load(folder + "/positions.npy"), None, sensors).gain.block_until_ready()
""",
    "mne": """
bem = mne.read_bem_solution(root + "/three-layer-320-bem-sol.fif")
mne.make_forward_solution(info, root + "/head-mri-trans.fif", src, bem)
""",
}
PROCESS = """
from time import process_time
import numpy as np, mne
mne.set_log_level("ERROR")
root, folder, cache = {paths}
def read():
    info = mne.read_evokeds(root + "/audvis-ave.fif.gz")[0].info
    return info, mne.read_source_spaces(folder + "/x-src.fif")
read()  # the first time it imports, too
start = process_time()
info, src = read()
twice = 2 * (process_time() - start)
{code}
print(process_time() - twice)
"""


def cold_seconds(folder, code: str, cache: str = "") -> float:
    """CPU time of a fresh interpreter, imports and all, without reading info and sources."""
    source = PROCESS.format(paths=(str(ROOT.resolve()), str(folder), cache), code=code)
    run = [sys.executable, "-c", source]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def test_cold_process(head, race, tmp_path):
    """The whole from a fresh interpreter, in turns: imports, compilation and the lead field."""
    src = head[1]
    np.save(tmp_path / "positions.npy", np.concatenate([s["rr"][s["vertno"]] for s in src]))
    mne.write_source_spaces(tmp_path / "x-src.fif", src, overwrite=True)
    kept = str(tmp_path / "programs")  # as the command line keeps them
    cold_seconds(tmp_path, COLD["esijax"], kept)
    turns = [
        (
            cold_seconds(tmp_path, COLD["mne"]),
            cold_seconds(tmp_path, COLD["esijax"]),
            cold_seconds(tmp_path, COLD["esijax"], kept),
        )
        for _ in range(3)
    ]
    theirs, ours, again = np.median(turns, axis=0)
    print(
        f"\ncold process: mne {theirs:.2f} s, esijax {ours:.2f} s ({theirs / ours:.2f} times), "
        f"with programs compiled before {again:.2f} s ({theirs / again:.2f} times)"
    )
    race("cold process (printed above)", "esijax", lambda: None)
