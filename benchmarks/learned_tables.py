"""Where learning wins and loses: sources that training had few of, beside direct networks.

    uv run python benchmarks/learned_tables.py [--n 50] [--weights mine.npz] [--picks eeg] \
        [--sample] [--methods eLORETA,unrolled] [--columns "flat patch,one dipole"]

The template head and its 64 EEG channels, or the sample subject ($ESIJAX_DATA); the finer grid
makes the data, 5 dB. The direct networks are trained here, on this head and montage; the shipped
weights met subsets of the template's channels and have never seen the sample subject.
"""

import argparse
import functools
import os
import time
from pathlib import Path

import jax
import mne
import numpy as np

import esijax as ej
from esijax import simulate
from esijax.app.benchmark import study_of
from esijax.benchmark import METHODS
from esijax.benchmark.runner import scored
from esijax.benchmark.scenarios import APART, CLEAR, ERP, PATCH, _setting
from esijax.benchmark.study import Study

DATA = Path(os.environ.get("ESIJAX_DATA", "../shared/data")) / "sample"
FILES = {
    "evoked": "audvis-ave.fif.gz",
    "forward": "audvis-oct5-fwd.fif",
    "truth-forward": "audvis-oct6-fwd.fif",
    "noise-cov": "audvis-cov.fif",
    "bem": "three-layer-320-bem-sol.fif",
}
DIRECT = {"linear": {}, "mlp": {"steps": 1500, "batch": 48, "patience": 30, "held_out": 12}}
SNR = (-6.0, 14.0)  # dB, in training


def kinds(study):
    """Sources and waveform of each column."""
    patches = functools.partial(simulate.Patches, study.patches, area=PATCH)
    related = ERP(correlation=0.9)
    return {
        "one patch": (patches(1), ERP()),
        "two correlated": (patches(2, min_distance=APART), related),
        "four patches": (patches(4), ERP()),
        "flat patch": (patches(1, profile="flat"), ERP()),
        "two flat": (patches(2, profile="flat", min_distance=APART), related),
        "one dipole": (simulate.Dipoles(1), ERP()),
        "two dipoles": (simulate.Dipoles(2, min_distance=APART), ERP()),
    }


def trained(study, picks):
    """Direct networks, trained on all kinds of sources for this head and montage."""
    scenarios = [
        s
        for one in kinds(study).values()
        for s in _setting(study, *one, SNR, picks=picks).scenarios
    ]
    for kind, schedule in DIRECT.items():
        start, task = time.process_time(), ej.learn.Task(scenarios, kind, **schedule)
        network = ej.learn.train(task, key=0, progress=False)
        print(f"{kind}: trained in {time.process_time() - start:.0f} CPU s", flush=True)
        yield kind, functools.partial(_solve, None, ej.inference.Direct(network))


def _solve(model, method, case):
    return ej.solve(case.problem, model, method)


def table(name, setting, methods, n):
    """Print one column: means over data sets, with the standard error of EMD."""
    print(f"\n{name}: EMD mm, AUC (means), peak error mm (median), CRPS of the active; of {n}")
    cases = list(setting.cases(n))
    for method, solve in methods.items():
        failures = []
        rows = [scored(case, solve, failures) for case in cases]
        if failures:
            print(f"  {method}: {failures[0][:100]}", flush=True)
            continue
        emd, auc, peak, crps = (
            np.array([row.get(key, np.nan) for row in rows])
            for key in ("emd_mm", "auc", "peak_error_mm", "crps_active_nAm")
        )
        print(
            f"  {method}: {emd.mean():.1f} (se {emd.std() / np.sqrt(n):.1f}), {auc.mean():.3f}, "
            f"{np.median(peak):.1f}, {np.median(crps):.1f}",
            flush=True,
        )


def main():
    """Train the direct networks where they are asked for, then score every method."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--n", type=int, default=50)
    parser.add_argument("--picks", default="eeg")
    parser.add_argument("--weights")
    parser.add_argument("--sample", action="store_true")
    parser.add_argument("--methods", default="eLORETA,MxNE,Champagne,linear,mlp,unrolled")
    parser.add_argument("--columns")
    given = parser.parse_args()
    files = {name: DATA / file for name, file in FILES.items()}
    study = study_of(files, None, ()) if given.sample else Study.template()
    named = given.methods.split(",")
    known = dict(METHODS)
    if given.weights:
        mine = ej.inference.Unrolled(ej.learn.load(given.weights))
        known["unrolled"] = functools.partial(_solve, ej.models.ARD(), mine)
    if set(named) & set(DIRECT):
        known |= dict(trained(study, given.picks))
    methods = {name: known[name] for name in named}
    chosen = given.columns.split(",") if given.columns else [*kinds(study), "half the channels"]
    for name in chosen:
        if name != "half the channels":
            setting = _setting(study, *kinds(study)[name], CLEAR, picks=given.picks)
        else:
            names = study.problem(given.picks).labels.ch_names[::2]
            setting = _setting(study, *kinds(study)["one patch"], CLEAR, picks=list(names))
        table(name, setting, methods, given.n)


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    mne.set_log_level("ERROR")
    main()
