"""Scores against loops, by hand and against MNE-Python's."""

import numpy as np
import pytest

import esijax as ej


@pytest.fixture(scope="module")
def scene():
    """Amplitudes, positions and three true sources, m."""
    rng = np.random.default_rng(4)
    return rng.random(40) ** 3, rng.uniform(-0.07, 0.07, (40, 3)), rng.uniform(-0.07, 0.07, (3, 3))


def apart(a, b):
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) ** 0.5


def test_peak_error(scene):
    amplitude, positions, truth = scene
    best = sorted(range(40), key=lambda i: -amplitude[i])[0]
    by_hand = min(apart(positions[best], q) for q in truth)
    assert float(ej.metrics.peak_error(amplitude, positions, truth)) == pytest.approx(by_hand)
    assert float(ej.metrics.peak_error(amplitude, positions, positions[best][None])) == 0.0


def test_spatial_dispersion(scene):
    amplitude, positions, truth = scene
    total = power = 0.0
    for a, r in zip(amplitude, positions, strict=True):
        total += min(apart(r, q) for q in truth) ** 2 * a**2
        power += a**2
    value = float(ej.metrics.spatial_dispersion(amplitude, positions, truth))
    assert value == pytest.approx((total / power) ** 0.5)
    scaled = ej.metrics.spatial_dispersion(7e-9 * amplitude, positions, truth)
    assert float(scaled) == pytest.approx(value)
    alone = np.eye(40)[11]
    assert float(ej.metrics.spatial_dispersion(alone, positions, positions[11:12])) == 0.0
    assert np.isnan(float(ej.metrics.spatial_dispersion(0 * amplitude, positions, truth)))


def test_equal_to_mne_where_it_has_the_same(forward):
    """One true source: MNE weighs by amplitude where we weigh by power, so it gets the square."""
    import mne
    from mne.simulation.metrics import peak_position_error, spatial_deviation_error

    src = forward["src"]
    vertices = [s["vertno"] for s in src]
    n = sum(map(len, vertices))
    rng = np.random.default_rng(5)
    amplitude = rng.random(n) ** 4
    positions = np.concatenate([s["rr"][s["vertno"]] for s in src])
    true = 123
    alone = [vertices[0][[true]], np.zeros(0, int)]
    one = mne.SourceEstimate(np.ones((1, 1)), alone, 0.0, 1.0)
    power, peak = (
        mne.SourceEstimate(values[:, None], vertices, 0.0, 1.0)
        for values in (amplitude**2, np.eye(n)[amplitude.argmax()])
    )
    theirs = spatial_deviation_error(one, power, src, threshold="0%")
    ours = ej.metrics.spatial_dispersion(amplitude, positions, positions[true][None])
    assert float(ours) == pytest.approx(theirs.item(), rel=1e-9)
    theirs = peak_position_error(one, peak, src, threshold="0%")
    ours = ej.metrics.peak_error(amplitude, positions, positions[true][None])
    assert float(ours) == pytest.approx(theirs.item(), rel=1e-9)


def test_coverage():
    rng = np.random.default_rng(6)
    truth = rng.standard_normal((5, 4))
    lower, upper = truth - rng.uniform(-0.3, 1, (5, 4)), truth + rng.uniform(-0.3, 1, (5, 4))
    chosen = rng.random((5, 1)) < 0.6
    hits = [
        bool(lower[i, j] <= truth[i, j] <= upper[i, j])
        for i in range(5) for j in range(4) if chosen[i, 0]
    ]  # fmt: skip
    share = float(ej.metrics.coverage(lower, upper, truth, chosen))
    assert share == pytest.approx(sum(hits) / len(hits))
    assert 0 < share < 1
    everything = float(ej.metrics.coverage(lower, upper, truth))
    assert everything == pytest.approx(((lower <= truth) & (truth <= upper)).mean())
    assert float(ej.metrics.coverage(truth, truth, truth)) == 1.0  # limits belong to it
    assert np.isnan(float(ej.metrics.coverage(lower, upper, truth, np.zeros((5, 1), bool))))


def test_truth_may_be_one_number():
    assert float(ej.metrics.coverage(np.array([-1.0, 0.5]), np.array([1.0, 0.7]), 0.0)) == 0.5


@pytest.mark.statistical
def test_intervals_of_the_truth_model_cover_as_they_say():
    """A normal's central interval; 4 standard errors of 20,000 draws."""
    draws = np.random.default_rng(7).standard_normal(20_000)
    reach = 1.6448536269514722
    share = float(ej.metrics.coverage(np.full(20_000, -reach), np.full(20_000, reach), draws))
    assert share == pytest.approx(0.9, abs=4 * (0.09 / 20_000) ** 0.5)


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_a_map_without_a_peak_has_no_error(value):
    positions, truth = np.eye(3), np.zeros((1, 3))
    blank = np.full(3, value)
    assert np.isnan(ej.metrics.peak_error(blank, positions, truth))
    assert np.isnan(ej.metrics.half_radius(blank, positions, truth))
