"""The number of waves by the bound of the evidence."""

import dataclasses
from collections.abc import Iterable
from typing import Any, NamedTuple

from tqdm.auto import tqdm

from esijax._types import InputError
from esijax.estimate import Estimate
from esijax.inference.collapsed.vb.vb import VB
from esijax.inference.solve import solve
from esijax.models.temporal import TemporalBasis, Waves
from esijax.problem import Problem


class WaveCounts(NamedTuple):
    """Bounds for several numbers of waves.

    Parameters
    ----------
    k : int
        The number with the largest bound.
    bounds : dict of int to float
        Lower bound of the log evidence for each number, nats.
    estimate : Estimate
        The answer for the best number.
    """

    k: int
    bounds: dict[int, float]
    estimate: Any


def by_bound(
    problem: Problem,
    model: Any,
    ks: Iterable[int] = range(1, 9),
    *,
    method: VB | None = None,
    noise: Any = None,
    progress: bool = False,
) -> WaveCounts:
    r"""Solve for several numbers of waves, and take the one with the largest bound.

    .. math:: \hat K = \arg\max_K \; \max_{q, \gamma, v, \theta} \text{bound}(K)

    All waves share the variances of the components, so that a wave that the data do not ask for
    lowers the bound instead of switching itself off.

    Parameters
    ----------
    problem : Problem
        What was measured.
    model : TemporalBasis
        With `Waves`; their number is replaced.
    ks : iterable of int
        Numbers to try.
    method : VB, optional
        The method whose bound is compared.
    noise : noise model, optional
        As of `ej.solve`.
    progress : bool
        Show a bar of the numbers.

    Returns
    -------
    counts : WaveCounts
        ``k``, ``bounds`` and ``estimate``.

    Raises
    ------
    InputError
        For another model, or no numbers.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> rng = np.random.default_rng(0)
    >>> gain = rng.standard_normal((8, 12))
    >>> course = np.exp(-0.5 * ((np.arange(40) - 20) / 5) ** 2)
    >>> data = 3 * gain[:, [4]] * course + rng.standard_normal((8, 40))
    >>> problem = ej.from_arrays(gain, data, noise_cov=1.0, sfreq=200.0)
    >>> waves = ej.models.Waves(1, ej.models.time.SquaredExponential(0.025))
    >>> model = ej.models.TemporalBasis(ej.models.ARD(), waves, rest=None)
    >>> ej.inference.select.by_bound(problem, model, (1, 2)).k
    1
    """
    if not isinstance(model, TemporalBasis) or not isinstance(model.basis, Waves):
        raise InputError(
            "by_bound compares numbers of waves that are learned: give TemporalBasis(prior, "
            f"Waves(k, time)), not {type(model).__name__}."
        )
    numbers = list(dict.fromkeys(ks))
    if not numbers:
        raise InputError("by_bound needs at least one number of waves in ks.")
    method = VB() if method is None else method

    def solved(k: int) -> tuple[float, Estimate]:
        own = dataclasses.replace(model, basis=Waves(k, model.basis.time))
        estimate = solve(problem, own, method, noise=noise)
        value = float("nan") if estimate.evidence is None else float(estimate.evidence)
        return value, estimate

    bar = tqdm(numbers, disable=not progress)
    bounds: dict[int, float] = {}
    best, kept = numbers[0], None
    for k in bar:  # one estimate is kept at a time
        bounds[k], estimate = solved(k)
        if kept is None or bounds[k] > bounds[best]:
            best, kept = k, estimate
    return WaveCounts(best, bounds, kept)
