"""Simulated data sets: 1,000 at a time, and the table of patches that they are drawn from."""

import jax
import pytest

import esijax as ej
from esijax import simulate as sim

pytestmark = pytest.mark.bench
SOURCES = {
    "dipoles": lambda _: sim.Dipoles(3, min_distance=0.03),
    "patches": lambda head: sim.Patches(sim.patch_table(head.geometry), 3, min_distance=0.03),
}
NOISE = {"noise_cov": lambda _: sim.FromCov(), "brain": sim.BrainBackground.of}


@pytest.fixture(scope="module")
def heard(sample):
    """EEG, 100 samples; 8,003 locations with three orients make the data."""
    evoked, cov, forward = sample
    evoked = evoked.copy().pick("eeg", exclude=()).crop(0.0, 99 / evoked.info["sfreq"])
    problem = ej.from_mne(evoked, forward, cov)
    return ej.io.simulation_head(forward, problem), problem


@pytest.mark.parametrize("noise", NOISE)
@pytest.mark.parametrize("sources", SOURCES)
def test_thousand(heard, race, sources, noise):
    """1,000 data sets of three sources, another key each time."""
    head, problem = heard
    assert head.n_locations == 8003
    assert problem.n_times == 100
    parts = SOURCES[sources](head), sim.Gabors(), NOISE[noise](head)
    keys = iter(jax.random.split(jax.random.key(0), 20))

    def run():
        many = sim.simulate(jax.random.split(next(keys), 1000), head, problem, *parts)
        return jax.block_until_ready(many.draws.recording)

    race(f"simulate 1,000 x {len(head.gain)} channels x 100, {sources}, {noise}", "esijax", run)


def test_patch_table(heard, race):
    """Geodesic neighbourhoods of 8,003 locations up to 12 cm2, on the host."""
    head, _ = heard
    race("patch table, 12 cm2", "esijax", lambda: sim.patch_table(head.geometry, 12e-4), rounds=3)
