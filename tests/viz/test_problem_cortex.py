"""The cortex of a problem: the surfaces that its locations are shown on."""

import numpy as np
import pytest

import esijax as ej
from esijax.viz.problem_cortex import cortex_of


def test_each_side_shows_its_own_locations(evoked, forward, noise_cov):
    problem = ej.from_mne(evoked, forward, noise_cov, loose=0.0)
    n_left = len(problem.labels.vertices[0])
    brain = cortex_of(problem)
    for hemi, own in ((brain.left, slice(n_left)), (brain.right, slice(n_left, None))):
        weight = np.asarray(hemi.spread.sum(axis=0)).ravel()
        assert (weight[own] > 0).all()
        assert weight.sum() == pytest.approx(weight[own].sum())
        assert np.isfinite(hemi.coords).all()


def test_points_are_no_cortex(fixed):
    with pytest.raises(ej.InputError, match="sources on surfaces"):
        cortex_of(fixed)
