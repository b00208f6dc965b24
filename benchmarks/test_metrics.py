"""Scoring many maps at once: what a benchmark of methods and seeds has to wait for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import esijax as ej

pytestmark = pytest.mark.bench
N_MAPS = 1000


@pytest.fixture(scope="module")
def grid(sample):
    """Positions, areas and edges of 8,003 locations."""
    evoked, cov, forward = sample
    geometry = ej.from_mne(evoked, forward, cov, loose=0.0).geometry
    return ej.metrics.Grid(geometry.positions, geometry.areas, geometry.edges)


def maps(grid, n_orients):
    """Two patches of 15 locations each, and maps that know a little of them."""
    rng = np.random.default_rng(0)
    positions = np.asarray(grid.positions)
    active = np.zeros((N_MAPS, len(positions)), bool)
    centres = np.empty((N_MAPS, 2, 3))
    for i in range(N_MAPS):
        seeds = rng.choice(len(positions), 2, replace=False)
        centres[i] = positions[seeds]
        for seed in seeds:
            distance = np.linalg.norm(positions - positions[seed], axis=1)
            active[i, np.argpartition(distance, 15)[:15]] = True
    truth = active[..., None] * rng.standard_normal((*active.shape, n_orients))
    mean = truth + rng.standard_normal(truth.shape)
    it = ej.metrics.SourceMap(
        mean, truth, active, centres, np.ones_like(mean), rng.random(active.shape)
    )
    return jax.tree.map(jnp.asarray, it)


@pytest.mark.parametrize("n_orients", [1, 3])
def test_score(grid, race, n_orients):
    """The card of 1,000 maps with their uncertainty, 8,003 locations; limit: 3 s on two cores."""
    several = maps(grid, n_orients)

    def run():
        return jax.block_until_ready(ej.metrics.score_maps(several, grid))

    race(f"scores of {N_MAPS} maps, {n_orients} orient(s)", "esijax", run, rounds=3)
