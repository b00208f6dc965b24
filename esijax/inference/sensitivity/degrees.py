r"""Degrees of freedom of a sparse estimate, exactly: the trace of its derivative.

.. math:: \operatorname{df} = \operatorname{tr} \frac{\partial\, G \hat X(Y)}{\partial Y}

For a sum of norms it is closed (`_block_newton.degrees`), for reweighted norms of locations it
nearly is (`_turned_degrees`). For other penalties the trace needs the derivative along the columns
of the active gain, because the answer depends on the data through :math:`G_S^\top Y`, S the
support (of the first turn, where there are several).
"""

import dataclasses
import warnings
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from esijax._ops.safe import divide
from esijax._types import EsijaxWarning, InputError, Scalar, Sources
from esijax.estimate import Estimate
from esijax.inference.sensitivity.degrees_reweighted import degrees_of_turns
from esijax.inference.solve import solve
from esijax.inference.sparse.base.task import Task
from esijax.inference.sparse.map import MAP
from esijax.inference.sparse.newton.working_set import degrees_of_freedom as closed
from esijax.inference.sparse.reweighted import Reweighted
from esijax.models.penalties import L1, L21, Lrq, Penalty
from esijax.models.posteriors.point import PointPosterior
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
    small = reduced(problem, penalty, method, data, sources)
    earlier = _earlier(penalty, method)
    if earlier is not None:
        z = jnp.where(small.there[:, None, None], normalised(problem, sources)[small.index], 0.0)
        active = padded(np.flatnonzero(np.any(np.asarray(z) != 0, axis=(1, 2))))
        return degrees_of_turns(small.problem, small.penalty, earlier, z, *active)
    start = (small.problem, small.penalty, method, small.start)
    return _trace(*start, *entries_of(*start))


def _earlier(penalty: Penalty, method: MAP) -> Reweighted | None:
    """All turns but the last, of a given number of mixed norms one after the other."""
    by_location = isinstance(penalty, L21) or (isinstance(penalty, Lrq) and penalty.r == 2)
    turns = method.turns(penalty)
    if not by_location or penalty.by_entry or turns is None or turns == 1:
        return None
    return Reweighted(turns - 1, method.solver, method.tol, method.max_iter)


def normalised(problem: Problem, sources: Sources) -> Sources:
    """In units of the prior's scale."""
    scale = problem.prior_scale[..., None]
    return divide(sources, scale)


@eqx.filter_jit
def _norms(problem: Problem, penalty: L1 | L21, data, sources) -> Scalar:
    z = normalised(problem, sources)
    if isinstance(penalty, L1):  # the support: entries have no direction to turn
        return jnp.sum(z != 0).astype(data.dtype)
    weight = penalty.location_weights(problem.n_locations)
    return closed(Task(problem.gain, problem.prior_scale, data, weight), z, data.shape[1])


class Reduced(NamedTuple):
    """A problem of few locations with the same answer."""

    problem: Problem
    penalty: Penalty
    start: Sources
    index: Int[Array, " few"]
    there: Bool[Array, " few"]  # the others fill up


def reduced(problem: Problem, penalty: Penalty, method: MAP, data, sources) -> Reduced:
    """Keep the locations that matter, in sizes that double; and where to start there.

    These are the active ones; of the first turn, where there are several.
    """
    whole = eqx.tree_at(lambda p: p.data, problem, data)
    z = normalised(problem, sources)
    turns = isinstance(penalty, Lrq) or method.turns(penalty) != 1
    if turns:
        z = _first_turn(whole, penalty.majoriser if isinstance(penalty, Lrq) else penalty, method)
    elif not penalty.separable:
        every = jnp.arange(problem.n_locations)
        return Reduced(whole, penalty, z, every, jnp.ones(len(every), dtype=bool))
    index, count = padded(np.flatnonzero(np.any(np.asarray(z) != 0, axis=(1, 2))))
    there = jnp.arange(len(index)) < count
    small = eqx.tree_at(
        lambda p: (p.gain, p.data, p.prior_scale, p.orient_scale, p.geometry),
        problem,
        (
            problem.gain[:, index],
            data,
            jnp.where(there[:, None], problem.prior_scale[index], 0.0),
            problem.orient_scale[index],
            type(problem.geometry)(),
        ),
    )
    start = jnp.where(there[:, None, None], z[index], 0.0)
    return Reduced(
        small, penalty.at(index), jnp.zeros_like(start) if turns else start, index, there
    )


def _first_turn(problem: Problem, penalty: Penalty, method: MAP) -> Sources:
    """Minimum of the convex norm, on the host."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EsijaxWarning)
        plain = MAP(method.solver, method.tol, method.max_iter)
        return normalised(problem, solve(problem, penalty, plain).posterior.mean())


def padded(found: np.ndarray) -> tuple[Int[Array, " n"], Int[Array, ""]]:
    """Indices in arrays of few lengths, and how many they are."""
    size = BATCH
    while size < len(found):
        size *= 2
    filled = np.concatenate([found, np.zeros(size - len(found), dtype=int)])
    return jnp.asarray(filled), jnp.asarray(len(found))


@eqx.filter_jit
def answered(problem: Problem, penalty: Penalty, method: MAP, start: Array) -> Array:
    """Minimiser in units of the prior's scale."""
    return method.answer(problem, penalty, problem.data, start).z


def entries_of(
    problem: Problem, penalty: Penalty, method: MAP, start: Array
) -> tuple[Int[Array, " n"], Int[Array, ""]]:
    """Entries that are not zero, padded, and how many they are."""
    return padded(np.flatnonzero(np.asarray(answered(problem, penalty, method, start))))


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
