"""`localize` on every kind of source space: estimate, maps that MNE reads, pictures, report."""

import mne
import numpy as np
import pytest
from test_cli import esijax as in_this_process
from worlds import covariance_of, forward_of, info_of, samples_of

import esijax as ej

esijax = in_this_process
SURFACES = ["mean-lh.stc", "mean-rh.stc", "std-lh.stc", "std-rh.stc"]
MAPS = {
    "left": SURFACES,
    "right": SURFACES,
    "volume": ["mean-vl.stc", "std-vl.stc"],
    "volumes": ["mean-1-vl.stc", "mean-2-vl.stc", "std-1-vl.stc", "std-2-vl.stc"],
    "mixed": [*SURFACES, "mean-vl.stc", "std-vl.stc"],
    "mixed discrete": [*SURFACES, "mean-vl.stc", "std-vl.stc"],
}


@pytest.mark.slow
@pytest.mark.parametrize("space", MAPS)
def test_localize_on_any_source_space(esijax, tmp_path, monkeypatch, space):
    info, forward, rng = info_of("eeg32"), forward_of("eeg32", space), np.random.default_rng(0)
    evoked = mne.EvokedArray(samples_of(info, forward, rng, 6), info, comment="x", verbose="ERROR")
    evoked.set_eeg_reference(projection=True, verbose="ERROR").apply_proj(verbose="ERROR")
    names = {n: tmp_path / f"x-{n}.fif" for n in ("ave", "cov")}
    evoked.save(names["ave"], verbose="ERROR")
    # MNE-Python writes no volume that was made without an MRI
    monkeypatch.setattr(ej.io, "read_forward", lambda _: forward)
    cov = mne.Covariance(covariance_of(info, rng), info["ch_names"], [], [], 1000)
    cov.save(names["cov"], verbose="ERROR")
    out = tmp_path / "out"
    code, said, err = esijax("localize", names["ave"], "--forward", "x-fwd.fif", "--noise-cov",
                             names["cov"], "--method", "MNE", "--out", out)  # fmt: skip
    assert (code, err) == (0, "")
    assert "peak: " in said
    assert {p.name for p in out.iterdir()} == {
        "estimate.npz", "localize.log", "map.png", "places.csv", "report.html", *MAPS[space]
    }  # fmt: skip
    estimate = ej.load(out / "estimate.npz")
    page = (out / "report.html").read_text("utf-8")
    # on a cortex where all sources are on one, else as points
    assert ("srcdoc" in page) == (set(estimate.problem.labels.kinds) == {"surface"})
    amplitude = np.linalg.norm(np.asarray(estimate.mean), axis=-2)
    if MAPS[space] is SURFACES:
        stc = mne.read_source_estimate(out / "mean", subject="fsaverage")
        np.testing.assert_allclose(stc.data, amplitude, rtol=1e-5)
