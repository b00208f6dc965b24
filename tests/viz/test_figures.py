"""Pictures of problems that are not the usual one: any channel type, one sample, points, sides."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from test_cortex import octahedron

import esijax as ej
from esijax.viz import figures, maps
from esijax.viz.films import view_map
from esijax.viz.summary import hemispheres, summarise


@pytest.fixture(autouse=True)
def _closed():
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


BALL, FACES = octahedron(1)
BALL = 0.07 * BALL * (1 + 0.1 * np.sin(9 * BALL[:, [2]]))


def problem_of(types, n_times=4, n_locations=18, **more):
    rng = np.random.default_rng(0)
    places = rng.standard_normal((n_locations, 3))
    places *= 0.08 / np.linalg.norm(places, axis=1, keepdims=True)
    gain = rng.standard_normal((len(types), n_locations))
    data = 3 * gain[:, :1] + rng.standard_normal((len(types), n_times))
    settings = {"noise_cov": np.eye(len(types)), "positions": places, "ch_types": types} | more
    return ej.from_arrays(gain, data, sfreq=100.0, **settings)


def solved(problem):
    return ej.solve(problem, ej.models.MinimumNorm(), ej.inference.Linear())


@pytest.fixture(scope="module")
def estimate():
    """Twelve EEG channels, 18 locations on a bumpy ball, of which no cortex is known."""
    return solved(problem_of(["eeg"] * 12, positions=BALL))


def changed(estimate, labels=None, geometry=None):
    """The same with other names or another place: nothing is solved again."""
    problem = estimate.problem
    problem = dataclasses.replace(
        problem,
        labels=dataclasses.replace(problem.labels, **(labels or {})),
        geometry=dataclasses.replace(problem.geometry, **(geometry or {})),
    )
    return dataclasses.replace(estimate, problem=problem)


def titles(figure):
    return [axes.get_title() for axes in figure.axes]


@pytest.mark.parametrize(
    ("kind", "title", "unit", "factor"),
    [
        ("eeg", "12 EEG", "µV", 1e6),
        ("ecog", "12 ECoG", "µV", 1e6),
        ("seeg", "12 sEEG", "µV", 1e6),
        ("csd", "12 CSD", "mV/m²", 1e3),
        ("hbo", "12 hbo", "µM", 1e6),
        ("unknown", "12 data", "", 1.0),
        ("thermometer", "12 thermometer", "", 1.0),
    ],
)
def test_data_of_any_channel_type(estimate, kind, title, unit, factor):
    estimate = changed(estimate, {"ch_types": (kind,) * 12})
    figure = figures.plot_data(estimate)
    assert titles(figure) == [title, "whitened, rms over channels"]
    first = figure.axes[0]
    assert first.get_ylabel() == unit
    shown = np.array([line.get_ydata() for line in first.lines[:12]])
    np.testing.assert_allclose(shown, factor * np.asarray(estimate.problem.recording), rtol=1e-12)


def test_each_type_of_a_mixed_array_has_its_panel(estimate):
    types = ("ecog", "thermometer", "eeg", "ecog", "mag", "thermometer") * 2
    figure = figures.plot_data(changed(estimate, {"ch_types": types}))
    expected = ["2 EEG", "2 magnetometers", "4 ECoG", "4 thermometer"]
    assert titles(figure) == [*expected, "whitened, rms over channels"]


def test_one_sample_is_seen():
    """A line through one point draws nothing."""
    estimate = solved(problem_of(["eeg"] * 12, n_times=1))
    for figure in (figures.plot_data(estimate), figures.plot_courses(estimate),
                   figures.plot_diagnostics(estimate)):  # fmt: skip
        lines = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 1]
        assert lines
        assert all(line.get_marker() == "o" for line in lines)


def test_point_estimate_without_a_cortex():
    """It has no standard deviation, and still a map."""
    estimate = ej.solve(
        problem_of(["eeg"] * 12), ej.models.L21(ej.relative(0.4)), ej.inference.MAP()
    )
    assert estimate.std is None
    figure = maps.plot_map(estimate)
    assert titles(figure)[:3] == ["sagittal", "coronal", "axial"]
    values = figure.axes[0].collections[-1].get_array()
    assert np.max(values) == pytest.approx(summarise(estimate).amplitude.max(), rel=1e-12)


def test_a_single_location():
    with pytest.warns(ej.EsijaxWarning, match="single location"):
        estimate = solved(problem_of(["eeg"] * 12, n_locations=1))
    assert titles(maps.plot_map(estimate))[0] == "sagittal"
    assert titles(figures.plot_courses(estimate))


def test_a_map_needs_positions(estimate):
    estimate = changed(estimate, geometry={"positions": None})
    with pytest.raises(ej.InputError, match="give positions to from_arrays"):
        maps.plot_map(estimate)
    assert titles(figures.plot_courses(estimate))[0].startswith("location ")


def test_arrays_of_their_own_unit_are_not_called_nano(estimate):
    """Sources of the order of one are no 1e9 nA m."""
    assert summarise(estimate).unit == "A m"
    assert summarise(estimate).factor == 1.0


def on_surface(estimate, vertices, triangles):
    """The estimate on a cortex of these vertex numbers and triangles."""
    names = {"vertices": vertices, "kinds": ("surface", "surface"), "subject": "someone"}
    return changed(estimate, names, {"triangles": jnp.asarray(triangles, dtype=int)})


def test_one_hemisphere_is_drawn_on_its_side(estimate):
    """The absent one has no vertices; what is there is the right one, not the first one."""
    nothing, numbers = np.zeros(0, dtype=int), np.arange(len(BALL))
    estimate = on_surface(estimate, (nothing, numbers), FACES)
    assert set(hemispheres(estimate)) == {1}
    surfaces = maps.surfaces_of(estimate)
    assert surfaces.left is None
    assert surfaces.right is not None
    panels = {a.get_label() for a in maps.plot_map(estimate).axes if ": " in a.get_label()}
    assert {p.split(": ")[1] for p in panels} == {"right lateral", "right medial"}
    page = view_map(estimate)
    assert "right hemisphere" in page
    assert "left hemisphere" not in page


@pytest.mark.parametrize("triangles", [np.zeros((0, 3)), [[0, 1, 2]]])
def test_a_surface_without_a_mesh_is_shown_as_points(estimate, triangles):
    estimate = on_surface(estimate, (np.arange(9), np.arange(9)), triangles)
    assert titles(maps.plot_map(estimate))[0] == "sagittal"
    assert "right hemisphere" not in view_map(estimate)
