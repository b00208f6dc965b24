r"""Alpha by what it predicts of data that were left out: sensors, trials, times."""

import dataclasses
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from tqdm.auto import tqdm

from esijax._types import InputError
from esijax.estimate import Estimate
from esijax.inference.select.alpha import checked, estimates_per_alpha, lowest_score
from esijax.inference.select.path import GRID, alphas_of, shares_of
from esijax.inference.sparse.map import MAP
from esijax.models.penalties import Penalty, relative
from esijax.problem import Problem

OVER = ("sensors", "trials", "times")


def by_cross_validation(
    problem: Problem,
    penalty: Penalty,
    method: MAP | None = None,
    *,
    over: str = "sensors",
    folds: int = 5,
    fractions: Any = GRID,
    progress: bool = False,
) -> Penalty:
    r"""Give the penalty the alpha that predicts best what it has not seen.

    .. math::
       \text{sensors:}\quad & \sum_k \lVert Y_k - G_k \hat X_{-k} \rVert^2 \\
       \text{trials:}\quad & \sum_k n_k \lVert \bar Y_k - G \hat X_{-k} \rVert^2 \\
       \text{times:}\quad & \sum_k \textstyle\sum_r \lVert (Y_k - H Y_k)_r \rVert^2
       / (1 - h_{rr})^2, \qquad H = G_S G_S^+

    Sensors are rows of the whitened problem, whose noise is independent; alpha is scaled with the
    share of rows that is left. Trials are averaged, on both sides. Times are left out in blocks,
    and it is the locations found at the other times, S, that must explain each row from the
    others by least squares. None needs a noise level.

    Parameters
    ----------
    problem : Problem
        With trials for ``over="trials"``.
    penalty : Penalty
        Its own alpha does not matter.
    method : MAP | Reweighted, optional
        The method.
    over : "sensors" | "trials" | "times"
        What is left out.
    folds : int
        K.
    fractions : sequence of float
        Shares of alpha_max that are tried.
    progress : bool
        Show a bar of the solves.

    Returns
    -------
    penalty
        The same with a number for alpha; with a share of alpha_max after ``over="trials"``, for
        the average of the trials.

    Raises
    ------
    InputError
        For an unknown `over`, fewer than two folds, or more than there are sensors, trials or
        times; for a problem without trials, or with trials where sensors or times are left out.

    References
    ----------
    Stone 1974, doi:10.1111/j.2517-6161.1974.tb00994.x; Allen 1974,
    doi:10.1080/00401706.1974.10489157 (leaving out one row of least squares).

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> gain = np.random.default_rng(0).standard_normal((20, 40))
    >>> noise = np.random.default_rng(1).standard_normal((20, 5))
    >>> problem = ej.from_arrays(gain, 5 * gain[:, [3]] + noise, noise_cov=1.0)
    >>> penalty = ej.inference.select.by_cross_validation(problem, ej.models.L21(1.0))
    >>> estimate = ej.solve(problem, penalty, ej.inference.MAP())
    >>> int(abs(estimate.mean).sum((1, 2)).argmax())
    3
    """
    method = checked(problem, penalty, method)
    if over not in OVER:
        raise InputError(f"over must be one of {OVER}, got {over!r}.")
    n = _n_parts(problem, over)
    if not (isinstance(folds, int) and 2 <= folds <= n):
        raise InputError(f"folds must lie between 2 and {n} ({over}), got {folds!r}.")
    shares = shares_of(fractions)
    split = {"sensors": _by_sensors, "trials": _by_trials, "times": _by_times}[over]
    scores = np.zeros(len(shares))
    with tqdm(total=folds * len(shares), disable=not progress, desc="alpha", unit="map") as bar:
        for k in range(folds):
            train, alphas, score = split(problem, penalty, k, folds, shares)
            for i, estimate in enumerate(estimates_per_alpha(train, penalty, alphas, method)):
                scores[i] += score(estimate)
                bar.update()
    if over == "trials":
        return lowest_score(penalty, [relative(float(share)) for share in shares], scores)
    return lowest_score(penalty, alphas_of(problem, penalty, shares), scores)


def _n_parts(problem: Problem, over: str) -> int:
    """Sensors, trials or times that can be left out; InputError where they cannot."""
    with_trials = problem.data.ndim == 3
    if over == "trials":
        if not with_trials:
            raise InputError('over="trials" needs a problem with single trials (from_mne(epochs)).')
        return len(problem.data)
    if with_trials:
        raise InputError(f'over="{over}" is for an average: with trials take over="trials".')
    return problem.rank if over == "sensors" else problem.n_times


def _by_sensors(problem: Problem, penalty: Penalty, k: int, folds: int, shares: np.ndarray):
    """Leave out shuffled rows of the whitened problem: neighbours share sensors of one type."""
    fold = np.random.default_rng(0).permutation(problem.rank) % folds
    out = jnp.asarray(fold == k)
    alphas = float(np.mean(fold != k)) * alphas_of(problem, penalty, shares)
    return mask_rows(problem, ~out), alphas, lambda e: float(held_out_error(problem, e, out))


def _by_trials(problem: Problem, penalty: Penalty, k: int, folds: int, shares: np.ndarray):
    """Leave out trials; the trials of either side are averaged."""
    fold = np.arange(len(problem.data)) % folds
    train, test = (average_trials(problem, np.flatnonzero(side)) for side in (fold != k, fold == k))
    every = jnp.ones(problem.rank)
    return train, alphas_of(train, penalty, shares), lambda e: float(held_out_error(test, e, every))


def _by_times(problem: Problem, penalty: Penalty, k: int, folds: int, shares: np.ndarray):
    """Leave out blocks of times of equal length, so that nothing is compiled twice."""
    length = problem.n_times // folds
    out = np.zeros(problem.n_times, dtype=bool)
    out[k * length : (k + 1) * length] = True
    train = dataclasses.replace(
        problem,
        data=problem.data[:, ~out],
        recording=problem.recording[:, ~out],
        noise_time=None,  # its columns are independent already
    )
    gain = np.asarray(problem.gain * problem.prior_scale)
    data = np.asarray(problem.data[:, out])

    def score(estimate: Estimate) -> float:
        active = np.any(np.asarray(estimate.posterior.mean()) != 0, axis=(1, 2))
        return leave_one_out(gain[:, active].reshape(len(gain), -1), data)

    return train, alphas_of(train, penalty, shares), score


def leave_one_out(columns: np.ndarray, data: np.ndarray) -> float:
    """Squared error of each row of the data, predicted from the others by least squares."""
    if columns.shape[1] >= len(columns):
        return np.inf
    basis = np.linalg.qr(columns)[0]
    left = 1.0 - np.sum(basis**2, axis=1)
    error = (data - basis @ (basis.T @ data)) / np.maximum(left, 1e-9)[:, None]
    return float(np.sum(error**2))


def average_trials(problem: Problem, trials: np.ndarray) -> Problem:
    """Average of some trials, scaled so that the noise is of unit variance again."""
    root = float(np.sqrt(len(trials)))
    return eqx.tree_at(
        lambda p: (p.gain, p.data, p.recording),
        problem,
        (
            problem.gain * root,
            jnp.mean(problem.data[trials], axis=0) * root,
            jnp.mean(problem.recording[trials], axis=0),
        ),
    )


def mask_rows(problem: Problem, rows) -> Problem:
    """Set the other rows of the whitened problem to zero: same shapes, same objective."""
    keep = rows.astype(problem.gain.dtype)
    gain = problem.gain * keep[:, None, None]
    return eqx.tree_at(lambda p: (p.gain, p.data), problem, (gain, problem.data * keep[:, None]))


def held_out_error(problem: Problem, estimate: Estimate, rows):
    """Squared error of the prediction in some rows of the whitened problem."""
    sources = estimate.posterior.mean()
    lead = sources.ndim - 3
    fitted = jnp.tensordot(problem.gain, sources, axes=((1, 2), (lead, lead + 1)))
    error = (problem.data - jnp.moveaxis(fitted, 0, -2)) * rows[:, None]
    return jnp.sum(error**2)
