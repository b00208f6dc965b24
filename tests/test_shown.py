"""A problem and an estimate say what they are in a few lines, wherever they are printed."""

import dataclasses
import html.parser
import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import esijax as ej

MOST_LINES = 14


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    gain = rng.standard_normal((8, 12, 3))
    data = gain[:, 4, :1] * [1.0, 5.0, 2.0]
    types = ["eeg"] * 5 + ["mag"] * 3
    where = 0.03 * rng.standard_normal((12, 3))
    return ej.from_arrays(gain, data, 0.1, positions=where, ch_types=types, sfreq=100.0, tmin=0.05)


@pytest.fixture(scope="module")
def estimate(problem):
    return ej.solve(problem, ej.models.MinimumNorm(), ej.inference.Linear())


def facts(text):
    return dict(re.findall(r"^  ([\w-]+): +(.*?)>?$", text, re.MULTILINE))


def test_problem_in_a_few_lines(problem):
    text = repr(problem)
    assert text.count("\n") < MOST_LINES
    assert text.startswith("<Problem\n")
    assert text.endswith(">")
    found = facts(text)
    assert found["sensors"] == "5 EEG, 3 magnetometers; rank 8"
    assert found["times"] == "3 samples, 50 to 70 ms, at 100 Hz"
    assert found["locations"] == "12"
    assert found["orientation"] == "free, 3 per location"
    assert found["noise"] == "whitened, average of 1 trial"


def test_estimate_says_where_it_peaks(estimate):
    text = repr(estimate)
    assert text.count("\n") < MOST_LINES
    found = facts(text)
    assert found["model"] == "MinimumNorm"
    assert found["method"] == "Linear"
    assert found["result"] == "done"
    assert float(found["log-evidence"]) == pytest.approx(float(estimate.log_evidence), abs=0.06)
    size = np.linalg.norm(np.asarray(estimate.mean), axis=1)
    where, when = np.unravel_index(size.argmax(), size.shape)
    x, y, z = 1e3 * np.asarray(estimate.problem.geometry.positions)[where]
    assert found["peak"] == (
        f"{size.max():.3g} A m at {1e3 * estimate.problem.times[when]:.0f} ms, location {where}, "
        f"({x:.0f}, {y:.0f}, {z:.0f}) mm, head"
    )


def test_sides_are_those_of_the_source_spaces(estimate):
    """Not of the sign of x: a left source may lie right of the midline."""
    size = np.linalg.norm(np.asarray(estimate.mean), axis=1).max(axis=1)
    for n_left, side in ((int(size.argmax()), "right"), (int(size.argmax()) + 1, "left")):
        labels = dataclasses.replace(
            estimate.problem.labels,
            vertices=(np.arange(n_left), np.arange(12 - n_left)),
            kinds=("surface", "surface"),
            subject="someone",
        )
        made = dataclasses.replace(
            estimate, problem=dataclasses.replace(estimate.problem, labels=labels)
        )
        assert f", {side} (" in facts(repr(made))["peak"]
        assert facts(repr(made))["locations"] == f"12 ({n_left} left, {12 - n_left} right)"
        assert facts(repr(made))["condition"] == "- of someone"


@pytest.mark.parametrize(
    ("scale", "said"),
    [(1.0, "free"), (0.2, "loose 0.2"), (0.05, "loose 0.05")],
)
def test_orientation(problem, scale, said):
    orient = jnp.broadcast_to(jnp.sqrt(jnp.array([scale, scale, 1.0])), (12, 3))
    made = dataclasses.replace(problem, orient_scale=orient)
    assert facts(repr(made))["orientation"] == f"{said}, 3 per location"


def test_a_fixed_one_with_trials_and_noise_in_time():
    gain = np.random.default_rng(1).standard_normal((6, 9))
    problem = ej.from_arrays(gain, np.tile(gain[:, :4], (5, 1, 1)), 1.0, sfreq=10.0)
    found = facts(repr(problem.with_noise_time(np.eye(4) + 0.3)))
    assert found["orientation"] == "fixed, 1 per location"
    assert found["times"].startswith("5 trials of 4 samples")
    assert found["noise"].endswith("samples go together (noise_time)")
    assert facts(repr(problem.crop(0.1, 0.1)))["times"] == "5 trials of 1 sample at 100 ms"


def test_a_map_of_zeros_has_no_peak(problem):
    silent = dataclasses.replace(problem, data=jnp.zeros_like(problem.data))
    nothing = ej.solve(silent, ej.models.MinimumNorm(), ej.inference.Linear())
    assert facts(repr(nothing))["peak"] == "none, the map is zero everywhere"


class Tags(html.parser.HTMLParser):
    """Texts of the cells, and tags that are open."""

    def __init__(self):
        super().__init__()
        self.open, self.cells = [], []

    def handle_starttag(self, tag, _):
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.cells.append(data)


def test_html_says_the_same(estimate):
    named = dataclasses.replace(estimate, model="a <b> & c")
    page = Tags()
    page.feed(named._repr_html_())
    assert page.open == []
    found = facts(repr(named))
    assert page.cells == ["Estimate", *(text for pair in found.items() for text in pair)]
    assert "a &lt;b&gt; &amp; c" in named._repr_html_()


def test_a_repr_never_fails(problem, estimate):
    """Within jit and vmap, of shapes, of nothing, of a batch."""
    seen = []

    def look(p):
        seen.append((repr(p), p._repr_html_()))
        return p.data.sum()

    jax.jit(look)(problem)
    jax.vmap(lambda x: look(problem.with_data(x)))(jnp.ones((2, 8, 3)))
    others = (
        eqx.filter(problem, lambda _: False),
        eqx.filter_eval_shape(lambda: estimate),
        jax.tree.map(lambda x: jnp.stack([x, x]), problem),
    )
    seen += [(repr(other), other._repr_html_()) for other in others]
    for text, page in seen:
        assert text.count("\n") < MOST_LINES
        assert "cannot be looked at here" in text
        assert "cannot be looked at here" in page
