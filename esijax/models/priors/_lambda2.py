r"""How strong the prior is: lambda2 from the data.

With :math:`G R G^\top = U S^2 U^\top`, filter factors :math:`f_i = s_i^2 / (s_i^2 + \lambda)` and
energies :math:`e_i = \sum_t (u_i^\top y_t)^2` of N columns, all three rules are sums over the rank:

.. math::
   \text{evidence:}\quad & \max_\lambda \; -\tfrac12 \sum_i \left(
        N \log(1 + s_i^2/\lambda) + e_i / (1 + s_i^2/\lambda) \right) \\
   \text{GCV:}\quad & \min_\lambda \; \sum_i e_i (1 - f_i)^2 \big/ \left(\textstyle\sum_i (1 - f_i)
        \right)^2 \\
   \text{L-curve:}\quad & \max_\lambda \; \text{curvature of } (\log \lVert Y - G\hat X \rVert^2,
        \log \lVert \hat X \rVert^2_{R^{-1}})
"""

import dataclasses
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from esijax._checks import warn
from esijax._ops.trials import trials_as_columns
from esijax._types import InputError, Scalar, is_traced, scalar
from esijax.models.priors.gaussian import ELORETA, GaussianPrior
from esijax.problem import Problem

LOG10_LAMBDA2 = (-6.0, 6.0)
Spectrum = tuple[Float[Array, " rank"], Float[Array, " rank"], Scalar]


@eqx.filter_jit
def spectrum(problem: Problem, model: GaussianPrior) -> Spectrum:
    """Squared singular values of the weighted gain, energies of the data along them, columns."""
    s2, u = jnp.linalg.eigh(model.normalised(problem)[1])
    columns = trials_as_columns(problem.data)
    energy = jnp.sum((u.T @ columns) ** 2, axis=1)
    return jnp.maximum(s2, 0.0), energy, jnp.asarray(float(columns.shape[1]))


def negative_log_evidence(log_lambda2: Scalar, spec: Spectrum) -> Scalar:
    """Minus the log-evidence, up to a constant."""
    s2, energy, n = spec
    ratio = 1.0 + s2 / jnp.exp(log_lambda2)
    return 0.5 * jnp.sum(n * jnp.log(ratio) + energy / ratio)


def gcv(log_lambda2: Scalar, spec: Spectrum) -> Scalar:
    """Log of the generalised cross-validation function."""
    s2, energy, _ = spec
    left = 1.0 / (1.0 + s2 / jnp.exp(log_lambda2))
    return jnp.log(jnp.sum(energy * left**2)) - 2.0 * jnp.log(jnp.sum(left))


def negative_curvature(log_lambda2: Scalar, spec: Spectrum) -> Scalar:
    """Minus the curvature of the L-curve, between the extreme singular values."""
    s2, energy, _ = spec
    within = (log_lambda2 >= jnp.log(jnp.min(s2) + 1e-12)) & (log_lambda2 <= jnp.log(jnp.max(s2)))

    def point(x):
        lambda2 = jnp.exp(x)
        residual = jnp.log(jnp.sum(energy * (lambda2 / (s2 + lambda2)) ** 2))
        size = jnp.log(jnp.sum(energy * s2 / (s2 + lambda2) ** 2))
        return jnp.stack([residual, size])

    first = jax.jacfwd(point)
    d1, d2 = first(log_lambda2), jax.jacfwd(first)(log_lambda2)
    turn = d1[0] * d2[1] - d2[0] * d1[1]
    return jnp.where(within, -turn / jnp.maximum(jnp.sum(d1**2), 1e-300) ** 1.5, jnp.inf)


def lambda2_by_evidence(problem: Problem, model: GaussianPrior) -> GaussianPrior:
    """Give the model the lambda2 that maximises the log-evidence."""
    return _choose(problem, model, negative_log_evidence)


def lambda2_by_gcv(problem: Problem, model: GaussianPrior) -> GaussianPrior:
    """Give the model the lambda2 that minimises generalised cross-validation."""
    return _choose(problem, model, gcv)


def lambda2_by_lcurve(problem: Problem, model: GaussianPrior) -> GaussianPrior:
    """Give the model the lambda2 at the corner of the L-curve."""
    return _choose(problem, model, negative_curvature)


RULES = {"evidence": lambda2_by_evidence, "gcv": lambda2_by_gcv, "lcurve": lambda2_by_lcurve}


def _choose(problem: Problem, model: GaussianPrior, criterion: Callable) -> GaussianPrior:
    if not isinstance(model, GaussianPrior):
        raise InputError(f"lambda2 rules are for the minimum norm family, not {type(model)}.")
    if not is_traced(problem.data) and not bool(jnp.any(problem.data != 0)):
        return dataclasses.replace(model, lambda2=1.0)  # nothing to learn from
    if isinstance(model, ELORETA):
        return _choose_eloreta(problem, model, criterion)
    model = dataclasses.replace(model, lambda2=1.0)
    best = _grid_minimum(criterion, spectrum(problem, model))
    _warn_at_edge(best)
    return dataclasses.replace(model, lambda2=jax.lax.stop_gradient(jnp.exp(best)))


@eqx.filter_jit
def _grid_minimum(criterion: Callable, spec: Spectrum) -> Scalar:
    """Grid search over log lambda2, sixteen times finer around the best each time."""
    low, high = (x * np.log(10.0) for x in LOG10_LAMBDA2)
    grid = jnp.linspace(low, high, 121)
    for _ in range(6):
        best = grid[jnp.nanargmin(jax.vmap(lambda x: criterion(x, spec))(grid))]
        step = grid[1] - grid[0]
        grid = jnp.linspace(jnp.maximum(best - step, low), jnp.minimum(best + step, high), 33)
    return best


@eqx.filter_jit
def _at_lambda2(criterion: Callable, problem: Problem, model: ELORETA, x: Scalar) -> Scalar:
    return criterion(x, spectrum(problem, dataclasses.replace(model, lambda2=jnp.exp(x))))


def _choose_eloreta(problem: Problem, model: ELORETA, criterion: Callable) -> ELORETA:
    """As the others, but R follows lambda2: each trial value runs the fixed point again."""
    from scipy.optimize import minimize_scalar

    if is_traced(problem):
        raise InputError("ELORETA finds lambda2 on the host: call solve outside jit, vmap, grad.")
    model = dataclasses.replace(model, lambda2=1.0)

    def evaluate(x) -> float:
        return float(_at_lambda2(criterion, problem, model, scalar(x)))

    grid = np.log(10.0) * np.arange(-3.0, 4.0)
    values = [evaluate(x) for x in grid]
    i = int(np.nanargmin(values))
    bounds = (grid[max(i - 1, 0)], grid[min(i + 1, len(grid) - 1)])
    found = minimize_scalar(evaluate, bounds=bounds, method="bounded", options={"xatol": 1e-3})
    return dataclasses.replace(model, lambda2=float(np.exp(found.x)))


def _warn_at_edge(log_lambda2: Scalar) -> None:
    if is_traced(log_lambda2):
        return
    log10 = float(log_lambda2) / np.log(10.0)
    if not LOG10_LAMBDA2[0] + 0.01 < log10 < LOG10_LAMBDA2[1] - 0.01:
        warn(
            f"the rule for lambda2 ran to the edge of its range, 1e{log10:.0f}: the data do not "
            "tell prior and noise apart; check noise_cov or give a number."
        )
