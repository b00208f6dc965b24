"""Where MNE-Python has the same metric the two agree, on a real cortex."""

import mne
import numpy as np
import pytest
from mne.minimum_norm.spatial_resolution import resolution_metrics
from mne.simulation import metrics as theirs

import esijax as ej


@pytest.fixture(scope="module")
def cortex(forward):
    """Source space, positions, a true and an estimated source estimate (two samples)."""
    src = forward["src"]
    vertices = [s["vertno"] for s in src]
    positions = np.concatenate([s["rr"][s["vertno"]] for s in src])
    rng = np.random.default_rng(9)
    truth = np.zeros((len(positions), 2))
    truth[rng.choice(len(positions), 12, replace=False)] = rng.standard_normal((12, 2))
    guess = rng.standard_normal(truth.shape) ** 3 + truth
    make = lambda data: mne.SourceEstimate(data.copy(), vertices, 0.0, 1.0)  # noqa: E731
    return src, positions, make, truth, guess


def test_detection(cortex):
    _, _, make, truth, guess = cortex
    stc = make(truth), make(guess)
    area = theirs.roc_auc_score(*stc)
    scores = [f(*stc, threshold="30%") for f in (theirs.precision_score, theirs.recall_score)]
    scores.append(theirs.f1_score(*stc, threshold="30%"))
    for t in range(2):
        size, active = np.abs(guess[:, t]), truth[:, t] != 0
        assert float(ej.metrics.auc(size, active)) == pytest.approx(area[t], rel=1e-12)
        # MNE thresholds over both samples and the truth as well
        found = size > 0.3 * np.abs(guess).max()
        strong = np.abs(truth[:, t]) > 0.3 * np.abs(truth).max()
        ours = ej.metrics.precision_recall(found, strong)
        for mine, other in zip((ours.precision, ours.recall, ours.f1), scores, strict=True):
            assert float(mine) == pytest.approx(other[t], rel=1e-12)


def test_region_error(cortex):
    src, positions, make, truth, guess = cortex
    guess, truth = guess[:, :1], truth[:, :1]
    other = theirs.region_localization_error(make(truth), make(guess), src, threshold="30%")
    found = np.asarray(ej.metrics.above(np.abs(guess[:, 0]), 0.3))
    active = np.asarray(ej.metrics.above(np.abs(truth[:, 0]), 0.3))
    ours = float(ej.metrics.region_error(found, active, positions))
    assert ours == pytest.approx(other.item(), rel=1e-9)


def test_cosine(cortex):
    _, _, make, truth, guess = cortex
    other = theirs.cosine_score(make(truth), make(guess), per_sample=False)
    assert float(ej.metrics.cosine(guess, truth)) == pytest.approx(other, rel=1e-12)


def test_resolution(cortex):
    """Point spread functions: MNE reports cm, ours is in the unit of the positions."""
    src, positions, *_ = cortex
    n = len(positions)
    spread = np.zeros((n, n))
    chosen = [3, 500, 1500]
    spread[:, chosen] = np.random.default_rng(10).standard_normal((n, 3)) ** 3
    other = {}
    rest = np.setdiff1d(np.arange(n), chosen)
    spread[rest, rest] = 1.0
    for name in ("peak_err", "sd_ext"):
        other[name] = resolution_metrics(spread, src, metric=name).data[chosen, 0]
    ours = {"peak_err": ej.metrics.peak_error, "sd_ext": ej.metrics.spatial_dispersion}
    for name, metric in ours.items():
        found = [float(metric(np.abs(spread[:, c]), positions, positions[[c]])) for c in chosen]
        np.testing.assert_allclose(100 * np.array(found), other[name], rtol=1e-9)
