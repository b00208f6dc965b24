"""ROC, precision and recall against loops over pairs and scikit-learn."""

import numpy as np
import pytest

import esijax as ej


@pytest.fixture(scope="module")
def scene():
    rng = np.random.default_rng(7)
    active = rng.random(50) < 0.2
    amplitude = np.round(rng.random(50) + 0.3 * active, 1)  # with ties
    return amplitude, active, rng.uniform(-0.07, 0.07, (50, 3))


def pairs(amplitude, active, inactive):
    """Share of pairs in the right order."""
    wins = [
        1.0 if a > b else 0.5 if a == b else 0.0
        for a in amplitude[active] for b in amplitude[inactive]
    ]  # fmt: skip
    return sum(wins) / len(wins)


def test_auc(scene):
    from sklearn.metrics import roc_auc_score

    amplitude, active, _ = scene
    found = float(ej.metrics.auc(amplitude, active))
    assert found == pytest.approx(pairs(amplitude, active, ~active), rel=1e-12)
    assert found == pytest.approx(roc_auc_score(active, amplitude), rel=1e-12)
    assert 0.5 < found < 1
    assert np.isnan(float(ej.metrics.auc(amplitude, active & ~active)))
    assert float(ej.metrics.auc(-np.log(1e-3 + amplitude), active)) == pytest.approx(1 - found)


def test_average_precision(scene):
    from sklearn.metrics import average_precision_score

    amplitude, active, _ = scene
    found = float(ej.metrics.average_precision(amplitude, active))
    assert found == pytest.approx(average_precision_score(active, amplitude), rel=1e-12)
    each = [(active & (amplitude >= a)).sum() / (amplitude >= a).sum() for a in amplitude[active]]
    assert found == pytest.approx(np.mean(each), rel=1e-12)


def test_close_is_the_mean_over_random_draws(scene):
    """The paper draws as many near inactive locations as are active: ours is the expectation."""
    amplitude, active, positions = scene
    distance = ej.metrics.distance_to_active(positions, active)
    near = ~active & (np.asarray(distance) <= 0.04)
    found = float(ej.metrics.auc_close(amplitude, active, distance, 0.04))
    assert found == pytest.approx(pairs(amplitude, active, near), rel=1e-12)
    rng = np.random.default_rng(8)
    assert near.sum() > active.sum()
    drawn = []
    for _ in range(2000):
        some = np.zeros(50, bool)
        some[rng.choice(np.flatnonzero(near), active.sum(), replace=False)] = True
        drawn.append(pairs(amplitude, active, some))
    assert np.mean(drawn) == pytest.approx(found, abs=4 * np.std(drawn) / 2000**0.5)


def test_far(scene):
    amplitude, active, positions = scene
    distance = np.asarray(ej.metrics.distance_to_active(positions, active))
    edges = np.asarray(ej.metrics.neighbours(positions, 0.04))
    far = ~active & (distance > 0.025)
    peaks = far & np.asarray(ej.metrics.local_maxima(amplitude, edges))
    assert 0 < peaks.sum() < far.sum()
    found = float(ej.metrics.auc_far(amplitude, active, distance, 0.025, edges))
    assert found == pytest.approx(pairs(amplitude, active, peaks), rel=1e-12)
    plain = float(ej.metrics.auc_far(amplitude, active, distance, 0.025))
    assert plain == pytest.approx(pairs(amplitude, active, far), rel=1e-12)
    assert found < plain  # ghosts are harder to beat than any location
    silent = np.where(far, 0.0, amplitude + 0.1)  # no maximum far away: all far locations count
    assert float(ej.metrics.auc_far(silent, active, distance, 0.025, edges)) == 1.0


def test_precision_recall(scene):
    from sklearn.metrics import f1_score, precision_score, recall_score

    amplitude, active, _ = scene
    found = np.asarray(ej.metrics.above(amplitude, 0.6))
    assert found.tolist() == [a > 0.6 * amplitude.max() for a in amplitude]
    scores = ej.metrics.precision_recall(found, active)
    assert float(scores.precision) == pytest.approx(precision_score(active, found))
    assert float(scores.recall) == pytest.approx(recall_score(active, found))
    assert float(scores.f1) == pytest.approx(f1_score(active, found))
    nothing = ej.metrics.precision_recall(found & ~found, active)
    assert float(nothing.precision) == float(nothing.recall) == float(nothing.f1) == 0.0
