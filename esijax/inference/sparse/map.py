r"""The most probable sources of a penalty, with a proof.

.. math:: \hat Z = \arg\min_Z \tfrac12 \lVert Y - G P Z \rVert_F^2 + \alpha\,\Omega(Z), \qquad
   \hat X = P \hat Z
"""

import dataclasses
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from esijax._ops.safe import divide
from esijax._types import InputError, Sources, check_positive, scalar
from esijax.at_samples import at_samples
from esijax.estimate import RESULT, Estimate
from esijax.inference.method import Method, Setup, State
from esijax.inference.sparse.base.answer import INFO, Found, SparseAnswer, sum_info
from esijax.inference.sparse.base.descent import Descent, Final
from esijax.inference.sparse.base.gap import Certificate, Limits, within_tolerance
from esijax.inference.sparse.base.optimality import Optimality
from esijax.inference.sparse.families import SOLVERS, Plan, check_solver, descent_of, family_of
from esijax.models.penalties import Penalty
from esijax.models.posteriors.point import PointPosterior
from esijax.noise_time import in_columns
from esijax.problem import Problem


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
    squares again and again, each solved as above (`esijax.inference.sparse.robust`).

    Under jit, vmap and grad it is one function whose derivative is that of the minimiser
    (implicit differentiation on the support); the derivative is as exact as the minimum is.
    `Lrq` with q < 1 has none, and refuses it, for r = 1 or weights of entries.

    Parameters
    ----------
    solver : "auto" | "newton" | "bcd" | "fista" | "primal-dual" | "condat-vu" | "admm"
        Which iteration of the same minimum.
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
        """Take penalties, by the solvers that are theirs."""
        model = setup.model
        if not isinstance(model, Penalty):
            raise InputError(
                f"{type(self).__name__} needs a penalty (esijax.models.L21, L1, Lrq, ...), got "
                f"{type(model).__name__}."
            )
        check_solver(self.solver, model)

    # ------------------------------------------------------------------ what is minimised
    def turns(self, model: Penalty) -> int | None:
        """How many convex problems; None: until nothing moves."""
        return family_of(model).turns(model)

    def plan(self, model: Penalty, started: bool = False) -> Plan:
        """When to stop, and what by; `started`: from an earlier answer."""
        steps = 20 * self.max_iter if self.solver == "bcd" else self.max_iter
        limits = Limits(jnp.asarray(self.tol, dtype=float), jnp.asarray(steps))
        return Plan(limits, self.solver, self.turns(model), started)

    def descent(self, setup: Setup) -> Descent:
        """What is minimised round by round."""
        plan = self.plan(setup.model, setup.start is not None)
        return descent_of(setup.problem, setup.model, setup.noise, plan)

    def minimise(
        self, problem: Problem, model: Penalty, data: Array, start: Sources
    ) -> SparseAnswer:
        """Minimise for one recording under white noise, within a transformation."""
        some = dataclasses.replace(problem, data=data)
        descent = descent_of(some, model, None, self.plan(model))
        return descent.run(descent.opening(start))

    def solve_traced(self, setup: Setup) -> State:
        """All at once, with the derivative of the minimiser; trials apart."""
        descent = self.descent(setup)
        return State(setup, descent.run(descent.opening(_start_of(setup))), Final())

    # ------------------------------------------------------------------ round by round
    def init(self, setup: Setup) -> State:
        """State before the first round."""
        descent = self.descent(setup)
        return State(setup, descent.first(descent.opening(_start_of(setup))), descent)

    def advance(self, state: State) -> State:
        """Rounds of about a second."""
        return State(state.setup, state.fixed.ahead(state.carry), state.fixed)

    def done(self, state: State) -> bool:
        """The minimum is reached, or there are no steps left."""
        return state.fixed.over(state.carry)

    def truncate(self, state: State) -> State:
        """What has been found so far."""
        return State(state.setup, state.fixed.truncate(state.carry), state.fixed)

    def follows(self, setup: Setup) -> bool:
        """Whether `follow` goes on from the minimum at one alpha to that at another."""
        model = setup.model
        plan = self.plan(model)._replace(by_rounds=setup.problem.data.ndim == 2)
        return plan.turns == 1 and family_of(model).shows_working_sets(model, plan)

    def follow(self, setup: Setup, state: State) -> State:
        """Go on from the minimum at another alpha; nothing is computed anew."""
        weight = setup.model.location_weights(setup.problem.n_locations)
        descent, carry = state.fixed.follow(weight, state.carry)
        return State(setup, carry, descent)

    def finish(self, state: State) -> Estimate:
        """Amplitudes in the problem's units, and the proof."""
        problem, model = state.setup.problem, state.setup.model
        found = state.fixed.found(state.carry, problem)
        proof = self._optimality(model, found)
        return Estimate(
            problem,
            PointPosterior(found.sources, found.fitted),
            hyper={"alpha": model.alpha},
            diagnostics=proof,
            result=RESULT.where(proof.converged, RESULT.successful, RESULT.not_converged),
            model=type(model).__name__,
            method=type(self).__name__,
        )

    def _optimality(self, model: Penalty, found: Found) -> Optimality:
        """How close the answer is to the minimum, trials added up."""
        info, alpha = jax.lax.stop_gradient((found.info, model.alpha))
        proof = Certificate(*(info[..., k] for k in range(3)))
        tight = jnp.all(within_tolerance(proof, self.tol))
        known = dict(zip(INFO, info if info.ndim == 1 else sum_info(info), strict=True))
        return Optimality(
            known["primal"],
            known["gap"],
            known["kkt"],
            alpha,
            known["alpha_max"] * alpha,
            known["steps"].astype(int),
            known["rounds"].astype(int),
            found.n_active,
            tight,
        )


def _start_of(setup: Setup) -> Float[Array, "*trials locations orients times"]:
    """Earlier answer in units of the prior's scale; zeros where there is none."""
    p = setup.problem
    shape = (*p.data.shape[:-2], p.n_locations, p.n_orients, p.n_times)
    if setup.start is None:
        return jnp.zeros(shape, dtype=p.data.dtype)
    start = setup.start
    earlier = at_samples(start.posterior, start.problem.noise_time).mean()
    if earlier.shape[-3:] != shape[-3:]:
        raise InputError(
            f"init has the shape {earlier.shape[-3:]} (locations, orients, times), the problem "
            f"{shape[-3:]}."
        )
    out = divide(in_columns(earlier, p.noise_time), p.prior_scale[..., None])
    return jax.lax.stop_gradient(jnp.broadcast_to(out, shape))
