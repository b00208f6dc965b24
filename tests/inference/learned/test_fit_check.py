"""What does not fit is named: a channel, the noise, the head."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import esijax as ej
from esijax import simulate
from esijax.benchmark.study import Study
from esijax.inference.learned.fit_check import FitCheck
from esijax.models.networks import MeshNetwork

ARD = ej.models.ARD()
LAYERS = ej.inference.Unrolled(MeshNetwork(jax.random.key(0), n_layers=12))
N_CHANNELS, N, N_TIMES = 16, 30, 40


pytestmark = pytest.mark.filterwarnings("ignore::esijax.EsijaxWarning")


def problem(seed=0, spoiled=0.0, louder=1.0):
    """Two sources heard by 16 channels of unequal noise; a spoiled channel, or louder noise."""
    rng = np.random.default_rng(seed)
    gain = rng.standard_normal((N_CHANNELS, N))
    std = np.linspace(0.5, 2.0, N_CHANNELS)
    courses = 3 * rng.standard_normal((2, N_TIMES))
    noise = louder * std[:, None] * rng.standard_normal((N_CHANNELS, N_TIMES))
    data = gain[:, [4, 20]] @ courses + noise
    data[5] += spoiled * std[5] * rng.standard_normal(N_TIMES)
    cov = np.diag(std**2)
    positions = 0.03 * np.random.default_rng(9).standard_normal((N, 3))
    names = [f"E{i}" for i in range(N_CHANNELS)]
    return ej.from_arrays(gain, data, noise_cov=cov, positions=positions, ch_names=names)


def check(of, method=LAYERS):
    return ej.solve(of, ARD, method).diagnostics


def test_ratios_are_those_of_predictions_from_the_other_channels():
    of = problem()
    estimate = ej.solve(of, ARD, LAYERS)
    gamma = np.asarray(estimate.hyper["gamma"])
    gain = np.asarray(of.gain[:, :, 0] * of.prior_scale[:, 0])
    back = np.asarray(of.whitener.colorer)
    sigma = back @ (gain * gamma @ gain.T + np.eye(of.rank)) @ back.T
    recording = np.asarray(of.recording)
    for c in (0, 5, 11):
        rest = np.arange(N_CHANNELS) != c
        weights = np.linalg.solve(sigma[np.ix_(rest, rest)], sigma[rest, c])
        variance = sigma[c, c] - weights @ sigma[rest, c]
        error = recording[c] - weights @ recording[rest]
        got = estimate.diagnostics.channel_ratio[c]
        np.testing.assert_allclose(got, np.mean(error**2) / variance, rtol=1e-8)


def test_each_fault_is_named_and_nothing_else():
    assert check(problem()).doubts() == ()
    spoiled = check(problem(spoiled=6.0))
    assert len(spoiled.doubts()) == 1
    assert spoiled.doubts()[0].startswith("E5:")
    assert spoiled.verdict()["worst_channel"] == "E5"
    loud = check(problem(louder=3.0))
    assert len(loud.doubts()) == 1
    assert "noise covariance is too small" in loud.doubts()[0]
    assert loud.verdict()["noise_ratio"] > loud.verdict()["noise_limit"]


def test_the_limits_are_those_of_chance():
    """White residuals alone, of the size that is given, exceed a limit in one per cent of sets."""
    rng = np.random.default_rng(0)
    for n_samples in (1, 40):
        noise = rng.chisquare(n_samples, (2000, 16)) / n_samples
        given = FitCheck(*4 * (jnp.zeros(()),), jnp.ones(16), n_samples, 16, ())
        beyond = (noise > given.channel_limit - 1.5).any(axis=1).mean()
        assert 0.004 < beyond < 0.018
        assert (noise.mean(axis=1) > given.noise_limit).mean() < 0.01


def test_compare_says_what_the_evidence_is():
    of = problem()
    fits = {
        "network": ej.solve(of, ARD, LAYERS),
        "EM": ej.solve(of, ARD, ej.inference.EM()),
    }
    notes = {row.name: row.note for row in ej.inference.compare(fits).rows}
    assert notes["EM"] == ""
    assert "updates of EM add" in notes["network"]
    loud = problem(louder=3.0)  # doubted: both are said
    fits = [ej.solve(loud, ARD, method) for method in (LAYERS, ej.inference.EM())]
    assert any("updates of EM add" in row.note for row in ej.inference.compare(fits).rows)


@pytest.mark.slow
@pytest.mark.parametrize("picks", ["eeg", "meg"])
def test_faults_of_a_real_head(evokeds, forward, noise_cov, picks):
    """Patches on the sample subject at 5 dB: 5 % false alarms at most, 90 % of each fault."""
    n = 20
    study = Study(evokeds["Right visual"].info, forward, forward, noise_cov, nave=60)
    inverted = study.problem(picks=picks)
    scenario = simulate.Scenario(
        study.head(inverted),
        inverted,
        simulate.Patches(study.patches, 1, (6e-4, 10e-4)),
        simulate.Gabors(),
        simulate.FromCov(),
        5.0,
    )
    draws = jax.vmap(lambda key: scenario.draw(key).recording)(
        jax.random.split(jax.random.key(0), n)
    )
    whitener = inverted.whitener
    both = 2 * whitener.matrix, whitener.colorer / 2
    half = eqx.tree_at(lambda w: (w.matrix, w.colorer), whitener, both)
    quiet = eqx.tree_at(lambda p: (p.whitener, p.gain), inverted, (half, 2 * inverted.gain))
    std = np.linalg.norm(whitener.colorer, axis=1)
    rng, found = np.random.default_rng(0), {"none": 0, "channel": 0, "noise": 0}
    for recording in np.asarray(draws):
        spoiled, channel = recording.copy(), rng.integers(len(recording))
        spoiled[channel] += 6 * std[channel] * rng.standard_normal(recording.shape[1])
        found["none"] += bool(doubts(inverted, recording))
        found["channel"] += bool(doubts(inverted, spoiled))
        found["noise"] += bool(doubts(quiet, recording))
    assert found["none"] <= 0.05 * n
    assert min(found["channel"], found["noise"]) >= 0.9 * n


def doubts(problem, recording):
    made = problem.with_data(jnp.asarray(recording))
    return ej.solve(made, ARD, ej.inference.Unrolled()).diagnostics.doubts()
