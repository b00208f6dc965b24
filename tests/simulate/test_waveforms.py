"""Waves against their formulas, spectra and correlations."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import welch

import esijax as ej
from esijax import simulate as sim

KEY = jax.random.key(3)
SFREQ = 250.0
TIMES = np.arange(-25, 125) / SFREQ


@functools.cache
def compiled(n, times):
    return eqx.filter_jit(lambda make, key: make.draw(key, n, np.frombuffer(times)))


def drawn(make, n, times=TIMES, key=KEY):
    return np.asarray(compiled(n, np.asarray(times, dtype=float).tobytes())(make, key))


PEAKED = {
    "gabors": sim.Gabors(amplitude=(10e-9, 30e-9)),
    "hann": sim.HannNoise(amplitude=(10e-9, 30e-9)),
    "spikes": sim.Spikes(amplitude=(10e-9, 30e-9)),
}


@pytest.mark.parametrize("name", PEAKED)
def test_peaks_are_in_the_range_asked_for(name):
    draw = jax.jit(jax.vmap(lambda w, k: w.draw(k, 4, TIMES), in_axes=(None, 0)))
    waves = np.asarray(draw(PEAKED[name], jax.random.split(KEY, 100)))
    assert waves.shape == (100, 4, 150)
    peaks = np.abs(waves).max(axis=-1).ravel()
    assert peaks.min() >= 10e-9 * (1 - 1e-12)
    assert peaks.max() <= 30e-9 * (1 + 1e-12)
    assert peaks.mean() == pytest.approx(20e-9, abs=4 * 20e-9 / np.sqrt(12 * 400))


def test_one_atom_is_a_gabor():
    wave = sim.Gabors(1, latency=0.1, width=0.04, frequency=6.0, amplitude=5e-9)
    found = drawn(wave, 1)[0]
    want = 5e-9 * sim.erp(TIMES, 0.1, 0.04, 6.0)
    np.testing.assert_allclose(found * np.sign(found[50]), want, atol=1e-20)  # 0.1 s is sample 50


def test_hann_noise_keeps_to_its_window_and_band():
    times = np.arange(1000) / SFREQ
    make = sim.HannNoise(band=(8.0, 16.0), window=(1.0, 3.0))
    waves = drawn(make, 200, times)
    outside = (times <= 1.0) | (times >= 3.0)
    assert (waves[:, outside] == 0).all()
    power = (np.abs(np.fft.rfft(waves)) ** 2).mean(axis=0)
    frequency = np.fft.rfftfreq(1000, 1 / SFREQ)
    # a Hann window of 2 s widens lines by 1 Hz
    far = (frequency < 6.5) | (frequency > 17.5)
    assert power[far].sum() < 1e-4 * power.sum()
    # the mean power over draws follows the square of the window (peaks differ little)
    shape = (waves**2).mean(axis=0)[250:750]
    hann = np.sin(np.pi * (times[250:750] - 1.0) / 2.0) ** 4
    assert np.corrcoef(shape, hann)[0, 1] > 0.97
    with pytest.raises(ej.InputError, match="none lies in the band"):
        sim.HannNoise(band=(1.0, 2.0), window=(0.0, 0.1)).draw(KEY, 1, np.arange(10) / SFREQ)


@pytest.mark.parametrize("name", ["gabors", "hann"])
@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9, 1.0])
def test_stated_correlation_is_exact(name, correlation):
    kind = sim.Gabors if name == "gabors" else sim.HannNoise
    waves = drawn(kind(correlation=correlation), 3)
    unit = waves / np.linalg.norm(waves, axis=1, keepdims=True)
    off = (unit @ unit.T)[np.triu_indices(3, 1)]
    np.testing.assert_allclose(off, correlation, atol=1e-10)


def test_mixing_changes_waves_least():
    """Waves that have the correlation already stay as they are."""
    rng = np.random.default_rng(0)
    orthogonal = np.linalg.qr(rng.standard_normal((150, 3)))[0].T * [[1.0], [2.0], [5.0]]
    from esijax.simulate.waveforms import correlated

    kept = jax.jit(correlated)(jnp.asarray(orthogonal), jnp.asarray(0.0))
    np.testing.assert_allclose(kept, orthogonal, atol=1e-12)


def test_spikes_follow_each_other():
    times = np.arange(1000) / 1000
    waves = drawn(sim.Spikes(width=0.01, delay=0.05), 3, times, jax.random.key(1))
    peaks = waves.argmax(axis=1)
    np.testing.assert_allclose(np.diff(times[peaks]), 0.05, atol=1.1e-3)
    t = (times - times[peaks[0]]) / 0.01
    shape = np.exp(-0.5 * t**2) - 0.4 * np.exp(-0.5 * ((t - 10) / 5) ** 2)
    # drawn between samples: half a millisecond of a slope of 0.6 per 10 ms
    np.testing.assert_allclose(waves[0] / waves[0].max(), shape / shape.max(), atol=0.04)
    many = drawn(sim.Spikes(4, width=0.005), 1, np.arange(5000) / 1000)
    high = many[0] > 0.5 * many.max()
    assert (np.diff(high.astype(int)) == 1).sum() == 4


def test_oscillations_lag_by_a_phase():
    times = np.arange(500) / SFREQ  # 20 whole cycles of 10 Hz
    waves = drawn(sim.Oscillation(10.0, np.pi / 3, amplitude=1.0), 3, times)
    phase = np.angle(np.fft.rfft(waves)[:, 20])
    np.testing.assert_allclose(np.angle(np.exp(-1j * np.diff(phase))), np.pi / 3, atol=1e-10)
    unit = waves / np.linalg.norm(waves, axis=1, keepdims=True)
    np.testing.assert_allclose(unit[0] @ unit[1], np.cos(np.pi / 3), atol=1e-10)
    np.testing.assert_allclose((waves**2).mean(axis=1), 0.5, rtol=1e-10)


POLES = [0.9 * np.exp(2j * np.pi * 10 / SFREQ), 0.85 * np.exp(2j * np.pi * 40 / SFREQ), 0.5]


@pytest.fixture(scope="module")
def autoregressive():
    """20 series of 20,000 samples with unit variance."""
    return drawn(sim.Autoregressive(POLES, amplitude=1.0), 20, np.arange(20000) / SFREQ)


def test_poles_are_recovered_by_regression(autoregressive):
    """Each sample on the five before it, least squares, roots."""
    n = autoregressive.shape[1]
    lagged = np.stack([autoregressive[:, 5 - k : n - k] for k in range(1, 6)], axis=-1)
    found = np.linalg.lstsq(lagged.reshape(-1, 5), autoregressive[:, 5:].ravel())[0]
    roots = np.roots(np.r_[1.0, -found])
    for pole in POLES:
        assert np.abs(roots - pole).min() < 0.01
    assert autoregressive.var() == pytest.approx(1.0, abs=0.02)


def test_poles_shape_the_spectrum(autoregressive):
    """Welch's spectrum against |1 / prod(1 - z_j / z)|^2: no coefficients involved."""
    frequency, power = welch(autoregressive, SFREQ, "hann", 500, detrend=False)
    power = power.mean(axis=0)
    z = np.exp(2j * np.pi * frequency / SFREQ)
    both = [*POLES[:2], *np.conj(POLES[:2]), POLES[2]]
    want = 1 / np.abs(np.prod([1 - p / z for p in both], axis=0)) ** 2
    ratio = (power / want)[1:-1]
    # 1580 half-overlapping segments: 2.9 % each (Welch 1967); 4 standard errors, and smoothing
    np.testing.assert_allclose(ratio / ratio.mean(), 1.0, atol=0.13)
    for pole in POLES[:2]:  # the maxima lie where the poles point
        near = np.abs(frequency - np.angle(pole) * SFREQ / (2 * np.pi)) < 12
        top = frequency[near][power[near].argmax()]
        assert top == pytest.approx(frequency[near][want[near].argmax()], abs=2.0)


def test_autoregressive_is_stationary_from_the_start():
    pole = 0.99 * np.exp(2j * np.pi * 10 / SFREQ)
    waves = drawn(sim.Autoregressive([pole], amplitude=3.0), 4000, TIMES[:30])
    # 4000 independent series: the variance of each time has a relative error of 2.2 %
    np.testing.assert_allclose(np.var(waves, axis=0), 9.0, rtol=4 * 0.0224)


def test_correlated_autoregressive():
    poles = [0.3]
    make = sim.Autoregressive(poles, correlation=0.7)
    waves = drawn(make, 3, np.arange(20000))
    off = np.corrcoef(waves)[np.triu_indices(3, 1)]
    np.testing.assert_allclose(off, 0.7, atol=4 * 0.6 / np.sqrt(20000))


def test_microstates_hold_and_switch():
    times = np.arange(1000) / SFREQ
    make = sim.Microstates(3, duration=(0.06, 0.12), frequency=0.0, amplitude=1.0)
    waves = drawn(make, 7, times)
    assert set(np.unique(waves)) == {0.0, 1.0}
    active = waves.astype(bool)
    sets = {tuple(np.flatnonzero(a).tolist()) for a in active.T}
    assert sets == {(0, 3, 6), (1, 4), (2, 5)}
    change = np.flatnonzero((active[:, 1:] != active[:, :-1]).any(axis=0))
    held = np.diff(change) / SFREQ
    # durations are rounded to samples of 4 ms, at both ends
    assert held.min() >= 0.06 - 1.01 / SFREQ
    assert held.max() <= 0.12 + 1.01 / SFREQ
    assert held.mean() == pytest.approx(0.09, abs=4 * 0.06 / np.sqrt(12 * len(held)))
    carrier = drawn(sim.Microstates(3, frequency=10.0), 3, times)
    assert ((carrier != 0).sum(axis=0) <= 1).all()


def test_given_waves():
    waves = 1e-9 * np.random.default_rng(0).standard_normal((2, 150))
    np.testing.assert_array_equal(sim.Given(waves).draw(KEY, 2, TIMES), waves)


def test_single_sample():
    for make in (sim.Gabors(), sim.Autoregressive([0.5])):
        assert np.isfinite(drawn(make, 2, np.array([0.1]))).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sim.Gabors(0), "n_atoms"),
        (lambda: sim.Gabors(width=0.0), "width"),
        (lambda: sim.Gabors(frequency=(5, 3)), "in order"),
        (lambda: sim.Gabors(latency="early"), "latency"),
        (lambda: sim.Gabors(amplitude=-1.0), "amplitude"),
        (lambda: sim.Gabors(amplitude=np.nan), "amplitude"),
        (lambda: sim.Gabors(correlation=1.5), "0..1, got 1.5"),
        (lambda: sim.HannNoise(window=(0.3, 0.3)), "window"),
        (lambda: sim.Autoregressive([1.0]), "inside the unit circle"),
        (lambda: sim.Autoregressive([]), "inside the unit circle"),
        (lambda: sim.Autoregressive([0.5 - 0.1j]), "once"),
        (lambda: sim.Microstates(1), "at least 2"),
        (lambda: sim.Microstates(4).draw(KEY, 3, TIMES), "4 states need as many sources"),
        (lambda: sim.Microstates(duration=0.0), "duration"),
        (lambda: sim.Given(np.ones(5)), "sources, times"),
        (lambda: sim.Given(np.full((1, 5), np.inf)), "finite"),
        (lambda: sim.Given(np.ones((1, 5))).draw(KEY, 2, TIMES), "are needed"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(ej.InputError, match=message):
        make()
