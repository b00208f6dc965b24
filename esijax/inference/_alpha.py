r"""The weight of a penalty from the data.

With N whitened data, unit noise and :math:`\operatorname{df}` the degrees of freedom

.. math::
   \text{SURE:}\quad & \lVert Y - G \hat X_\alpha \rVert^2 - N + 2 \operatorname{df}(\alpha) \\
   \text{GCV:}\quad & N \lVert Y - G \hat X_\alpha \rVert^2 / (N - \operatorname{df}(\alpha))^2
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from esijax._checks import warn
from esijax._types import InputError, check_positive, is_traced
from esijax.estimate import Estimate
from esijax.inference import _lambda2
from esijax.inference._degrees import degrees_of_freedom
from esijax.inference._path import GRID, alphas_of, steps
from esijax.inference.method import solve
from esijax.inference.proximal import MAP
from esijax.models.penalties import Penalty
from esijax.problem import Problem


def by_sure(
    problem: Problem,
    penalty: Penalty,
    method: MAP | None = None,
    *,
    fractions: Any = GRID,
    variance: Any = 1.0,
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
    penalty : L21 | L1 | Lrq
        Its own alpha does not matter.
    method : MAP | Reweighted, optional
    fractions : sequence of float
        Shares of alpha_max that are tried.
    variance : float
        :math:`\sigma^2`, variance of the noise relative to the noise covariance.

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

    return _by_df(problem, penalty, method, fractions, sure)


def by_gcv(problem: Problem, model: Any, method: MAP | None = None, **options: Any) -> Any:
    r"""Give a prior its lambda2, or a penalty its alpha, by generalised cross-validation.

    .. math:: \min \; N \lVert Y - G \hat X \rVert^2 / (N - \operatorname{df})^2

    Parameters
    ----------
    problem : Problem
    model : MinimumNorm | WeightedMinimumNorm | LORETA | ELORETA | L21 | L1 | Lrq
    method : MAP | Reweighted, optional
        For penalties.
    **options
        `fractions` as in `by_sure`.

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
        return _lambda2.gcv_of_lambda2(problem, model)

    def gcv(rss: float, df: float, size: int) -> float:
        return size * rss / max(size - df, 1e-9 * size) ** 2

    return _by_df(problem, model, method, options.pop("fractions", GRID), gcv, **options)


def _by_df(problem, penalty, method, fractions, criterion: Callable) -> Penalty:
    method = _checked(problem, penalty, method)
    alphas = alphas_of(problem, penalty, fractions)
    scores = []
    for estimate in _estimates(problem, penalty, alphas, method):
        df = float(degrees_of_freedom(estimate, penalty, method))
        rss = float(jnp.sum((problem.data - estimate.posterior.fitted()) ** 2))
        scores.append(criterion(rss, df, problem.data.size))
    return _best(penalty, alphas, scores)


def _estimates(problem, penalty, alphas, method: MAP):
    """Convex ones start at the last answer; the others are defined by where they start."""
    if method.turns(penalty) == 1:
        yield from steps(problem, penalty, alphas, method)
        return
    for alpha in alphas:
        yield from steps(problem, penalty, [alpha], method)


def _best(penalty: Penalty, alphas: np.ndarray, scores) -> Penalty:
    i = int(np.nanargmin(scores))
    if i == len(alphas) - 1 and len(alphas) > 1:
        warn(
            "the rule for alpha ran to the smallest that was tried: the noise covariance may be "
            "too small, or smaller fractions of alpha_max are needed."
        )
    return dataclasses.replace(penalty, alpha=float(alphas[i]))


def _checked(problem: Problem, penalty: Any, method: MAP | None) -> MAP:
    if not isinstance(penalty, Penalty):
        raise InputError(f"this rule is for penalties (L21, ...), not {type(penalty).__name__}.")
    if is_traced((problem, penalty)):
        raise InputError("alpha is chosen on the host: call the rule outside jit, vmap and grad.")
    return MAP() if method is None else method


def by_cross_validation(
    problem: Problem,
    penalty: Penalty,
    method: MAP | None = None,
    *,
    folds: int = 5,
    fractions: Any = GRID,
) -> Penalty:
    r"""Give the penalty the alpha that predicts sensors it has not seen best.

    .. math:: \min_\alpha \sum_k \lVert Y_k - G_k \hat X_{-k}(\alpha (1 - 1/K)) \rVert^2

    Rows of the whitened problem, whose noise is independent, are left out in K turns; alpha is
    scaled with the share of rows that is left. Needs no noise level.

    Parameters
    ----------
    problem : Problem
    penalty : L21 | L1 | Lrq | Penalty
        Its own alpha does not matter.
    method : MAP | Reweighted, optional
    folds : int
        K.
    fractions : sequence of float
        Shares of alpha_max that are tried.

    Returns
    -------
    penalty
        The same with a number for alpha.

    Raises
    ------
    InputError
        For fewer than two folds, or more than rows.

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
    method = _checked(problem, penalty, method)
    if not (isinstance(folds, int) and 2 <= folds <= problem.rank):
        raise InputError(f"folds must lie between 2 and {problem.rank}, got {folds!r}.")
    alphas = alphas_of(problem, penalty, fractions)
    # a fixed shuffle: neighbours in the whitened order share sensors of one type
    fold = np.random.default_rng(0).permutation(problem.rank) % folds
    scores = np.zeros(len(alphas))
    for k in range(folds):
        out = jnp.asarray(fold == k)
        train = masked(problem, ~out)
        share = float(np.mean(fold != k))
        for i, estimate in enumerate(_estimates(train, penalty, share * alphas, method)):
            scores[i] += float(held_out(problem, estimate, out))
    return _best(penalty, alphas, scores)


def masked(problem: Problem, rows) -> Problem:
    """Set the other rows of the whitened problem to zero: same shapes, same objective."""
    keep = rows.astype(problem.gain.dtype)
    gain = problem.gain * keep[:, None, None]
    return eqx.tree_at(lambda p: (p.gain, p.data), problem, (gain, problem.data * keep[:, None]))


def held_out(problem: Problem, estimate: Estimate, rows):
    """Squared error of the prediction in some rows of the whitened problem."""
    sources = estimate.posterior.mean()
    lead = sources.ndim - 3
    fitted = jnp.tensordot(problem.gain, sources, axes=((1, 2), (lead, lead + 1)))
    error = (problem.data - jnp.moveaxis(fitted, 0, -2)) * rows[:, None]
    return jnp.sum(error**2)


def by_hypergradient(
    problem: Problem,
    penalty: Penalty,
    criterion: Callable[[Estimate], Any] | None = None,
    method: MAP | None = None,
    *,
    weights: bool = False,
    max_iter: int = 30,
    bounds: tuple[float, float] = (0.02, 0.98),
) -> Penalty:
    r"""Give the penalty the alpha, and weights per location, that minimise any criterion.

    .. math:: \min_{\alpha, w} \; C\big(\hat X(\alpha, w)\big), \qquad
       \frac{dC}{d\theta} = \langle \nabla C, \partial \hat X / \partial \theta \rangle

    by quasi-Newton steps (L-BFGS-B) on the logarithms, with the derivative of the minimiser. The
    criterion is differentiable within a support and may jump where that changes: the best point
    seen is returned.

    Parameters
    ----------
    problem : Problem
    penalty : Penalty
        Where it starts; alpha may be `relative`.
    criterion : callable, optional
        Takes an estimate, gives a number (JAX). By default the squared error in every fourth row
        of the whitened data, which the estimate has not seen.
    method : MAP | Reweighted, optional
        tol = 1e-10 by default: a derivative is as exact as the minimum.
    weights : bool
        Learn the weights of the locations too, within a factor of 10 either way.
    max_iter : int
        Quasi-Newton steps.
    bounds : (float, float)
        Range of alpha, as shares of alpha_max.

    Returns
    -------
    penalty
        The same with numbers.

    Raises
    ------
    InputError
        For anything but a penalty, a call under jit.

    References
    ----------
    Bertrand et al. 2022, https://jmlr.org/papers/v23/21-0486.html; Deledalle et al. 2014,
    doi:10.1137/140968045.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> gain = np.random.default_rng(0).standard_normal((20, 40))
    >>> noise = np.random.default_rng(1).standard_normal((20, 5))
    >>> problem = ej.from_arrays(gain, 5 * gain[:, [3]] + noise, noise_cov=1.0)
    >>> start = ej.models.L21(ej.relative(0.5))
    >>> penalty = ej.inference.select.by_hypergradient(problem, start, max_iter=3)
    >>> bool(penalty.alpha > 0)
    True
    """
    from scipy.optimize import minimize

    method = _checked(problem, penalty, method)
    method = MAP(tol=1e-10) if method.tol == MAP().tol and type(method) is MAP else method
    start = _lambda2.resolved(problem, penalty)
    largest = float(_lambda2.alpha_max(problem, start))
    every = jnp.arange(problem.rank) % 4 == 3
    train = problem if criterion else masked(problem, ~every)

    def loss(theta, train, problem, start):
        alpha, relative_weights = jnp.exp(theta[0]), jnp.exp(theta[1:])
        new = dataclasses.replace(start, alpha=alpha)
        if weights:
            old = jnp.ones(problem.n_locations) if start.weights is None else start.weights
            new = dataclasses.replace(new, weights=old * relative_weights)
        estimate = solve(train, new, method)
        return held_out(problem, estimate, every) if criterion is None else criterion(estimate)

    both = eqx.filter_jit(jax.value_and_grad(loss))
    seen: list[tuple[float, np.ndarray]] = []

    def evaluate(theta):
        value, slope = both(jnp.asarray(theta), train, problem, start)
        seen.append((float(value), np.array(theta)))
        return float(value), np.asarray(slope, dtype=float)

    n = problem.n_locations if weights else 0
    first = np.concatenate([[np.log(float(start.alpha))], np.zeros(n)])
    ends = [tuple(np.log(largest * np.asarray(bounds)))] + [(-np.log(10), np.log(10))] * n
    minimize(
        evaluate, first, jac=True, method="L-BFGS-B", bounds=ends, options={"maxiter": max_iter}
    )
    _, best = min(seen, key=lambda pair: pair[0] if np.isfinite(pair[0]) else np.inf)
    chosen = dataclasses.replace(start, alpha=float(np.exp(best[0])))
    if weights:
        old = 1.0 if start.weights is None else np.asarray(start.weights)
        chosen = dataclasses.replace(chosen, weights=old * np.exp(best[1:]))
    return chosen
