"""Maps on the cortex: right values at the right side, nothing hidden that should be shown."""

import base64
import json
import re

import matplotlib
import numpy as np
import pytest
from matplotlib.collections import PathCollection
from matplotlib.tri import TriContourSet
from scipy import sparse

from esijax._types import InputError
from esijax.viz import _mesh, _style, _surface, interactive
from esijax.viz import cortex as viz
from esijax.viz._style import style_of


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
    style = style_of("SD", viz.Map(values, cmap="viridis"), balls)
    colours, _ = style.rgb(balls.right)
    assert (np.ptp(colours, axis=1) > 0.1).all()
    style = style_of("mean", viz.Map(values, cmap="viridis", threshold=1e-3), balls)
    assert (np.ptp(style.rgb(balls.right)[0], axis=1) == 0).all()


def test_missing_values_are_bare(balls, brain):
    style = style_of("m", viz.Map(np.full(len(brain[0]), np.nan)), balls)
    assert (np.ptp(style.rgb(balls.left)[0], axis=1) == 0).all()


def test_signs_decide_the_colour_bar(balls, brain):
    values = np.linspace(-2.0, 1.0, len(brain[0]))
    assert style_of("m", values, balls).limits == (-2.0, 2.0)
    assert style_of("m", np.abs(values), balls).limits == (0.0, 2.0)
    assert style_of("m", viz.Map(values, limits=(-1, 3.5)), balls).limits == (-1, 3.5)


def test_page_stands_alone(balls, brain):
    values = np.linspace(0.0, 1.0, len(brain[0]))
    page = interactive.view_maps(
        balls, {"mean <": viz.Map(values, "pA m", 0.2), "SD": values}, title="Who & <what>"
    )
    assert not re.search(r"<(script|link|img|iframe)[^>]*\b(src|href)\s*=", page)
    assert "Who &amp; &lt;what&gt;" in page
    data = page_data(page)
    assert [m["name"] for m in data["maps"]] == ["mean <", "SD"]
    assert data["maps"][0]["label"] == "pA m"
    assert [s["name"] for s in data["sides"]] == ["left", "right"]
    assert 'id="time"' not in page  # nothing to choose from


def page_data(page):
    """What the page draws from."""
    start = page.index("const DATA = ") + len("const DATA = ")
    return json.JSONDecoder().raw_decode(page, start)[0]


def unpacked(text, dtype):
    return np.frombuffer(base64.b64decode(text), dtype)


def test_a_film_comes_back_from_the_page(balls, brain):
    """Values, colours and ways to the surface are what was given, to the last of 65,534 steps."""
    rng = np.random.default_rng(3)
    frames = rng.uniform(-1.0, 2.0, (5, len(brain[0])))
    frames[2, 7] = np.nan
    film = interactive.Film(viz.Map(frames[1], "pA m", limits=(-2, 2)), frames)
    data = page_data(
        interactive.view_maps(balls, {"m": film}, times=[0.0, 1.0, 2.0, 3.0, 4.0], start=1)
    )
    (made,) = data["maps"]
    codes = unpacked(made["codes"], np.uint16).reshape(frames.shape)
    back = made["low"] + (made["high"] - made["low"]) * codes / interactive.CODES
    missing = codes == interactive.MISSING
    np.testing.assert_array_equal(missing, np.isnan(frames))
    np.testing.assert_allclose(back[~missing], frames[~missing], atol=3.0 / 65534)
    style = style_of("m", film.map, balls)
    lut = unpacked(made["lut"], np.uint8).reshape(256, 3) / 255
    np.testing.assert_allclose(lut, style.colours(np.linspace(-2, 2, 256)), atol=2 / 255)
    side = data["sides"][1]
    parts = (unpacked(side[k], t) for k, t in (("weight", "f4"), ("at", "i4"), ("start", "i4")))
    spread = sparse.csr_array(tuple(parts), balls.right.spread.shape)
    np.testing.assert_allclose((spread - balls.right.spread).toarray(), 0.0, atol=1e-7)


def test_a_film_of_other_times_is_refused(balls, brain):
    film = interactive.Film(viz.Map(np.zeros(len(brain[0]))), np.zeros((4, len(brain[0]))))
    with pytest.raises(InputError, match=r"film 'm' must be \(5,"):
        interactive.view_maps(balls, {"m": film}, times=[0.0] * 5)


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


def test_spheres_are_where_the_few_are(balls, brain):
    """One sphere for each active location, on the side that faces the viewer; areas follow size."""
    values = np.zeros(len(brain[0]))
    left = np.flatnonzero(brain[3] == 0)
    outer = left[np.argsort(brain[0][left, 0])[[0, 5, 11]]]  # lateral is towards smaller x
    values[outer] = [4.0, 2.0, 1.0]
    item = viz.Map(values, "nA m", 1e-3, "plasma", (0, 4), spheres=True)
    figure = viz.plot_maps(balls, {"few": item})
    drawn = {
        a.get_label(): [c for c in a.collections if isinstance(c, PathCollection)]
        for a in figure.axes
        if ": " in a.get_label()
    }
    (spheres,) = drawn["few: left lateral"]
    np.testing.assert_allclose(spheres.get_sizes() / spheres.get_sizes().max(), [0.25, 0.5, 1.0])
    vertex = [np.argmax(balls.left.spread[:, [n]].toarray()) for n in outer[::-1]]
    _, frame = viz._frame("left lateral")
    np.testing.assert_allclose(
        np.asarray(spheres.get_offsets()), (balls.left.coords[vertex] @ frame.T)[:, :2]
    )
    hidden = [len(c[0].get_offsets()) for view, c in drawn.items() if view != "few: left lateral"]
    assert hidden == [0, 0, 0]
    share = coloured(figure)
    assert share["few: left lateral"] > 0.003
    assert share["few: left medial"] == 0.0


def test_an_outline_is_drawn_where_the_patch_is(balls, brain):
    near = np.zeros(len(brain[0]))
    left = np.flatnonzero(brain[3] == 0)
    near[left[np.argsort(brain[0][left, 0])[:30]]] = 1.0
    figure = viz.plot_maps(balls, {"m": np.ones(len(brain[0]))}, outline=near)
    lines = {
        a.get_label(): sum(isinstance(c, TriContourSet) for c in a.collections) for a in figure.axes
    }
    assert lines["m: left lateral"] == 2  # white on black
    assert lines["m: right lateral"] == lines["m: right medial"] == 0


# Machado, Oliveira and Fernandes 2009, doi:10.1109/TVCG.2009.113, severity 1
BLINDNESS = {
    "none": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                   [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                     [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
                   [0.004733, 0.691367, 0.303900]],
}  # fmt: skip


def linear(colours):
    return np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)


def lightness(colours, eye):
    seen = np.clip(linear(colours) @ np.asarray(BLINDNESS[eye]).T, 0, 1)
    y = seen @ [0.2126, 0.7152, 0.0722]
    return np.where(y > 0.008856, 116 * np.cbrt(y) - 16, 903.3 * y)


@pytest.mark.parametrize("eye", BLINDNESS)
@pytest.mark.parametrize("name", [_style.SIZE, _style.SPREAD, _style.PROBABILITY])
def test_colour_maps_rise_in_lightness_to_any_eye(name, eye):
    steps = np.diff(lightness(matplotlib.colormaps[name](np.linspace(0, 1, 33))[:, :3], eye))
    assert steps.min() > 0.3
    assert steps.max() < 6


@pytest.mark.parametrize("eye", BLINDNESS)
def test_rainbows_would_be_seen(eye):
    steps = np.diff(lightness(matplotlib.colormaps["jet"](np.linspace(0, 1, 33))[:, :3], eye))
    assert steps.min() < -1


@pytest.mark.parametrize("eye", BLINDNESS)
def test_signs_differ_and_lines_do(eye):
    ends = matplotlib.colormaps[_style.SIGNED](np.linspace(0, 1, 33))[:, :3]
    half = np.diff(lightness(ends, eye))
    assert half[:14].min() > 0
    assert half[18:].max() < 0
    first = [matplotlib.colors.to_rgb(c) for c in _style.LINES[:3]]
    seen = np.clip(
        linear(np.array([*first, ends[0], ends[-1]])) @ np.asarray(BLINDNESS[eye]).T, 0, 1
    )
    apart = np.linalg.norm(seen[:, None] - seen[None], axis=-1)
    assert apart[:3, :3][~np.eye(3, dtype=bool)].min() > 0.1
    assert apart[3, 4] > 0.1
