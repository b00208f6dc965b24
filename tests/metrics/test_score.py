"""The card of an estimate against its parts, on a small cortex and on the real one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import esijax as ej

m = ej.metrics
N, T = 60, 8
CENTRES = [10, 40]


def make(n_orients=1, noise_norm=None, method=None):
    """Two sources on a half sphere, 30 channels."""
    rng = np.random.default_rng(30)
    r = rng.standard_normal((N, 3))
    r[:, 2] = np.abs(r[:, 2])
    positions = 0.07 * r / np.linalg.norm(r, axis=1, keepdims=True)
    truth = np.zeros((N, n_orients, T))
    truth[CENTRES] = 20e-9 * np.sin(np.arange(1, T + 1) / 2) * rng.uniform(1, 2, (2, n_orients, 1))
    gain = rng.standard_normal((30, N, n_orients)) * 100
    noise = 5e-7
    data = np.einsum("clo,lot->ct", gain, truth) + noise * rng.standard_normal((30, T))
    problem = ej.from_arrays(gain, data, noise_cov=noise**2 * np.eye(30), positions=positions)
    model = None if method else ej.models.MinimumNorm("evidence")
    estimate = ej.solve(problem, model, method or ej.inference.Linear(noise_norm))
    active = np.isin(np.arange(N), CENTRES)
    return estimate, truth, active, positions[CENTRES]


@pytest.fixture(scope="module")
def free():
    return make(3)


def test_parts(free):
    """At the truth's peak, each number by the function that is named after it."""
    estimate, truth, active, centres = free
    card = m.score(estimate, truth, active, centres)
    at = int((truth**2).sum(axis=(0, 1)).argmax())
    mean, std = np.asarray(estimate.mean)[..., at], np.asarray(estimate.std)[..., 0]
    true, amplitude = truth[..., at], np.linalg.norm(mean, axis=1)
    geometry = estimate.problem.geometry
    positions, edges = np.asarray(geometry.positions), np.asarray(geometry.edges)
    distance = np.asarray(m.distance_to_active(positions, active))
    by_hand = {
        "peak_error_mm": 1e3 * m.peak_error(amplitude, positions, centres),
        "matched_error_mm": 1e3 * m.matched_error(amplitude, positions, centres, edges).mean(),
        "dispersion_mm": 1e3 * m.spatial_dispersion(amplitude, positions, positions[active]),
        "auc": m.auc(amplitude, active),
        "auc_close": m.auc_close(amplitude, active, distance, 0.02),
        "auc_far": m.auc_far(amplitude, active, distance, 0.02, edges),
        "average_precision": m.average_precision(amplitude, active),
        "precision": m.precision_recall(m.above(amplitude), active).precision,
        "normalised_error": m.normalised_error(mean, true),
        "course_explained_variance": m.explained_variance(
            np.asarray(estimate.mean)[active], truth[active]
        ),
        "course_correlation": m.correlation(
            np.asarray(estimate.mean)[active], truth[active]
        ).mean(),
        "crps_active_nAm": 1e9 * m.crps_gaussian(mean, std, true)[active].mean(),
        "log_score_all_nats": -stats.norm(1e9 * mean, 1e9 * std).logpdf(1e9 * true).mean(),
    }
    for level in (0.5, 0.8, 0.9, 0.95, 0.99):
        reach = np.broadcast_to(std * stats.norm.ppf(0.5 + level / 2), mean.shape)
        chosen = amplitude == amplitude.max()  # 1 % of 60 locations
        groups = {"all": active | True, "chosen": chosen, "active": active, "inactive": ~active}
        for name, mask in groups.items():
            key = f"{round(100 * level)}_{name}"
            by_hand[f"coverage_{key}"] = (np.abs(true - mean) <= reach)[mask].mean()
            by_hand[f"width_{key}_nAm"] = 1e9 * 2 * reach[mask].mean()
    for name, value in by_hand.items():
        assert card[name] == pytest.approx(float(value), rel=1e-9), name
    assert all(type(value) is float for value in card.values())


def test_mean_over_time(free):
    """The posterior variance of a mean of independent samples is that of one over their number."""
    estimate, truth, active, centres = free
    card = m.score(estimate, truth, active, centres, at="mean")
    mean = np.asarray(estimate.mean).mean(axis=-1)
    std = np.asarray(estimate.std)[..., 0] / T**0.5
    low, high = m.gaussian_interval(mean, std, 0.9)
    share = m.coverage(low, high, truth.mean(axis=-1), active[:, None])
    assert card["coverage_90_active"] == pytest.approx(float(share))
    assert card["width_90_all_nAm"] == pytest.approx(1e9 * 2 * 1.6448536269514722 * std.mean())
    peak = m.score(estimate, truth, active, centres)
    assert card["width_90_all_nAm"] == pytest.approx(peak["width_90_all_nAm"] / T**0.5)
    other = m.score(estimate, truth, active, centres, at=4)
    assert other["normalised_error"] != peak["normalised_error"]
    assert other == m.score(estimate, truth, active, centres, at=4 - T)


def test_a_map_without_unit_has_a_truth_without_unit():
    """dSPM divides map, spread and truth by the same numbers: coverage is that of the currents."""
    plain, normed = make(1), make(1, "dSPM")
    currents, card = m.score(*plain), m.score(*normed)
    for name in ("coverage_90_all", "coverage_50_inactive", "coverage_90_active"):
        assert card[name] == currents[name]
    assert "crps_all" in card
    assert not [name for name in card if name.endswith("_nAm")]
    assert card["course_correlation"] == pytest.approx(currents["course_correlation"], rel=1e-9)


@pytest.mark.parametrize("pick_ori", ["vector", "max-power"])
def test_a_beamformer_states_no_uncertainty(pick_ori):
    method = ej.inference.LCMV(pick_ori=pick_ori, weight_norm="unit-noise-gain-invariant")
    card = m.score(*make(3, method=method), key=jax.random.key(0))
    assert not [n for n in card if n.startswith(("coverage", "width", "crps", "log", "region"))]
    assert np.isfinite(card["peak_error_mm"])
    assert 0 <= card["auc"] <= 1


def test_region(free):
    estimate, truth, active, centres = free
    card = m.score(estimate, truth, active, centres, key=jax.random.key(1), draws=300)
    at = int((truth**2).sum(axis=(0, 1)).argmax())
    draws = estimate.sample(jax.random.key(1), 300, at=(None, [at]))[..., 0]
    probability = m.peak_probability(jnp.linalg.norm(draws, axis=-1))
    peak = np.argmax(np.linalg.norm(truth[..., at], axis=1))
    inside = np.asarray(m.highest_density_region(probability, np.ones(N)))
    assert card["region_90_holds"] == float(inside[peak])
    again = m.score(estimate, truth, active, centres, key=jax.random.key(1), at="mean")
    assert again["region_90_holds"] in (0.0, 1.0)


def test_earth_mover_on_request(free):
    pytest.importorskip("ot")
    estimate, truth, active, centres = free
    card = m.score(estimate, truth, active, centres, emd=True)
    at = int((truth**2).sum(axis=(0, 1)).argmax())
    sizes = (np.linalg.norm(np.asarray(x)[..., at], axis=1) for x in (estimate.mean, truth))
    expected = m.earth_mover(*sizes, np.asarray(estimate.problem.geometry.positions))
    assert card["emd_mm"] == pytest.approx(1e3 * expected)


def test_the_exact_map_has_the_best_card(free):
    """Zero errors and full marks for the truth itself."""
    estimate, truth, active, centres = free
    positions = jnp.asarray(estimate.problem.geometry.positions)
    it = jnp.asarray(truth[..., 3])
    grid = m.Grid(positions, None, estimate.problem.geometry.edges)
    prob = jnp.asarray(active, dtype=float)
    where = jnp.asarray(active), jnp.asarray(centres)
    card = m.score_map(m.SourceMap(it, it, *where, None, prob), grid)
    for name in ("auc", "auc_close", "auc_far", "average_precision", "precision", "f1", "cosine"):
        assert float(card[name]) == pytest.approx(1.0), name
    for name in ("peak_error_mm", "dispersion_mm", "normalised_error", "brier"):
        assert float(card[name]) == pytest.approx(0.0, abs=1e-9), name


def test_score_maps_is_score_map_of_each(free):
    estimate, truth, active, centres = free
    problem = estimate.problem
    grid = m.Grid(problem.geometry.positions, jnp.full(N, 1e-4), problem.geometry.edges)
    std = jnp.broadcast_to(estimate.std, estimate.mean.shape)
    where, true = (jnp.asarray(active), jnp.asarray(centres)), jnp.asarray(truth)

    def one(t):
        return m.SourceMap(estimate.mean[..., t], true[..., t], *where, std[..., t])

    together = m.score_maps(jax.tree.map(lambda *x: jnp.stack(x), *map(one, range(T))), grid)
    for t in (0, 5):
        alone = m.score_map(one(t), grid)
        assert set(alone) == set(together)
        for name, value in alone.items():
            assert float(together[name][t]) == pytest.approx(float(value), rel=1e-9), name
    assert "blur_mm" in together


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"truth_sources": np.zeros((N, 3, T + 1))}, r"must be \(60, 3, 8\), got \(60, 3, 9\)"),
        ({"active": np.zeros(N)}, "active must be bool"),
        ({"active": np.zeros(N + 1, bool)}, "active must be bool"),
        ({"centres": np.zeros((0, 3))}, r"centres must be \(sources, 3\)"),
        ({"at": "median"}, "at must be 'peak', 'mean' or a sample, got 'median'"),
        ({"at": T}, "there is no sample 8: there are 8"),
    ],
)
def test_refused(free, change, message):
    estimate, truth, active, centres = free
    args = {"truth_sources": truth, "active": active, "centres": centres, **change}
    with pytest.raises(ej.InputError, match=message):
        m.score(estimate, **args)


def test_trials_and_missing_positions_are_refused(trials):
    estimate = ej.solve(trials, ej.models.MinimumNorm(), ej.inference.Linear())
    n = trials.n_locations
    args = np.zeros((n, 3, trials.n_times)), np.zeros(n, bool), np.zeros((1, 3))
    with pytest.raises(ej.InputError, match="4 trials: score their average"):
        m.score(estimate, *args)
    problem = ej.from_arrays(np.ones((3, 5)), np.arange(6.0).reshape(3, 2), noise_cov=1.0)
    estimate = ej.solve(problem, ej.models.MinimumNorm(), ej.inference.Linear())
    with pytest.raises(ej.InputError, match="need positions"):
        m.score(estimate, np.zeros((5, 1, 2)), np.zeros(5, bool), np.zeros((1, 3)))


@pytest.mark.statistical
def test_calibrated_over_its_prior():
    """Sources drawn from the minimum norm prior: nominal over all and over the chosen.

    At a fixed sample, and at the one that the data choose. (At the sample in which the truth is
    strongest coverage is too low, as in any group that the truth chooses.)
    """
    rng = np.random.default_rng(31)
    gain = rng.standard_normal((20, 50))
    positions = 0.05 * rng.uniform(-1, 1, (50, 3))
    problem = ej.from_arrays(gain, gain[:, :30], noise_cov=1.0, positions=positions)
    scale = np.asarray(problem.prior_scale) * float(problem.source_unit)
    cards = {(at, group): [] for at in ("peak", 4, "truth") for group in ("all", "chosen")}
    for _ in range(60):
        truth = 3 * scale[..., None] * rng.standard_normal((50, 1, 30))
        data = gain @ truth[:, 0] + rng.standard_normal((20, 30))
        estimate = ej.solve(
            problem.with_data(data), ej.models.MinimumNorm(1 / 9), ej.inference.Linear()
        )
        active = np.arange(50) < 5
        strongest = int(np.argmax(np.sum(truth**2, axis=(0, 1))))
        for at, group in cards:
            sample = strongest if at == "truth" else at
            card = m.score(estimate, truth, active, positions[:2], at=sample, share=0.1)
            cards[at, group].append(card[f"coverage_90_{group}"])
    spoilt = cards.pop(("truth", "all"))
    cards.pop(("truth", "chosen"))
    assert np.mean(spoilt) < 0.9 - 4 * np.std(spoilt) / len(spoilt) ** 0.5
    for shares in cards.values():
        error = np.std(shares) / len(shares) ** 0.5
        assert np.mean(shares) == pytest.approx(0.9, abs=4 * error)
