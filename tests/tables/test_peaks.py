"""Peaks, patches and groups on random maps, against what is written out loop by loop."""

import numpy as np
import pytest
from jax import numpy as jnp

from esijax.geometry import Geometry
from esijax.tables import peaks


def grid(n=7, spacing=0.01):
    """A flat square mesh, and which of its locations are neighbours."""
    number = np.arange(n * n).reshape(n, n)
    a, b, c, d = (
        x.ravel() for x in (number[:-1, :-1], number[1:, :-1], number[:-1, 1:], number[1:, 1:])
    )
    triangles = np.concatenate([np.c_[a, b, c], np.c_[b, d, c]])
    i, j = np.divmod(np.arange(n * n), n)
    positions = spacing * np.c_[i, j, 0 * i].astype(float)
    beside = {k: set() for k in range(n * n)}
    for triangle in triangles:
        for k in triangle:
            beside[int(k)] |= {int(x) for x in triangle} - {int(k)}
    return triangles, positions, beside


TRIANGLES, PLACES, BESIDE = grid()
N = len(PLACES)
GRAPH = peaks.neighbours(Geometry(triangles=jnp.asarray(TRIANGLES)), N)


def within(seeds, allowed, beside=BESIDE):
    """Flood fill."""
    found, front = set(), [s for s in seeds if s in allowed]
    while front:
        here = front.pop()
        if here not in found:
            found.add(here)
            front += [k for k in beside[here] if k in allowed]
    return found


def test_neighbours_are_those_of_the_triangles():
    dense = GRAPH.toarray()
    assert {k: set(np.flatnonzero(dense[k])) for k in range(N)} == BESIDE


def test_edges_count_where_there_is_no_mesh():
    edges = jnp.asarray([[0, 1], [N, N + 1], [N + 1, N + 2]])
    geometry = Geometry(triangles=jnp.asarray(TRIANGLES), edges=edges)
    dense = peaks.neighbours(geometry, N + 3).toarray()
    assert set(np.flatnonzero(dense[N + 1])) == {N, N + 2}
    assert not dense[:N, N:].any()
    assert not peaks.neighbours(Geometry(), 3).toarray().any()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("apart", [0.0, 0.025])
def test_local_maxima(seed, apart):
    amplitude = np.random.default_rng(seed).exponential(size=N)
    space = (np.arange(N) >= N // 2).astype(int)
    found = peaks.local_maxima(amplitude, GRAPH, PLACES, space, apart, 0.2)
    expected = []
    for k in sorted(range(N), key=lambda k: -amplitude[k]):
        if amplitude[k] < 0.2 * amplitude.max() or any(
            amplitude[j] > amplitude[k] for j in BESIDE[k]
        ):
            continue
        near = [np.linalg.norm(PLACES[j] - PLACES[k]) for j in expected if space[j] == space[k]]
        if not near or min(near) >= apart:
            expected.append(k)
    assert found == expected


def test_nothing_is_a_peak_of_silence():
    space = np.zeros(N, dtype=int)
    assert peaks.local_maxima(np.zeros(N), GRAPH, PLACES, space, 0.0, 0.2) == []
    assert not peaks.is_sparse(np.zeros(N))


@pytest.mark.parametrize("seed", range(5))
def test_patch_hangs_together(seed):
    rng = np.random.default_rng(seed)
    amplitude, peak = rng.exponential(size=N), int(rng.integers(N))
    high = {k for k in range(N) if amplitude[k] > amplitude[peak] / 2}
    assert set(peaks.patch(amplitude, GRAPH, peak)) == within([peak], high)


def test_a_patch_ends_where_another_peak_is_nearer():
    space = np.r_[np.zeros(N - 7, dtype=int), np.ones(7, dtype=int)]
    owner = peaks.nearest_peak([0, N - 8], PLACES, space)
    distance = np.linalg.norm(PLACES[:, None] - PLACES[[0, N - 8]], axis=-1)
    sure = np.abs(np.diff(distance, axis=1))[:, 0] > 1e-9
    here = sure & (space == 0)
    np.testing.assert_array_equal(owner[here], distance.argmin(axis=1)[here])
    assert (owner[space == 1] == -1).all()
    blind = peaks.nearest_peak([0, 9], None, np.zeros(N, dtype=int))
    assert (blind == (np.arange(N) == 9)).all()


@pytest.mark.parametrize("seed", range(5))
def test_active_groups(seed):
    """All that is active, once, joined by the mesh or by a centimetre within a source space."""
    rng = np.random.default_rng(seed)
    amplitude = np.where(rng.random(N) < 0.25, rng.exponential(size=N), 0.0)
    amplitude[3] = 1e-9  # not active
    space = (np.arange(N) % 2).astype(int)
    graph = peaks.neighbours(Geometry(triangles=jnp.asarray(TRIANGLES[:20])), N)
    places = rng.uniform(0, 0.06, (N, 3))
    dense = graph.toarray()
    active = [k for k in range(N) if amplitude[k] > 1e-6 * amplitude.max()]
    beside = {
        a: {
            b
            for b in active
            if dense[a, b]
            or (space[a] == space[b] and np.linalg.norm(places[a] - places[b]) <= 0.01)
        }
        for a in active
    }
    found = peaks.active_groups(amplitude, graph, places, space)
    assert sorted(np.concatenate(found)) == active
    for group in found:
        assert set(group) == within([int(group[0])], set(active), beside)
        assert amplitude[group[0]] == amplitude[group].max()
    tops = [amplitude[group[0]] for group in found]
    assert tops == sorted(tops, reverse=True)


def test_what_is_sparse():
    amplitude = np.zeros(100)
    amplitude[:10] = 1.0
    assert peaks.is_sparse(amplitude)
    amplitude[10] = 1e-9
    assert peaks.is_sparse(amplitude)
    amplitude[10] = 1e-3
    assert not peaks.is_sparse(amplitude)
