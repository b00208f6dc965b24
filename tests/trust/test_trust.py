"""The verdict on a map: each fault is seen by its check, what is right is not doubted."""

import dataclasses
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import esijax as ej
from esijax.trust import Check, Trust, proposed_window, trust_of
from esijax.trust.inputs import TrustInputs

BEFORE, AFTER, SFREQ = 40, 40, 200.0
N_CHANNELS, N_LOCATIONS = 40, 60


def world(seed=0, times=0.0, noise=1.0, band=None):
    """Gain of 30 directions (ten are silent), a response at 80 ms, noise of unit variance."""
    rng = np.random.default_rng(seed)
    inside = np.linalg.qr(rng.standard_normal((N_CHANNELS, N_CHANNELS)))[0][:, :26]
    gain = inside @ rng.standard_normal((26, N_LOCATIONS))
    t = (np.arange(BEFORE + AFTER) - BEFORE) / SFREQ
    wave = times * np.exp(-0.5 * ((t - 0.08) / 0.02) ** 2)
    white = noise * rng.standard_normal((N_CHANNELS, len(t)))
    if band is not None:
        white = np.fft.irfft(np.fft.rfft(white)[:, : int(band * len(t) / SFREQ)], len(t))
    return gain, gain[:, :1] * wave + white, float(t[0])


def solved(gain, data, tmin, crop=True, method=None, **given):
    problem = ej.from_arrays(
        gain, data, given.pop("noise_cov", 1.0), sfreq=SFREQ, tmin=tmin, **given
    )
    model, how = method or (ej.models.MinimumNorm(), ej.inference.Linear())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ej.EsijaxWarning)
        return ej.solve(problem.crop(0.0) if crop else problem, model, how)


def found(estimate, name) -> Check:
    (check,) = (c for c in estimate.trust().checks if c.name == name)
    return check


def test_what_is_right_is_not_doubted():
    trust = solved(*world(times=2.0)).trust()
    assert (trust.light, trust.doubts) == ("green", ())
    assert trust.sentence.startswith("Nothing that was checked speaks against this map")
    assert {c.name for c in trust.checks} == {
        "noise before time zero", "response", "single channels", "where no source reaches",
        "explained share", "residual", "peak", "computation", "conditioning",
    }  # fmt: skip
    assert all(c.meaning and not c.advice for c in trust.checks)


def test_the_baseline_is_remembered_and_measured():
    """Against the textbook: rms of the samples before zero over their standard deviation."""
    gain, data, tmin = world(times=2.0)
    std = np.linspace(0.5, 2.0, N_CHANNELS)
    before = (data / std[:, None])[:, :BEFORE]
    estimate = solved(gain, data, tmin, noise_cov=std**2)
    check = found(estimate, "noise before time zero")
    assert check.value == pytest.approx(np.sqrt(np.mean(before**2)), rel=1e-10)
    again = dataclasses.replace(estimate, problem=estimate.problem.crop(0.05, 0.1))
    assert TrustInputs(again).record == TrustInputs(estimate).record
    fresh = estimate.problem.with_data(estimate.problem.recording)
    assert fresh.labels.record is None


@pytest.mark.parametrize(
    ("factor", "light"), [(0.3, "red"), (0.7, "amber"), (1.35, "amber"), (4, "red")]
)
def test_noise_of_another_size(factor, light):
    check = found(solved(*world(times=20.0, noise=factor)), "noise before time zero")
    assert check.light == light
    assert "nave" in check.advice
    assert "PerType" in check.advice


def test_noise_of_another_band():
    """A few strong directions are as stated, the many weak ones are not: the band, not the size."""
    gain, data, tmin = world(times=20.0)
    few = np.linalg.qr(np.random.default_rng(3).standard_normal((N_CHANNELS, 3)))[0]
    slow = np.cumsum(np.random.default_rng(4).standard_normal((3, data.shape[1])), axis=1)
    slow -= slow.mean(axis=1, keepdims=True)
    slow *= 10 / slow.std()
    stated = 100 * few @ few.T + 0.2 * np.eye(
        N_CHANNELS
    )  # the white part below a fifth of the band
    check = found(solved(gain, data + few @ slow, tmin, noise_cov=stated), "noise before time zero")
    assert check.light == "red"
    assert "another band" in check.advice
    assert "noise_time" in check.advice


def test_learned_noise_is_taken_into_account():
    """A level of 4 that was learned with the map explains twice the rms; of PerType their mean."""
    plain = solved(*world(times=20.0, noise=2.0))
    assert found(plain, "noise before time zero").light == "red"
    for level in ([4.0], [2.0, 6.0]):
        learned = dataclasses.replace(plain, hyper={"noise_var": jnp.array(level)})
        check = found(learned, "noise before time zero")
        assert check.light == "green"
        assert check.value == pytest.approx(found(plain, check.name).value / 2, rel=1e-10)


def test_a_field_that_no_source_makes():
    gain, data, tmin = world(times=5.0)
    silent = np.linalg.svd(gain)[0][:, -1:]
    t = (np.arange(BEFORE + AFTER) - BEFORE) / SFREQ
    check = found(solved(gain, data + 20 * silent * (t > 0.05), tmin), "where no source reaches")
    assert check.light == "red"
    assert "co-registration" in check.advice


def test_a_noisy_channel_is_named():
    gain, data, tmin = world(times=2.0)
    data[7] += 20 * np.random.default_rng(1).standard_normal(data.shape[1])
    check = found(solved(gain, data, tmin), "single channels")
    assert check.light == "red"
    assert check.meaning.startswith("7: ")
    assert "bad" in check.advice


def test_a_flat_channel_is_named():
    gain, data, tmin = world(times=2.0)
    data[11] *= 1e-3
    check = found(solved(gain, data, tmin), "single channels")
    assert check.light == "red"
    assert check.meaning.startswith("11: no noise at all")


def test_channels_are_foretold_as_by_a_textbook():
    """Leave-one-out errors of a Gaussian, channel by channel, from the covariance without it."""
    estimate = solved(*world(times=2.0))
    e, problem = TrustInputs(estimate), estimate.problem
    power, axes = e.directions
    signal = max(e.usual_power - e.noise, 0.1 * e.noise)
    sigma = axes @ np.diag(e.noise + signal * power) @ axes.T
    colorer = np.asarray(problem.whitener.colorer)
    sigma, heard = colorer @ sigma @ colorer.T, colorer @ e.data
    ratios = []
    for c in range(N_CHANNELS):
        others = np.delete(np.arange(N_CHANNELS), c)
        weights = np.linalg.solve(sigma[np.ix_(others, others)], sigma[others, c])
        error = heard[c] - weights @ heard[others]
        ratios.append(np.mean(error**2) / (sigma[c, c] - weights @ sigma[others, c]))
    np.testing.assert_allclose(e.channel_ratios, ratios / np.median(ratios), rtol=1e-8)


@pytest.mark.slow
def test_sparse_maps_that_explain_little_or_need_many_places():
    arrays = world(times=4.0)
    strong = solved(*arrays, method=(ej.models.L21(ej.relative(0.8)), ej.inference.MAP()))
    check = found(strong, "explained share")
    assert check.light in ("amber", "red")
    assert "alpha" in check.advice
    for share in (0.4, 0.3, 0.2, 0.15, 0.1, 0.07, 0.05):
        weak = solved(*arrays, method=(ej.models.L21(ej.relative(share)), ej.inference.MAP()))
        n = int((np.abs(np.asarray(weak.mean)).max(axis=(1, 2)) > 0).sum())
        if n > 20:
            break
    assert n <= N_LOCATIONS / 2
    check = found(weak, "active places")
    assert (check.light, check.value) == ("amber", n)
    none = solved(*arrays, method=(ej.models.L21(1e6), ej.inference.MAP()))
    assert none.trust().light == "red"
    assert {"active places", "computation"} <= {c.name for c in none.trust().doubts}


def test_nothing_stands_above_the_noise():
    assert found(solved(*world(times=0.0)), "response").light in ("amber", "red")


def test_a_window_beside_the_response():
    gain, data, tmin = world(times=5.0)
    problem = ej.from_arrays(gain, data, 1.0, sfreq=SFREQ, tmin=tmin)
    method = ej.models.MinimumNorm(), ej.inference.Linear()
    late = found(ej.solve(problem.crop(0.15), *method), "peak")
    assert late.light == "amber"
    assert "outside this window" in late.meaning
    assert "problem.crop(0.0" in late.advice
    edge = found(ej.solve(problem.crop(0.0, 0.06), *method), "peak")
    assert "edge" in edge.meaning or "outside" in edge.meaning
    assert found(ej.solve(problem, *method), "peak").light == "green"


def test_the_window_that_is_proposed_holds_the_peak():
    gain, data, tmin = world(times=5.0)
    data[:, :10] += 50  # before time zero nothing is looked for
    low, high = proposed_window(ej.from_arrays(gain, data, 1.0, sfreq=SFREQ, tmin=tmin))
    assert 0 < low < 0.08 < high < 0.15
    one = ej.from_arrays(gain, data[:, :1], 1.0)
    assert proposed_window(one) is None


def test_nothing_shows_the_noise():
    """Neither a baseline nor silent directions: that is said."""
    rng = np.random.default_rng(0)
    gain = rng.standard_normal((8, 30))
    check = found(
        solved(gain, rng.standard_normal((8, 6)), 0.0, crop=False), "noise before time zero"
    )
    assert check.light == "amber"
    assert "baseline" in check.advice


def test_few_electrodes():
    gain, data, tmin = world(times=2.0)
    check = found(solved(gain, data, tmin, ch_types=["eeg"] * N_CHANNELS), "sensors")
    assert (check.light, check.value) == ("amber", N_CHANNELS)


def test_doubts_of_the_method_come_along():
    estimate = solved(
        *world(times=5.0), method=(ej.models.ARD(), ej.inference.EM("mm", max_iter=1))
    )
    check = found(estimate, "computation")
    assert check.light == "amber"
    assert "not converged" in check.meaning


def test_trials_and_beamformers():
    gain, data, tmin = world(times=3.0)
    trials = np.stack([world(seed, times=3.0)[1] for seed in range(3)])
    assert solved(gain, trials, tmin).trust().light in ("green", "amber")
    names = {
        c.name for c in solved(gain, data, tmin, method=(None, ej.inference.LCMV())).trust().checks
    }
    assert "residual" not in names
    assert "single channels" in names


def test_words():
    trust = solved(*world(times=20.0, noise=4.0)).trust()
    assert isinstance(trust, Trust)
    assert repr(trust).startswith("Trust(red, ")
    assert len(repr(trust)) < 200
    assert str(trust).startswith("RED: Do not believe this map yet")
    assert max(map(len, str(trust).splitlines())) <= 100
    assert trust.checks[0].light == "red"
    assert all(c.advice for c in trust.doubts)
    assert trust.sentence.count(". ") == 0
    assert set(trust.rows[0]) == {"light", "check", "value", "limit", "what it means", "what to do"}
    with pytest.raises(dataclasses.FrozenInstanceError):
        trust.light = "green"


def test_not_within_a_transformation():
    estimate = solved(*world())
    with pytest.raises(ej.InputError, match="outside jit"):
        jax.jit(lambda e: jnp.asarray(len(trust_of(e).checks)))(estimate)


def test_the_record_is_kept_in_files(tmp_path):
    estimate = solved(*world(times=2.0))
    again = ej.load(ej.save(estimate, tmp_path / "a.npz"))
    assert again.problem.labels == estimate.problem.labels
    assert str(again.trust()) == str(estimate.trust())
