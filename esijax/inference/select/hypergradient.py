r"""Alpha, and weights per location, by the derivative of the minimiser."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from esijax.estimate import Estimate
from esijax.inference._resolve import resolved
from esijax.inference.select.alpha import checked
from esijax.inference.select.cross_validation import held_out_error, mask_rows
from esijax.inference.solve import solve
from esijax.inference.sparse.map import MAP
from esijax.models.penalties import Penalty
from esijax.models.penalties.alpha_max import alpha_max
from esijax.problem import Problem


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
        What was measured.
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

    method = checked(problem, penalty, method)
    method = MAP(tol=1e-10) if method.tol == MAP().tol and type(method) is MAP else method
    start = resolved(problem, penalty)
    largest = float(alpha_max(problem, start))
    every = jnp.arange(problem.rank) % 4 == 3
    train = problem if criterion else mask_rows(problem, ~every)

    def loss(theta, train, problem, start):
        alpha, relative_weights = jnp.exp(theta[0]), jnp.exp(theta[1:])
        new = dataclasses.replace(start, alpha=alpha)
        if weights:
            old = jnp.ones(problem.n_locations) if start.weights is None else start.weights
            new = dataclasses.replace(new, weights=old * relative_weights)
        estimate = solve(train, new, method)
        return (
            held_out_error(problem, estimate, every) if criterion is None else criterion(estimate)
        )

    both = eqx.filter_jit(jax.value_and_grad(loss))
    seen: list[tuple[float, np.ndarray]] = []

    def evaluate(theta):
        value, gradient = both(jnp.asarray(theta), train, problem, start)
        seen.append((float(value), np.array(theta)))
        return float(value), np.asarray(gradient, dtype=float)

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
