"""Waves against a known truth: fewer errors than models of independent samples, K by the bound."""

import numpy as np
import pytest

import esijax as ej

pytestmark = pytest.mark.slow
SFREQ, N_TIMES, N_LOCATIONS, N_CHANNELS = 250.0, 100, 40, 25
TIME = ej.models.time.SquaredExponential()
WHITE = ej.models.noise.White()


def wave(rng):
    """A response that begins and ends within the window."""
    t = np.arange(N_TIMES) / SFREQ
    out = np.zeros(N_TIMES)
    for _ in range(3):
        at, width, rate = rng.uniform(0.05, 0.35), rng.uniform(0.01, 0.05), rng.uniform(3, 12)
        bump = np.exp(-0.5 * ((t - at) / width) ** 2)
        out += rng.standard_normal() * bump * np.cos(2 * np.pi * rate * (t - at))
    return out / np.abs(out).max()


def shared(seed, n_waves, level):
    """Five sources that are mixtures of a few waves; fields of neighbours are alike."""
    rng = np.random.default_rng(seed)
    near = np.exp(-0.5 * (np.subtract.outer(range(N_LOCATIONS), range(N_LOCATIONS)) / 1.5) ** 2)
    gain = rng.standard_normal((N_CHANNELS, N_LOCATIONS)) @ near
    sources = np.zeros((N_LOCATIONS, N_TIMES))
    active = rng.choice(N_LOCATIONS, 5, replace=False)
    sources[active] = rng.standard_normal((5, n_waves)) @ [wave(rng) for _ in range(n_waves)]
    sources *= np.sqrt(10 ** (level / 10) / np.mean((gain @ sources) ** 2))
    data = gain @ sources + rng.standard_normal((N_CHANNELS, N_TIMES))
    return ej.from_arrays(gain, data, noise_cov=1.0, sfreq=SFREQ), sources, active


def model(k):
    return ej.models.TemporalBasis(ej.models.ARD(), ej.models.Waves(k, TIME), rest=None)


def error(estimate, sources):
    return np.linalg.norm(np.asarray(estimate.mean)[:, 0] - sources) / np.linalg.norm(sources)


def test_two_waves_of_five_sources_are_found():
    errors, covered = [], []
    for seed in range(6):
        problem, sources, active = shared(seed, 2, -3.0)
        waves = ej.solve(problem, model(2), ej.inference.VB(), noise=WHITE)
        static = ej.solve(problem, ej.models.ARD(), ej.inference.EM(), noise=WHITE)
        errors.append([error(waves, sources), error(static, sources)])
        off = np.abs(np.asarray(waves.mean)[:, 0] - sources) / np.asarray(waves.std)[:, 0]
        covered.append(np.mean(off[active] < 1.645))
    waves, static = np.mean(errors, axis=0)
    print(f"error {waves:.3f}, of independent samples {static:.3f}, bands {np.mean(covered):.2f}")
    assert waves < 0.6 * static
    assert 0.75 < np.mean(covered) < 1.0


@pytest.mark.parametrize("truth", [1, 2, 3])
def test_the_bound_finds_the_number(truth):
    found = []
    for seed in range(5):
        problem, *_ = shared(100 + seed, truth, 10.0)
        counts = ej.inference.select.by_bound(problem, model(1), (1, 2, 3, 4, 6), noise=WHITE)
        found.append(counts.k)
    print(f"{truth} waves, found {found}")
    assert np.mean(np.array(found) == truth) >= 0.8
