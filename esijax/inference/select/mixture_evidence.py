r"""Alpha by the evidence of the scale mixture that the mixed norm is the mode of.

.. math:: Z_l \mid \gamma_l \sim N(0, \gamma_l I), \qquad
   \gamma_l \sim \text{Gamma}\Big(\tfrac{D + 1}{2}, \tfrac{\alpha^2 w_l^2}{2}\Big), \qquad
   D = T n_{orient}

The bound of :math:`q(Z)\, q(\gamma)` is climbed. With :math:`b_l = E \lVert Z_l \rVert^2`, q is an
inverse Gaussian of a reciprocal, and everything is in closed form:

.. math:: \frac{1}{E[\gamma_l^{-1}]} = \frac{\sqrt{b_l}}{\alpha w_l}, \qquad
   E[\gamma_l] = \frac{\sqrt{b_l}}{\alpha w_l} + \frac{1}{\alpha^2 w_l^2}, \qquad
   \alpha^2 = \frac{n (D + 1)}{\sum_l w_l^2 E[\gamma_l]}
"""

import dataclasses
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
from jaxtyping import Array, Float
from tqdm.auto import tqdm

from esijax._types import InputError, Scalar
from esijax.inference.select.alpha import checked
from esijax.models.penalties import L21, Penalty
from esijax.models.priors import _lambda2
from esijax.problem import Problem

STEPS_AT_ONCE, MOST_CHUNKS, ALPHA_RTOL = 20, 100, 1e-5


class _Climb(NamedTuple):
    square: Float[Array, " locations"]  # E |Z_l|^2
    alpha: Scalar
    change: Scalar


def by_evidence(problem: Problem, model: Any, *, progress: bool = False) -> Any:
    r"""Give a prior its lambda2, or the mixed norm its alpha, by the evidence.

    .. math:: \max_\alpha \log p(Y \mid \alpha)

    For `L21` it is the evidence of `GroupLaplace`, by a variational bound. That prior is the one
    whose mode over the sources is the mixed norm, but its draws are not sparse (see
    `GroupLaplace`): where the sources are, its alpha is below what sparse sources would want,
    and the map denser than with cross-validation.

    Parameters
    ----------
    problem : Problem
        What was measured.
    model : MinimumNorm | WeightedMinimumNorm | LORETA | ELORETA | L21
        A penalty or a minimum norm model, its strength not used.
    progress : bool
        Show a bar of the steps.

    Returns
    -------
    model
        The same with a number for lambda2 or alpha.

    Raises
    ------
    InputError
        For another penalty, weights of entries, single trials.

    References
    ----------
    MacKay 1992, doi:10.1162/neco.1992.4.3.415; Raman et al. 2009, doi:10.1145/1553374.1553487.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> gain = np.random.default_rng(0).standard_normal((8, 12))
    >>> problem = ej.from_arrays(gain, 3 * gain[:, :4], noise_cov=1.0)
    >>> ej.inference.select.by_evidence(problem, ej.models.MinimumNorm()).lambda2 < 1
    Array(True, dtype=bool)
    >>> penalty = ej.inference.select.by_evidence(problem, ej.models.L21(1.0))
    >>> bool(penalty.alpha > 0)
    True
    """
    if not isinstance(model, Penalty):
        return _lambda2.lambda2_by_evidence(problem, model)
    if not isinstance(model, L21) or model.by_entry or problem.data.ndim == 3:
        raise InputError(
            "by_evidence is for L21 with weights of locations, on one recording (its scale "
            "mixture is GroupLaplace): take by_cross_validation."
        )
    checked(problem, model, None)
    penalty = model.prepare(problem)
    weight = dataclasses.replace(penalty, alpha=1.0).location_weights(problem.n_locations)
    climb = _first_climb(problem, weight)
    with tqdm(disable=not progress, desc="evidence", unit="step") as bar:
        for _ in range(MOST_CHUNKS):
            climb = _climbed(problem, weight, climb)
            bar.update(STEPS_AT_ONCE)
            if not float(climb.change) > ALPHA_RTOL:
                break
    return dataclasses.replace(model, alpha=float(climb.alpha))


@eqx.filter_jit
def _first_climb(problem: Problem, weight) -> _Climb:
    """Sources as strong as the data say with all variances equal."""
    excess = jnp.maximum(jnp.mean(problem.data**2) - 1.0, 1e-2)
    size = problem.n_orients * problem.n_times
    alpha = jnp.sqrt((size + 1.0) / excess) / jnp.sqrt(jnp.mean(weight**2))
    return _Climb(jnp.full(problem.n_locations, size * excess), alpha, jnp.asarray(jnp.inf))


@eqx.filter_jit
def _climbed(problem: Problem, weight, climb: _Climb) -> _Climb:
    gain = problem.gain * problem.prior_scale[None]
    size = problem.n_orients * problem.n_times

    def step(climb: _Climb, _) -> tuple[_Climb, None]:
        variance = jnp.sqrt(climb.square) / (climb.alpha * weight)
        square = _squares(gain, problem.data, variance)
        spread = jnp.sqrt(square) / (climb.alpha * weight) + 1.0 / (climb.alpha * weight) ** 2
        alpha = jnp.sqrt(len(weight) * (size + 1.0) / jnp.sum(weight**2 * spread))
        return _Climb(square, alpha, jnp.abs(jnp.log(alpha / climb.alpha))), None

    return jax.lax.scan(step, climb, None, length=STEPS_AT_ONCE)[0]


def _squares(gain, data, variance) -> Float[Array, " locations"]:
    """Expected squared norm of the sources at each location, given the variances."""
    rank, n_times = data.shape
    wide = gain * jnp.sqrt(variance)[None, :, None]
    flat = wide.reshape(rank, -1)
    chol = jnp.linalg.cholesky(jnp.eye(rank) + flat @ flat.T)
    white = jsl.solve_triangular(chol, flat, lower=True)
    mean = white.T @ jsl.solve_triangular(chol, data, lower=True)
    left = 1.0 - jnp.sum(white**2, axis=0)
    entries = jnp.sum(mean**2, axis=1) + n_times * left
    return variance * jnp.sum(entries.reshape(len(variance), -1), axis=1)
