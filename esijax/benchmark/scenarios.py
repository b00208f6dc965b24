"""Scenarios: what is active, what it does, what is heard of it, and what is wrong.

Signal-to-noise ratios are dB of whitened power, averaged over channels and samples; 5 dB is a
clear evoked response, -5 dB one that hides in the noise.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import mne
import numpy as np

from esijax import simulate
from esijax.benchmark.case import Case
from esijax.benchmark.study import Study
from esijax.models.time import Autoregressive
from esijax.simulate import Head, Noise, Sources, Waveform

CLEAR, LOW = 5.0, -5.0  # dB
PATCH = (6e-4, 10e-4)  # m2
APART = 0.04  # m
ERP = simulate.Gabors


@dataclass(frozen=True)
class Setting:
    """Data sets of one kind: everything but the keys; seeds take the scenarios in turn."""

    scenarios: list[simulate.Scenario]
    study: Study

    def cases(self, seeds: int) -> Iterator[Case]:
        """Simulate all data sets at once, give them one by one."""
        keys = jax.random.split(jax.random.key(0), seeds)
        k = min(len(self.scenarios), seeds)
        made = [_simulated(s, keys[i::k]) for i, s in enumerate(self.scenarios[:k])]
        near = [s.head.nearest(s.problem) for s in self.scenarios[:k]]
        for i in range(seeds):
            one = made[i % k][i // k]
            problem, at = one.problem, near[i % k]
            yield Case(
                problem,
                np.asarray(one.truth.sources_on(problem, at)),
                np.asarray(one.truth.active_on(problem, at)),
                np.asarray(one.truth.centres),
                "peak",
                self.study.forward,
                self.study.info,
            )


def _simulated(s: simulate.Scenario, keys) -> simulate.Simulation:
    return simulate.simulate(keys, s.head, s.problem, s.sources, s.waveform, s.noise, s.snr_db)


def _setting(
    study: Study,
    sources: Sources,
    waveform: Waveform,
    snr_db: float,
    *,
    picks: Any = None,
    noise_cov: mne.Covariance | None = None,
    heads: Callable[[Any], list[Head]] | None = None,
    noise: Callable[[Head], Noise] | None = None,
) -> Setting:
    problem = study.problem(picks=picks, noise_cov=noise_cov)
    made_by = [study.head(problem)] if heads is None else heads(problem)
    return Setting(
        [
            simulate.Scenario(
                head,
                problem,
                sources,
                waveform,
                simulate.FromCov() if noise is None else noise(head),
                snr_db,
            )
            for head in made_by
        ],
        study,
    )


def focal(study: Study) -> Setting:
    """One dipole anywhere on the cortex."""
    return _setting(study, simulate.Dipoles(1), ERP(), CLEAR)


def extended(study: Study) -> Setting:
    """One patch of 6 to 10 cm2."""
    return _setting(study, simulate.Patches(study.patches, 1, PATCH), ERP(), CLEAR)


def correlated_patches(study: Study) -> Setting:
    """Two patches at least 4 cm apart whose courses correlate by 0.9."""
    sources = simulate.Patches(study.patches, 2, PATCH, min_distance=APART)
    return _setting(study, sources, ERP(correlation=0.9), CLEAR)


def deep_dipole(study: Study) -> Setting:
    """One dipole 3 cm below the hull of the cortex, or deeper."""
    return _setting(study, simulate.Dipoles(1, region=study.deep), ERP(), CLEAR)


def low_snr(study: Study) -> Setting:
    """One patch that hides in the noise."""
    return _setting(study, simulate.Patches(study.patches, 1, PATCH), ERP(), LOW)


def wrong_head(study: Study) -> Setting:
    """One patch; the data come from heads with another skull, 4 mm and 3 degrees elsewhere."""
    sources = simulate.Patches(study.patches, 1, PATCH)
    return _setting(study, sources, ERP(), CLEAR, heads=study.wrong_heads)


def few_channels(study: Study) -> Setting:
    """One patch heard by 32 channels."""
    sources = simulate.Patches(study.patches, 1, PATCH)
    return _setting(study, sources, ERP(), CLEAR, picks=study.electrodes)


def resting(study: Study) -> Setting:
    """Two alpha rhythms in 1/f activity of the whole brain, whitened by an ad hoc diagonal."""
    cov = mne.make_ad_hoc_cov(study.info, verbose="ERROR")
    sources = simulate.Patches(study.patches, 2, PATCH, min_distance=APART)
    waveform = simulate.Oscillation((8.0, 12.0), phase_lag=(0.0, 2 * np.pi))
    return _setting(
        study, sources, waveform, CLEAR, noise_cov=cov, noise=simulate.BrainBackground.of
    )


def coloured_noise(study: Study) -> Setting:
    """One patch in noise whose samples go together (0.6 from one to the next); nobody says so."""
    sources = simulate.Patches(study.patches, 1, PATCH)
    return _setting(
        study, sources, ERP(), LOW, noise=lambda _: simulate.FromCov(Autoregressive.of([0.6]))
    )


SCENARIOS: dict[str, Callable[[Study], Setting]] = {
    "focal": focal,
    "extended": extended,
    "two correlated": correlated_patches,
    "deep": deep_dipole,
    "low SNR": low_snr,
    "wrong head": wrong_head,
    "few channels": few_channels,
    "resting state": resting,
    "coloured noise": coloured_noise,
}
