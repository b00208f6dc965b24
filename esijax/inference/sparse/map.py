r"""The most probable sources of a penalty, with a proof.

.. math:: \hat Z = \arg\min_Z \tfrac12 \lVert Y - G P Z \rVert_F^2 + \alpha\,\Omega(Z), \qquad
   \hat X = P \hat Z
"""

import dataclasses
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from esijax._ops.safe import divide
from esijax._types import InputError, check_positive, scalar
from esijax.estimate import RESULT, Estimate
from esijax.inference._compiled import compiled
from esijax.inference.method import Method, Setup, State
from esijax.inference.sparse._descents import descent_of
from esijax.inference.sparse._dispatch import SOLVERS, check, power_of, takes_newton
from esijax.inference.sparse._penalised import MAX_TURNS, factor_of, shrunk
from esijax.inference.sparse.base.answer import INFO, Answer, Limits, combined
from esijax.inference.sparse.base.descent import Descent
from esijax.inference.sparse.base.optimality import Optimality
from esijax.inference.sparse.base.task import Known, Task
from esijax.inference.sparse.newton.points import (
    Point,
    first_point,
    point_at,
    resized,
    reweighed,
    spread,
)
from esijax.inference.sparse.newton.working_set import rotation, round_of, sizes, stopped
from esijax.models.noise import Robust
from esijax.models.penalties import L21, Lrq, Penalty
from esijax.models.posteriors.point import PointPosterior
from esijax.problem import Problem


class _Course(eqx.Module):
    """Where the turns are: each is a convex problem with factors on the gain."""

    point: Point
    factor: Float[Array, " locations"]
    turn: Int[Array, ""]
    alpha_max: Float[Array, ""]  # of the first
    flags: Int[Array, " 4"]  # what the host asks: stopped, size wanted, rounds, turn


class _Task(eqx.Module):
    """What is solved, rotated in time."""

    task: Task
    known: Known
    basis: Float[Array, "times rank"] | None


class _Whole(eqx.Module):
    """An answer that is final."""

    z: Float[Array, "*trials locations orients times"]
    info: Float[Array, "*trials info"]


class MAP(Method):
    r"""The most probable sources under a penalty (MxNE, minimum current estimate, ...).

    .. math:: \hat Z = \arg\min_Z \tfrac12 \lVert Y - G P Z \rVert_F^2 + \alpha\,\Omega(Z), \qquad
       \hat X = P \hat Z

    Each penalty has its solver:

    - `L21`, `L1`, `Lrq`: Newton's method on a working set of locations, and for q < 1 one such
      problem after the other until nothing moves. "bcd" is block coordinate descent on the same
      working sets (`L21`, `L1`).
    - `Elastic`, `MCP`, `LogSum`, `SparseGroup` without groups, `L21` and `L1` with weights of
      entries, your own `Penalty` with `sums_locations`: accelerated proximal gradients on working
      sets. `SparseGroup` with groups and other penalties of your own: on all locations at once.
    - `TimeFrequency`: blocks of locations with Gabor frames, on working sets.
    - `TV`, `SISSY`, `Analysis`: a primal-dual iteration, or "condat-vu", or "admm".

    What is said to have converged has a duality gap below `tol` times the objective (where the
    penalty is convex and the gap is known), and a distance to the subdifferential below 100 `tol`
    times alpha: `estimate.diagnostics`. Zeros are exact, but for analysis penalties. Amplitudes
    are those of the minimum, biased towards zero: `esijax.inference.sparse.debias`.

    Robust data terms (`noise=` `Huber`, `StudentTNoise`, `Lp` of `esijax.models.noise`) are least
    squares again and again, each solved as above (`esijax.inference.sparse._robust`).

    Under jit, vmap and grad it is one function whose derivative is that of the minimiser
    (implicit differentiation on the support); the derivative is as exact as the minimum is.
    `Lrq` with q < 1 has none, and refuses it, for r = 1 or weights of entries.

    Parameters
    ----------
    solver : "auto" | "newton" | "bcd" | "fista" | "primal-dual" | "condat-vu" | "admm"
    tol : float
        Largest duality gap, relative to the objective.
    max_iter : int
        Newton steps of each convex problem; 20 times as many sweeps, proximal or primal-dual steps.

    Raises
    ------
    InputError
        For an unknown solver, a tol or max_iter that is not positive, a model that is no penalty.

    References
    ----------
    Gramfort, Kowalski and Hämäläinen 2012, doi:10.1088/0031-9155/57/7/1937; Strohmeier et al.
    2016, doi:10.1109/TMI.2016.2553445; Ndiaye et al. 2017, https://jmlr.org/papers/v18/16-577.html;
    Bertrand et al. 2022, https://jmlr.org/papers/v23/21-0486.html (implicit differentiation).

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> gain = np.random.default_rng(0).standard_normal((8, 12))
    >>> problem = ej.from_arrays(gain, 5 * gain[:, [3]] * np.hanning(9), noise_cov=1.0)
    >>> estimate = ej.solve(problem, ej.models.L21(ej.relative(0.5)), ej.inference.MAP())
    >>> [int(i) for i in np.flatnonzero(abs(estimate.mean).sum((1, 2)))]
    [3]
    >>> bool(estimate.diagnostics.relative_gap < 1e-6)
    True
    """

    solver: str = eqx.field(static=True, default="auto")
    tol: Any = eqx.field(converter=scalar, default=1e-6)
    max_iter: int = eqx.field(static=True, default=1000)
    differentiable: ClassVar[bool] = True
    takes_robust: ClassVar[bool] = True
    grows: ClassVar[bool] = True

    def __check_init__(self):
        if self.solver not in SOLVERS:
            raise InputError(f"solver must be one of {SOLVERS}, got {self.solver!r}.")
        check_positive(self.tol, "tol")
        if not (isinstance(self.max_iter, int) and self.max_iter >= 1):
            raise InputError(f"max_iter must be a positive integer, got {self.max_iter!r}.")

    def check(self, setup: Setup) -> None:
        """Take penalties."""
        model = setup.model
        if not isinstance(model, Penalty):
            raise InputError(
                f"{type(self).__name__} needs a penalty (esijax.models.L21, L1, Lrq, ...), got "
                f"{type(model).__name__}."
            )
        check(self.solver, model)

    # ------------------------------------------------------------------ what is solved
    def turns(self, model: Penalty) -> int | None:
        """How many convex problems; None: until nothing moves."""
        return None if isinstance(model, Lrq) and model.q < 1 else 1

    @property
    def limits(self) -> Limits:
        """When to stop."""
        steps = 20 * self.max_iter if self.solver == "bcd" else self.max_iter
        return Limits(jnp.asarray(self.tol, dtype=float), jnp.asarray(steps))

    @property
    def inner(self) -> str:
        """What solves on the working sets of norms."""
        return "bcd" if self.solver == "bcd" else "newton"

    def descent(self, setup: Setup) -> Descent:
        """What is solved round by round."""
        turns = self.turns(setup.model)
        return descent_of(setup.problem, setup.model, setup.noise, self.limits, self.solver, turns)

    def answer(self, problem: Problem, model: Penalty, data, start) -> Answer:
        """One recording under white noise, within a transformation."""
        some = dataclasses.replace(problem, data=data)
        turns = self.turns(model)
        return descent_of(some, model, None, self.limits, self.solver, turns).run(start)

    def solve_traced(self, setup: Setup) -> State:
        """All at once, with the derivative of the minimiser; trials apart."""
        return State(setup, _Whole(*self.descent(setup).run(_start(setup))))

    def by_prox(self, model: Penalty) -> bool:
        """Whether it is no working set that is solved."""
        return self.solver == "fista" or not takes_newton(model)

    # ------------------------------------------------------------------ on the host
    def init(self, setup: Setup) -> State:
        """First gradient."""
        problem, model = setup.problem, setup.model
        if not self.by_rounds(setup):
            descent = self.descent(setup)
            return State(setup, descent.first(_start(setup)), descent)
        data, basis = rotation(problem.data)
        weight = model.location_weights(problem.n_locations)
        task = Task(problem.gain, problem.prior_scale, data, weight)
        factor, known = jnp.ones(problem.n_locations), task.known()
        if setup.start is None:
            point = first_point(task, known)
        else:
            z = _start(setup)
            z = z if basis is None else z @ basis
            if self.turns(model) != 1:
                factor = factor_of(power_of(model).norms(z), power_of(model).q)
            point = point_at(_scaled(task, factor), known, shrunk(z, factor))
        turn = jnp.ones((), dtype=int)
        course = _course(point, factor, turn, point.alpha_max, self.limits)
        return State(setup, course, _Task(task, known, basis))

    def by_rounds(self, setup: Setup) -> bool:
        """Whether working sets are solved one by one, with the host looking on."""
        model, plain = setup.model, not isinstance(setup.noise, Robust)
        by_location = isinstance(model, L21) or (isinstance(model, Lrq) and model.r == 2)
        one = by_location and not model.by_entry and setup.problem.data.ndim == 2
        return plain and one and not self.by_prox(model)

    def follow(self, setup: Setup, state: State) -> State:
        """Go on from the minimum at another alpha; for one convex problem."""
        weight = setup.model.location_weights(setup.problem.n_locations)
        course = _followed(state.fixed.task, weight, state.carry, self.limits)
        fixed = eqx.tree_at(lambda f: f.task.weight, state.fixed, weight)
        return State(setup, course, fixed)

    def advance(self, state: State) -> State:
        """One working set, or the next turn; what other descents do in about a second."""
        course = state.carry
        if not isinstance(course, _Course):
            return State(state.setup, state.fixed.ahead(course), state.fixed)
        stop, wanted, _, _ = _look(course)
        if stop:
            power = power_of(state.setup.model)
            course = _turned(power, state.fixed, course, self.limits)
        else:
            n = state.fixed.task.scale.shape[0]
            size = next(s for s in sizes(n) if s >= min(wanted, n))
            if size != len(course.point.index):
                course = _resized(size, course)
            course = _round(size, self.inner, state.fixed, course, self.limits)
        return State(state.setup, course, state.fixed)

    def done(self, state: State) -> Any:
        """The last convex problem is solved."""
        if isinstance(state.carry, _Whole):
            return True
        if not isinstance(state.carry, _Course):
            return state.fixed.over(state.carry)
        stop, _, rounds, turn = _look(state.carry)
        n = self.turns(state.setup.model)
        still = turn > 1 and rounds == 0
        return bool(stop) and (still or turn >= (MAX_TURNS if n is None else n))

    def truncate(self, state: State) -> State:
        """What has been found so far."""
        if isinstance(state.carry, _Course):
            return state
        return State(state.setup, state.fixed.kept(state.carry), state.fixed)

    def finish(self, state: State) -> Estimate:
        """Amplitudes in the problem's units, and the proof."""
        setup = state.setup
        problem, model = setup.problem, setup.model
        carry = state.carry
        if isinstance(carry, _Course):
            z, info, fitted = _unrotated(carry, state.fixed.basis)
            index = carry.point.index
            scale = problem.prior_scale.at[index].get(mode="fill", fill_value=0.0)
            sources = spread(z * scale[..., None], index, problem.n_locations)
        else:
            whole = isinstance(carry, _Whole)
            z, info = (carry.z, carry.info) if whole else state.fixed.answer(carry)
            sources = z * problem.prior_scale[..., None]
            lead = sources.ndim - 3
            fitted = jnp.tensordot(problem.gain, sources, axes=((1, 2), (lead, lead + 1)))
            fitted = jnp.moveaxis(fitted, 0, -2)
        proof = self._proof(model, z, info)
        return Estimate(
            problem,
            PointPosterior(sources, fitted),
            hyper={"alpha": model.alpha},
            diagnostics=proof,
            result=RESULT.where(proof.converged, RESULT.successful, RESULT.not_converged),
            model=type(model).__name__,
            method=type(self).__name__,
        )

    def _proof(self, model: Penalty, z, info) -> Optimality:
        info = jax.lax.stop_gradient(info)
        tight = jnp.isnan(info[..., 1]) | (info[..., 1] <= self.tol * info[..., 0])
        tight = jnp.all(tight & (info[..., 2] <= 100 * self.tol))
        info = info if info.ndim == 1 else combined(info)
        found = dict(zip(INFO, info, strict=True))
        active = jnp.any(z != 0, axis=(-2, -1))
        return Optimality(
            found["primal"],
            found["gap"],
            found["kkt"],
            jax.lax.stop_gradient(model.alpha),
            found["alpha_max"] * jax.lax.stop_gradient(model.alpha),
            found["steps"].astype(int),
            found["rounds"].astype(int),
            jnp.max(jnp.sum(active, axis=-1)),
            tight,
        )


def _start(setup: Setup) -> Float[Array, "*trials locations orients times"]:
    """An earlier answer in units of the prior's scale; zeros: none."""
    p = setup.problem
    shape = (*p.data.shape[:-2], p.n_locations, p.n_orients, p.n_times)
    if setup.start is None:
        return jnp.zeros(shape, dtype=p.data.dtype)
    earlier = setup.start.posterior.mean()
    if earlier.shape[-3:] != shape[-3:]:
        raise InputError(
            f"init has the shape {earlier.shape[-3:]} (locations, orients, times), the problem "
            f"{shape[-3:]}."
        )
    scale = p.prior_scale[..., None]
    out = divide(earlier, scale)
    return jax.lax.stop_gradient(jnp.broadcast_to(out, shape))


def _scaled(task: Task, factor) -> Task:
    return task._replace(scale=task.scale * factor[:, None])


def _course(point: Point, factor, turn, alpha_max, limits: Limits) -> _Course:
    stop = stopped(point, *limits)
    flags = jnp.stack([stop.astype(int), point.wanted, point.rounds, turn])
    return _Course(point, factor, turn, alpha_max, flags)


def _look(course: _Course) -> list[int]:
    return [int(x) for x in jax.device_get(course.flags)]


@eqx.filter_jit
def _resized(size: int, course: _Course) -> _Course:
    return eqx.tree_at(lambda c: c.point, course, resized(size, course.point))


@eqx.filter_jit
def _round(size: int, inner: str, fixed: _Task, course: _Course, limits: Limits) -> _Course:
    task = _scaled(fixed.task, course.factor)
    point = round_of(size, task, fixed.known, course.point, *limits, inner)
    return _course(point, course.factor, course.turn, course.alpha_max, limits)


@compiled
def _followed(task: Task, weight, course: _Course, limits: Limits) -> _Course:
    share = weight[0] / task.weight[0]
    point = reweighed(task._replace(weight=weight), course.point, share)
    return _course(point, course.factor, course.turn, point.alpha_max, limits)


@eqx.filter_jit
def _turned(power: Lrq, fixed: _Task, course: _Course, limits: Limits) -> _Course:
    """The majoriser at the answer of the last one."""
    z = spread(_amplitudes(course), course.point.index, len(course.factor))
    factor = factor_of(power.norms(z), power.q)
    point = point_at(_scaled(fixed.task, factor), fixed.known, shrunk(z, factor))
    return _course(point, factor, course.turn + 1, course.alpha_max, limits)


def _amplitudes(course: _Course):
    """Of the working set, without the factors of the majoriser."""
    factor = course.factor.at[course.point.index].get(mode="fill", fill_value=0.0)
    return course.point.x * factor[:, None, None]


def _unrotated(course: _Course, basis):
    point = course.point
    z, fitted = _amplitudes(course), point.fitted
    if basis is not None:
        z, fitted = z @ basis.T, fitted @ basis.T
    proof = point.proof
    info = (proof.primal, proof.gap, proof.kkt, course.alpha_max, point.rounds, point.steps)
    return z, jnp.stack([jnp.asarray(i, dtype=z.dtype) for i in info]), fitted
