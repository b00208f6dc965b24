"""One simulated data set with its truth, and what a method answers to it."""

from dataclasses import dataclass
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

    @property
    def evoked(self) -> mne.Evoked:
        """The data, for MNE-Python."""
        return io.to_evoked(self.problem, self.info)

    @property
    def noise_cov(self) -> mne.Covariance:
        """Noise covariance of single trials, for MNE-Python."""
        return io.to_noise_cov(self.problem, self.info)
