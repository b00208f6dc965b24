"""Answers larger than the memory, and float32 (rows 64 and 65)."""

import json
import os
import subprocess
import sys
from collections.abc import Callable

import jax
import numpy as np
import pytest
from bad_rows import AVE, COV, FWD, WORKS, Table, check_case

import esijax as ej
from esijax import InputError

TABLE = Table()
row = TABLE.row


def _limited(gigabytes: str, ask: Callable) -> Callable:
    def build(x):
        estimate = x.run()[0]

        def act():
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("ESIJAX_MAX_GB", gigabytes)
                return ask(estimate)

        return act

    return build


for _name, _gb, _ask, _need in [
    ("mean", "0.0001", lambda e: e.mean, "1996 x 3 x 13 x 8 B"),
    ("exceedance", "0.0001", lambda e: e.exceedance(1.0), "ESIJAX_MAX_GB"),
    ("draws", "1", lambda e: e.sample(jax.random.key(0), 4000), "= 2.5 GB"),
    ("std-as-stc", "0.0001", lambda e: ej.to_mne(e, "std"), "ESIJAX_MAX_GB"),
    ("no-number", "much", lambda e: e.mean, "ESIJAX_MAX_GB"),
]:
    row(64, f"memory-{_name}", InputError, _need, "ESIJAX_MAX_GB")(_limited(_gb, _ask))


SINGLE = """
import json, sys, warnings
import numpy as np
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import esijax as ej, mne
    warnings.resetwarnings(); caught.clear(); warnings.simplefilter("always")
    mne.set_log_level("ERROR")
    ave, cov, fwd, folder = sys.argv[1:]
    evoked = mne.read_evokeds(ave, verbose="ERROR")[3].apply_baseline((None, 0)).crop(0.08, 0.1)
    problem = ej.from_mne(evoked, mne.read_forward_solution(fwd), mne.read_cov(cov))
    for _ in range(2):
        first = ej.solve(problem, ej.models.MinimumNorm(), ej.inference.Linear("dSPM"))
    second = ej.solve(problem, None, ej.inference.LCMV())
    finite = all(bool(np.isfinite(a).all()) for e in (first, second) for a in (e.mean, e.std))
    np.save(folder + "/mean.npy", first.mean)
text = [(w.category.__name__, str(w.message)) for w in caught]
print(json.dumps({"dtype": str(first.mean.dtype), "finite": finite, "warnings": text}))
"""


@row(65, "float32", WORKS, slow=True)
def _(x):
    def act():
        arguments = [sys.executable, "-c", SINGLE, *map(str, (AVE, COV, FWD, x.folder))]
        environment = {**os.environ, "JAX_ENABLE_X64": "0"}
        done = subprocess.run(
            arguments, capture_output=True, text=True, env=environment, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
        said = json.loads(done.stdout.splitlines()[-1])
        assert said["dtype"] == "float32"
        assert said["finite"]
        assert [kind for kind, _ in said["warnings"]] == ["EsijaxWarning"], said["warnings"]
        assert "jax_enable_x64" in said["warnings"][0][1]
        single, double = np.load(x.folder / "mean.npy"), np.asarray(x.run()[0].mean)
        assert np.abs(single - double).max() < 1e-3 * np.abs(double).max()

    return act


@pytest.mark.parametrize("case", TABLE.params())
def test_bad_memory(case, good_inputs, tmp_path):
    check_case(case, good_inputs, tmp_path)
