r"""What the checks read: the data in whitened units, what the map left of them, where it peaks.

.. math:: \nu^2 = \text{variance of the noise before time zero over the one that is stated}, \qquad
          p = \operatorname{mean} Y^2 - \nu^2

Arrays are NumPy's; trials stand side by side.
"""

import dataclasses
from functools import cached_property
from typing import Any

import jax.numpy as jnp
import numpy as np

from esijax._types import InputError
from esijax.labels import Record, n_effective, record_of
from esijax.problem import Problem
from esijax.trust.silent import FEWEST, SILENT, directions

FEW_SITES = 4  # noise levels that are those of channel types
ZERO = 1e-6  # of the largest amplitude


@dataclasses.dataclass(frozen=True)
class TrustInputs:
    """An estimate as the checks see it.

    Parameters
    ----------
    estimate : Estimate
    """

    estimate: Any

    @property
    def problem(self) -> Problem:
        """What was solved."""
        return self.estimate.problem

    @cached_property
    def record(self) -> Record:
        """What the whole recording showed."""
        found = record_of(self.problem)
        assert found is not None  # nothing is traced here
        return found

    @cached_property
    def data(self) -> np.ndarray:
        """Whitened data, (rank, columns)."""
        return _columns(self.problem.samples)

    @cached_property
    def left(self) -> np.ndarray | None:
        """What the map leaves of them; None of a method that predicts nothing."""
        fitted = self.estimate.fitted_samples
        return None if fitted is None else self.data - _columns(fitted)

    @cached_property
    def directions(self) -> tuple[np.ndarray, np.ndarray]:
        """Power of sources in each direction, (rank,), and the directions, (rank, rank)."""
        return directions(self.problem)

    @cached_property
    def silent(self) -> np.ndarray | None:
        """Data in the directions that no source reaches; None where these are too few."""
        power, axes = self.directions
        axes = axes[:, power < SILENT]
        return axes.T @ self.data if axes.shape[1] >= FEWEST else None

    @cached_property
    def learned(self) -> float | None:
        """Variance of the noise that was learned with the map, over the one that is stated."""
        found = self.estimate.hyper.get("noise_var")
        if found is None:
            return None
        found = np.asarray(found)
        found = found.reshape(len(found), -1).mean(axis=0) if self.estimate.is_mixture else found
        return float(found.mean()) if found.size <= FEW_SITES else None

    @cached_property
    def noise(self) -> float:
        """Variance of the noise, over the one that is stated: as the baseline shows it."""
        seen = self.record.rms_before
        return (self.learned or 1.0) if seen is None else seen**2

    @cached_property
    def n_effective(self) -> float:
        """Independent samples among those of the window: samples of noise go together."""
        return self._n_effective(self.data if self.silent is None else self.silent)

    def _n_effective(self, rows: np.ndarray) -> float:
        n_trials = int(np.prod(self.problem.data.shape[:-2]))
        return n_effective(np.moveaxis(rows.reshape(len(rows), n_trials, -1), 1, 0))

    @cached_property
    def usual_power(self) -> float:
        """Mean square over the channels, each over its noise, without the loudest of fifty."""
        colorer = np.asarray(self.problem.whitener.colorer)
        std = np.sqrt(np.sum(colorer**2, axis=1))
        heard = np.mean((colorer @ self.data) ** 2, axis=1)
        power = np.sort(heard[std > 0] / std[std > 0] ** 2)
        return float(np.mean(power[: -max(1, len(power) // 50)])) if len(power) > 1 else 1.0

    @cached_property
    def amplitude(self) -> np.ndarray | None:
        """Norm over orients of the mean, trials averaged, (locations, times); None if too large."""
        try:
            mean = self.estimate.mean
        except InputError:
            return None
        mean = mean if mean.ndim == 3 else jnp.mean(mean, axis=0)
        return np.asarray(jnp.linalg.norm(mean, axis=-2))

    @cached_property
    def n_active(self) -> int | None:
        """Locations of a point estimate that are not zero; None where half of all are not."""
        if self.amplitude is None or self.estimate.posterior.spread:
            return None
        size = self.amplitude.max(axis=1)
        n = int(np.sum(size > ZERO * size.max()))
        return n if n <= len(size) / 2 else None

    @cached_property
    def channel_errors(self) -> np.ndarray:
        r"""Error of each channel, foretold from all others, in its deviation: (channels, columns).

        .. math:: u_{ct} = \frac{(W^\top \Sigma^{-1} y_t)_c}
                                {\sqrt{(W^\top \Sigma^{-1} W)_{cc}}}, \qquad
                  \Sigma = \nu^2 I + p\, G P^2 G^\top

        with the minimum norm prior at the strength that the data have, whatever the method was; p
        leaves the loudest channels out, so that one that is bad does not hide itself.
        """
        power, axes = self.directions
        signal = max(self.usual_power - self.noise, 0.1 * self.noise)
        inverse = 1 / (self.noise + signal * power)
        whitener = axes.T @ np.asarray(self.problem.whitener.matrix)
        error = whitener.T @ (inverse[:, None] * (axes.T @ self.data))
        expected = np.sum(whitener**2 * inverse[:, None], axis=0)
        return error / np.sqrt(np.where(expected > 0, expected, 1.0))[:, None]

    @cached_property
    def channel_ratios(self) -> np.ndarray:
        """Mean squares of these errors, over what is usual for the kind of channel, (channels,)."""
        return self._by_kind(np.mean(self.channel_errors**2, axis=1))

    @cached_property
    def n_of_errors(self) -> float:
        """Independent samples among these errors; each channel counts alike, a bad one too."""
        size = np.sqrt(np.mean(self.channel_errors**2, axis=1, keepdims=True))
        return self._n_effective(self.channel_errors / np.where(size > 0, size, 1.0))

    @cached_property
    def channel_ratios_before(self) -> np.ndarray | None:
        """The same before time zero, where there are no sources; None without a baseline."""
        found = np.array(self.record.channels)
        return self._by_kind(found) if len(found) else None

    def _by_kind(self, ratio: np.ndarray) -> np.ndarray:
        """Ratios over the median of the channels of their kind."""
        kinds, out = np.array(self.problem.labels.ch_types or ("",) * len(ratio)), ratio.copy()
        for kind in np.unique(kinds):
            middle = np.median(ratio[kinds == kind])
            out[kinds == kind] /= middle if middle > 0 else 1.0
        return out


def _columns(x: Any) -> np.ndarray:
    """Data (..., rank, times) with trials side by side."""
    x = np.asarray(x)
    return x if x.ndim == 2 else np.moveaxis(x, -2, 0).reshape(x.shape[-2], -1)
