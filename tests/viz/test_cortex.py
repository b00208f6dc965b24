"""Maps on the cortex: right values at the right side, nothing hidden that should be shown."""

import re

import matplotlib
import numpy as np
import pytest

from esijax._types import InputError
from esijax.viz import _mesh, _surface, interactive
from esijax.viz import cortex as viz


@pytest.fixture(autouse=True)
def _agg():
    import matplotlib.pyplot as plt

    matplotlib.use("Agg")
    yield
    plt.close("all")


def octahedron(levels):
    """Unit sphere, outward triangles."""
    rr = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], float)
    faces = np.array([[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4]])
    faces = np.concatenate([faces, np.where(faces[:, ::-1] == 4, 5, faces[:, ::-1])])
    for _ in range(levels):
        finer, faces = _mesh.refine(len(rr), faces)
        rr = finer @ rr
        rr /= np.linalg.norm(rr, axis=1, keepdims=True)
    return rr, faces


@pytest.fixture(scope="module")
def brain():
    """Two bumpy balls as a subject: positions (m), triangles, vertex numbers, hemisphere."""
    rr, faces = octahedron(3)
    ball = 0.035 * rr * (1 + 0.1 * np.sin(9 * rr[:, [2]]))
    apart = np.array([0.04, 0.0, 0.0])
    positions = np.concatenate([ball - apart, ball + apart])
    triangles = np.concatenate([faces, faces + len(rr)])
    return positions, triangles, np.tile(np.arange(len(rr)), 2), np.repeat([0, 1], len(rr))


@pytest.fixture(scope="module")
def balls(brain):
    positions, triangles, vertno, hemi = brain
    return viz.cortex(positions, triangles, vertno, "someone", hemi)


@pytest.fixture(scope="module")
def fsaverage():
    """Sources at the first 642 vertices of each hemisphere, without a mesh."""
    n = 642
    positions = np.zeros((2 * n, 3))
    return viz.cortex(positions, None, np.tile(np.arange(n), 2), "fsaverage", np.repeat([0, 1], n))


def coloured(figure):
    """Share of coloured (not grey) pixels per panel, by the panel's name."""
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3].astype(int)
    out = {}
    for axes in figure.axes:
        x0, y0, x1, y1 = axes.get_window_extent().extents.astype(int)
        part = pixels[pixels.shape[0] - y1 : pixels.shape[0] - y0, x0:x1]
        out[axes.get_label()] = float((np.ptp(part, axis=-1) > 30).mean())
    return out


def test_each_location_shows_its_own_value_and_no_more(balls, brain):
    values = np.random.default_rng(0).normal(size=len(brain[0]))
    for hemi, mine in zip(balls, (brain[3] == 0, brain[3] == 1), strict=True):
        shown = hemi.spread @ values
        assert np.isclose(shown[:, None], values[mine], atol=1e-12).any(axis=0).all()
        assert shown.max() <= values[mine].max() + 1e-12
        assert shown.min() >= values[mine].min() - 1e-12
        np.testing.assert_allclose(hemi.spread.sum(axis=1), 1.0, rtol=1e-12)


def test_interpolation_on_fsaverage_is_exact_for_linear_maps():
    """Sources of an octahedron on the sphere: a linear function of position comes back."""
    import nibabel
    from nilearn.datasets import fetch_surf_fsaverage

    file = fetch_surf_fsaverage("fsaverage5")["sphere_left"]
    sphere, all_faces = (a.data for a in nibabel.load(file).darrays)
    sphere = sphere.astype(float)
    rr, faces = octahedron(4)
    vertno = np.array([np.argmax(sphere @ r) for r in rr])
    made = viz.cortex(sphere[vertno], faces, vertno, "fsaverage", np.zeros(len(rr), int))
    assert made.right is None
    assert made.left.coords.shape == (10242, 3)
    assert made.left.faces.shape == all_faces.shape
    error = np.linalg.norm(made.left.spread @ sphere[vertno] - sphere, axis=1)
    assert np.median(error) < 1.5  # mm, on a ball of 100 mm: that of the chord
    assert error[vertno].max() < 1e-9


def test_surfaces_look_outward_and_sides_stay_apart(fsaverage, balls):
    for surfaces in (fsaverage, balls):
        for hemi in surfaces:
            out = (hemi.coords - hemi.coords.mean(0)) * _mesh.normals(hemi.coords, hemi.faces)
            assert (out.sum(axis=1) > 0).mean() > 0.9
            assert ((hemi.background >= 0) & (hemi.background <= 1)).all()
    left, right = (
        interactive._apart(s, h.coords) for s, h in zip(_surface.SIDES, fsaverage, strict=True)
    )
    assert left[:, 0].max() < 0 < right[:, 0].min()


def test_valleys_are_darker_than_ridges(balls, brain):
    radius = np.linalg.norm(brain[0][brain[3] == 0] + [0.04, 0, 0], axis=1)
    shown = balls.left.background[: len(radius)]
    assert np.corrcoef(radius, shown)[0, 1] > 0.7


def test_gaps_are_closed():
    rr, faces = octahedron(3)
    kept = np.setdiff1d(np.arange(len(rr)), [7, 100, 101])
    own = np.full(len(rr), -1)
    own[kept] = np.arange(len(kept))
    gappy = own[faces]
    closed = _mesh.close_holes(rr[kept], gappy[(gappy >= 0).all(axis=1)])
    directed = {tuple(e) for e in _mesh.edges(closed).tolist()}
    assert all((b, a) in directed for a, b in directed)


def test_cortex_far_from_all_sources_stays_bare():
    """Sources in one label only: its values are not spread over the whole hemisphere."""
    rr, _ = octahedron(4)
    away = np.linalg.norm(rr - rr[0], axis=1)
    label = np.flatnonzero(away < 0.5)
    spread = _surface._on_sphere(100 * rr, label, np.zeros((0, 3), int))
    bare = np.abs(spread).sum(axis=1) == 0
    assert bare[away > 0.8].all()
    assert not bare[label].any()


def test_patch_is_seen_from_its_own_side_only(fsaverage):
    """A patch on the outer face of the left hemisphere; then the inner one; then the right."""
    for side in _surface.SIDES:
        hemi = getattr(fsaverage, side)
        outwards = -1 if side == "left" else 1
        for aspect, sign in (("lateral", outwards), ("medial", -outwards)):
            at = hemi.coords[:642] - [sign * np.abs(hemi.coords[:, 0]).max(), -20, 10]
            values = np.zeros(1284)
            values[(0 if side == "left" else 642) + np.argsort((at**2).sum(axis=1))[:25]] = 1.0
            maps = {"m": viz.Map(values, threshold=0.5)}
            other = "medial" if aspect == "lateral" else "lateral"
            across = "right" if side == "left" else "left"
            views = (f"{side} {aspect}", f"{side} {other}", f"{across} {aspect}")
            share = coloured(viz.plot_maps(fsaverage, maps, views=views))
            assert share[f"m: {views[0]}"] > 0.01
            assert max(share[f"m: {v}"] for v in views[1:]) < 0.0025


def test_views_are_right_handed_and_anterior_points_the_right_way():
    for view, forward in (
        ("left lateral", [-1, 0]),
        ("left medial", [1, 0]),
        ("right lateral", [1, 0]),
        ("right medial", [-1, 0]),
        ("left dorsal", [0, 1]),
        ("right ventral", [0, 1]),
    ):
        side, frame = viz._frame(view)
        assert side == view.split()[0]
        np.testing.assert_allclose(frame @ frame.T, np.eye(3), atol=1e-15)
        assert np.linalg.det(frame) == pytest.approx(1.0)
        np.testing.assert_allclose(frame[:2] @ [0, 1, 0], forward)


def test_figure_has_its_panels_and_thresholds(balls, brain):
    values = np.linspace(0.1, 1.0, len(brain[0]))
    maps = {
        "mean": viz.Map(values, "pA m", threshold=0.95),
        "SD": viz.Map(values, "pA m", cmap="viridis"),
        "all": values,
    }
    figure = viz.plot_maps(balls, maps, title="three maps")
    share = coloured(figure)
    names = [axes.get_label() for axes in figure.axes]
    panels = [n for n in names if ": " in n]
    assert panels == [f"{m}: {v}" for m in maps for v in viz.VIEWS]
    assert len(names) == 3 * 5
    assert [axes.get_ylabel() for axes in figure.axes if ": " not in axes.get_label()] == [
        "pA m",
        "pA m",
        "",
    ]
    assert max(share[f"mean: left {a}"] for a in ("lateral", "medial")) == 0.0
    for row in ("SD", "all"):
        assert min(share[f"{row}: {v}"] for v in viz.VIEWS) > 0.3


def test_unthresholded_row_shows_the_smallest_values_too(balls, brain):
    values = np.full(len(brain[0]), 1e-6)
    values[0] = 1.0
    style = viz.style_of("SD", viz.Map(values, cmap="viridis"), balls)
    colours, _ = style.rgb(balls.right)
    assert (np.ptp(colours, axis=1) > 0.1).all()
    style = viz.style_of("mean", viz.Map(values, cmap="viridis", threshold=1e-3), balls)
    assert (np.ptp(style.rgb(balls.right)[0], axis=1) == 0).all()


def test_missing_values_are_bare(balls, brain):
    style = viz.style_of("m", viz.Map(np.full(len(brain[0]), np.nan)), balls)
    assert (np.ptp(style.rgb(balls.left)[0], axis=1) == 0).all()


def test_signs_decide_the_colour_bar(balls, brain):
    values = np.linspace(-2.0, 1.0, len(brain[0]))
    assert viz.style_of("m", values, balls).limits == (-2.0, 2.0)
    assert viz.style_of("m", np.abs(values), balls).limits == (0.0, 2.0)
    assert viz.style_of("m", viz.Map(values, limits=(-1, 3.5)), balls).limits == (-1, 3.5)


def test_page_stands_alone(balls, brain):
    values = np.linspace(0.0, 1.0, len(brain[0]))
    page = interactive.view_maps(
        balls, {"mean": viz.Map(values, "pA m", 0.2), "SD": values}, title="Who"
    )
    assert not re.search(r"<(script|link|img|iframe)[^>]*\b(src|href)\s*=", page)
    assert page.count("mesh3d") >= 4
    for text in ("Who", "pA m", '"label":"SD"', '"label":"mean"', "coloraxis"):
        assert text in page


def test_points_have_three_projections():
    rng = np.random.default_rng(1)
    positions, values = rng.uniform(-0.06, 0.06, (50, 3)), rng.random(50)
    figure = viz.glass_points(positions, values, "volume", label="nA m")
    assert [a.get_title() for a in figure.axes[:3]] == ["sagittal", "coronal", "axial"]
    drawn = figure.axes[1].collections[1].get_offsets()
    np.testing.assert_allclose(drawn[-1], 1e3 * positions[values.argmax()][[0, 2]])
    assert figure.axes[3].get_ylabel() == "nA m"


def test_bad_input_is_named(balls, brain):
    with pytest.raises(InputError, match=r"'mean'.*one value per location"):
        viz.plot_maps(balls, {"mean": np.zeros(3)})
    with pytest.raises(InputError, match="upper left"):
        viz.plot_maps(balls, {"m": np.zeros(len(brain[0]))}, views=("upper left",))
    with pytest.raises(InputError, match="nothing to draw"):
        viz.plot_maps(balls, {})
    with pytest.raises(InputError, match="glass_points"):
        viz.cortex(brain[0], None, None, "someone", brain[3])
    with pytest.raises(InputError, match="one per position"):
        viz.glass_points(brain[0], np.zeros(2))
