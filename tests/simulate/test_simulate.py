"""Patches, waves and noise against slow and obvious versions."""

import jax
import numpy as np
import pytest

import esijax as ej


@pytest.fixture(scope="module")
def grid():
    """A crumpled sheet of 12 x 12 locations with uneven areas, and three cut-off ones."""
    rng = np.random.default_rng(2)
    x, y = np.meshgrid(np.arange(12.0), np.arange(12.0), indexing="ij")
    positions = 0.006 * np.stack([x, y, np.sin(x) * np.cos(y)], axis=-1).reshape(-1, 3)
    positions += 5e-4 * rng.standard_normal(positions.shape)
    index = np.arange(144).reshape(12, 12)
    squares = [index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]]
    a, b, c, d = (s.ravel() for s in squares)
    triangles = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    pairs = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [0, 2]]])
    edges = np.unique(np.sort(pairs, axis=1), axis=0)
    positions = np.concatenate([positions, [[0.2, 0, 0], [0.21, 0, 0], [0.2, 0.01, 0]]])
    edges = np.concatenate([edges, [[144, 145], [145, 146]]])
    areas = 3e-5 * rng.uniform(0.5, 1.5, len(positions))
    make = jax.numpy.asarray
    return ej.Geometry(positions=make(positions), edges=make(edges), areas=make(areas))


def walk(geometry, seed):
    """Shortest ways along edges by relaxing all edges until nothing changes."""
    positions, edges = np.asarray(geometry.positions), np.asarray(geometry.edges)
    distance = np.full(len(positions), np.inf)
    distance[seed] = 0.0
    for _ in range(len(positions)):
        before = distance.copy()
        for i, j in edges:
            length = np.linalg.norm(positions[i] - positions[j])
            distance[j] = min(distance[j], distance[i] + length)
            distance[i] = min(distance[i], distance[j] + length)
        if (before == distance).all():
            return distance
    raise AssertionError("did not settle")


@pytest.mark.parametrize("smooth", [True, False])
@pytest.mark.parametrize(("seed", "area"), [(0, 4e-4), (70, 8e-4), (143, 1.5e-3)])
def test_patch_is_the_nearest_locations_up_to_its_area(grid, seed, area, smooth):
    profile = ej.simulate.patch(grid, seed, area, smooth=smooth)
    areas, distance = np.asarray(grid.areas), walk(grid, seed)
    inside = np.flatnonzero(profile > 0)
    assert distance[inside].max() < np.delete(distance, inside).min()
    grown = areas[inside].sum()
    last = inside[distance[inside].argmax()]
    assert grown - areas[last] < area <= grown
    rim = 1.1 * distance[inside].max()
    density = np.cos(np.pi / 2 * distance[inside] / rim) ** 2 if smooth else np.ones(len(inside))
    moment = density * areas[inside]
    np.testing.assert_allclose(profile[inside], moment / moment.max())
    assert profile.max() == 1.0
    assert profile.min() == 0.0


def test_patch_is_connected(grid):
    inside = set(np.flatnonzero(ej.simulate.patch(grid, 30, 6e-4)).tolist())
    edges = np.asarray(grid.edges).tolist()
    seen, todo = set(), [30]
    while todo:
        here = todo.pop()
        seen.add(here)
        todo += [b for a, b in edges + [e[::-1] for e in edges] if a == here and b in inside - seen]
    assert seen == inside


def test_patch_keeps_to_its_piece_of_the_mesh(grid):
    """The area of a piece that is too small ends the patch."""
    profile = ej.simulate.patch(grid, 145, 1.0, smooth=False)
    assert set(np.flatnonzero(profile)) == {144, 145, 146}


def test_tiny_patch_is_its_seed(grid):
    for smooth in (True, False):
        profile = ej.simulate.patch(grid, 5, 1e-9, smooth=smooth)
        assert np.flatnonzero(profile).tolist() == [5]
        assert profile[5] == 1.0


def test_patch_refuses(grid):
    with pytest.raises(ej.InputError, match="must be positive, got 0"):
        ej.simulate.patch(grid, 5, 0.0)
    for seed in (-1, 147, 2000):
        with pytest.raises(ej.InputError, match=f"{seed}"):
            ej.simulate.patch(grid, seed, 1e-4)
    with pytest.raises(ej.InputError, match="cortical mesh"):
        ej.simulate.patch(ej.Geometry(positions=grid.positions), 5, 1e-4)


def test_wave():
    times = np.linspace(-0.1, 0.4, 501)
    wave = ej.simulate.erp(times, latency=0.12, width=0.04, frequency=6.0)
    assert times[wave.argmax()] == pytest.approx(0.12)
    assert wave.max() == pytest.approx(1.0)
    for t, w in zip(times[::50], wave[::50], strict=True):
        by_hand = np.exp(-((t - 0.12) ** 2) / (2 * 0.04**2)) * np.cos(2 * np.pi * 6 * (t - 0.12))
        assert w == pytest.approx(by_hand, abs=1e-15)
    np.testing.assert_allclose(wave[200:220], wave[240:220:-1], atol=1e-12)  # symmetric
    with pytest.raises(ej.InputError, match="width"):
        ej.simulate.erp(times, width=0.0)


@pytest.mark.parametrize("n", [500, 501])
def test_noise_has_unit_variance_and_falls_as_one_over_f(n):
    sfreq, corner = 250.0, 4.0
    noise = np.asarray(ej.simulate.pink_noise(jax.random.key(1), (2000, n), sfreq, corner))
    assert noise.shape == (2000, n)
    # effective degrees of freedom are some tens per row: 2000 rows give better than 1 %
    assert noise.var() == pytest.approx(1.0, rel=0.02)
    np.testing.assert_allclose(noise.var(axis=0), 1.0, rtol=0.15)  # at every time
    frequency = np.fft.rfftfreq(n, 1 / sfreq)
    power = (np.abs(np.fft.rfft(noise)) ** 2).mean(axis=0)
    above = (frequency > corner) & (frequency < 0.95 * sfreq / 2)
    slope = np.polyfit(np.log(frequency[above]), np.log(power[above]), 1)[0]
    assert slope == pytest.approx(-1.0, abs=0.02)
    flat = power[(frequency > 0) & (frequency < corner)]
    np.testing.assert_allclose(flat, flat.mean(), rtol=0.15)


def test_noise_is_independent_across_rows_and_repeats_with_its_key():
    draw = lambda k: np.asarray(ej.simulate.pink_noise(jax.random.key(k), (3, 4000), 500.0, 20.0))  # noqa: E731
    np.testing.assert_array_equal(draw(0), draw(0))
    assert np.abs(draw(0) - draw(1)).max() > 0.1
    assert np.abs(np.corrcoef(draw(0)) - np.eye(3)).max() < 0.2
