r"""Degrees of freedom of a sparse estimate, exactly: the trace of its derivative.

.. math:: \operatorname{df} = \operatorname{tr} \frac{\partial\, G \hat X(Y)}{\partial Y}

For a sum of norms it is closed (`_block_newton.degrees`). For reweighted ones the derivative runs
through all turns; the trace needs it along the columns of the active gain alone, because the
answer depends on the data through :math:`G_S^\top Y`, S the support of the first turn.
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from esijax._types import InputError, Scalar
from esijax.estimate import Estimate
from esijax.inference._gradients import Task
from esijax.inference._point import PointPosterior
from esijax.inference._working_set import degrees_of_freedom as closed
from esijax.inference.proximal import MAP
from esijax.models.penalties import L1, L21, Lrq, Penalty
from esijax.problem import Problem

BATCH = 64


def degrees_of_freedom(estimate: Estimate, penalty: Penalty, method: MAP | None = None) -> Scalar:
    r"""Degrees of freedom of a sparse estimate.

    .. math:: \operatorname{df} = \operatorname{tr} \frac{\partial\, G \hat X(Y)}{\partial Y}

    Parameters
    ----------
    estimate : Estimate
        Of `MAP` or `Reweighted`.
    penalty : L21 | L1 | Lrq
        What it was solved with.
    method : MAP, optional
        What it was solved by; needed where that is no plain `MAP`.

    Returns
    -------
    df : ()
        Of all times (and trials) together.

    Raises
    ------
    InputError
        For an estimate that is no point.

    References
    ----------
    Stein 1981, doi:10.1214/aos/1176345632; Vaiter et al. 2017, doi:10.1007/s10463-016-0563-z.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> gain = np.random.default_rng(0).standard_normal((8, 12))
    >>> problem = ej.from_arrays(gain, 5 * gain[:, [3]], noise_cov=1.0)
    >>> penalty = ej.models.L21(ej.relative(0.5))
    >>> estimate = ej.solve(problem, penalty, ej.inference.MAP())
    >>> round(float(ej.inference.select.degrees_of_freedom(estimate, penalty)), 6)
    1.0
    """
    if not isinstance(estimate.posterior, PointPosterior):
        raise InputError(f"degrees_of_freedom is for MAP and Reweighted, not {estimate.method}.")
    problem = estimate.problem
    penalty = dataclasses.replace(penalty, alpha=estimate.hyper["alpha"]).prepare(problem)
    method = MAP() if method is None else method
    sources = estimate.posterior.sources
    if problem.data.ndim == 2:
        return _one(problem, penalty, method, problem.data, sources)
    pairs = zip(problem.data, sources, strict=True)
    return jnp.sum(jnp.stack([_one(problem, penalty, method, y, x) for y, x in pairs]))


def _one(problem: Problem, penalty: Penalty, method: MAP, data, sources) -> Scalar:
    plain = method.turns(penalty) == 1 and not penalty.by_entry
    if plain and isinstance(penalty, L1 | L21):
        return _norms(problem, penalty, data, sources)
    small, model, start = reduced(problem, penalty, method, data, sources)
    return _trace(small, model, method, start, *entries_of(small, model, method, start))


@eqx.filter_jit
def _norms(problem: Problem, penalty: L1 | L21, data, sources) -> Scalar:
    scale = problem.prior_scale
    z = jnp.where(scale[..., None] > 0, sources / jnp.where(scale > 0, scale, 1.0)[..., None], 0.0)
    if isinstance(penalty, L1):  # the support: entries have no direction to turn
        return jnp.sum(z != 0).astype(data.dtype)
    weight = penalty.location_weights(problem.n_locations)
    return closed(Task(problem.gain, scale, data, weight), z, data.shape[1])


def reduced(
    problem: Problem, penalty: Penalty, method: MAP, data, sources
) -> tuple[Problem, Penalty, Array]:
    """Keep the locations that matter, in sizes that double; and where to start there.

    These are the active ones; of the first turn, where there are several.
    """
    whole = eqx.tree_at(lambda p: p.data, problem, data)
    scale = problem.prior_scale[..., None]
    z = jnp.where(scale > 0, sources / jnp.where(scale > 0, scale, 1.0), 0.0)
    turns = isinstance(penalty, Lrq) or method.turns(penalty) != 1
    if turns:
        first = penalty.majoriser if isinstance(penalty, Lrq) else penalty
        plain = MAP(method.solver, method.tol, method.max_iter)
        z = answered(whole, first, plain, jnp.zeros_like(z))
    elif not penalty.separable:
        return whole, penalty, z
    active = np.flatnonzero(np.any(np.asarray(z) != 0, axis=(1, 2)))
    size = 8
    while size < len(active):
        size *= 2
    index = np.concatenate([active, np.zeros(size - len(active), dtype=int)])
    there = np.arange(size) < len(active)
    scale = np.where(there[:, None], np.asarray(problem.prior_scale)[index], 0.0)
    small = eqx.tree_at(
        lambda p: (p.gain, p.data, p.prior_scale, p.orient_scale, p.geometry),
        problem,
        (
            problem.gain[:, index],
            data,
            jnp.asarray(scale),
            problem.orient_scale[index],
            type(problem.geometry)(),
        ),
    )
    start = z[index] * there[:, None, None]
    return small, penalty.at(jnp.asarray(index)), jnp.zeros_like(start) if turns else start


@eqx.filter_jit
def answered(problem: Problem, penalty: Penalty, method: MAP, start: Array) -> Array:
    """Minimiser in units of the prior's scale."""
    return method.answer(problem, penalty, problem.data, start).z


def entries_of(
    problem: Problem, penalty: Penalty, method: MAP, start: Array
) -> tuple[Array, Array]:
    """Entries that are not zero, padded to one of few lengths, and how many they are."""
    entries = np.flatnonzero(np.asarray(answered(problem, penalty, method, start)))
    size = BATCH
    while size < len(entries):
        size *= 2
    padded = np.concatenate([entries, np.zeros(size - len(entries), dtype=int)])
    return jnp.asarray(padded), jnp.asarray(len(entries))


@eqx.filter_jit
def _trace(problem: Problem, penalty: Penalty, method: MAP, start, entries, n_entries) -> Scalar:
    """Trace of J G over the entries of the small problem that are not zero."""
    gain = problem.gain * problem.prior_scale[None]

    def answer(data: Float[Array, "rank times"]) -> Array:
        return method.answer(problem, penalty, data, start).z

    z, linear = jax.linearize(answer, problem.data)

    def diagonal(k):
        unit = jnp.zeros(z.size).at[k].set(1.0).reshape(z.shape)
        return linear(jnp.tensordot(gain, unit, axes=2)).reshape(-1)[k]

    found = jax.lax.map(diagonal, entries, batch_size=BATCH)
    return jnp.sum(jnp.where(jnp.arange(len(entries)) < n_entries, found, 0.0))
