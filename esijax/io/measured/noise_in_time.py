r"""The noise's covariance between samples, from a baseline and what was subtracted of it.

.. math:: \Omega = P C P^\top, \qquad C_{st} = c(|s - t|), \quad c(k) = g(\infty) - g(k)

with the variogram g of the whitened baseline and P, the baseline correction on record. Nothing of
the window is looked at.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from esijax._ops.time.variogram import autocovariance, corrected_cov, plateau, variogram
from esijax._types import InputError

FEWEST = 20  # samples of a baseline


@dataclasses.dataclass(frozen=True)
class Timing:
    """Times of a measurement as numbers of samples, and its baseline.

    Parameters
    ----------
    at, baseline : (times,), (some,) of int
        From time zero.
    corrected : bool
        Whether the mean of the baseline was subtracted.
    sfreq : float
    """

    at: np.ndarray
    baseline: np.ndarray
    corrected: bool
    sfreq: float

    @classmethod
    def of(cls, inst: Any) -> "Timing":
        """Read an Evoked, Epochs or Raw; without a baseline on record all before time zero."""
        sfreq = float(inst.info["sfreq"])
        at = np.round(np.asarray(inst.times) * sfreq).astype(int)
        given = getattr(inst, "baseline", None)
        if given is None:
            return cls(at, at[at < 0], False, sfreq)
        first, last = given
        first = at[0] if first is None else round(first * sfreq)
        last = at[-1] if last is None else round(last * sfreq)
        return cls(at, np.arange(first, last + 1), True, sfreq)

    @property
    def seen(self) -> np.ndarray:
        """Which of the samples belong to the baseline."""
        return np.isin(self.at, self.baseline)


def from_baselines(
    whites: Sequence[np.ndarray], timings: Sequence[Timing], like: Timing
) -> tuple[np.ndarray, str]:
    """Omega of the samples of `like` from whitened measurements, and a note of what it is from.

    Along the mean of a baseline that was subtracted no noise is left; where all of it is among
    the samples unit variance is stated there, as without `noise_time`.
    """
    known = [white[..., timing.seen] for white, timing in zip(whites, timings, strict=True)]
    known = [baseline for baseline in known if baseline.shape[-1] >= FEWEST]
    if not known:
        raise InputError(
            f"noise_time: no measurement has {FEWEST} samples of its baseline (the one on record, "
            "else before time zero): crop the problem (problem.crop) instead of the data, pool "
            "others by ej.io.noise_time, or give an array."
        )
    if any(timing.sfreq != like.sfreq for timing in timings):
        raise InputError("noise_time: the measurements have several sampling frequencies.")
    g, pairs = variogram(known)
    used = like.baseline if like.corrected else like.at[:0]
    every = np.concatenate([like.at, used])
    c = autocovariance(g, pairs, int(np.ptp(every)) + 1)
    cov = corrected_cov(c, like.at, used)
    if not like.corrected:  # the offsets, too, are noise
        total = sum(float(np.sum(x**2)) for x in known) / sum(x.size for x in known)
        cov = cov + max(total - plateau(g, pairs), 0.0)
    elif np.isin(used, like.at).all():
        cov[np.ix_(like.seen, like.seen)] += 1.0 / len(used)
    n = max(x.shape[-1] for x in known)
    return cov, f"noise_time: from {n} samples of {_told(len(known))}"


def _told(n: int) -> str:
    return "the baseline" if n == 1 else f"{n} baselines"
