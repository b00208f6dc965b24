"""Peaks, assignment, ways along the mesh, transport, width: against search over everything."""

import itertools
import sys

import numpy as np
import pytest

import esijax as ej


@pytest.fixture(scope="module")
def scene():
    """Amplitudes, positions, edges, three true sources."""
    rng = np.random.default_rng(3)
    positions = rng.uniform(-0.07, 0.07, (60, 3))
    return (
        rng.random(60) ** 2,
        positions,
        np.asarray(ej.metrics.neighbours(positions, 0.04)),
        rng.uniform(-0.07, 0.07, (3, 3)),
    )


def distance(a, b):
    return np.linalg.norm(a[:, None] - b[None], axis=-1)


def test_matched_error_is_the_best_of_all_assignments(scene):
    amplitude, positions, edges, truth = scene
    maxima = np.flatnonzero(np.asarray(ej.metrics.local_maxima(amplitude, edges)))
    assert len(maxima) > 3
    peaks = sorted(maxima, key=lambda i: -amplitude[i])[:3]
    assert ej.metrics.find_peaks(amplitude, edges, 3).tolist() == peaks
    cost = distance(truth, positions[peaks])
    best = min(
        (cost[range(3), list(p)] for p in itertools.permutations(range(3))), key=lambda d: d.sum()
    )
    found = ej.metrics.matched_error(amplitude, positions, truth, edges)
    np.testing.assert_allclose(found, best, rtol=1e-12)
    assert found.sum() > cost.min(axis=1).sum()  # the nearest peak alone would have looked better


def test_fewer_peaks_than_sources(scene):
    _, positions, edges, truth = scene
    one = np.eye(60)[7]
    found = ej.metrics.matched_error(one, positions, truth, edges)
    np.testing.assert_allclose(found, distance(truth, positions[[7]])[:, 0], rtol=1e-12)
    assert np.isinf(ej.metrics.matched_error(0 * one, positions, truth, edges)).all()


def test_geodesic_error_round_a_bend():
    """A horseshoe: near through the air, far along the cortex."""
    angle = np.linspace(0, 1.8 * np.pi, 50)
    positions = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)
    edges = np.stack([np.arange(49), np.arange(1, 50)], axis=1)
    amplitude = np.eye(50)[0]
    along = ej.metrics.geodesic_error(amplitude, positions, positions[-1:], edges)
    assert along == pytest.approx(49 * 2 * np.sin(angle[1] / 2))
    assert along > 5 * float(ej.metrics.peak_error(amplitude, positions, positions[-1:]))
    both = ej.metrics.geodesic_error(amplitude, positions, positions[[-1, 3]] + 1e-6, edges)
    assert both == pytest.approx(3 * 2 * np.sin(angle[1] / 2))
    assert np.isinf(ej.metrics.geodesic_error(amplitude, positions, positions[-1:], edges[:-1]))


def test_earth_mover_on_a_line():
    """On a line the distance is the area between the two distribution functions."""
    pytest.importorskip("ot")
    rng = np.random.default_rng(4)
    x = np.sort(rng.random(12))
    positions = np.stack([x, 0 * x, 0 * x], axis=1)
    a, q = rng.random(12), rng.random(12) * (rng.random(12) < 0.5)
    gap = np.abs(np.cumsum(a / a.sum() - q / q.sum()))[:-1]
    found = ej.metrics.earth_mover(a, q, positions)
    assert found == pytest.approx(np.sum(gap * np.diff(x)), rel=1e-9)
    assert ej.metrics.earth_mover(3 * q, q, positions) == pytest.approx(0, abs=1e-12)
    squared = ej.metrics.earth_mover(a**2, q**2, positions)
    assert ej.metrics.earth_mover(a, q, positions, power=2) == pytest.approx(squared, rel=1e-9)
    assert np.isnan(ej.metrics.earth_mover(0 * a, q, positions))


def test_earth_mover_without_pot(monkeypatch):
    monkeypatch.setitem(sys.modules, "ot", None)
    one = np.eye(3)[0]
    with pytest.raises(ej.InputError, match=r"pip install esijax\[emd\]"):
        ej.metrics.earth_mover(one, one, np.eye(3))


def test_blur_of_a_round_blob():
    """A normal blob on a fine plane: full width at half maximum is 2.355 standard deviations."""
    step = 0.5e-3
    x, y = np.meshgrid(np.arange(-0.04, 0.04, step), np.arange(-0.04, 0.04, step))
    blob = np.exp(-0.5 * (x**2 + y**2) / 0.01**2).ravel()
    areas = np.full(blob.size, step**2)
    assert float(ej.metrics.blur(blob, areas)) == pytest.approx(0.02355, rel=0.01)
    assert float(ej.metrics.blur(1e-9 * blob, areas)) == float(ej.metrics.blur(blob, areas))


def test_blur_and_half_radius_by_hand(scene):
    amplitude, positions, _, truth = scene
    areas = np.random.default_rng(5).random(60) * 1e-4
    area = radius = 0.0
    for a, s, r in zip(amplitude, areas, positions, strict=True):
        if a >= amplitude.max() / 2:
            area += s
            radius = max(radius, min(float(np.linalg.norm(r - q)) for q in truth))
    assert float(ej.metrics.blur(amplitude, areas)) == pytest.approx(2 * (area / np.pi) ** 0.5)
    assert float(ej.metrics.half_radius(amplitude, positions, truth)) == pytest.approx(radius)


def test_region_error(scene):
    amplitude, positions, *_ = scene
    found, active = amplitude > 0.6, np.arange(60) % 9 == 0
    cost = distance(positions[active], positions[found])
    by_hand = (cost.min(axis=1).mean() + cost.min(axis=0).mean()) / 2
    assert float(ej.metrics.region_error(found, active, positions)) == pytest.approx(by_hand)
    assert np.isinf(float(ej.metrics.region_error(found & ~found, active, positions)))


def test_depth():
    rng = np.random.default_rng(6)
    depth = rng.uniform(0.01, 0.08, 40)
    truth = rng.uniform(0.01, 0.08, 200)
    bias = ej.metrics.depth_bias(0.3 * truth + 0.01, truth)
    assert float(bias.slope) == pytest.approx(0.3)
    assert float(bias.mean) == pytest.approx(np.mean(0.3 * truth + 0.01 - truth))
    noisy = 0.5 * truth + 0.005 * rng.standard_normal(200)
    slope = float(ej.metrics.depth_bias(noisy, truth).slope)
    assert slope == pytest.approx(np.polyfit(truth, noisy, 1)[0])
    amplitude = rng.random(40)
    error = float(ej.metrics.depth_error(amplitude, depth, np.array(0.05)))
    assert error == pytest.approx(depth[np.argmax(amplitude)] - 0.05)
