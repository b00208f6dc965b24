"""Alpha from real data: irMxNE has its strongest source in the hemisphere the literature names."""

import numpy as np
import pytest

import esijax as ej
from esijax.inference import Reweighted, select
from esijax.models import L21

# condition, window (s), side
CLEAR = {
    "Right Auditory": (0.08, 0.10, "left"),
    "Left visual": (0.11, 0.13, "right"),
    "Right visual": (0.08, 0.11, "left"),
}
FRACTIONS = np.geomspace(0.9, 0.1, 10)
BASELINE = 3.3  # mean square of the whitened baseline: what SURE calls noise


def by_sure(problem, method):
    penalty = L21(1.0)
    return select.by_sure(problem, penalty, method, fractions=FRACTIONS, variance=BASELINE)


def by_cross_validation(problem, method):
    return select.by_cross_validation(problem, L21(1.0), method, fractions=FRACTIONS)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the rule for alpha ran to the smallest:esijax.EsijaxWarning")
@pytest.mark.parametrize("rule", [by_sure, by_cross_validation])
@pytest.mark.parametrize("condition", CLEAR)
def test_strongest_source_is_on_the_known_side(evokeds, forward, noise_cov, condition, rule):
    tmin, tmax, side = CLEAR[condition]
    evoked = evokeds[condition].copy().apply_baseline((None, 0)).crop(tmin, tmax)
    problem = ej.from_mne(evoked, forward, noise_cov, loose=0.0)
    method = Reweighted(10)
    penalty = rule(problem, method)
    estimate = ej.solve(problem, penalty, method)
    strength = np.abs(np.asarray(estimate.mean)).max(axis=(1, 2))
    n_left = len(problem.labels.vertices[0])
    assert ("left" if np.argmax(strength) < n_left else "right") == side
    assert bool(estimate.diagnostics.converged)
