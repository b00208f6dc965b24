"""Pictures by their public names: into a figure, an Axes or a new one, and what they show."""

import doctest
from types import SimpleNamespace

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import numpyro.distributions as dist
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from test_cortex import octahedron
from test_figures import changed, problem_of, solved

import esijax as ej
from esijax import plot
from esijax.viz import maps
from esijax.viz._style import LINES
from esijax.viz.hyper import numbers_of, prior_draws
from esijax.viz.summary import summarise


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


BALL, FACES = octahedron(2)
N = len(BALL)
APART = np.array([0.04, 0.0, 0.0])


@pytest.fixture(scope="module")
def estimate():
    """Two bumpy balls of 66 locations as a cortex."""
    ball = 0.035 * BALL * (1 + 0.1 * np.sin(9 * BALL[:, [2]]))
    positions = np.concatenate([ball - APART, ball + APART])
    made = solved(problem_of(["eeg"] * 12, n_locations=2 * N, positions=positions))
    names = {
        "vertices": (np.arange(N), np.arange(N)),
        "kinds": ("surface", "surface"),
        "subject": "someone",
    }
    return changed(made, names, {"triangles": jnp.asarray(np.concatenate([FACES, FACES + N]), int)})


@pytest.fixture(scope="module")
def sparse(estimate):
    """A point estimate with few places on the same cortex."""
    return ej.solve(estimate.problem, ej.models.L21(ej.relative(0.5)), ej.inference.MAP())


@pytest.fixture(scope="module")
def learned(estimate):
    """Minimum norm with lambda2 by evidence: one hyper-parameter."""
    return ej.solve(estimate.problem, ej.models.MinimumNorm("evidence"), ej.inference.Linear())


@pytest.fixture(scope="module")
def pictures(estimate, learned):
    position = np.random.default_rng(0).uniform(0, 100, (50, 1))
    ranked = ej.metrics.Calibration(("a",), (99,), position, np.zeros(1))
    trust, one = SimpleNamespace(light="green", sentence="yes", checks=[]), ["left lateral"]
    return {
        "map": lambda **k: plot.map(estimate, what="mean", views=one, **k),
        "courses": lambda **k: plot.courses(estimate, **k),
        "data": lambda **k: plot.data(estimate, **k),
        "prior_posterior": lambda **k: plot.prior_posterior(learned, names="lambda2", **k),
        "calibration": lambda **k: plot.calibration(ranked, **k),
        "trust": lambda **k: plot.trust(trust, **k),
        "compare": lambda **k: plot.compare({"a": estimate}, views=one, **k),
    }


def test_every_public_picture_is_looked_at_here(pictures):
    assert set(pictures) == set(plot.__all__)


@pytest.mark.parametrize("name", plot.__all__)
def test_takes_and_gives_its_place(pictures, name):
    draw = pictures[name]
    assert isinstance(draw(), Axes if name == "trust" else Figure)
    parts = plt.figure(layout="constrained").subfigures(1, 2)
    back = draw(ax=parts[1])
    assert name == "trust" or back is parts[1]
    assert len(parts[1].axes) > 0
    assert len(parts[0].axes) == 0
    axes = plt.figure().subplots()
    if name == "compare":
        with pytest.raises(ej.InputError, match="several panels"):
            draw(ax=axes)
    else:
        assert draw(ax=axes) is axes
        assert axes.collections or axes.lines or axes.texts


@pytest.mark.parametrize("name", ["map", "courses", "data", "calibration"])
def test_other_places_are_refused(pictures, name):
    with pytest.raises(ej.InputError, match="ax must be a matplotlib Axes or Figure"):
        pictures[name](ax="here")


def test_estimate_plots_itself(estimate):
    times = estimate.problem.times
    figure = estimate.plot(float(times[2]), what="std", views=["left lateral", "right medial"])
    assert figure.get_suptitle().endswith(f"at {1e3 * times[2]:.0f} ms")
    panels = [a.get_label() for a in figure.axes if ": " in a.get_label()]
    assert panels == ["posterior SD: left lateral", "posterior SD: right medial"]
    with pytest.raises(ej.InputError, match="what must be one of mean, std, exceedance"):
        estimate.plot(what="median")


def test_light_to_import():
    import subprocess
    import sys

    code = (
        "import sys, esijax, esijax.plot; esijax.plot.map; "
        "print({'matplotlib', 'nilearn', 'plotly', 'mne'} & {m.split('.')[0] for m in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# ------------------------------------------------------------------ maps
def test_one_view_shows_the_side_of_the_peak(estimate):
    amplitude = summarise(estimate).amplitude
    side = "left" if amplitude.max(axis=1).argmax() < N else "right"
    axes = plot.map(estimate, ax=plt.figure().subplots())
    assert axes.get_title() == f"{side} lateral"
    axes = plot.map(estimate, views=["right dorsal"], ax=plt.figure().subplots())
    assert axes.get_title() == "right dorsal"


def test_few_places_are_spheres_with_a_table(sparse):
    """The table names the largest, in the order of the numbers; all is not there as a surface."""
    summary = summarise(sparse)
    values = summary.amplitude[:, summary.peak_time]
    (item,) = maps.maps_of(sparse, summary).values()
    assert item.spheres
    figure = plot.map(sparse)
    (table,) = [a for a in figure.axes if a.get_label() == "table"]
    cells = table.tables[0].get_celld()
    rows = [
        [cells[r, c].get_text().get_text() for c in range(4)]
        for r in range(max(k[0] for k in cells) + 1)
    ]
    assert rows[0] == ["", "", "x, y, z (mm, head)", "A m"]
    active = np.flatnonzero(values > 1e-3 * values.max())
    order = active[np.argsort(-values[active])]
    for row, location in zip(rows[1:7], order, strict=False):
        x, y, z = 1e3 * np.asarray(sparse.problem.geometry.positions)[location]
        assert row[1] == ("left" if location < N else "right")
        assert row[2] == f"{x:.0f}, {y:.0f}, {z:.0f}"
        assert float(row[3]) == pytest.approx(values[location], rel=5e-3)
    shown = min(len(order), 6)
    assert [row[0] for row in rows[1 : shown + 1]] == [str(k + 1) for k in range(shown)]
    if len(order) > 6:
        assert rows[7][2] == f"{len(order) - 6} more"


def test_wide_maps_are_no_spheres(estimate):
    assert not any(m.spheres for m in maps.maps_of(estimate, summarise(estimate)).values())


def test_a_point_estimate_has_one_map(sparse):
    with pytest.raises(ej.InputError, match="no posterior SD"):
        plot.map(sparse, what="std")
    assert plot.map(sparse, what="mean")


def test_patches_are_near_what_was_simulated(estimate):
    positions = np.asarray(estimate.problem.geometry.positions)
    patch = positions[[3, 4]] + 0.001
    inside = maps.outline_of(estimate, patch) > 0.5
    away = np.linalg.norm(positions[:, None] - patch[None], axis=-1).min(axis=1)
    np.testing.assert_array_equal(inside, away < maps.NEAR)
    figure = plot.map(estimate, what="mean", views=["left lateral"], patches=patch)
    assert figure.get_suptitle().endswith(maps.OUTLINE)
    with pytest.raises(ej.InputError, match=r"patches must be \(sources, 3\)"):
        plot.map(estimate, patches=[1.0, 2.0, 3.0])


def test_volume_and_mixed_are_on_slices():
    steps = np.stack(np.meshgrid(*[np.arange(4)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    grid = 0.01 * steps
    made = solved(problem_of(["eeg"] * 12, n_locations=64, positions=grid))
    named = changed(made, {"kinds": ("volume",), "vertices": (np.arange(64),)})
    for one in (made, named):  # MNE-Python calls a grid without MRI discrete
        figure = plot.map(one)
        figure.canvas.draw()
        labels = [a.get_label() for a in figure.axes]
        assert {"posterior mean", "posterior SD", "Pr(exceeds)"} <= set(labels)
    figure = plot.compare({"a": made, "b": named})
    assert {"a", "b"} <= {a.get_label() for a in figure.axes}
    with pytest.raises(ej.InputError, match="give a Figure as ax"):
        plot.map(made, ax=plt.figure().subplots())

    ball = 0.06 * BALL
    both = solved(
        problem_of(["eeg"] * 12, n_locations=N + 64, positions=np.concatenate([ball, grid]))
    )
    names = {
        "vertices": (np.arange(N), np.arange(0), np.arange(64)),
        "kinds": ("surface", "surface", "volume"),
        "subject": "someone",
    }
    both = changed(both, names, {"triangles": jnp.asarray(FACES, int)})
    np.testing.assert_array_equal(maps.in_volume(both), np.arange(N + 64) >= N)
    figure = plot.map(both, what="mean")
    figure.canvas.draw()
    labels = [a.get_label() for a in figure.axes]
    assert "posterior mean: left lateral" in labels
    assert "posterior mean" in labels
    assert not any("right" in label for label in labels)


def test_methods_side_by_side(estimate, sparse):
    figure = plot.compare({"MNE": estimate, "mixed norm": sparse}, 0.02, views=["left medial"])
    rows = {a.get_label().split(": ")[0] for a in figure.axes if ": " in a.get_label()}
    assert rows == {"MNE", "mixed norm"}
    assert figure.get_suptitle() == "source maps at 20 ms"
    other = solved(problem_of(["eeg"] * 12, n_locations=2 * N))
    with pytest.raises(ej.InputError, match="'b' has other source locations than 'a'"):
        plot.compare({"a": estimate, "b": other})
    with pytest.raises(ej.InputError, match="at least one"):
        plot.compare({})
    cloud = plot.compare({"a": other, "b": other})
    assert len([a for a in cloud.axes if a.get_title() == "axial"]) == 2


# ------------------------------------------------------------------ courses and data
def test_courses_of_locations_and_regions(estimate):
    figure = plot.courses(estimate, [3, np.array([5, 6, 7])])
    assert figure.axes[1].get_title() == "3 locations"
    line = figure.axes[1].lines[0]
    wanted = estimate.label([5, 6, 7])
    np.testing.assert_allclose(line.get_ydata(), wanted.mean)
    axes = plot.courses(estimate, [3, 8], ax=plt.figure().subplots())
    assert len(axes.get_legend().get_texts()) == 2
    assert [line.get_color() for line in axes.lines if line.get_label()[0] != "_"] == list(
        LINES[:2]
    )
    with pytest.raises(ej.InputError, match="holds no place"):
        plot.courses(estimate, [])
    with pytest.raises(ej.InputError, match="locations must be integers"):
        plot.courses(estimate, [10_000])


def test_data_of_a_problem_have_no_residual(estimate):
    labels = [t.get_text() for t in plot.data(estimate).axes[-1].get_legend().get_texts()]
    assert labels == ["data", "residual", "noise"]
    labels = [t.get_text() for t in plot.data(estimate.problem).axes[-1].get_legend().get_texts()]
    assert labels == ["data", "noise"]
    axes = plot.data(estimate, "eeg", ax=plt.figure().subplots())
    assert (axes.get_title(), axes.get_ylabel()) == ("12 EEG", "µV")
    with pytest.raises(ej.InputError, match="kind must be one of eeg, whitened"):
        plot.data(estimate, "mag")


# ------------------------------------------------------------------ hyper-parameters
def test_draws_of_the_prior_are_of_its_law(estimate):
    law = dist.InverseGamma(3.0, 2.0)
    before = prior_draws(estimate, ej.models.ARD(law), None, 0, 500)
    assert before["gamma"].shape == (500, 2 * N)
    share = float((np.asarray(before["gamma"]) < 1.0).mean())
    assert share == pytest.approx(float(law.cdf(1.0)), abs=0.01)


def test_each_number_has_a_name():
    draws = {"gamma": np.ones((40, 2)), "scale": np.ones(40)}
    assert list(numbers_of(draws, True)) == ["gamma[0]", "gamma[1]", "scale"]
    np.testing.assert_array_equal(numbers_of({"g": np.ones((2, 3))}, False)["g[1,2]"], [1.0])


def test_panels_of_hyper_parameters(learned):
    (axes,) = plot.prior_posterior(learned).axes
    assert axes.get_title() == "lambda2"
    assert axes.lines[0].get_xdata()[0] == pytest.approx(float(learned.hyper["lambda2"]))
    with pytest.raises(ej.InputError, match="are no hyper-parameters"):
        plot.prior_posterior(learned, names="sigma")
    with pytest.raises(ej.InputError, match="model must be the prior"):
        plot.prior_posterior(learned, "ARD")


@pytest.mark.slow
def test_prior_and_posterior_of_a_fit(estimate):
    prior = ej.models.Components(
        components=ej.models.components.Patches(4), hyper=dist.HalfCauchy(1.0)
    )
    fit = ej.solve(estimate.problem, prior, ej.inference.Laplace(), key=0)
    figure = plot.prior_posterior(fit, prior)
    names = [t.get_text() for t in figure.axes[0].get_legend().get_texts()]
    assert names == ["prior", "posterior"]


# ------------------------------------------------------------------ trust and calibration
def test_trust_says_it_in_words_and_signs():
    checks = [
        SimpleNamespace(name="baseline_rms", value=1.8, limit=1.2, light="red"),
        SimpleNamespace(name="inside", value=True, limit=None, light="green"),
        SimpleNamespace(name="range", value=0.5, limit=(0.2, 0.7), light="amber"),
    ]
    trust = SimpleNamespace(light="red", sentence="No: " + 30 * "because ", checks=checks)
    for given in (trust, SimpleNamespace(trust=lambda: trust)):
        axes = plot.trust(given)
        texts = [t.get_text() for t in axes.texts]
        assert "no" in texts
        for word in ("baseline rms", "1.8", "1.2", "True", "-", "0.2 to 0.7"):
            assert word in texts
        assert " ".join(t for t in texts if "because" in t) == trust.sentence.strip()
        signs = [line.get_marker() for line in axes.lines if line.get_marker() != "None"]
        assert signs == ["X", "X", "o", "^"]
    with pytest.raises(ej.InputError, match=r"give estimate\.trust"):
        plot.trust(3)


def test_reliability_is_a_curve_on_its_diagonal():
    rng = np.random.default_rng(0)
    stated = rng.random(5000)
    curve = ej.metrics.reliability(stated, rng.random(5000) < stated)
    axes = plot.calibration(curve, ax=plt.figure().subplots())
    x, y = axes.lines[1].get_data()
    np.testing.assert_allclose(x, y, atol=0.06)
    with pytest.raises(ej.InputError, match="give a Calibration"):
        plot.calibration([1, 2])


def test_examples():
    done = doctest.testmod(plot)
    assert done.attempted > 10
    assert done.failed == 0
