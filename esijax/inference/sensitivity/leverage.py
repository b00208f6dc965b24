r"""How much each sensor decides what is fitted to it.

.. math:: H = (G_S \otimes I)\, \mathcal{H}^{-1} (G_S^\top \otimes I), \qquad
   \mathcal{H} = M \otimes I - U U^\top, \quad M = G_S^\top G_S + \operatorname{diag} d

With :math:`W_l = (G_S M^{-1} \otimes I) U_l` and :math:`K = I - U^\top (M^{-1} \otimes I) U`,
summed over times, :math:`\bar H = T G_S M^{-1} G_S^\top + \sum_{lm} K^{-1}_{lm} W_l W_m^\top`.
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from esijax._ops.safe import divisor
from esijax._types import InputError
from esijax.estimate import Estimate
from esijax.inference.sensitivity.degrees import entries_of, is_plain_norm, reduced
from esijax.inference.sparse.map import MAP
from esijax.models.penalties import Penalty
from esijax.models.posteriors.point import PointPosterior
from esijax.problem import Problem


def leverage(
    estimate: Estimate, penalty: Penalty, method: MAP | None = None
) -> Float[Array, " channels"]:
    r"""Share of each sensor in what a sparse estimate fits to it.

    .. math:: h_c = \frac1T \sum_t \frac{\partial (L \hat X)_{ct}}{\partial B_{ct}}

    Near 1 the fit follows the sensor whatever it says; the sum over the sensors is the degrees of
    freedom per sample.

    Parameters
    ----------
    estimate : Estimate
        Of `MAP` or `Reweighted`, without trials.
    penalty : Penalty
        What it was solved with.
    method : MAP, optional
        What it was solved by; needed where that is no plain `MAP`.

    Returns
    -------
    leverage : (channels,)

    Raises
    ------
    InputError
        For an estimate that is no point, or has trials.

    References
    ----------
    Hoaglin and Welsch 1978, doi:10.1080/00031305.1978.10479237; Vaiter et al. 2017,
    doi:10.1007/s10463-016-0563-z.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> gain = np.random.default_rng(0).standard_normal((8, 12))
    >>> problem = ej.from_arrays(gain, 5 * gain[:, [3]], noise_cov=1.0)
    >>> penalty = ej.models.L21(ej.relative(0.5))
    >>> estimate = ej.solve(problem, penalty, ej.inference.MAP())
    >>> round(float(ej.inference.local.leverage(estimate, penalty).sum()), 6)
    1.0
    """
    if not isinstance(estimate.posterior, PointPosterior):
        raise InputError(f"leverage is for MAP and Reweighted, not {estimate.method}.")
    problem = estimate.problem
    if problem.data.ndim == 3:
        raise InputError("leverage is of one recording: take an average, or one trial.")
    method = MAP() if method is None else method
    penalty = dataclasses.replace(penalty, alpha=estimate.hyper["alpha"]).prepare(problem)
    if penalty.block == "location" and is_plain_norm(penalty, method):
        white = _hat_matrix_of_norm(problem, penalty, np.asarray(estimate.posterior.sources))
    else:
        white = np.asarray(_hat_matrix_by_derivative(problem, penalty, method, estimate))
    whitener = problem.whitener
    channels = np.asarray(whitener.colorer) @ white @ np.asarray(whitener.matrix)
    return jnp.asarray(np.diagonal(channels) / problem.n_times)


def _hat_matrix_of_norm(problem: Problem, penalty: Penalty, sources: np.ndarray) -> np.ndarray:
    """Sum over times of the derivative of the whitened fit, in closed form."""
    active = np.flatnonzero(np.any(sources != 0, axis=(1, 2)))
    rank, n_times = problem.data.shape
    if not active.size:
        return np.zeros((rank, rank))
    scale = np.asarray(problem.prior_scale)[active]
    gain = (np.asarray(problem.gain[:, active]) * scale).reshape(rank, -1)
    z = np.where(scale > 0, 1.0 / divisor(scale), 0.0)[..., None] * sources[active]
    norms = np.linalg.norm(z, axis=(1, 2))
    d = np.asarray(penalty.location_weights(problem.n_locations))[active] / norms
    inverse = np.linalg.inv(gain.T @ gain + np.diag(np.repeat(d, scale.shape[1])))
    u = np.sqrt(d)[:, None, None] * z / norms[:, None, None]  # locations, orients, times
    blocks = inverse.reshape(*scale.shape, *scale.shape)
    inner = np.eye(len(active)) - np.einsum("lot,lomp,mpt->lm", u, blocks, u, optimize=True)
    w = np.einsum("rlo,lot->rtl", (gain @ inverse).reshape(rank, *scale.shape), u, optimize=True)
    bent = (w @ np.linalg.inv(inner)).reshape(rank, -1) @ w.reshape(rank, -1).T
    return n_times * gain @ inverse @ gain.T + bent


def _hat_matrix_by_derivative(
    problem: Problem, penalty: Penalty, method: MAP, estimate: Estimate
) -> Array:
    """Rows of the Jacobian of the entries that are not zero, times their columns of the gain."""
    sources = estimate.posterior.sources  # ty: ignore[missing-attribute]
    small = reduced(problem, penalty, method, problem.data, sources)
    start = (small.problem, small.penalty, method, small.start)
    return _sum_of_rows(*start, *entries_of(*start))


@eqx.filter_jit
def _sum_of_rows(
    problem: Problem, penalty: Penalty, method: MAP, start, entries, n_entries
) -> Array:
    """Add up the outer products of columns of the gain and rows of the Jacobian."""
    gain = problem.gain * problem.prior_scale[None]
    shape = start.shape

    def answer(data):
        return method.minimise(problem, penalty, data, start).z

    z, row_of = jax.vjp(answer, problem.data)

    def one(k):
        unit = jnp.zeros(z.size).at[k].set(1.0).reshape(shape)
        row = row_of(unit)[0]
        location, orient, time = jnp.unravel_index(k, shape)
        return jnp.outer(gain[:, location, orient], row[:, time])

    def body(total, both):
        k, real = both
        return total + jnp.where(real, one(k), 0.0), None

    real = jnp.arange(len(entries)) < n_entries
    zero = jnp.zeros((problem.rank, problem.rank))
    return jax.lax.scan(body, zero, (entries, real))[0]
