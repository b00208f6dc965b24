"""The way back: MNE's source estimates, .stc files."""

import dataclasses
from pathlib import Path

import mne
import numpy as np
import pytest

import esijax as ej
from esijax.models.posteriors.point import PointPosterior


@pytest.fixture(scope="module")
def problem(evoked, forward, noise_cov):
    """EEG only, every eighth source, three orients."""
    some = evoked.copy().pick("eeg", exclude=())
    return ej.from_mne(some, forward, noise_cov, loose=0.2)


@pytest.fixture(scope="module")
def estimate(problem):
    return ej.solve(problem, ej.models.MinimumNorm(), ej.inference.Linear("dSPM"))


def test_classes_and_units(estimate):
    labels = estimate.problem.labels
    vector = ej.to_mne(estimate)
    assert type(vector) is mne.VectorSourceEstimate
    normal = ej.to_mne(estimate, pick_ori="normal")
    assert type(normal) is mne.SourceEstimate
    frames = np.asarray(estimate.problem.geometry.frames)
    np.testing.assert_allclose(
        normal.data, np.einsum("ldt,ld->lt", vector.data, frames[:, 2]), atol=1e-12
    )
    magnitude = ej.to_mne(estimate, pick_ori="magnitude")
    np.testing.assert_allclose(magnitude.data, np.linalg.norm(vector.data, axis=1), rtol=1e-12)
    assert magnitude.tmin == pytest.approx(labels.tmin)
    assert magnitude.sfreq == pytest.approx(labels.sfreq)
    assert [len(v) for v in magnitude.vertices] == [len(v) for v in labels.vertices]


def test_standard_deviation_and_probability(estimate):
    frames, cov = np.asarray(estimate.problem.geometry.frames), np.asarray(estimate.cov)
    std = ej.to_mne(estimate, "std").data
    turned = frames.transpose(0, 2, 1) @ cov @ frames
    np.testing.assert_allclose(std[..., 0] ** 2, np.einsum("ldd->ld", turned), rtol=1e-9)
    assert np.all(std == std[..., :1])
    normal = ej.to_mne(estimate, "std", pick_ori="normal").data
    np.testing.assert_allclose(normal[:, 0], np.asarray(estimate.std)[:, 2, 0], rtol=1e-12)
    magnitude = ej.to_mne(estimate, "std", pick_ori="magnitude").data[:, 0]
    np.testing.assert_allclose(magnitude**2, np.trace(cov, axis1=1, axis2=2), rtol=1e-12)
    probability = ej.to_mne(estimate, "exceedance", threshold=3.0)
    assert type(probability) is mne.SourceEstimate
    np.testing.assert_array_equal(probability.data, estimate.exceedance(3.0))
    assert probability.data.min() >= 0
    assert probability.data.max() <= 1


def test_fixed_orients_give_signed_maps(evoked, forward, noise_cov):
    eeg = evoked.copy().pick("eeg", exclude=())
    problem = ej.from_mne(eeg, forward, noise_cov, loose=0.0)
    estimate = ej.solve(problem, ej.models.MinimumNorm(), ej.inference.Linear())
    signed = ej.to_mne(estimate)
    assert type(signed) is mne.SourceEstimate
    assert signed.data.min() < 0
    np.testing.assert_array_equal(
        ej.to_mne(estimate, pick_ori="magnitude").data, np.abs(signed.data)
    )


def test_labels_of_mne(estimate):
    """Vertices of the label that are sources, in its hemisphere."""
    vertices = estimate.problem.labels.vertices
    for side, hemi in enumerate(("lh", "rh")):
        chosen = vertices[side][10:15]
        label = mne.Label(np.unique(np.r_[chosen, chosen + 1]), hemi=hemi, name="patch")
        course = estimate.label(label)
        index = np.arange(10, 15) + side * len(vertices[0])
        np.testing.assert_allclose(course.mean, estimate.label(index).mean)
    nothing = mne.Label([0], hemi="lh", name="nothing")
    if 0 not in vertices[0]:
        with pytest.raises(ej.InputError, match="holds none of the source locations"):
            estimate.label(nothing)


def test_stc_files_are_read_by_mne(estimate, tmp_path):
    written = ej.io.write_stc(estimate, tmp_path / "map", "mean", "normal")
    assert sorted(p.name for p in written) == ["map-lh.stc", "map-rh.stc"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["map-lh.stc", "map-rh.stc"]
    back = mne.read_source_estimate(tmp_path / "map")
    want = ej.to_mne(estimate, "mean", "normal")
    np.testing.assert_allclose(back.data, want.data, rtol=1e-6, atol=1e-6)  # float32 on disk
    for a, b in zip(back.vertices, want.vertices, strict=True):
        np.testing.assert_array_equal(a, b)
    ej.io.write_stc(estimate, tmp_path / "map", "std", "magnitude")  # replaces
    again = mne.read_source_estimate(tmp_path / "map")
    assert np.abs(again.data - back.data).max() > 0.1
    with pytest.raises(ej.InputError, match="scalars"):
        ej.io.write_stc(estimate, tmp_path / "map", pick_ori="vector")


def test_a_failing_stc_write_keeps_the_old_files(estimate, tmp_path, monkeypatch):
    """All or none: the disk is full at the second file, the first is not replaced either."""
    ej.io.write_stc(estimate, tmp_path / "map")
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    write, written = Path.write_bytes, []

    def full(path, content):
        written.append(path)
        if len(written) == 2:
            raise OSError(28, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ej.InputError, match="No space"):
        ej.io.write_stc(estimate, tmp_path / "map", "std")
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    with pytest.raises(ej.InputError, match=r"none: cannot be written to \(no such folder\)"):
        ej.io.write_stc(estimate, tmp_path / "none" / "map")


# ------------------------------------------------------------------ mixed and single spaces
LEFT, RIGHT, DEEP = np.array([3, 5, 8, 13, 21, 34]), np.array([1, 5, 7, 21]), np.arange(100, 110)
NONE = np.zeros(0, dtype=int)
CORTEX = ("surface", "surface")


def placed(problem, kinds, vertices):
    """The estimate of a small problem whose twenty locations are of these source spaces."""
    labels = dataclasses.replace(problem.labels, kinds=kinds, vertices=vertices, subject="held")
    problem = dataclasses.replace(problem, labels=labels)
    return ej.solve(problem, ej.models.MinimumNorm(), ej.inference.Linear())


def test_cortex_and_volume(free, tmp_path):
    estimate = placed(free, (*CORTEX, "volume"), (LEFT, RIGHT, DEEP))
    stc = ej.to_mne(estimate, pick_ori="magnitude")
    assert type(stc) is mne.MixedSourceEstimate
    vector = ej.to_mne(estimate)
    assert type(vector) is mne.MixedVectorSourceEstimate
    np.testing.assert_allclose(np.linalg.norm(vector.data, axis=1), stc.data, rtol=1e-10)
    for what, kwargs in {"std": {}, "exceedance": {"threshold": 1e-3}}.items():
        other = ej.to_mne(estimate, what, "magnitude", **kwargs)
        assert type(other) is mne.MixedSourceEstimate
        assert other.data.shape == stc.data.shape
    with pytest.raises(ej.InputError, match="a volume has no normals: pick_ori None"):
        ej.to_mne(estimate, pick_ori="normal")
    files = ej.io.write_stc(estimate, tmp_path / "map")
    assert [p.name for p in files] == ["map-lh.stc", "map-rh.stc", "map-vl.stc"]
    assert sorted(tmp_path.iterdir()) == files
    cortex, volume = (mne.read_source_estimate(tmp_path / n) for n in ("map", "map-vl.stc"))
    for back, want in ((cortex, stc.surface()), (volume, stc.volume())):
        assert type(back) is type(want)
        np.testing.assert_allclose(back.data, want.data, rtol=1e-6)
        np.testing.assert_allclose(back.times, want.times, atol=1e-6)
        for a, b in zip(back.vertices, want.vertices, strict=True):
            np.testing.assert_array_equal(a, b)


def test_several_volumes_are_numbered(free, tmp_path):
    estimate = placed(free, ("volume", "volume"), (np.arange(8), np.arange(12)))
    stc = ej.to_mne(estimate, pick_ori="magnitude")
    assert type(stc) is mne.VolSourceEstimate
    files = ej.io.write_stc(estimate, tmp_path / "map")
    assert [p.name for p in files] == ["map-1-vl.stc", "map-2-vl.stc"]
    for path, want, n in zip(files, (stc.data[:8], stc.data[8:]), (8, 12), strict=True):
        back = mne.read_source_estimate(path)
        np.testing.assert_allclose(back.data, want, rtol=1e-6)
        np.testing.assert_array_equal(back.vertices[0], np.arange(n))


@pytest.mark.parametrize("side", [0, 1], ids=["left", "right"])
def test_one_hemisphere(fixed, tmp_path, side):
    """The absent one is an empty file, which MNE's own `save` fills with the whole map."""
    vertices = (np.arange(20), NONE) if side == 0 else (NONE, np.arange(20))
    estimate = placed(fixed, CORTEX, vertices)
    stc = ej.to_mne(estimate)
    assert type(stc) is mne.SourceEstimate
    assert [len(v) for v in stc.vertices] == [20 * (side == 0), 20 * (side == 1)]
    ej.io.write_stc(estimate, tmp_path / "map", pick_ori="normal")
    back = mne.read_source_estimate(tmp_path / "map")
    np.testing.assert_allclose(back.data, stc.data, rtol=1e-6)
    np.testing.assert_array_equal(back.vertices[side], np.arange(20))
    assert len(back.vertices[1 - side]) == 0


def test_a_hemisphere_of_unknown_side_is_refused(fixed):
    estimate = placed(fixed, ("surface",), (np.arange(20),))
    with pytest.raises(ej.InputError, match="one hemisphere, not told which"):
        ej.to_mne(estimate)


def test_files_are_those_of_mne(fixed, tmp_path):
    estimate = placed(fixed, CORTEX, (np.arange(12), np.arange(8)))
    ej.io.write_stc(estimate, tmp_path / "ours")
    ej.to_mne(estimate, pick_ori="magnitude").save(tmp_path / "theirs", verbose="ERROR")
    for end in ("-lh.stc", "-rh.stc"):
        ours, theirs = ((tmp_path / (who + end)).read_bytes() for who in ("ours", "theirs"))
        assert ours == theirs


def test_wrong_questions(estimate, fixed):
    with pytest.raises(ej.InputError, match="what must be"):
        ej.to_mne(estimate, "median")
    with pytest.raises(ej.InputError, match="pick_ori must be"):
        ej.to_mne(estimate, pick_ori="max-power")
    with pytest.raises(ej.InputError, match="threshold"):
        ej.to_mne(estimate, "exceedance")
    with pytest.raises(TypeError, match="Estimate"):
        ej.to_mne(estimate.problem)


# ------------------------------------------------------------------ points
def test_a_point_has_no_spread(fixed):
    linear = placed(fixed, CORTEX, (np.arange(12), np.arange(8)))
    posterior = PointPosterior(linear.posterior.mean(), fixed.data)
    point = dataclasses.replace(linear, posterior=posterior)
    assert point.std is None
    assert ej.to_mne(point).data.shape == (20, 7)
    with pytest.raises(ej.InputError, match="has no standard deviation"):
        ej.to_mne(point, "std")
