r"""How much of a signal changes over a lag, and the covariance that follows.

.. math:: g(k) = \tfrac12 \mathbb{E} (x_{t+k} - x_t)^2 = c(0) - c(k)

A mean that is subtracted, whatever it is, leaves g as it was: it can be taken from a corrected
baseline.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

FLOOR = 1e-3  # of the mean power, of each frequency: below it the estimate is noise


def variogram(
    signals: Sequence[Float[np.ndarray, "*_ _ _"]],
) -> tuple[Float[np.ndarray, " lags"], Float[np.ndarray, " lags"]]:
    """Half the mean square of differences at each lag, and the number of pairs behind it.

    Parameters
    ----------
    signals : sequence of (..., rank, times)
        White over their rows; each may have times of its own.
    """
    n = max(x.shape[-1] for x in signals)
    total, pairs = np.zeros(n), np.zeros(n)
    for x in signals:
        pairs[0] += x.size
        for lag in range(1, x.shape[-1]):
            change = x[..., lag:] - x[..., :-lag]
            total[lag] += 0.5 * np.sum(change**2)
            pairs[lag] += change.size
    return total / pairs, pairs


def plateau(g: Float[np.ndarray, " lags"], pairs: Float[np.ndarray, " lags"]) -> float:
    """Variance of a sample about what is slower than all lags: g over the longer half of them."""
    late = slice(len(g) // 2, None)
    return float(np.average(g[late], weights=pairs[late]))


def autocovariance(
    g: Float[np.ndarray, " lags"], pairs: Float[np.ndarray, " lags"], n: int
) -> Float[np.ndarray, " n"]:
    r"""Covariance at n lags, such that each of its Toeplitz matrices is positive definite.

    Plateau minus g, zero beyond the longest lag, tapered by a Hann window (Blackman and Tukey
    1958, doi:10.1002/j.1538-7305.1958.tb03874.x): single lags of one baseline are too uncertain
    to be inverted. Frequencies without power are raised to a thousandth of the mean.
    """
    lags, n_fft = np.arange(len(g)), 2 * max(n, len(g))
    c = (plateau(g, pairs) - g) * 0.5 * (1.0 + np.cos(np.pi * lags / len(g)))
    circle = np.zeros(n_fft)
    circle[: len(c)] = c
    circle[n_fft - len(c) + 1 :] = c[:0:-1]
    power = np.fft.rfft(circle).real
    power = np.maximum(power, FLOOR * c[0])
    return np.fft.irfft(power, n_fft)[:n]


def corrected_cov(
    c: Float[np.ndarray, " lags"],
    at: Int[np.ndarray, " times"],
    baseline: Int[np.ndarray, " some"],
) -> Float[np.ndarray, "times times"]:
    r"""Covariance of samples whose mean over a baseline was subtracted.

    .. math:: \Omega = P C P^\top, \qquad P = I - \tfrac1n 1_t 1_b^\top

    Parameters
    ----------
    c : (lags,)
        Covariance at each lag.
    at, baseline : (times,), (some,)
        Numbers of the samples, and of those whose mean is subtracted (they may lie outside). None
        of these: as it is.
    """

    def between(a, b):
        return c[np.abs(a[:, None] - b[None])]

    if len(baseline) == 0:
        return between(at, at)
    with_mean = between(at, baseline).mean(axis=1)
    cov = between(at, at) - with_mean[:, None] - with_mean[None]
    return cov + between(baseline, baseline).mean()
