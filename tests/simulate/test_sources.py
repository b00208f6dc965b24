"""Heads, patch tables, dipoles and patches against slow and obvious versions."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import cdist

import esijax as ej
from esijax import simulate as sim

KEY = jax.random.key(7)


@eqx.filter_jit
def drawn(sources, head, key=KEY):
    return sources.draw(key, head)


@eqx.filter_jit
def many_drawn(sources, head, keys):
    return jax.vmap(sources.draw, in_axes=(0, None))(keys, head)


@pytest.fixture(scope="module")
def table(cortex):
    return sim.patch_table(cortex, 12e-4)


def walk(geometry):
    """All shortest ways along edges, by Floyd and Warshall."""
    positions, edges = np.asarray(geometry.positions), np.asarray(geometry.edges)
    distance = np.full((len(positions),) * 2, np.inf)
    np.fill_diagonal(distance, 0.0)
    lengths = np.linalg.norm(positions[edges[:, 0]] - positions[edges[:, 1]], axis=1)
    distance[edges[:, 0], edges[:, 1]] = distance[edges[:, 1], edges[:, 0]] = lengths
    for k in range(len(positions)):
        distance = np.minimum(distance, distance[:, k : k + 1] + distance[k])
    return distance


def test_table_is_the_geodesic_order(cortex, table):
    distance, areas = walk(cortex), np.asarray(cortex.areas)
    for seed in range(len(areas)):
        known = np.isfinite(np.asarray(table.distance[seed]))
        order = np.argsort(distance[seed])
        count = int(np.searchsorted(np.cumsum(areas[order]), 12e-4)) + 1
        assert known.sum() == count
        np.testing.assert_array_equal(np.asarray(table.members[seed])[known], order[:count])
        np.testing.assert_allclose(
            np.asarray(table.distance[seed])[known], distance[seed][order[:count]], rtol=1e-12
        )
        assert (np.asarray(table.areas[seed])[~known] == 0).all()


def test_table_ends_with_its_piece_of_mesh(cortex):
    """An area that no piece has: each row holds its whole piece and nothing else."""
    table = sim.patch_table(cortex, 1.0)
    assert table.members.shape == (288, 144)
    np.testing.assert_array_equal(np.sort(np.asarray(table.members[200])), np.arange(144, 288))
    assert np.isfinite(table.distance).all()


@pytest.mark.parametrize("smooth", [True, False])
@pytest.mark.parametrize("area", [1e-9, 3e-4, 8e-4, 12e-4])
def test_grown_in_jit_is_the_patch(cortex, table, area, smooth):
    grow = jax.jit(lambda t, s, a: t.grow(s, a, smooth=smooth))
    for seed in (0, 77, 287):
        members, moment = grow(table, seed, area)
        profile = np.zeros(288)
        np.add.at(profile, np.asarray(members), np.asarray(moment))
        want = sim.patch(cortex, seed, area, smooth=smooth)
        np.testing.assert_allclose(profile, want / want.sum(), atol=1e-14)
        grown = np.asarray(cortex.areas)[profile > 0]
        assert grown.sum() >= area
        assert grown.sum() - grown.max() < area or len(grown) == 1


def test_patches_have_the_areas_asked_for(head, table):
    sources = sim.Patches(table, 2, area=(3e-4, 9e-4), profile="flat")
    keys = jax.random.split(KEY, 300)
    placed = many_drawn(sources, head, keys)
    inside = np.asarray((placed.moment != 0).any(axis=-1))
    areas = np.asarray(head.geometry.areas)
    grown = (areas[np.asarray(placed.index)] * inside).sum(axis=-1).ravel()
    # a patch ends with the member that reaches its area: at most one location (4.5e-5) beyond
    assert grown.min() >= 3e-4
    assert grown.max() <= 9e-4 + 4.5e-5
    # uniform areas, plus half a location on average
    assert grown.mean() == pytest.approx(6e-4 + 1.5e-5, abs=4 * 6e-4 / np.sqrt(12 * 600))
    norms = np.linalg.norm(np.asarray(placed.moment), axis=-1).sum(axis=-1)
    np.testing.assert_allclose(norms, 1.0, rtol=1e-12)


def test_dipoles_keep_their_distance_and_are_uniform(head):
    sources = sim.Dipoles(3, min_distance=0.05)
    seeds = np.asarray(many_drawn(sources, head, jax.random.split(KEY, 4000)).seeds)
    apart = cdist(head.positions, head.positions)
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert apart[seeds[:, a], seeds[:, b]].min() > 0.05
    # the first is uniform over 288 locations: chi-square with 287 degrees of freedom
    chi2 = ((np.bincount(seeds[:, 0], minlength=288) - 4000 / 288) ** 2).sum() / (4000 / 288)
    assert abs(chi2 - 287) < 4 * np.sqrt(2 * 287)
    # the second is uniform among those that are far enough from the first
    allowed = (apart[seeds[:, 0]] > 0.05).sum(axis=1)
    rank = [(apart[i, :j] > 0.05).sum() for i, j in seeds[:, :2]]
    place = (np.array(rank) + 0.5) / allowed
    assert place.mean() == pytest.approx(0.5, abs=4 / np.sqrt(12 * 4000))
    assert place.var() == pytest.approx(1 / 12, rel=0.1)


def test_crowded_dipoles_take_the_farthest(head):
    seeds = np.asarray(drawn(sim.Dipoles(2, min_distance=9.0), head).seeds)
    apart = np.linalg.norm(head.positions - head.positions[seeds[0]], axis=1)
    assert seeds[1] == apart.argmax()


def test_every_location_once(head):
    region = [3, 5, 200, 201]
    seeds = drawn(sim.Dipoles(4, region=region), head).seeds
    assert sorted(np.asarray(seeds).tolist()) == region


def test_orientations(head, fixed_head, table):
    frames, normals = np.asarray(head.geometry.frames), np.asarray(head.geometry.normals)
    along = drawn(sim.Patches(table, 2), head)
    index, moment = np.asarray(along.index), np.asarray(along.moment)
    vector = np.einsum("smod,smo->smd", frames[index], moment)
    size = np.linalg.norm(moment, axis=-1, keepdims=True)
    np.testing.assert_allclose(vector, size * normals[index], atol=1e-12)
    fixed = drawn(sim.Patches(table, 2), fixed_head)
    np.testing.assert_allclose(fixed.moment, size, atol=1e-12)
    # one direction for a whole patch, uniform on the sphere
    free = sim.Patches(table, 1, orientation="random")
    one = drawn(free, head)
    vector = np.einsum("smod,smo->smd", frames[np.asarray(one.index)], np.asarray(one.moment))
    inside = np.linalg.norm(vector[0], axis=-1) > 0
    unit = vector[0][inside] / np.linalg.norm(vector[0][inside], axis=-1, keepdims=True)
    np.testing.assert_allclose(unit, unit[:1].repeat(len(unit), 0), atol=1e-10)
    dipoles = sim.Dipoles(1, orientation="random")
    many = many_drawn(dipoles, head, jax.random.split(KEY, 2000))
    vector = np.einsum("ksmod,ksmo->kd", frames[np.asarray(many.index)], np.asarray(many.moment))
    assert np.abs(vector.mean(axis=0)).max() < 4 / np.sqrt(3 * 2000)
    np.testing.assert_allclose(vector.T @ vector / 2000, np.eye(3) / 3, atol=4 * 0.3 / 2000**0.5)


def test_field_is_the_lead_field_times_moments(head, table):
    placed = drawn(sim.Patches(table, 2, orientation="random"), head)
    sources = np.zeros((2, 288, 3))
    for s in range(2):
        for location, moment in zip(placed.index[s], placed.moment[s], strict=True):
            sources[s, location] += moment
    want = np.einsum("clo,slo->cs", head.gain, sources)
    field = eqx.filter_jit(lambda h, p: h.field(p.index, p.moment))(head, placed)
    np.testing.assert_allclose(field, want, atol=1e-12)


def test_depth_below_the_hull():
    """A ball: depth is the distance from its surface."""
    i = np.arange(4000)
    height, turn = 1 - (2 * i + 1) / 4000, np.pi * (3 - np.sqrt(5)) * i
    ring = np.sqrt(1 - height**2)
    rays = np.stack([ring * np.cos(turn), ring * np.sin(turn), height], axis=1)
    radius = np.where(i % 4 > 0, 0.08, np.random.default_rng(0).uniform(0, 0.08, 4000))
    ball = ej.Geometry(positions=jnp.asarray(radius[:, None] * rays))
    # no place on the sphere is farther than 6 mm from all points: faces lie up to
    # 6^2 / 160 = 0.23 mm inside
    np.testing.assert_allclose(sim.depths(ball), 0.08 - radius, atol=2.3e-4)
    found = sim.deep(ball, 0.03)
    np.testing.assert_array_equal(found, np.flatnonzero(sim.depths(ball) >= 0.03))
    assert 0.08 - radius[found].max() == pytest.approx(0.03, abs=1e-3)
    with pytest.raises(ej.InputError, match="the deepest is at 80 mm"):
        sim.deep(ball, 0.1)


def test_inverse_crime_head(problem):
    head = sim.Head.of(problem)
    gain = np.einsum("rc,clo->rlo", problem.whitener.matrix, head.gain) * problem.source_unit
    np.testing.assert_allclose(gain, problem.gain, rtol=1e-10)


def test_nearest(head, problem):
    want = cdist(head.positions, problem.geometry.positions).argmin(axis=1)
    np.testing.assert_array_equal(head.nearest(problem), want)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _h, _t: sim.Dipoles(0), "whole number >= 1, got 0"),
        (lambda _h, _t: sim.Dipoles(1.5), "whole number"),
        (lambda _h, _t: sim.Dipoles(2, min_distance=-1), "min_distance"),
        (lambda _h, _t: sim.Dipoles(2, orientation="up"), "'up'"),
        (lambda _h, _t: sim.Dipoles(2, region=[]), "at least one"),
        (lambda _h, _t: sim.Dipoles(2, region=[0.5]), "whole numbers"),
        (lambda h, _t: sim.Dipoles(3, region=[1, 2]).draw(KEY, h), "3 sources do not fit into 2"),
        (lambda _h, t: sim.Patches(t, 1, area=20e-4), "max_area=0.002"),
        (lambda _h, t: sim.Patches(t, 1, area=(9e-4, 3e-4)), "in order"),
        (lambda _h, t: sim.Patches(t, 1, area=0.0), "area of patches"),
        (lambda _h, t: sim.Patches(t, 1, profile="round"), "'round'"),
        (lambda _h, _t: sim.patch_table(ej.Geometry(), 1e-3), "cortical mesh"),
        (lambda h, _t: sim.patch_table(h.geometry, -1.0), "must be positive"),
        (lambda h, _t: sim.Head(np.ones((3, 4)), h.geometry), "1 or 3 orients"),
        (lambda h, _t: sim.Head(np.ones((3, 4, 1)), h.geometry), "288"),
        (lambda _h, _t: sim.Head(np.ones((3, 288, 1)), ej.Geometry()), "positions"),
        (lambda h, _t: sim.Head(np.full((3, 288, 1), np.nan), h.geometry), "NaN"),
    ],
)
def test_refusals(head, table, make, message):
    with pytest.raises(ej.InputError, match=message):
        make(head, table)


def test_refuses_a_foreign_head(fixed_head, table):
    with pytest.raises(ej.InputError, match="fixed orientations"):
        sim.Dipoles(1, orientation="random").draw(KEY, fixed_head)
    small = sim.Head(np.ones((3, 5, 1)), ej.Geometry(positions=jnp.eye(5, 3)))
    with pytest.raises(ej.InputError, match="288 locations, the head has 5"):
        sim.Patches(table, 1).draw(KEY, small)
    free = sim.Head(np.ones((3, 5, 3)), ej.Geometry(positions=jnp.eye(5, 3)))
    with pytest.raises(ej.InputError, match="needs normals"):
        sim.Dipoles(1).draw(KEY, free)


def test_patches_do_not_start_where_there_is_no_cortex(cortex, head):
    """A location that lost all its triangles has no area and no neighbours."""
    lonely = 7
    edges = np.asarray(cortex.edges)
    bare = eqx.tree_at(
        lambda g: (g.areas, g.edges),
        cortex,
        (cortex.areas.at[lonely].set(0.0), jnp.asarray(edges[(edges != lonely).all(axis=1)])),
    )
    bare_table = ej.simulate.patch_table(bare, 4e-4)
    patches = ej.simulate.Patches(bare_table, 1, area=4e-4)
    assert lonely not in np.asarray(patches.region)
    assert len(patches.region) == len(cortex.positions) - 1
    with pytest.raises(ej.InputError, match="no patch can grow"):
        ej.simulate.Patches(bare_table, 1, area=4e-4, region=[lonely])
    only = ej.simulate.Patches(bare_table, 1, area=4e-4, region=[lonely, 8])
    placed = only.draw(jax.random.key(0), head)
    assert int(placed.seeds[0]) == 8
    assert np.isfinite(np.asarray(placed.moment)).all()
