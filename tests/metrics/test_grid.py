"""Distances and neighbours against loops."""

import jax
import numpy as np
import pytest

import esijax as ej


@pytest.fixture(scope="module")
def cloud():
    return np.random.default_rng(0).uniform(-1, 1, (30, 3))


def apart(a, b):
    return float(np.sqrt(((a - b) ** 2).sum()))


def test_distances(cloud):
    points = cloud[[3, 9]] + 0.1
    by_hand = [min(apart(r, q) for q in points) for r in cloud]
    np.testing.assert_allclose(ej.metrics.distance_to(cloud, points), by_hand, rtol=1e-12)
    active = np.arange(30) % 7 == 2
    by_hand = [min(apart(r, q) for q in cloud[active]) for r in cloud]
    np.testing.assert_allclose(ej.metrics.distance_to_active(cloud, active), by_hand, atol=1e-12)
    assert np.isinf(ej.metrics.distance_to_active(cloud, np.zeros(30, bool))).all()


def test_distances_of_several_truths_at_once(cloud):
    masks = np.random.default_rng(1).random((4, 30)) < 0.2
    together = jax.vmap(ej.metrics.distance_to_active, (None, 0))(cloud, masks)
    alone = [ej.metrics.distance_to_active(cloud, m) for m in masks]
    np.testing.assert_allclose(together, np.stack(alone), atol=1e-14)


def test_neighbours(cloud):
    found = {tuple(sorted(e)) for e in np.asarray(ej.metrics.neighbours(cloud, 0.6)).tolist()}
    by_hand = {(i, j) for i in range(30) for j in range(i) if apart(cloud[i], cloud[j]) <= 0.6}
    assert found == {(j, i) for i, j in by_hand}
    assert len(found) > 20
    with pytest.raises(ej.InputError, match="must be positive, got 0"):
        ej.metrics.neighbours(cloud, 0.0)


def test_local_maxima(cloud):
    edges = np.asarray(ej.metrics.neighbours(cloud, 0.6))
    amplitude = np.round(np.random.default_rng(2).random(30), 1)  # with ties and zeros
    by_hand = []
    for i in range(30):
        others = [j for e in edges.tolist() if i in e for j in e if j != i]
        beaten = all(amplitude[j] < amplitude[i] or (amplitude[j] == amplitude[i] and i < j)
                     for j in others)  # fmt: skip
        by_hand.append(amplitude[i] > 0 and beaten)
    assert np.asarray(ej.metrics.local_maxima(amplitude, edges)).tolist() == by_hand
    assert 1 < sum(by_hand) < 30


def test_geodesic(cloud):
    edges = np.asarray(ej.metrics.neighbours(cloud[:25], 0.7))  # the last five stand apart
    length = np.full((30, 30), np.inf)
    np.fill_diagonal(length, 0)
    for i, j in edges:
        length[i, j] = length[j, i] = apart(cloud[i], cloud[j])
    for k in range(30):  # Floyd and Warshall
        length = np.minimum(length, length[:, [k]] + length[[k]])
    found = ej.metrics.geodesic(cloud, edges, np.array([0, 8]))
    np.testing.assert_allclose(found, length[[0, 8]], rtol=1e-12)
    assert np.isinf(found[:, 25:]).all()
    assert np.isfinite(found[:, :25]).sum() > 10
