r"""TF-MxNE as a function: one convex problem or several reweighted ones, with their derivative.

Reweighting (irTF-MxNE) majorises square roots at the last coefficients, with m the count of
`_ops.gabor`,

.. math:: \alpha \sum_l w_l \Big[ (1 - \rho) \sqrt{\lVert C_l \rVert}
   + \rho \sum_k m_k \sqrt{\lVert z_{lk} \rVert} \Big]

on what is not zero yet. Strohmeier et al. 2015, doi:10.1109/PRNI.2015.14.
"""

from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from esijax._ops.epsilon import largest_dual_norm, moduli, sizes
from esijax._types import Scalar, Sources
from esijax.inference._compiled import compiled
from esijax.inference.sparse.base.answer import Answer, Limits, frozen
from esijax.inference.sparse.base.descent import Descent
from esijax.inference.sparse.base.gap import Certificate, certificate
from esijax.inference.sparse.base.task import Task
from esijax.inference.sparse.gabor.blocks import (
    Blocks,
    Coefs,
    descend,
    distances,
    hessian,
    inverse_hessian,
)
from esijax.inference.sparse.gabor.rounds import (
    Course,
    Gabor,
    first_course,
    padded,
    round_of,
    rungs,
    stopped,
)
from esijax.models.penalties import TimeFrequency

TRIES = 6
EXACT = 3000  # conjugate gradients of a derivative


class _Turn(NamedTuple):
    """Coefficients of the working set, and what is known of them."""

    c: Coefs
    proof: Certificate
    steps: Int[Array, ""]


class Way(NamedTuple):
    """Rounds of the convex problem, then the turns that are solved; alpha_max over alpha."""

    course: Course
    turn: Int[Array, ""]  # 0: the convex problem is not solved yet
    largest: Scalar


class GaborDescent(Descent):
    """Rounds on growing working sets, then the reweighted problems on the support.

    Within a transformation sets have at most `_gabor_rounds.COLUMNS` columns, on the host any size.
    """

    grows: ClassVar[bool] = True

    gabor: Gabor
    model: TimeFrequency
    limits: Limits
    turns: int = eqx.field(static=True)

    @classmethod
    def of(cls, task: Task, model: TimeFrequency, limits: Limits, turns: int) -> "GaborDescent":
        """The rounds of one recording."""
        frame = model.frame(task.data.shape[-1])
        return cls(Gabor(task, model.l1_ratio, frame), model, limits, turns)

    def at(self, data):
        """Another recording."""
        return eqx.tree_at(lambda d: d.gabor.task.data, self, data)

    def first(self, start: Sources) -> Way:
        """The first look at all locations."""
        task = self.gabor.task
        course = first_course(self.gabor, start)
        known = jnp.all(start == 0) & (course.ratio > 1)
        largest = jax.lax.cond(
            known,
            lambda s: course.ratio,  # noqa: ARG005
            lambda s: self.model.polar(s) / self.model.alpha,
            task.slope(task.data),
        )
        return Way(course, stopped(course, *self.limits).astype(int), largest)

    def go(self, carry: Way):
        """Until the last turn is solved."""
        return carry.turn < self.turns

    def body(self, carry: Way) -> Way:
        """A round on a working set of the same size, or a turn."""
        return jax.lax.cond(
            carry.turn == 0, lambda c: self._round(c), lambda c: self._turn(c), carry
        )

    def answer(self, carry: Way) -> Answer:
        """Sources of the last coefficients."""
        course = carry.course
        turn = _Turn(course.c, course.proof, course.steps)
        return _answered(self.gabor, course, turn, carry.largest)

    def run(self, start: Sources) -> Answer:
        """All sizes in one compiled function."""
        fixed = frozen(self)
        ladder, limits = rungs(*self.gabor.task.scale.shape), self.limits
        first = fixed.first(frozen(start))

        def climbed(rung: int, course: Course) -> Answer:
            size, last = ladder[rung], rung == len(ladder) - 1

            def go(course):
                return ~stopped(course, *limits) & (last | (course.wanted <= size))

            def body(course):
                return round_of(size, fixed.gabor, course, *limits)

            course = jax.lax.while_loop(go, body, course)
            if last:
                return self._ended(course, first.largest)
            return jax.lax.cond(
                stopped(course, *limits),
                lambda c: self._ended(c, first.largest),
                lambda c: climbed(rung + 1, padded(c, ladder[rung + 1])),
                course,
            )

        return climbed(0, first.course)

    def ahead(self, carry: Way) -> Way:
        """A round of the size that is wanted, or a turn."""
        course = carry.course
        turn, wanted, n = *jax.device_get((carry.turn, course.wanted)), len(course.index)
        if turn > 0:
            return _next_turn(self, carry)
        ladder = rungs(*self.gabor.task.scale.shape, limit=None)
        size = max(n, next(s for s in ladder if s >= min(wanted, ladder[-1])))
        if size > n:
            carry = carry._replace(course=padded(course, size))
        return _next_round(self, carry)

    def _round(self, carry: Way) -> Way:
        size = len(carry.course.index)
        course = round_of(size, self.gabor, carry.course, *self.limits)
        return Way(course, stopped(course, *self.limits).astype(int), carry.largest)

    def _turn(self, carry: Way) -> Way:
        course = carry.course
        index = course.index
        parts = (self.gabor.blocks(index), self.gabor.task.columns(index))
        turn = _Turn(course.c, course.proof, course.steps)
        weight = self.gabor.task.weight[index]
        turn = _turned(self.gabor, *parts, weight, turn, self.limits)
        return Way(course._replace(**turn._asdict()), carry.turn + 1, carry.largest)

    def _ended(self, course: Course, largest: Scalar) -> Answer:
        """Derivative of the convex answer, further turns, and the sources."""
        gabor, index = self.gabor, course.index
        blocks = gabor.blocks(index)
        turn = _Turn(minimiser(blocks, frozen(course.c)), course.proof, course.steps)
        if self.turns > 1:
            columns, weight = gabor.task.columns(index), gabor.task.weight[index]

            def body(turn, _):
                return _turned(gabor, blocks, columns, weight, turn, self.limits), None

            turn = jax.lax.scan(body, turn, None, length=self.turns - 1)[0]
        return _answered(gabor, course, turn, largest)


@compiled
def _next_round(descent: GaborDescent, way: Way) -> Way:
    return descent._round(way)


@compiled
def _next_turn(descent: GaborDescent, way: Way) -> Way:
    return descent._turn(way)


def _answered(gabor: Gabor, course: Course, turn: _Turn, largest: Scalar) -> Answer:
    x = gabor.frame.synthesis(turn.c)
    z = jnp.zeros((*gabor.task.scale.shape, x.shape[-1]), dtype=x.dtype).at[course.index].add(x)
    proof = turn.proof
    info = (proof.primal, proof.gap, proof.kkt, largest, course.rounds, turn.steps)
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
