"""One solve after the other, each from the answer of the last."""

import dataclasses
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from esijax._types import EsijaxWarning, InputError, is_traced
from esijax.estimate import Estimate
from esijax.inference._loops import finished, first_state
from esijax.inference.solve import finish_estimate, prepare_inputs, solve
from esijax.inference.sparse.map import MAP
from esijax.models.penalties import Penalty
from esijax.models.penalties.alpha_max import alpha_max
from esijax.problem import Problem

# shares of alpha_max, from sparse to dense
GRID = tuple(float(x) for x in np.geomspace(0.95, 0.1, 16))


def shares_of(fractions: Any) -> np.ndarray:
    """Sort and check shares of alpha_max, from large to small."""
    shares = np.asarray(fractions, dtype=float)
    if shares.ndim != 1 or shares.size == 0 or not np.isfinite(shares).all():
        raise InputError("fractions must be numbers, at least one.")
    shares = np.sort(shares)[::-1]
    if shares[-1] <= 0:
        raise InputError(f"fractions of alpha_max must be positive, got {shares[-1]:g}.")
    return shares


def alphas_of(problem: Problem, penalty: Penalty, fractions: Any) -> np.ndarray:
    """Alphas of shares of alpha_max, from large to small."""
    shares = shares_of(fractions)
    largest = float(alpha_max(problem, dataclasses.replace(penalty, alpha=1.0)))
    if largest == 0:
        raise InputError("the data are all zero: there is no alpha to choose.")
    return largest * shares


def estimates_along(
    problem: Problem, penalty: Penalty, alphas: Any, method: MAP
) -> Iterator[Estimate]:
    """Yield estimates at the given alphas, each started at the last; without warnings of zeros."""
    models = [dataclasses.replace(penalty, alpha=float(alpha)) for alpha in alphas]
    answers = _by_following if _follows(problem, models, method) else _by_restarts
    solved = answers(problem, models, method)
    for _ in models:
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", "(MAP|Reweighted): every source is zero", EsijaxWarning
            )
            warnings.filterwarnings("ignore", "the map explains", EsijaxWarning)
            estimate = next(solved)
        yield estimate


def _follows(problem: Problem, models: list[Penalty], method: MAP) -> bool:
    """Tell whether a solve can go on from the working set of the last one."""
    if not models or is_traced((problem, models, method)):
        return False
    _, setup = prepare_inputs(problem, models[0], method)
    return method.follows(setup)


def _by_following(problem: Problem, models: list[Penalty], method: MAP) -> Iterator[Estimate]:
    """Go on where the last one ended: a round each, if alpha changes little."""
    state = None
    for model in models:
        _, setup = prepare_inputs(problem, model, method)
        state = first_state(method, setup) if state is None else method.follow(setup, state)
        while not method.done(state):
            state = method.advance(state)
        yield finish_estimate(problem, setup, finished(method, state))


def _by_restarts(problem: Problem, models: list[Penalty], method: MAP) -> Iterator[Estimate]:
    """Solve each by itself, from the last answer."""
    last = None
    for model in models:
        last = solve(problem, model, method, init=last)
        yield last


def path(
    problem: Problem, penalty: Penalty, fractions: Any = GRID, method: MAP | None = None
) -> list[Estimate]:
    r"""Solve for many weights of a penalty, from the largest down, each started at the last.

    Parameters
    ----------
    problem : Problem
    penalty : L21 | L1 | Lrq | Penalty
        Its own alpha does not matter.
    fractions : sequence of float
        Shares of alpha_max.
    method : MAP, optional

    Returns
    -------
    estimates : list of Estimate
        In the order of falling alpha.

    Raises
    ------
    InputError
        For fractions that are not positive, data that are all zero.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> gain = np.random.default_rng(0).standard_normal((8, 12))
    >>> problem = ej.from_arrays(gain, 5 * gain[:, [3]], noise_cov=1.0)
    >>> found = ej.inference.select.path(problem, ej.models.L21(1.0), [0.9, 0.5])
    >>> [int(e.diagnostics.n_active) for e in found]
    [1, 1]
    """
    method = MAP() if method is None else method
    return list(estimates_along(problem, penalty, alphas_of(problem, penalty, fractions), method))
