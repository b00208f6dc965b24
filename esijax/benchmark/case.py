"""One simulated data set with its truth, and what a method answers to it."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import mne
import numpy as np

from esijax import io
from esijax.problem import Problem


@dataclass(frozen=True)
class Case:
    """A data set to be inverted, in our form and in MNE-Python's.

    Parameters
    ----------
    problem : Problem
        With the simulated data.
    truth : (locations, orients, times)
        A m, on the grid and in the orients of the problem.
    active : bool, (locations,)
        Which locations are truly active.
    centres : (sources, 3)
        Of the true sources, m.
    at : "peak" | "mean"
        What is scored: the sample of most power, or the mean over time.
    forward : mne.Forward
        What the problem inverts.
    info : mne.Info
        Sensors.
    loose : float
        Of the problem.
    depth : float | None
        Of the problem.
    """

    problem: Problem
    truth: np.ndarray
    active: np.ndarray
    centres: np.ndarray
    at: str
    forward: mne.Forward
    info: mne.Info
    loose: Any = "auto"
    depth: Any = 0.8

    @cached_property
    def evoked(self) -> mne.Evoked:
        """The data, for MNE-Python."""
        return io.to_evoked(self.problem, self.info)

    @cached_property
    def noise_cov(self) -> mne.Covariance:
        """Noise covariance of single trials, for MNE-Python."""
        return io.to_noise_cov(self.problem, self.info)

    @cached_property
    def data_cov(self) -> mne.Covariance:
        """Data covariance for beamformers, the same for all of them.

        That of the average about its mean, and what averaging took away of the noise: as if it
        were estimated from single trials.
        """
        evoked, noise = self.evoked, self.noise_cov
        cov = np.cov(evoked.data) + (1 - 1 / evoked.nave) * noise.data
        return mne.Covariance(cov, noise.ch_names, [], list(noise["projs"]), nfree=1)

    @cached_property
    def oriented(self) -> mne.Forward:
        """Forward with the orientations that are inverted: along the normals where loose is 0."""
        if self.problem.n_orients == 3 or self.forward["source_ori"] == 1:
            return self.forward
        return mne.convert_forward_solution(self.forward, force_fixed=True, verbose="ERROR")
