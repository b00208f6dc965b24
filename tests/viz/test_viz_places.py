"""Rows for people and the picture of courses."""

import dataclasses

import numpy as np
import pytest

import esijax as ej
from esijax.tables.courses import courses_of, write_courses
from esijax.viz.places import caption, place_rows, plot_region_courses


@pytest.fixture(autouse=True)
def _closed():
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


@pytest.fixture(scope="module")
def estimate(fixed):
    return ej.solve(fixed, ej.models.MinimumNorm(), ej.inference.Linear())


def test_rows_say_what_places_say(estimate):
    found = ej.places(estimate)
    rows = place_rows(found, estimate)
    assert len(rows) == len(found)
    first, place = rows[0], found[0]
    assert "region" not in first  # nobody has one
    assert "MNI305 (mm)" not in first
    assert first["head (mm)"] == " ".join(f"{x:.0f}" for x in place.head)
    assert first["ms"] == f"{1e3 * place.latency:.0f}"
    assert f"{place.lower:.2g} to {place.upper:.2g}" == first["90 %"]
    assert first[f"Pr > {found.threshold:.2g}"] == f"{place.probability:.2f}"
    assert place_rows(found, estimate, 2) == rows[:2]


def test_large_numbers_are_whole(estimate):
    found = ej.places(estimate)
    one = dataclasses.replace(found[0], lower=-113.4, upper=0.126)
    (row,) = place_rows(dataclasses.replace(found, rows=(one,), threshold=130.2), estimate)
    assert row["90 %"] == "-113 to 0.13"
    assert "Pr > 130" in row


def test_places_that_are_known_are_named(estimate):
    found = ej.places(estimate)
    one = dataclasses.replace(found[0], hemisphere="lh", region="cuneus", mni=(1.0, -2.4, 3.6))
    found = dataclasses.replace(
        found, rows=(one,), mni_space="MNI305", atlas="aparc", notes=(), probability_of="active"
    )
    (row,) = place_rows(found, estimate)
    assert (row["side"], row["region"], row["MNI305 (mm)"]) == ("lh", "cuneus", "1 -2 4")
    assert row["Pr(active)"]
    assert caption(found, 1) == "1 peak of the map over time; regions: aparc"


def test_nanoampere_metres(estimate):
    """Small numbers are amperes times metres, and shown in nA m."""
    found = ej.places(estimate)
    small = dataclasses.replace(
        found, rows=tuple(dataclasses.replace(p, amplitude=p.amplitude * 1e-9) for p in found)
    )
    top = max(p.amplitude for p in small)
    shown = place_rows(small, estimate)[0]
    unit, factor = ("nA m", 1e9) if top >= 1e-10 else ("pA m", 1e12)
    assert shown[unit] == f"{factor * small[0].amplitude:.3g}"


def test_caption_says_what_is_left_out(estimate):
    found = ej.places(estimate)
    text = caption(found, 1)
    assert text.startswith(f"the first 1 of {len(found)} peaks")
    assert all(note in text for note in found.notes)
    assert caption(dataclasses.replace(found, sparse=True)).startswith("all ")


def test_courses_are_drawn_with_their_bands(estimate):
    courses = courses_of(estimate, {"a": [0, 1], "b": [3], "c": [5, 6, 7]})
    figure = plot_region_courses(courses, estimate)
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title() for axes in panels] == ["a", "b", "c"]
    for axes, course in zip(panels, courses.values(), strict=True):
        np.testing.assert_allclose(axes.lines[0].get_ydata(), course.mean)
        edge = axes.collections[0].get_paths()[0].vertices[:, 1]
        assert edge.min() == pytest.approx(course.lower.min())
        assert edge.max() == pytest.approx(course.upper.max())
    with pytest.raises(ej.InputError, match="at least one region"):
        plot_region_courses({}, estimate)


def test_of_many_the_strongest_are_drawn(estimate):
    courses = courses_of(estimate, {str(i): [i % 20] for i in range(30)})
    figure = plot_region_courses(courses, estimate)
    drawn = [axes.get_title() for axes in figure.axes]
    strength = [np.abs(courses[name].mean).max() for name in drawn]
    assert strength == sorted(strength, reverse=True)
    assert min(strength) >= max(
        np.abs(course.mean).max() for name, course in courses.items() if name not in drawn
    )
    assert "the strongest 24 of 30" in figure.get_suptitle()


def test_csv_of_courses(estimate, tmp_path):
    import pandas as pd

    courses = courses_of(estimate, {"a, b": [0, 1], "c": [3]}, level=0.8)
    table = pd.read_csv(write_courses(courses, tmp_path / "courses.csv", "A m"))
    assert list(table) == ["label", "time_s", "mean", "lower", "upper", "std", "level", "unit"]
    for name, course in courses.items():
        rows = table[table["label"] == name]
        for key in ("mean", "lower", "upper", "std"):
            want = np.broadcast_to(getattr(course, key), course.times.shape)
            np.testing.assert_allclose(rows[key], want)
        np.testing.assert_allclose(rows["time_s"], course.times, atol=1e-9)
    assert set(table["level"]) == {0.8}


def test_place_names_follow_the_source_space(estimate):
    """Left and right by hemisphere, nothing where there is none."""
    from esijax.viz.summary import place_name

    assert place_name(estimate, 0).startswith("(")
    problem = estimate.problem
    labels = dataclasses.replace(
        problem.labels,
        kinds=("surface", "surface"),
        vertices=(np.arange(12), np.arange(8)),
    )
    problem = dataclasses.replace(problem, labels=labels)
    named = dataclasses.replace(estimate, problem=problem)
    assert {place_name(named, i).split()[0] for i in range(12)} == {"left"}
    assert {place_name(named, i).split()[0] for i in range(12, 20)} == {"right"}
