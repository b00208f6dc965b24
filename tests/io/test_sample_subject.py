"""The subject of the examples: measured where its files lie, else a stand-in."""

import numpy as np
import pytest

import esijax as ej


def test_files_are_read_as_they_are(data_dir, evokeds, noise_cov, monkeypatch):
    monkeypatch.setenv("ESIJAX_DATA", str(data_dir.parent))
    subject = ej.io.sample_subject()
    assert not subject.simulated
    assert str(data_dir) in subject.about
    np.testing.assert_array_equal(subject.noise_cov.data, noise_cov.data)
    for name, evoked in evokeds.items():
        assert subject.evokeds[name].info["bads"] == evoked.info["bads"]
        expected = evoked.copy().apply_baseline((None, 0), verbose="ERROR").crop(0.08, 0.1)
        np.testing.assert_array_equal(subject.evoked(name, 0.08, 0.1).data, expected.data)
    assert evokeds["Left visual"].baseline is None  # the copy was changed, not the original


@pytest.mark.slow
def test_the_stand_in_is_where_responses_come_from(tmp_path):
    """Noise as its covariance says; each response on the side opposite to the stimulus."""
    subject = ej.io.sample_subject(tmp_path)
    assert subject.simulated
    assert str(tmp_path) in subject.about
    for name in subject.evokeds:
        whole = ej.from_mne(subject.evoked(name), subject.forward, subject.noise_cov, loose=0.0)
        baseline = np.asarray(whole.crop(-0.19, 0.0).samples)
        assert 0.8 < np.sqrt(np.mean(baseline**2)) < 1.2
        problem = whole.crop(0.08, 0.13)
        estimate = ej.solve(problem, ej.models.MinimumNorm(), ej.inference.Linear("sLORETA"))
        peak = int(np.abs(np.asarray(estimate.mean)).max(axis=(1, 2)).argmax())
        x, y, _ = np.asarray(problem.geometry.positions)[peak]
        assert (x > 0) == name.startswith("Left"), name
        assert (y < -0.04) == name.endswith("visual"), name
