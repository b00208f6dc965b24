"""What simulation-based calibration found: ranks, tests of their uniformity, coverage."""

from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Float, Int

from esijax._types import InputError

COVERAGE_LEVELS = (0.5, 0.8, 0.9, 0.95)


class Calibration(eqx.Module):
    r"""Ranks of truths among posterior draws, one column per number that was ranked.

    Parameters
    ----------
    names : tuple of str
        What was ranked.
    n_draws : tuple of int
        Draws L per quantity (after thinning): ranks lie in 0, ..., L.
    position : (sets, quantities)
        Rank plus a uniform number, in [0, L + 1).
    autocorrelation : (quantities,)
        Of successive draws (lag 1, mean over data sets): should be near 0.

    References
    ----------
    Talts et al. 2018, doi:10.48550/arXiv.1804.06788.

    Examples
    --------
    >>> import numpy as np
    >>> from esijax.metrics import Calibration
    >>> position = np.random.default_rng(0).uniform(0, 100, (500, 1))
    >>> result = Calibration(("gamma",), (99,), position, np.zeros(1))
    >>> result.passes(), round(result.coverage(0.9)["gamma"], 2)
    (True, 0.9)
    """

    names: tuple[str, ...] = eqx.field(static=True)
    n_draws: tuple[int, ...] = eqx.field(static=True)
    position: Float[np.ndarray, "sets quantities"]
    autocorrelation: Float[np.ndarray, " quantities"]

    @property
    def ranks(self) -> Int[np.ndarray, "sets quantities"]:
        """Draws below the truth, ties broken at random."""
        return np.floor(self.position).astype(int)

    @property
    def pit(self) -> Float[np.ndarray, "sets quantities"]:
        """Randomised probability integral transform, uniform on [0, 1) for a right fit."""
        return self.position / (np.array(self.n_draws) + 1.0)

    @property
    def ks(self) -> dict[str, float]:
        """Kolmogorov-Smirnov p-values; ranks are discrete, their randomised transforms are not."""
        from scipy.stats import kstest

        return {
            name: float(kstest(u, "uniform").pvalue)
            for name, u in zip(self.names, self.pit.T, strict=True)
        }

    @property
    def chi2(self) -> dict[str, float]:
        """Chi-square p-values over at most 20 bins of ranks, each with 5 expected or more."""
        from scipy.stats import chisquare

        found = {}
        for name, rank, draws in zip(self.names, self.ranks.T, self.n_draws, strict=True):
            edges = _bin_edges(draws + 1, len(rank))
            # bins hold different numbers of ranks where draws + 1 is no multiple of them
            expected = np.diff(edges) / (draws + 1) * len(rank)
            counts = np.histogram(rank, edges - 0.5)[0]
            found[name] = float(chisquare(counts, expected).pvalue)
        return found

    @property
    def p_value(self) -> float:
        """Smallest p-value of all, times their number (Bonferroni), at most 1."""
        both = [*self.ks.values(), *self.chi2.values()]
        return min(1.0, min(both) * len(both))

    def passes(self, alpha: Any = 0.01) -> bool:
        """Tell whether every p-value exceeds alpha over the number of quantities.

        A right fit fails with probability 2 alpha at most: there are two tests of each.
        """
        worst = min(*self.ks.values(), *self.chi2.values())
        return bool(worst > alpha / len(self.names))

    def coverage(self, level: Any = 0.9) -> dict[str, float]:
        r"""Share of central credible intervals that hold the truth.

        A rank is the interval [r, r + 1) / (L + 1) of the transform; where a limit cuts it, it
        counts in part, so that the expected share is the level itself for any number of draws.

        Parameters
        ----------
        level : float
            In (0, 1).

        Raises
        ------
        InputError
            If the level is no probability.
        """
        if not 0 < level < 1:
            raise InputError(f"level must lie between 0 and 1, got {level!r}.")
        steps = np.array(self.n_draws) + 1.0
        lower = np.maximum(self.ranks / steps, 0.5 - level / 2)
        upper = np.minimum((self.ranks + 1) / steps, 0.5 + level / 2)
        share = np.mean(np.maximum(upper - lower, 0.0) * steps, axis=0)
        return dict(zip(self.names, map(float, share), strict=True))

    def rows(self) -> list[dict[str, Any]]:
        """One dict per quantity: draws, p-values, coverage, autocorrelation; made for a table."""
        ks, chi2 = self.ks, self.chi2
        coverage = {level: self.coverage(level) for level in COVERAGE_LEVELS}
        return [
            {"quantity": name, "draws": draws, "ks": ks[name], "chi2": chi2[name]}
            | {f"coverage {level:g}": coverage[level][name] for level in COVERAGE_LEVELS}
            | {"autocorrelation": float(lag)}
            for name, draws, lag in zip(self.names, self.n_draws, self.autocorrelation, strict=True)
        ]

    def __str__(self) -> str:
        rows = self.rows()
        width = max(len("quantity"), *(len(name) for name in self.names))
        head = f"{'quantity':{width}}  draws       KS     chi2" + "".join(
            f"{100 * level:5.0f}%" for level in COVERAGE_LEVELS
        )
        lines = [
            f"{row['quantity']:{width}}  {row['draws']:5d} {row['ks']:8.2g} {row['chi2']:8.2g}"
            + "".join(f"{100 * row[f'coverage {level:g}']:6.1f}" for level in COVERAGE_LEVELS)
            for row in rows
        ]
        lag = float(np.max(np.abs(self.autocorrelation)))
        verdict = "passes" if self.passes() else "FAILS"
        return "\n".join(
            [f"{len(self.position)} data sets: {verdict}, p = {self.p_value:.2g} (Bonferroni)"]
            + [head, *lines]
            + ([f"draws are autocorrelated ({lag:.2f}): raise `thin`"] if lag > 0.15 else [])
        )


def _bin_edges(n_ranks: int, n_sets: int) -> np.ndarray:
    """Edges of nearly equal bins of 0, ..., n_ranks - 1: at most 20, five expected in each."""
    n_bins = int(np.clip(n_sets // 5, 2, min(20, n_ranks)))
    return np.round(np.linspace(0, n_ranks, n_bins + 1)).astype(int)
