"""The way back: MNE's source estimates, .stc files, ArviZ."""

import mne
import numpy as np
import pytest

import esijax as ej


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
    ej.io.write_stc(estimate, tmp_path / "map")
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(mne.SourceEstimate, "save", full)
    with pytest.raises(OSError, match="No space"):
        ej.io.write_stc(estimate, tmp_path / "map", "std")
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_wrong_questions(estimate, fixed):
    with pytest.raises(ej.InputError, match="what must be"):
        ej.to_mne(estimate, "median")
    with pytest.raises(ej.InputError, match="pick_ori must be"):
        ej.to_mne(estimate, pick_ori="max-power")
    with pytest.raises(ej.InputError, match="threshold"):
        ej.to_mne(estimate, "exceedance")
    with pytest.raises(TypeError, match="Estimate"):
        ej.to_mne(estimate.problem)


# ------------------------------------------------------------------ ArviZ
@pytest.mark.parametrize("which", ["fixed", "free", "trials"])
def test_tree_has_names(request, which):
    import arviz

    problem = request.getfixturevalue(which)
    estimate = ej.solve(problem, ej.models.MinimumNorm(), ej.inference.Linear())
    tree = ej.to_arviz(estimate, n=40, at=([3, 8], slice(1, 4)))
    source = tree["posterior"]["source"]
    lead = ("trial",) if which == "trials" else ()
    assert source.dims == ("chain", "draw", *lead, "location", "orient", "time")
    assert list(source.location.values) == [3, 8]
    np.testing.assert_allclose(source.time, problem.times[1:4])
    assert source.orient.values[-1] == "normal"
    want = np.asarray(estimate.mean)[..., [3, 8], :, 1:4]
    np.testing.assert_allclose(tree["moments"]["mean"], want)
    np.testing.assert_allclose(tree["moments"]["std"], np.asarray(estimate.std)[[3, 8], :, 0])
    np.testing.assert_array_equal(tree["observed_data"]["data"], problem.recording)
    assert list(tree["observed_data"]["channel"].values) == list(problem.labels.ch_names)
    summary = arviz.summary(tree, group="posterior", kind="stats")
    assert len(summary) == source[0, 0].size


def test_tree_goes_through_netcdf(fixed, tmp_path):
    import xarray

    estimate = ej.solve(fixed, ej.models.MinimumNorm(), ej.inference.Linear())
    tree = ej.to_arviz(estimate, n=5)
    tree.to_netcdf(tmp_path / "tree.nc", engine="h5netcdf")
    with xarray.open_datatree(tmp_path / "tree.nc", engine="h5netcdf") as back:
        np.testing.assert_array_equal(back["posterior"]["source"], tree["posterior"]["source"])
