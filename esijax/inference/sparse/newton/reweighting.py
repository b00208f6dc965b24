r"""Each kind of penalty brought to what the solvers take, for one recording.

Powers :math:`\lVert Z_l \rVert^q` are majorised: with :math:`Z_l = f_l X_l`, :math:`f_l =
\lVert Z^k_l \rVert^{1 - q} / q`, each turn is the convex problem of X with the gain :math:`G_l f_l`
and the same alpha; locations at zero stay there.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.sparse.linalg import gmres
from jaxtyping import Array, Float

from esijax._types import InputError, Scalar
from esijax.inference.sparse.base.answer import Answer, Limits, Sources, combined, frozen
from esijax.inference.sparse.base.task import Task
from esijax.inference.sparse.newton.implicit import minimum, stationary_point
from esijax.inference.sparse.newton.points import proof_at
from esijax.inference.sparse.prox.fista import proved, prox_step
from esijax.inference.sparse.prox.rounds import Look, settle
from esijax.models.penalties import Lrq, Penalty
from esijax.models.penalties._data_term import DataTerm

MAX_TURNS = 300


def factor_of(norms: Float[Array, " locations"], q: float) -> Float[Array, " locations"]:
    r"""Inverse weights of the majoriser, :math:`\lVert Z_l \rVert^{1-q} / q`; zero at zero."""
    on = norms > 0
    return jnp.where(on, jnp.where(on, norms, 1.0) ** (1.0 - q) / q, 0.0)


def shrunk(x: Array, factor: Float[Array, " locations"]) -> Array:
    """Divide by the factor; zero where it is."""
    on = factor > 0
    return x * jnp.where(on, 1.0 / jnp.where(on, factor, 1.0), 0.0)[:, None, None]


def convex(task: Task, block: str, start: Sources, limits: Limits, inner: str = "newton") -> Answer:
    """Sum of the norms of locations, or of entries, each time by itself."""
    if block == "location":
        return Answer(*minimum(inner, *task, start, *limits))
    rank, n, n_orients = task.gain.shape
    gain, scale = task.gain.reshape(rank, -1, 1), task.scale.reshape(-1, 1)
    weight = jnp.repeat(task.weight, n_orients)

    def at(data, start):
        return minimum(inner, gain, scale, data[:, None], weight, start[:, None, None], *limits)

    z, info = jax.vmap(at, in_axes=(1, 1))(task.data, start.reshape(n * n_orients, -1))
    z = jnp.moveaxis(z[..., 0, 0], 0, 1).reshape(n, n_orients, -1)
    return Answer(z, combined(info))


def turned(task: Task, penalty: Lrq, z: Sources, limits: Limits) -> Answer:
    """Solve the majoriser at `z`."""
    return _majorised(task, penalty, z, factor_of(penalty.norms(z), penalty.q), limits)


def _majorised(task: Task, penalty: Lrq, z: Sources, factor, limits: Limits) -> Answer:
    task = task._replace(scale=task.scale * factor[:, None])
    start = frozen(shrunk(z, factor))
    if penalty.by_entry:
        answer = by_prox(task, penalty.majoriser, start, limits)
    else:
        block = penalty.majoriser.block
        assert block is not None
        answer = convex(task, block, start, limits)
    return Answer(answer.z * factor[:, None, None], answer.info)


def distance(task: Task, penalty: Lrq, z: Sources) -> Scalar:
    """Largest distance to the subdifferential of a power, relative to the majoriser's weights."""
    factor = factor_of(penalty.norms(z), penalty.q)
    task, x = task._replace(scale=task.scale * factor[:, None]), shrunk(z, factor)
    if penalty.by_entry:
        term = term_of(task, penalty)
        return proved(term, penalty.majoriser.even(), x / term.spread[:, None], term.bound())[1].kkt
    if penalty.r == 2:
        return proof_at(task, task.known(), x)[2].kkt
    residual = task.data - jnp.tensordot(task.gain, x * task.scale[..., None], axes=2)
    slope = task.slope(residual) / task.weight[:, None, None]
    off = jnp.where(x == 0, jnp.maximum(jnp.abs(slope) - 1, 0), jnp.abs(slope - jnp.sign(x)))
    return jnp.max(off)


def reweighted(task: Task, penalty: Lrq, start: Sources, n: int, limits: Limits) -> Answer:
    """Take n turns, the first with the plain weights unless there is a start."""
    first = opening(task, penalty, start, limits)

    def body(answer, _):
        new = turned(task, penalty, answer.z, limits)
        return Answer(new.z, _joined(answer.info, new.info)), None

    return jax.lax.scan(body, first, None, length=n - 1)[0]


def opening(task: Task, penalty: Lrq, start: Sources, limits: Limits) -> Answer:
    """First turn: the convex norm, or the majoriser at a start."""
    norms = penalty.norms(start)
    factor = jnp.where(jnp.any(norms > 0), factor_of(norms, penalty.q), 1.0)
    return _majorised(task, penalty, start, factor, limits)


def _joined(before: Array, after: Array) -> Array:
    return after.at[3].set(before[3]).at[4:].add(before[4:])


def stationary(task: Task, penalty: Lrq, start: Sources, limits: Limits) -> Answer:
    """Turns until nothing moves; the derivative is that of the fixed point."""
    fixed, some = frozen(task), frozen(penalty)

    def body(carry):
        answer, count, _ = carry
        new = turned(fixed, some, answer.z, limits)
        new = Answer(new.z, _joined(answer.info, new.info))
        return new, count + 1, distance(fixed, some, new.z)

    def go(carry):
        _, count, far = carry
        return (far > 100 * limits.tol) & (count < MAX_TURNS)

    first = opening(fixed, some, start, limits)
    carry = first, jnp.ones((), dtype=int), distance(fixed, some, first.z)
    answer, _, far = jax.lax.while_loop(go, body, carry)
    z = answer.z
    if penalty.r == 2 and not penalty.by_entry:
        z = stationary_point(penalty.q, *task, frozen(z))
    else:
        z = without_derivative(z, task, penalty)
    return Answer(z, answer.info.at[2].set(far))


@jax.custom_jvp
def without_derivative(z: Array, task: Task, penalty: Penalty) -> Array:  # noqa: ARG001
    """Give `z`, and say so where its derivative is asked for."""
    return z


@without_derivative.defjvp
def _refused(primals, tangents):  # noqa: ARG001
    raise InputError(
        "the stationary point of Lrq with q < 1 and r = 1, or weights of entries, has no "
        "derivative rule here: take inference.Reweighted(n), whose n convex problems have one."
    )


def term_of(task: Task, penalty: Penalty) -> DataTerm:
    """Data term of the sources without weights of entries."""
    return DataTerm(task.gain, task.scale, task.data, penalty.spread())


def by_prox(task: Task, penalty: Penalty, start: Sources, limits: Limits) -> Answer:
    """Any penalty, by accelerated proximal gradients."""
    term, even = term_of(task, penalty), penalty.even()
    fixed, some = frozen(term), frozen(even)
    bound = fixed.bound()
    end = settle(fixed, some, start / fixed.spread[:, None], bound, *limits)
    return at_rest(term, even, bound, frozen(end))


def at_rest(term: DataTerm, even: Penalty, bound: Scalar, end: Look) -> Answer:
    """Answer of the last look, with the derivative of a proximal step's fixed point."""
    x = fixed_point(term, even, bound, end.new)
    polar = even.polar(term.pulled(term.data))
    alpha_max = jnp.full((), jnp.inf) if polar is None else polar
    proof = (end.proof.primal, end.proof.gap, end.proof.kkt)
    scale = jnp.max(jnp.asarray(alpha_max)) / even.alpha
    parts = (*proof, scale, end.rounds, end.steps)
    info = frozen(jnp.stack([jnp.asarray(p, dtype=x.dtype) for p in parts]))
    return Answer(x * term.spread[:, None], info)


@jax.custom_jvp
def fixed_point(term: Any, penalty: Penalty, bound: Scalar, x: Sources) -> Sources:  # noqa: ARG001
    """Give `x`, fixed by a proximal step, the derivative of the implicit function theorem.

    `term` is a data term with a `slope`.
    """
    return x


@fixed_point.defjvp
def _fixed_point_jvp(primals, tangents):
    term, penalty, bound, x = primals

    def step(term, penalty, x):
        return prox_step(term, penalty, x, bound)

    _, right = jax.jvp(lambda t, p: step(t, p, x), (term, penalty), tangents[:2])
    _, linear = jax.linearize(lambda x: step(term, penalty, x), x)

    def solve(matvec, b):
        return gmres(matvec, b, tol=1e-13, atol=0.0, restart=60, maxiter=30)[0]

    dx = jax.lax.custom_linear_solve(
        lambda v: v - linear(v), right, solve=solve, transpose_solve=solve
    )
    return x, dx
