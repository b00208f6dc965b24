"""Every score that promises it: compiled = eager, vmap = loop; finite on random maps."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import esijax as ej

m = ej.metrics
RNG = np.random.default_rng(28)
N = 24
POSITIONS = RNG.uniform(-0.05, 0.05, (N, 3))
TRUTH = POSITIONS[[2, 9]]
EDGES = np.asarray(m.neighbours(POSITIONS, 0.04))
AREAS = RNG.uniform(1, 2, N) * 1e-4


class Case(NamedTuple):
    """Amplitude, activity, values, spread and truth."""

    a: Any
    z: Any
    x: Any
    s: Any
    q: Any


def three() -> Case:
    rng = np.random.default_rng(29)
    values, truth = rng.standard_normal((2, 3, N, 2))
    active = rng.random((3, N)) < 0.25
    case = Case(rng.random((3, N)), active, values, rng.uniform(0.5, 1, (3, N, 2)), truth)
    return jax.tree.map(jnp.asarray, case)


TABLE = {
    "peak_error": lambda c: m.peak_error(c.a, POSITIONS, TRUTH),
    "spatial_dispersion": lambda c: m.spatial_dispersion(c.a, POSITIONS, TRUTH),
    "half_radius": lambda c: m.half_radius(c.a, POSITIONS, TRUTH),
    "blur": lambda c: m.blur(c.a, AREAS),
    "region_error": lambda c: m.region_error(c.a > 0.5, c.z, POSITIONS),
    "local_maxima": lambda c: m.local_maxima(c.a, EDGES),
    "depth_error": lambda c: m.depth_error(c.a, AREAS, c.q[0, 0]),
    "depth_bias": lambda c: m.depth_bias(c.x[:, 0], c.q[:, 0]),
    "auc": lambda c: m.auc(c.a, c.z),
    "auc_close": lambda c: m.auc_close(c.a, c.z, m.distance_to_active(POSITIONS, c.z), 0.03),
    "auc_far": lambda c: m.auc_far(c.a, c.z, m.distance_to_active(POSITIONS, c.z), 0.03, EDGES),
    "average_precision": lambda c: m.average_precision(c.a, c.z),
    "precision_recall": lambda c: m.precision_recall(m.above(c.a, 0.4), c.z),
    "normalised_error": lambda c: m.normalised_error(c.x, c.q),
    "explained_variance": lambda c: m.explained_variance(c.x, c.q),
    "correlation": lambda c: m.correlation(c.x.T, c.q.T),
    "cosine": lambda c: m.cosine(c.x, c.q),
    "coverage": lambda c: m.coverage(c.x - c.s, c.x + c.s, c.q, c.z[:, None]),
    "mean_width": lambda c: m.mean_width(c.x - c.s, c.x + c.s, c.z[:, None]),
    "interval_card": lambda c: m.interval_card(c.x, c.s, c.q, jnp.stack([c.z, ~c.z])[..., None]),
    "interval_score": lambda c: m.interval_score(c.x - c.s, c.x + c.s, c.q, 0.8),
    "largest": lambda c: m.largest(c.a, 0.2),
    "crps_gaussian": lambda c: m.crps_gaussian(c.x, c.s, c.q),
    "crps_sample": lambda c: m.crps_sample(c.x, c.q[0]),
    "log_score_gaussian": lambda c: m.log_score_gaussian(c.x, c.s, c.q),
    "log_score_sample": lambda c: m.log_score_sample(c.x, c.q[0]),
    "pit_gaussian": lambda c: m.pit_gaussian(c.x, c.s, c.q),
    "pit_sample": lambda c: m.pit_sample(c.x, c.q[0]),
    "reliability": lambda c: m.reliability(c.a, c.z, bins=3),
    "calibration_error": lambda c: m.calibration_error(c.a, c.z),
    "brier": lambda c: m.brier(c.a, c.z),
    "reported_coverage": lambda c: m.reported_coverage(c.x - c.s, c.x + c.s, c.q, c.a),
    "peak_probability": lambda c: m.peak_probability(c.x.T),
    "region_score": lambda c: m.region_score(c.a, AREAS, jnp.argmax(c.q[:, 0])),
    "contact_distance": lambda c: m.contact_distance(c.a, POSITIONS, TRUTH),
    "probability_within": lambda c: m.probability_within(c.a, POSITIONS, TRUTH, 0.03),
    "score_map": lambda c: m.score_map(
        m.SourceMap(c.x, c.q, c.z, jnp.asarray(TRUTH), c.s, c.a),
        m.Grid(jnp.asarray(POSITIONS), jnp.asarray(AREAS), jnp.asarray(EDGES)),
        radius=0.03,
    ),
}


def same(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("name", TABLE)
def test_jit_and_vmap(name):
    several = three()
    each = [jax.tree.map(lambda x, i=i: x[i], several) for i in range(3)]
    compiled = jax.jit(TABLE[name])
    loop = [compiled(case) for case in each]
    if not hasattr(getattr(m, name), "lower"):  # the others are compiled as they stand
        same(TABLE[name](each[0]), loop[0])
    same(jax.jit(jax.vmap(TABLE[name]))(several), jax.tree.map(lambda *x: jnp.stack(x), *loop))
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(loop))
