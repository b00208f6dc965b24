"""Places with names and courses of regions from the command line."""

import mne
import numpy as np
import pandas as pd
import pytest
from subjects import make_subject
from test_cli import esijax as in_this_process
from worlds import covariance_of, forward_of, info_of, samples_of

import esijax as ej

esijax = in_this_process


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("subjects")


@pytest.fixture(scope="module")
def said(folder):
    return make_subject(folder, "fsaverage", parc="random")


@pytest.fixture(scope="module")
def line(tmp_path_factory):
    """Arguments of `localize` for EEG on a coarse fsaverage."""
    kept, rng = tmp_path_factory.mktemp("files"), np.random.default_rng(0)
    info, forward = info_of("eeg32"), forward_of("eeg32", "cortex")
    evoked = mne.EvokedArray(samples_of(info, forward, rng, 6), info, comment="x", verbose="ERROR")
    evoked.set_eeg_reference(projection=True, verbose="ERROR").apply_proj(verbose="ERROR")
    evoked.save(kept / "x-ave.fif", verbose="ERROR")
    mne.write_forward_solution(kept / "x-fwd.fif", forward, verbose="ERROR")
    cov = mne.Covariance(covariance_of(info, rng), info["ch_names"], [], [], 1000)
    cov.save(kept / "x-cov.fif", verbose="ERROR")
    return ["localize", kept / "x-ave.fif", "--forward", kept / "x-fwd.fif",
            "--noise-cov", kept / "x-cov.fif", "--method", "MNE"]  # fmt: skip


@pytest.fixture
def light(monkeypatch):
    """Maps and pages are looked at elsewhere."""
    from esijax.app import localize as _localize

    def page(estimate, path, places, **_):
        path.write_text(" ".join(str(place.region) for place in places))
        return path

    monkeypatch.setattr(_localize, "report", page)


def test_places_and_courses(esijax, line, light, folder, said, tmp_path):
    """Every number of the files is that of the estimate; the table names regions and the space."""
    own = tmp_path / "mine-rh.label"
    right = said["rh"] == "west"
    label = mne.Label(np.flatnonzero(right), hemi="rh", subject="fsaverage")
    mne.write_label(own, label, verbose="ERROR")
    out = tmp_path / "out"
    where = ["--subjects-dir", folder, "--parc", "random"]
    asked = ["--label", "north", "--label", "south-lh", "--label", own]
    code, text, err = esijax(*line, *where, *asked, "--out", out)
    assert (code, err) == (0, "")
    for word in ("Places", "MNI305", "side", "region", "regions: random"):
        assert word in text
    printed = text.partition("Places")[2].partition("report:")[0]
    assert max(map(len, printed.splitlines())) <= 100
    estimate = ej.load(out / "estimate.npz")
    found = ej.places(estimate, subjects_dir=folder, parc="random")
    table = pd.read_csv(out / "places.csv")
    np.testing.assert_allclose(table["amplitude"], [p.amplitude for p in found])
    np.testing.assert_allclose(table["mni_x_mm"], [p.mni[0] for p in found], atol=1e-3)
    assert list(table["region"]) == [p.region for p in found]
    for i in range(len(table)):
        row = table.iloc[i]
        assert row["region"] == said[row["hemisphere"]][row["vertex"]]
    courses = pd.read_csv(out / "courses.csv")
    assert set(courses["label"]) == {"north-lh", "north-rh", "south-lh", "mine-rh"}
    labels, hemispheres = estimate.problem.labels, estimate.problem.labels.hemispheres
    vertices = np.concatenate(labels.vertices)
    for name in ("north-lh", "mine-rh"):
        region, hemi = {"mine-rh": ("west", "rh")}.get(name, name.split("-"))
        here = [i for i in range(len(vertices))
                if hemispheres[i] == hemi and said[hemi][vertices[i]] == region]  # fmt: skip
        course, rows = estimate.label(here), courses[courses["label"] == name]
        for key in ("mean", "lower", "upper"):
            np.testing.assert_allclose(rows[key], getattr(course, key))
    assert {"places.csv", "courses.csv", "courses.png"} <= {p.name for p in out.iterdir()}
    assert "courses.png" in (out / "localize.log").read_text()


def test_a_whole_parcellation(esijax, line, light, folder, said, tmp_path):
    out = tmp_path / "out"
    code, _, err = esijax(*line, "--subjects-dir", folder, "--label", "random", "--parc", "random",
                          "--out", out)  # fmt: skip
    assert (code, err) == (0, "")
    names = set(pd.read_csv(out / "courses.csv")["label"])
    assert names == {f"{n}-{h}" for n in ("north", "south", "east", "west") for h in ("lh", "rh")}


def test_environment_names_the_folder(esijax, line, light, folder, said, tmp_path, monkeypatch):
    monkeypatch.setenv("SUBJECTS_DIR", str(folder))
    code, text, err = esijax(*line, "--parc", "random", "--out", tmp_path / "out")
    assert (code, err) == (0, "")
    assert "regions: random" in text


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--label", "norht"], "no region 'norht' with a source in 'random'; did you mean north-"),
        (["--label", "gone.label"], "--label 'gone.label': no such file"),
        (["--label", "x.label"], "--label 'x.label' cannot be read"),
        (
            ["--label", "x", "--parc", "else"],
            "no parcellation 'else' of 'fsaverage'; known: aparc, ",
        ),
        (["--subjects-dir", "nowhere"], "nowhere is no folder"),
    ],
    ids=lambda value: None if isinstance(value, str) else " ".join(value),
)
def test_mistakes_are_found_before_anything_is_computed(
    esijax, line, light, folder, said, tmp_path, monkeypatch, more, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.label").write_text("nonsense")
    usual = {"--subjects-dir": folder, "--parc": "random"}
    given = [word for key, value in usual.items() if key not in more for word in (key, value)]
    code, out, err = esijax(*line, *given, *more)
    assert (code, err.count("\n")) == (2, 1)
    assert message in err
    assert "solving" not in out
    assert [p.name for p in tmp_path.iterdir()] == ["x.label"]
