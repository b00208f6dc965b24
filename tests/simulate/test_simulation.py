"""Whole data sets: the stated ratio, repeats, vmap, truth on another grid, noise."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import esijax as ej
from esijax import simulate as sim

KEY = jax.random.key(11)
# most tests use the same parts, which compile once
PARTS = sim.Dipoles(2), sim.Oscillation(), sim.FromCov()


@pytest.fixture(scope="module")
def many(head, problem):
    """400 data sets from -5 to 15 dB."""
    return sim.simulate(jax.random.split(KEY, 400), head, problem, *PARTS, snr_db=(-5.0, 15.0))


@pytest.fixture(scope="module")
def patchy(head, problem, table):
    """Two patches of free orientation."""
    two = sim.Patches(table, 2, orientation="random")
    return sim.simulate(KEY, head, problem, two, sim.Gabors(), sim.FromCov(), 5.0)


@eqx.filter_jit
def on_grid(truth, problem, near=None):
    return truth.sources_on(problem, near), truth.active_on(problem, near)


@pytest.fixture(scope="module")
def table(cortex):
    return sim.patch_table(cortex, 12e-4)


@pytest.fixture(scope="module")
def baseline():
    rng = np.random.default_rng(8)
    return rng.standard_normal((12, 12)) @ rng.standard_normal((12, 500)).cumsum(axis=1)


@pytest.fixture(scope="module")
def noises(head, baseline):
    return {
        "cov": sim.FromCov(),
        "white": sim.White(),
        "recording": sim.FromRecording(baseline),
        "brain": sim.BrainBackground.of(head, 0.7),
    }


def covariance(problem):
    return np.asarray(problem.whitener.colorer) @ np.asarray(problem.whitener.colorer).T


@eqx.filter_jit
def heard(noise, problem, keys, n_times):
    return jax.vmap(lambda k: noise.draw(k, problem, n_times))(keys)


# ------------------------------------------------------------------ the stated ratio
@pytest.mark.parametrize(
    "kind",
    [
        "brain",
        *(pytest.param(k, marks=pytest.mark.slow) for k in ("cov", "white", "recording")),
    ],
)
def test_signal_is_scaled_to_the_stated_ratio(head, problem, noises, kind):
    parts = head, problem, sim.Dipoles(2), sim.Oscillation(), noises[kind]
    one = sim.simulate(KEY, *parts, snr_db=7.0)
    assert float(sim.snr_db(problem, one.draws.clean)) == pytest.approx(7.0, abs=1e-10)
    assert float(one.snr_db) == pytest.approx(7.0, abs=1e-12)
    other = sim.simulate(KEY, *parts, snr_db=-3.0)
    noise = [np.asarray(s.draws.recording - s.draws.clean) for s in (one, other)]
    np.testing.assert_allclose(*noise, atol=1e-10)
    np.testing.assert_allclose(one.truth.wave, np.sqrt(10) * other.truth.wave, rtol=1e-10)


def test_noise_is_scaled_to_the_stated_ratio(head, problem):
    parts = head, problem, *PARTS
    one = sim.simulate(KEY, *parts, snr_db=7.0, scaled="noise")
    as_drawn = sim.simulate(KEY, *parts, snr_db=None)
    amplitude = np.abs(np.asarray(one.truth.wave)).max(axis=1)
    assert (amplitude <= 20e-9).all()  # a peak may fall between samples
    assert (amplitude > 19e-9).all()
    np.testing.assert_allclose(as_drawn.draws.clean, one.draws.clean, rtol=1e-10, atol=1e-22)
    noise, unit = (np.asarray(s.draws.recording - s.draws.clean) for s in (one, as_drawn))
    # unit noise has power 1: signal over noise is what was asked for
    level = np.sum(noise * unit) / np.sum(unit**2)
    clean_db = float(sim.snr_db(problem, one.draws.clean))
    assert clean_db - 20 * np.log10(level) == pytest.approx(7.0, abs=1e-6)
    assert float(one.snr_db) == pytest.approx(7.0)
    assert float(as_drawn.snr_db) == pytest.approx(clean_db)


def test_truth_makes_the_data(head, problem, patchy):
    """Clean data by hand: lead field times moments times waves."""
    one = patchy
    truth, sources = one.truth, np.zeros((288, 3, 40))
    for s in range(2):
        for m, location in enumerate(np.asarray(truth.index[s])):
            sources[location] += np.outer(truth.moment[s, m], truth.wave[s])
    clean = np.tensordot(head.gain, sources, axes=([1, 2], [0, 1]))
    np.testing.assert_allclose(one.draws.clean, clean, rtol=1e-9, atol=1e-12 * abs(clean).max())
    np.testing.assert_array_equal(truth.positions, head.positions[truth.index])
    white = np.asarray(problem.whitener.matrix) @ np.asarray(one.draws.recording)
    np.testing.assert_allclose(one.problem.data, white, rtol=1e-12)


def test_a_range_of_ratios(many):
    found = np.asarray(many.snr_db)
    assert found.min() >= -5
    assert found.max() <= 15
    assert found.mean() == pytest.approx(5.0, abs=4 * 20 / np.sqrt(12 * 400))


def test_silence_stays_silent(head, problem):
    quiet = sim.Oscillation(amplitude=0.0)
    with pytest.warns(ej.EsijaxWarning, match="hear nothing"):
        one = sim.simulate(KEY, head, problem, sim.Dipoles(2), quiet, sim.FromCov(), 10.0)
    assert float(one.snr_db) == -np.inf
    assert np.isfinite(one.draws.recording).all()


# ------------------------------------------------------------------ repeats and batches
def test_same_key_same_data_and_many_are_a_loop(head, problem, many):
    assert len(many) == 400
    for i in (0, 170, -1):
        one = many[i]
        alone = sim.simulate(one.key, head, problem, *PARTS, snr_db=(-5.0, 15.0))
        np.testing.assert_allclose(one.draws.recording, alone.draws.recording, rtol=1e-9)
        np.testing.assert_array_equal(one.truth.index, alone.truth.index)
        assert float(one.snr_db) == pytest.approx(float(alone.snr_db))
    data = np.asarray(many.draws.recording)
    assert len(np.unique(data[:, 0, 0])) == 400
    batched = eqx.filter_jit(eqx.filter_vmap(lambda k, s: s.draw(k), in_axes=(0, None)))
    np.testing.assert_allclose(
        batched(many.key, many.scenario).recording, data, rtol=1e-9, atol=1e-12
    )


def test_another_key_area_or_ratio_compiles_nothing(head, problem, table):
    traces = []

    class Grown(sim.Patches):
        def draw(self, key, head):
            traces.append(key)
            return super().draw(key, head)

    for seed, area, db in ((0, (3e-4, 6e-4), 3.0), (1, 5e-4, (0.0, 10.0)), (2, 12e-4, 8)):
        waves = sim.Gabors(width=(0.01, 0.02 * (seed + 1)), amplitude=1e-8 * (seed + 1))
        noise = sim.BrainBackground.of(head, 0.1 * (seed + 1), corner=2.0 + seed)
        region = [seed, 7, 9]
        sources = Grown(table, 2, area, min_distance=0.01 * seed, region=region)
        sim.simulate(jax.random.key(seed), head, problem, sources, waves, noise, db)
    assert len(traces) == 1


def test_map_fits_and_scores_each(many):
    five = sim.Simulation(many.scenario, jax.tree.map(lambda x: x[:5], many.draws))

    def fit(one):
        estimate = ej.solve(one.problem, ej.models.MinimumNorm(), ej.inference.Linear())
        return {"mean": estimate.mean, "active": one.truth.active_on(one.problem)}

    together = five.map(fit, batch_size=2)
    assert together["mean"].shape == (5, 96, 3, 40)
    for i in (0, 4):
        alone = eqx.filter_jit(fit)(many[i])
        np.testing.assert_allclose(together["mean"][i], alone["mean"], rtol=1e-8, atol=1e-20)
        np.testing.assert_array_equal(together["active"][i], alone["active"])


def test_many_hold_what_they_share_once(head, problem, many):
    assert many.scenario.problem.gain is problem.gain
    assert many.scenario.head.gain is head.gain
    assert many.draws.recording.shape == (400, 12, 40)
    assert many.problem.data.shape == (400, problem.rank, 40)


# ------------------------------------------------------------------ truth on another grid
def test_truth_on_the_inverted_grid(head, problem, patchy):
    truth = patchy.truth
    grid, frames = (np.asarray(x) for x in (problem.geometry.positions, problem.geometry.frames))
    want, active = np.zeros((96, 3, 40)), np.zeros(96, dtype=bool)
    for s in range(2):
        for m, location in enumerate(np.asarray(truth.index[s])):
            if not np.any(truth.moment[s, m]):
                continue
            near = np.linalg.norm(grid - head.positions[location], axis=1).argmin()
            vector = np.asarray(truth.moment[s, m]) @ np.asarray(head.geometry.frames[location])
            want[near] += np.outer(frames[near] @ vector, truth.wave[s])
            active[near] = True
    known = head.nearest(problem)
    for near in (None, known):
        found, where = on_grid(truth, problem, near)
        np.testing.assert_allclose(found, want, rtol=1e-10, atol=1e-12 * abs(want).max())
        np.testing.assert_array_equal(where, active)
    assert 0 < active.sum() < 96


def test_truth_on_fixed_orientations_is_the_normal_component(fixed_head, head, problem):
    free, fixed = (sim.simulate(KEY, h, problem, *PARTS).truth for h in (head, fixed_head))
    np.testing.assert_array_equal(free.index, fixed.index)
    along = eqx.tree_at(
        lambda p: (p.gain, p.geometry.frames),
        problem,
        (problem.gain[..., 2:], problem.geometry.frames[:, 2:]),
    )
    assert along.n_orients == 1
    seeds = np.asarray(fixed.index)[:, 0]
    near = np.asarray(head.nearest(problem))[seeds]
    normals = np.asarray(head.geometry.normals)
    cosine = np.sum(normals[seeds] * np.asarray(problem.geometry.normals)[near], axis=1)
    for truth in (free, fixed):
        found, _ = on_grid(truth, along)
        want = np.zeros((96, 1, 40))
        np.add.at(want[:, 0], near, cosine[:, None] * np.asarray(truth.wave))
        np.testing.assert_allclose(found, want, rtol=1e-9, atol=1e-20)


def test_truth_without_frames():
    """Plain arrays, one unknown orientation: moments are taken as they are."""
    rng = np.random.default_rng(0)
    gain, where = rng.standard_normal((8, 30)), rng.uniform(-0.06, 0.06, (30, 3))
    problem = ej.from_arrays(gain, np.ones((8, 20)), noise_cov=1.0, positions=where)
    truth = sim.simulate(KEY, sim.Head.of(problem), problem, *PARTS).truth
    want = np.zeros((30, 1, 20))
    want[np.asarray(truth.index)[:, 0], 0] = truth.wave
    np.testing.assert_array_equal(truth.sources_on(problem), want)
    three = ej.from_arrays(
        rng.standard_normal((8, 30, 3)), np.ones((8, 20)), noise_cov=1.0, positions=where
    )
    with pytest.raises(ej.InputError, match="orientations are not known"):
        truth.sources_on(three)


# ------------------------------------------------------------------ noise
@pytest.mark.statistical
@pytest.mark.parametrize("kind", ["cov", "white", "brain"])
def test_noise_has_unit_whitened_power(problem, noises, kind):
    noise = np.asarray(heard(noises[kind], problem, jax.random.split(KEY, 1000), 40))
    white = np.einsum("rc,kct->krt", problem.whitener.matrix, noise)
    power = (white**2).mean(axis=(1, 2))
    assert power.mean() == pytest.approx(1.0, abs=4 * power.std() / np.sqrt(1000))


@pytest.mark.statistical
def test_noise_covariances(problem, noises):
    """The problem's own; its mean variance by kind on the diagonal."""
    keys = jax.random.split(KEY, 5000)
    cov = covariance(problem)
    kinds = np.repeat([0, 1], [8, 4])
    level = np.array([np.diag(cov)[kinds == k].mean() for k in kinds])
    level *= 12 / np.sum(np.asarray(problem.whitener.matrix) ** 2 * level)
    for name, want in (("cov", cov), ("white", np.diag(level))):
        noise = np.asarray(heard(noises[name], problem, keys, 2))[..., 0]
        found = noise.T @ noise / 5000
        size = np.sqrt((np.outer(np.diag(want), np.diag(want)) + want**2) / 5000)
        assert (np.abs(found - want) < 4 * size).all()


@pytest.mark.statistical
def test_brain_background_is_pink_sources_everywhere(head, problem):
    """Against sources that are drawn one by one and sent through the lead field."""
    n = 2000
    few = sim.Head(head.gain[:, :40], ej.Geometry(positions=head.positions[:40]))
    quick = sim.BrainBackground.of(few, share=1.0, corner=4.0)
    ours = np.asarray(heard(quick, problem, jax.random.split(KEY, n), 16))
    flat = np.asarray(few.gain).reshape(12, -1)
    pink = jax.jit(lambda key: sim.pink_noise(key, (n, 120, 16), 250.0, 4.0))
    theirs = flat @ np.asarray(pink(jax.random.key(12)))
    matrix = np.asarray(problem.whitener.matrix)
    theirs = theirs / np.sqrt(np.trace(matrix @ flat @ flat.T @ matrix.T) / 12)
    for lag in (0, 1, 5):
        pair = [(x[:, :, 0, None] * x[:, None, :, lag]) for x in (ours, theirs)]
        gap = pair[0].mean(axis=0) - pair[1].mean(axis=0)
        error = np.sqrt(sum(p.var(axis=0) / n for p in pair))
        assert (np.abs(gap) < 4 * error).all()


def test_background_shares_power_with_the_sensors(head, problem):
    """No share: the sensors alone; otherwise both parts add up."""
    keys = jax.random.split(KEY, 1)
    parts = [
        np.asarray(heard(sim.BrainBackground.of(head, s), problem, keys, 40))[0]
        for s in (0.0, 1.0, 0.36)
    ]
    np.testing.assert_allclose(parts[2], 0.8 * parts[0] + 0.6 * parts[1], atol=1e-12)
    own = np.asarray(heard(sim.White(), problem, jax.random.split(KEY, 1), 40))[0]
    assert own.std() == pytest.approx(parts[0].std(), rel=0.2)


def test_recording_segments(problem, baseline):
    keys = jax.random.split(KEY, 300)
    found = np.asarray(heard(sim.FromRecording(baseline), problem, keys, 40))
    white = np.asarray(problem.whitener.matrix) @ baseline
    scaled = baseline / np.sqrt(np.mean(white**2))
    starts = []
    for segment in found[:50]:
        begin = np.abs(scaled[:, :-39] - segment[:, :1]).sum(axis=0).argmin()
        np.testing.assert_allclose(segment, scaled[:, begin : begin + 40], rtol=1e-12)
        starts.append(begin)
    assert len(set(starts)) > 40
    whole = sim.FromRecording(baseline[:, :40]).draw(KEY, problem, 40)
    power = np.mean((np.asarray(problem.whitener.matrix) @ np.asarray(whole)) ** 2)
    assert power == pytest.approx(1.0, rel=1e-12)


# ------------------------------------------------------------------ refusals
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda h, p: sim.simulate(KEY, h, p, *PARTS, scaled="both"), "'both'"),
        (lambda h, p: sim.simulate(KEY, h, p, *PARTS, snr_db=np.nan), "snr_db"),
        (lambda h, p: sim.simulate(KEY, h, p, *PARTS, snr_db="high"), "snr_db"),
        (
            lambda h, p: sim.simulate(KEY, sim.Head(h.gain[:5], h.geometry), p, *PARTS),
            "5 channels, the problem 12",
        ),
        (
            lambda h, p: sim.simulate(KEY, h, p.with_data(jnp.ones((3, 12, 4))), *PARTS),
            "3 trials",
        ),
        (lambda h, p: sim.simulate(jax.random.split(KEY, 0), h, p, *PARTS), "the shape"),
        (lambda h, p: sim.simulate("0", h, p, *PARTS), "jax.random.key, got str"),
        (lambda h, p: len(sim.simulate(KEY, h, p, *PARTS)), "single data set"),
        (lambda _h, _p: sim.White(jnp.array([-1.0])), "standard deviations"),
        (lambda _h, _p: sim.FromRecording(np.full((2, 3), np.inf)), "NaN or Inf"),
        (lambda _h, p: sim.FromRecording(np.ones((5, 90))).draw(KEY, p, 40), "5 channels"),
        (lambda _h, p: sim.FromRecording(np.ones((12, 9))).draw(KEY, p, 40), "9 samples"),
        (lambda h, _p: sim.BrainBackground.of(h, 1.5), "0..1, got 1.5"),
        (lambda h, _p: sim.BrainBackground.of(h, corner=0.0), "corner"),
    ],
)
def test_refusals(head, problem, make, message):
    with pytest.raises(ej.InputError, match=message):
        make(head, problem)


def test_what_cannot_be_heard_is_said(head, problem):
    """A compiled draw cannot tell: the driver looks at what came out."""
    late = sim.HannNoise(window=(5.0, 6.0))
    parts = sim.Dipoles(1), late, sim.FromCov()
    with pytest.warns(ej.EsijaxWarning, match="hear nothing"):
        sim.simulate(jax.random.key(0), head, problem, *parts)
    parts = sim.Dipoles(1, region=[10_000]), sim.Gabors(), sim.FromCov()
    with pytest.raises(ej.InputError, match="location 10000"):
        sim.simulate(jax.random.key(0), head, problem, *parts)
