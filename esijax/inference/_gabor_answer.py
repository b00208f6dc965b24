r"""TF-MxNE as a function: one convex problem or several reweighted ones, with their derivative.

Reweighting (irTF-MxNE) majorises square roots at the last coefficients, with m the count of
`_ops.gabor`,

.. math:: \alpha \sum_l w_l \Big[ (1 - \rho) \sqrt{\lVert C_l \rVert}
   + \rho \sum_k m_k \sqrt{\lVert z_{lk} \rVert} \Big]

on what is not zero yet. Strohmeier et al. 2015, doi:10.1109/PRNI.2015.14.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from esijax._ops.epsilon import largest_dual_norm, moduli, sizes
from esijax.inference._gabor_blocks import (
    Blocks,
    Coefs,
    descend,
    distances,
    hessian,
    inverse_hessian,
)
from esijax.inference._gabor_rounds import (
    Course,
    Gabor,
    first_course,
    padded,
    round_of,
    rungs,
    stopped,
)
from esijax.inference._gap import Certificate, certificate
from esijax.inference._gradients import Task
from esijax.inference._penalised import Answer, Limits, frozen
from esijax.models.penalties import TimeFrequency
from esijax.problem import Problem

TRIES = 6
EXACT = 3000  # conjugate gradients of a derivative
Sources = Float[Array, "locations orients times"]


class _Turn(NamedTuple):
    """Coefficients of the working set, and what is known of them."""

    c: Coefs
    proof: Certificate
    steps: Int[Array, ""]


def time_frequency(
    problem: Problem, model: TimeFrequency, data, start: Sources, limits: Limits, turns: int
) -> Answer:
    """Minimise for one recording; the first turn is the convex problem."""
    limits = limits._replace(max_iter=20 * limits.max_iter)
    weight = model.location_weights(problem.n_locations)
    task = Task(problem.gain, problem.prior_scale, data, weight)
    gabor = Gabor(task, model.l1_ratio, model.frame(data.shape[-1]))
    fixed = frozen(gabor)
    ladder = rungs(*task.scale.shape)

    def climbed(rung: int, course: Course) -> Answer:
        size, last = ladder[rung], rung == len(ladder) - 1

        def go(course):
            return ~stopped(course, *limits) & (last | (course.wanted <= size))

        course = jax.lax.while_loop(go, lambda c: round_of(size, fixed, c, *limits), course)
        if last:
            return _ended(gabor, course, turns, limits)
        return jax.lax.cond(
            stopped(course, *limits),
            lambda c: _ended(gabor, c, turns, limits),
            lambda c: climbed(rung + 1, padded(c, ladder[rung + 1])),
            course,
        )

    first = first_course(fixed, jax.lax.stop_gradient(start))
    answer = climbed(0, first)
    known = jnp.all(start == 0) & (first.ratio > 1)
    slope = fixed.task.slope(fixed.task.data)
    largest = jax.lax.cond(
        known,
        lambda s: first.ratio,  # noqa: ARG005
        lambda s: frozen(model).polar(s) / frozen(model).alpha,
        slope,
    )
    return Answer(answer.z, frozen(answer.info.at[3].set(largest)))


def _ended(gabor: Gabor, course: Course, turns: int, limits: Limits) -> Answer:
    """Derivative of the convex answer, further turns, and the sources."""
    index = course.index
    blocks = gabor.blocks(index)
    turn = _Turn(minimiser(blocks, frozen(course.c)), course.proof, course.steps)
    weight = gabor.task.weight[index]
    if turns > 1:
        columns = gabor.task.columns(index)

        def body(turn, _):
            return _turned(gabor, blocks, columns, weight, turn, limits), None

        turn = jax.lax.scan(body, turn, None, length=turns - 1)[0]
    x = gabor.frame.synthesis(turn.c)
    z = jnp.zeros((*gabor.task.scale.shape, x.shape[-1]), dtype=x.dtype).at[index].add(x)
    proof = turn.proof
    nothing = jnp.zeros_like(proof.primal)
    info = (proof.primal, proof.gap, proof.kkt, nothing, course.rounds, turn.steps)
    return Answer(z, frozen(jnp.stack([jnp.asarray(i, dtype=x.dtype) for i in info])))


def _turned(gabor: Gabor, blocks: Blocks, columns, weight, turn: _Turn, limits: Limits) -> _Turn:
    """The majoriser at the last answer, on its support."""
    entries, norm = moduli(turn.c), sizes(turn.c)
    on, some = entries > 0, norm > 0
    roots = jnp.asarray(gabor.frame.roots(), dtype=entries.dtype)[None]
    bent = 1.0 / (2.0 * jnp.sqrt(jnp.where(on, entries / roots, 1.0)))
    less = jnp.where(some, 1.0 / (2.0 * jnp.sqrt(jnp.where(some, norm, 1.0))), 1.0)
    mu, lam = jnp.where(on, blocks.mu * bent, jnp.inf), blocks.lam * less
    new = Blocks(blocks.gram, blocks.linear, mu, lam, blocks.frame)
    c, proof, steps = _solved(
        *frozen((new, columns, gabor.task.data, weight * less, turn.c)), limits
    )
    return _Turn(minimiser(new, frozen(c)), frozen(proof), turn.steps + steps)


def _solved(blocks: Blocks, columns, data, weight, c: Coefs, limits: Limits):
    """Minimise on what is not zero, ever more exactly until the certificate is good."""

    def judged(c) -> Certificate:
        x = blocks.frame.synthesis(c)
        residual = data - columns @ x.reshape(-1, x.shape[-1])
        slope = (columns.T @ residual).reshape(x.shape)
        own = blocks.frame.analysis(slope)
        kkt = jnp.max(distances(-own, c, blocks.mu, blocks.lam) / weight)
        tiny = jnp.full((), jnp.finfo(c.dtype).tiny)
        ratio = largest_dual_norm(moduli(own), blocks.mu, blocks.lam, tiny)
        return certificate(residual, blocks.penalty(c), jnp.sum(x * slope), ratio, kkt)

    def body(carry):
        c, _, steps, tries = carry
        target = jnp.maximum(limits.tol, 1e-16) * 0.1**tries
        c, count = descend(blocks, c, weight, target, limits.max_iter)
        return c, judged(c), steps + count, tries + 1

    def go(carry):
        _, proof, _, tries = carry
        good = (proof.gap <= limits.tol * proof.primal) & (proof.kkt <= 100 * limits.tol)
        return (tries < TRIES) & ~good

    zero = jnp.zeros((), dtype=int)
    return jax.lax.while_loop(go, body, (c, judged(c), zero, zero))[:3]


@jax.custom_jvp
def minimiser(blocks: Blocks, c: Coefs) -> Coefs:  # noqa: ARG001
    """Give `c`, the minimum of the blocks, the derivative of the implicit function theorem."""
    return c


@minimiser.defjvp
def _minimiser_jvp(primals, tangents):
    blocks, c = primals
    on = (moduli(c) > 0)[:, None, None]

    def slope(blocks):
        return jnp.where(on, jax.grad(blocks.value)(c), 0.0)

    _, right = jax.jvp(slope, (blocks,), (tangents[0],))
    fixed = frozen((blocks, c))
    bound = fixed[0].curvatures()

    def solve(_, b):
        return inverse_hessian(fixed[0], bound, fixed[1], b, 1e-14, EXACT)

    dc = jax.lax.custom_linear_solve(
        lambda v: hessian(blocks, c, v), -right, solve=solve, symmetric=True
    )
    return c, dc
