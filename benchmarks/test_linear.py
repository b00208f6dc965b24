"""Minimum norm family and beamformer: esijax against MNE-Python, and streaming."""

import jax
import mne
import numpy as np
import pytest
from mne.beamformer import make_lcmv
from mne.minimum_norm import apply_inverse, make_inverse_operator, prepare_inverse_operator

import esijax as ej

pytestmark = pytest.mark.bench
LOOSE = {"fixed": 0.0, "loose": 0.2}
WHO = ["esijax", "mne"]


def ready(estimate):
    """Wait until everything that applying needs is there."""
    jax.block_until_ready((estimate.posterior.chol, estimate.norm))
    return estimate


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("noise_norm", [None, "dSPM"])
@pytest.mark.parametrize("orientation", LOOSE)
def test_kernel(sample, race, orientation, noise_norm, who):
    """From forward to a kernel that is ready to apply."""
    evoked, cov, forward = sample
    loose = LOOSE[orientation]

    def ours():
        problem = ej.from_mne(evoked, forward, cov, loose=loose)
        return ready(ej.solve(problem, ej.models.MinimumNorm(), ej.inference.Linear(noise_norm)))

    def theirs():
        operator = make_inverse_operator(evoked.info, forward, cov, loose=loose)
        return prepare_inverse_operator(operator, evoked.nave, 1 / 9, noise_norm or "MNE")

    name = f"forward to kernel, {noise_norm or 'MNE'}, {orientation}"
    race(name, who, ours if who == "esijax" else theirs)


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("orientation", LOOSE)
def test_apply(sample, race, orientation, who):
    """A kernel applied to 200 samples (dSPM, vector output where there are three orients)."""
    evoked, cov, forward = sample
    loose = LOOSE[orientation]
    if who == "esijax":
        problem = ej.from_mne(evoked, forward, cov, loose=loose)
        estimate = ready(ej.solve(problem, ej.models.MinimumNorm(), ej.inference.Linear("dSPM")))
        race(f"apply dSPM, T = 200, {orientation}", who, lambda: estimate.mean.block_until_ready())
    else:
        operator = make_inverse_operator(evoked.info, forward, cov, loose=loose)
        pick = "vector" if loose else None
        race(
            f"apply dSPM, T = 200, {orientation}",
            who,
            lambda: apply_inverse(evoked, operator, 1 / 9, "dSPM", pick_ori=pick),
        )


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("orientation", LOOSE)
def test_eloreta(sample, race, orientation, who):
    """eLORETA weights and map, the problem or operator given."""
    evoked, cov, forward = sample
    loose = LOOSE[orientation]
    if who == "esijax":
        problem = ej.from_mne(evoked, forward, cov, loose=loose)

        def run():
            estimate = ej.solve(problem, ej.models.ELORETA(), ej.inference.Linear())
            return estimate.mean.block_until_ready()
    else:
        operator = make_inverse_operator(evoked.info, forward, cov, loose=loose)

        def run():
            return apply_inverse(evoked, operator, 1 / 9, "eLORETA")

    race(f"eLORETA, T = 200, {orientation}", who, run, rounds=3)


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("given", ["forward", "problem"])
@pytest.mark.parametrize("pick_ori", ["max-power", "vector"])
def test_lcmv(sample, race, pick_ori, given, who):
    """All beamformer filters; MNE-Python starts from the forward in both."""
    evoked, cov, forward = sample
    picks = mne.pick_types(evoked.info, meg=True, eeg=True, exclude=[])
    names = [evoked.ch_names[p] for p in picks]
    projector = mne.proj.make_projector(evoked.info["projs"], names)[0]
    data_cov = evoked.data[picks] @ evoked.data[picks].T / 200 + cov.data / evoked.nave
    data_cov = mne.Covariance(
        projector @ data_cov @ projector.T, names, [], evoked.info["projs"], 200
    )

    ready_made = ej.from_mne(evoked, forward, cov, loose=1.0, depth=None)

    def ours():
        problem = ready_made
        if given == "forward":
            problem = ej.from_mne(evoked, forward, cov, loose=1.0, depth=None)
        method = ej.inference.LCMV(
            data_cov, pick_ori=pick_ori, weight_norm="unit-noise-gain-invariant"
        )
        return jax.block_until_ready(ej.solve(problem, None, method).posterior.weights)

    def theirs():
        return make_lcmv(evoked.info, forward, data_cov, noise_cov=cov, pick_ori=pick_ori)

    race(f"LCMV from {given}, {pick_ori}", who, ours if who == "esijax" else theirs, rounds=3)


@pytest.mark.parametrize("who", WHO)
def test_bootstrap(sample, race, who):
    """1,000 resampled averages at one latency, fixed orientation, dSPM."""
    evoked, cov, forward = sample
    rng = np.random.default_rng(0)
    if who == "esijax":
        problem = ej.from_mne(evoked, forward, cov, loose=0.0)
        estimate = ready(ej.solve(problem, ej.models.MinimumNorm(), ej.inference.Linear("dSPM")))
        n = len(problem.labels.ch_names)
        data = rng.standard_normal((n, 1000)) * 1e-12
        batch = jax.jit(lambda kernel, x: kernel[:, 0] @ x)

        def run():
            return batch(estimate.kernel, data).block_until_ready()
    else:
        operator = make_inverse_operator(evoked.info, forward, cov, loose=0.0)
        prepared = prepare_inverse_operator(operator, evoked.nave, 1 / 9, "dSPM")
        one = evoked.copy().crop(0.0, 0.0)

        def run():
            for _ in range(20):  # a fiftieth of the work, multiplied below
                apply_inverse(one, prepared, 1 / 9, "dSPM", prepared=True)

    group = "1,000 bootstrap maps (mne: 20, times 50)"
    race(group, who, run, rounds=3)


def test_stream(race):
    """One sample of 64 channels to 5,124 sources."""
    rng = np.random.default_rng(0)
    gain = rng.standard_normal((64, 5124))
    problem = ej.from_arrays(gain, rng.standard_normal((64, 10)), noise_cov=np.eye(64))
    estimate = ej.solve(problem, ej.models.MinimumNorm(), ej.inference.Linear("sLORETA"))
    kernel = estimate.kernel[:, 0]
    one = jax.jit(lambda kernel, x: kernel @ x)
    sample = rng.standard_normal(64)
    race("one streamed sample", "esijax", lambda: one(kernel, sample).block_until_ready(), 200)
