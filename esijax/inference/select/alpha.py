r"""The weight of a penalty from one set of solves: risk, cross-validation in closed form, L-curve.

With N whitened data, unit noise and :math:`\operatorname{df}` the degrees of freedom

.. math::
   \text{SURE:}\quad & \lVert Y - G \hat X_\alpha \rVert^2 - N + 2 \operatorname{df}(\alpha) \\
   \text{GCV:}\quad & N \lVert Y - G \hat X_\alpha \rVert^2 / (N - \operatorname{df}(\alpha))^2
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from tqdm.auto import tqdm

from esijax._checks import warn
from esijax._types import InputError, check_positive, is_traced
from esijax.inference.select.path import GRID, alphas_of, estimates_along
from esijax.inference.sensitivity.degrees import degrees_of_freedom
from esijax.inference.sparse.map import MAP
from esijax.models.penalties import Penalty
from esijax.models.priors import _lambda2
from esijax.problem import Problem


def by_sure(
    problem: Problem,
    penalty: Penalty,
    method: MAP | None = None,
    *,
    fractions: Any = GRID,
    variance: Any = 1.0,
    progress: bool = False,
) -> Penalty:
    r"""Give the penalty the alpha that minimises Stein's unbiased estimate of the risk.

    .. math:: \text{SURE}(\alpha) = \lVert Y - G \hat X_\alpha \rVert^2 - \sigma^2 N
       + 2 \sigma^2 \operatorname{tr} \frac{\partial\, G \hat X_\alpha}{\partial Y}

    The trace is exact, from the derivative of the minimiser; no random numbers. It takes the
    noise covariance at its word: where that is too small, alpha comes out too small, and a warning
    says that the rule ran to the smallest. `variance` mends that: the mean square of the whitened
    baseline, say. `by_cross_validation` needs no noise level.

    Parameters
    ----------
    problem : Problem
        What was measured.
    penalty : L21 | L1 | Lrq
        Its own alpha does not matter.
    method : MAP | Reweighted, optional
        The method.
    fractions : sequence of float
        Shares of alpha_max that are tried.
    variance : float
        :math:`\sigma^2`, variance of the noise relative to the noise covariance.
    progress : bool
        Show a bar of the solves.

    Returns
    -------
    penalty
        The same with a number for alpha.

    Raises
    ------
    InputError
        For anything but a penalty, a call under jit, numbers that are not positive.

    References
    ----------
    Stein 1981, doi:10.1214/aos/1176345632; Deledalle et al. 2014, doi:10.1137/140968045.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> gain = np.random.default_rng(0).standard_normal((20, 40))
    >>> noise = np.random.default_rng(1).standard_normal((20, 5))
    >>> problem = ej.from_arrays(gain, 5 * gain[:, [3]] + noise, noise_cov=1.0)
    >>> penalty = ej.inference.select.by_sure(problem, ej.models.L21(1.0))
    >>> estimate = ej.solve(problem, penalty, ej.inference.MAP())
    >>> int(abs(estimate.mean).sum((1, 2)).argmax())
    3
    """
    check_positive(variance, "variance")

    def sure(rss: float, df: float, size: int) -> float:
        return rss - variance * (size - 2 * df)

    return _by_degrees(problem, penalty, method, sure, fractions, progress)


def by_gcv(problem: Problem, model: Any, method: MAP | None = None, **options: Any) -> Any:
    r"""Give a prior its lambda2, or a penalty its alpha, by generalised cross-validation.

    .. math:: \min \; N \lVert Y - G \hat X \rVert^2 / (N - \operatorname{df})^2

    Parameters
    ----------
    problem : Problem
        What was measured.
    model : MinimumNorm | WeightedMinimumNorm | LORETA | ELORETA | L21 | L1 | Lrq
        A penalty or a minimum norm model, its strength not used.
    method : MAP | Reweighted, optional
        For penalties.
    **options
        `fractions` and `progress` as in `by_sure`.

    Returns
    -------
    model
        The same with a number for lambda2 or alpha.

    References
    ----------
    Golub, Heath and Wahba 1979, doi:10.1080/00401706.1979.10489751.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> gain = np.random.default_rng(0).standard_normal((8, 12))
    >>> problem = ej.from_arrays(gain, 3 * gain[:, :4], noise_cov=1.0)
    >>> ej.inference.select.by_gcv(problem, ej.models.MinimumNorm()).lambda2 < 1
    Array(True, dtype=bool)
    """
    if not isinstance(model, Penalty):
        return _lambda2.lambda2_by_gcv(problem, model)

    def gcv(rss: float, df: float, size: int) -> float:
        return size * rss / max(size - df, 1e-9 * size) ** 2

    return _by_degrees(problem, model, method, gcv, **options)


def by_lcurve(problem: Problem, model: Any, method: MAP | None = None, **options: Any) -> Any:
    r"""Give a prior its lambda2, or a penalty its alpha, at the corner of the L-curve.

    .. math:: \big( \log \lVert Y - G \hat X \rVert^2, \; \log \Omega(\hat X) \big)

    The corner of a penalty's curve is where the circle through three neighbours on the grid is
    smallest: finer `fractions` place it better. It knows nothing of the noise, and a curve may
    have no corner.

    Parameters
    ----------
    problem : Problem
        What was measured.
    model : MinimumNorm | WeightedMinimumNorm | LORETA | ELORETA | L21 | L1 | Lrq
        A penalty or a minimum norm model, its strength not used.
    method : MAP | Reweighted, optional
        For penalties.
    **options
        `fractions` (three at least) and `progress` as in `by_sure`.

    Returns
    -------
    model
        The same with a number for lambda2 or alpha.

    Raises
    ------
    InputError
        For fewer than three fractions.

    References
    ----------
    Hansen and O'Leary 1993, doi:10.1137/0914086.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> gain = np.random.default_rng(0).standard_normal((20, 40))
    >>> noise = np.random.default_rng(1).standard_normal((20, 5))
    >>> problem = ej.from_arrays(gain, 5 * gain[:, [3]] + noise, noise_cov=1.0)
    >>> penalty = ej.inference.select.by_lcurve(problem, ej.models.L21(1.0))
    >>> bool(penalty.alpha > 0)
    True
    """
    if not isinstance(model, Penalty):
        return _lambda2.lambda2_by_lcurve(problem, model)
    method = checked(problem, model, method)
    alphas, found = _solve_grid(problem, model, method, **options)
    if len(alphas) < 3:
        raise InputError(f"a corner needs three fractions at least, got {len(alphas)}.")
    points = []
    for alpha, estimate in zip(alphas, found, strict=True):
        proof = estimate.diagnostics
        rss = float(jnp.sum((problem.data - estimate.posterior.fitted()) ** 2))
        points.append((rss, (float(proof.primal) - 0.5 * rss) / alpha))
    return lowest_score(model, alphas, -corners(np.asarray(points)))


def corners(points: np.ndarray) -> np.ndarray:
    """Curvature through neighbours of a convex curve on logarithmic axes; -inf at the ends."""
    out = np.full(len(points), -np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        x, y = np.log(points).T
        for i in range(1, len(points) - 1):
            (ax, ay), (bx, by) = ((x[j] - x[i], y[j] - y[i]) for j in (i - 1, i + 1))
            sides = np.hypot(ax, ay) * np.hypot(bx, by) * np.hypot(ax - bx, ay - by)
            turn = 2 * (ax * by - bx * ay) / sides
            out[i] = turn if np.isfinite(turn) else -np.inf
    return out


def _by_degrees(problem, penalty, method, criterion: Callable, fractions=GRID, progress=False):
    """Penalty with the alpha that minimises `criterion(residual energy, df, size)`."""
    method = checked(problem, penalty, method)
    alphas, found = _solve_grid(problem, penalty, method, fractions, progress)
    scores = []
    for estimate in found:
        df = float(degrees_of_freedom(estimate, penalty, method))
        rss = float(jnp.sum((problem.data - estimate.posterior.fitted()) ** 2))
        scores.append(criterion(rss, df, problem.data.size))
    return lowest_score(penalty, alphas, scores)


def _solve_grid(problem, penalty, method, fractions: Any = GRID, progress: bool = False):
    """Alphas of the grid, and an iterator over their estimates."""
    alphas = alphas_of(problem, penalty, fractions)
    found = estimates_per_alpha(problem, penalty, alphas, method)
    bar = tqdm(found, total=len(alphas), disable=not progress, desc="alpha", unit="map")
    return alphas, bar


def estimates_per_alpha(problem, penalty, alphas, method: MAP):
    """Yield an estimate for each alpha, from the last one where the penalty is convex.

    Others are defined by where they start.
    """
    if method.turns(penalty) == 1 and penalty.convex:
        yield from estimates_along(problem, penalty, alphas, method)
        return
    for alpha in alphas:
        yield from estimates_along(problem, penalty, [alpha], method)


def lowest_score(penalty: Penalty, alphas: Sequence[Any] | np.ndarray, scores) -> Penalty:
    """Take the alpha with the lowest score."""
    i = int(np.nanargmin(scores))
    if i == len(alphas) - 1 and len(alphas) > 1:
        warn(
            "the rule for alpha ran to the smallest that was tried: the noise covariance may be "
            "too small, or smaller fractions of alpha_max are needed."
        )
    return dataclasses.replace(penalty, alpha=alphas[i])


def checked(problem: Problem, penalty: Any, method: MAP | None) -> MAP:
    """Give the method that solves for each alpha; InputError for what a rule cannot take."""
    if not isinstance(penalty, Penalty):
        raise InputError(f"this rule is for penalties (L21, ...), not {type(penalty).__name__}.")
    if is_traced((problem, penalty)):
        raise InputError("alpha is chosen on the host: call the rule outside jit, vmap and grad.")
    return MAP() if method is None else method
