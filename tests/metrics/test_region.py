"""Regions of the peak against search over all sets, and their calibration."""

import itertools

import jax
import numpy as np
import pytest

import esijax as ej


@pytest.mark.parametrize("seed", range(5))
def test_region_is_the_smallest(seed):
    """Of all sets that reach the level none is smaller than the ranked one without its last."""
    rng = np.random.default_rng(seed)
    p, areas = rng.dirichlet(np.ones(8)), rng.uniform(0.5, 2, 8)
    inside = np.asarray(ej.metrics.highest_density_region(p, areas, 0.8))
    assert p[inside].sum() >= 0.8
    ranked = sorted(np.flatnonzero(inside), key=lambda i: -p[i] / areas[i])
    assert p[ranked[:-1]].sum() < 0.8
    assert (p / areas)[inside].min() >= (p / areas)[~inside].max(initial=0)
    sizes = [
        sum(areas[list(s)])
        for k in range(9) for s in itertools.combinations(range(8), k)
        if p[list(s)].sum() >= 0.8
    ]  # fmt: skip
    # whole locations: the ranked set is the smallest up to its last member
    assert areas[ranked[:-1]].sum() < min(sizes) <= areas[inside].sum()


def test_region_score():
    p, areas = np.array([0.3, 0.0, 0.6, 0.1]), np.array([1.0, 1, 2, 1]) * 1e-4
    score = ej.metrics.region_score(10 * p, areas, np.array(0))
    assert (float(score.holds), float(score.area)) == pytest.approx((1.0, 3e-4))
    assert float(ej.metrics.region_score(p, areas, np.array(3)).holds) == 0.0
    everything = ej.metrics.region_score(p, areas, np.array(1), 0.999)
    assert (float(everything.holds), float(everything.area)) == pytest.approx((0.0, 4e-4))


def test_peak_probability():
    draws = np.random.default_rng(21).random((500, 6))
    by_hand = np.bincount(draws.argmax(axis=1), minlength=6) / 500
    np.testing.assert_allclose(ej.metrics.peak_probability(draws), by_hand, atol=1e-12)


@pytest.mark.statistical
def test_regions_hold_what_they_say():
    """Peaks drawn from the stated probabilities: held at the level plus the last one's excess."""
    rng = np.random.default_rng(22)
    areas, p = np.ones(40), rng.dirichlet(np.full(40, 0.3), 600)
    peaks = np.array([rng.choice(40, p=one) for one in p])
    held = jax.vmap(ej.metrics.region_score, (0, None, 0))(p, areas, peaks).holds
    inside = jax.vmap(ej.metrics.highest_density_region, (0, None))(p, areas)
    mass = np.sum(p * inside, axis=1)
    assert mass.min() >= 0.9 - 1e-9
    assert float(held.mean()) == pytest.approx(float(mass.mean()), abs=4 * (0.09 / 600) ** 0.5)


def test_contacts():
    rng = np.random.default_rng(23)
    positions, contacts = rng.random((30, 3)), rng.random((4, 3))
    amplitude = rng.random(30)
    apart = np.linalg.norm(positions[:, None] - contacts[None], axis=-1).min(axis=1)
    found = ej.metrics.contact_distance(amplitude, positions, contacts)
    assert float(found.peak) == pytest.approx(apart[amplitude.argmax()])
    assert float(found.mean) == pytest.approx(np.average(apart, weights=amplitude**2))
    within = ej.metrics.probability_within(amplitude, positions, contacts, 0.3)
    assert float(within) == pytest.approx(amplitude[apart <= 0.3].sum() / amplitude.sum())
    assert 0 < float(within) < 1
