r"""Expectation maximisation and its relatives: ReML, gamma-MAP, Champagne.

The variances are set to their most probable values (type-II maximum likelihood, or maximum a
posteriori where the hyper-prior is proper), and the sources' posterior is Gaussian given them.
"""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from esijax._types import InputError, Scalar, check_positive, scalar
from esijax.estimate import RESULT, Diagnostics, Estimate
from esijax.inference.collapsed.answers import earlier_hyper, linear_marginal, point_estimate
from esijax.inference.collapsed.checks import ask, check_prior, check_start, check_variances
from esijax.inference.collapsed.em._accelerate import AndersonState, anderson_start, anderson_step
from esijax.inference.collapsed.em._hyperprior import check_bounded
from esijax.inference.collapsed.em._model import EMModel, Evaluation
from esijax.inference.collapsed.em._pooled import pooled_model
from esijax.inference.collapsed.em._sensor import floor
from esijax.inference.collapsed.em._separable import SeparableEMModel, separable_model
from esijax.inference.collapsed.em._times import TimeState
from esijax.inference.collapsed.em._update import UPDATES
from esijax.inference.collapsed.em._zero import leap, possible_gain
from esijax.inference.method import Method, Setup, State
from esijax.models.marginals.separable import SeparableMarginal
from esijax.models.noise import InTime, LinearNoise
from esijax.models.temporal import TemporalBasis

MEMORY = 5
UPDATES_PER_CLIMB = 3  # of the variances, for one of the hyper-parameters in time


class Convergence(Diagnostics):
    """How an iteration went.

    Parameters
    ----------
    trace : (max_iter + 1,)
        Objective at each accepted point; NaN where the iteration had ended.
    iterations : ()
        Evaluations of the covariance.
    gradient : ()
        Sum of absolute derivatives with respect to the logarithms of the variances, relative to
        half the number of data.
    converged : ()
    fixed : bool
        Whether the number of iterations was given.
    """

    trace: Float[Array, " _"]
    iterations: Int[Array, ""]
    gradient: Scalar
    converged: Bool[Array, ""]
    fixed: bool = eqx.field(static=True, default=False)

    def verdict(self) -> dict[str, Any]:
        """Numbers by name."""
        trace = np.asarray(self.trace)
        return {
            "converged": bool(self.converged),
            "iterations": int(self.iterations),
            "gradient": float(self.gradient),
            "objective": float(trace[np.isfinite(trace)][-1]) if np.isfinite(trace).any() else None,
        }

    def doubts(self) -> tuple[str, ...]:
        """Say so where the iterations did not suffice."""
        if self.fixed or bool(self.converged) or int(self.iterations) < len(self.trace) - 1:
            return ()
        return (
            f"not converged after {int(self.iterations)} iterations "
            f"(relative gradient {float(self.gradient):.1e}): raise max_iter or tol",
        )


class EMProgress(eqx.Module):
    """Where the iteration stands, its objectives so far, and whether it has converged."""

    anderson: AndersonState
    times: TimeState | None
    trace: Float[Array, " _"]
    count: Int[Array, ""]
    converged: Bool[Array, ""]


class EM(Method):
    r"""Most probable variances of covariance components by fixed-point updates.

    .. math::
       \hat\theta = \arg\max_\theta\; \log N\Big(Y;\, 0,\, \sum_k \gamma_k A_k A_k^\top
       + \sum_j v_j B_j B_j^\top\Big) + \log p(\gamma) + \log p(v)

    With :math:`q_k = \operatorname{tr} A_k^\top \Sigma^{-1} Y Y^\top \Sigma^{-1} A_k / n`,
    :math:`z_k = \operatorname{tr} A_k^\top \Sigma^{-1} A_k` and a flat hyper-prior the updates are

    ===========  ===================================================  ==========================
    "mm"         :math:`\gamma_k \sqrt{q_k / z_k}`                    Champagne, convex bound
    "em"         :math:`\gamma_k + \gamma_k^2 (q_k - z_k) / r_k`      ReML by EM, sparse Bayes
    "mackay"     :math:`\gamma_k q_k / z_k`                           gamma-MAP
    "lowsnr"     :math:`\gamma_k \sqrt{q_k / z^0_k}`                  another objective
    ===========  ===================================================  ==========================

    "em" and "mm" never lower the objective; all but "lowsnr" have the same stationary points.
    "lowsnr" replaces log det by its tangent at :math:`\gamma = 0`: right where the signal is weak,
    convex, and no maximum of the evidence. Hyper-priors of independent variances enter
    exactly: flat, Gamma, Exponential and InverseGamma in closed form, any other density by Newton's
    method in its logarithm. The noise variances follow the same rules.

    Under `Kronecker` (and `TemporalBasis` with its remainder) components, noise and remainder
    follow the same bounds, :math:`n q_k = \operatorname{tr} A_k^\top \alpha T \alpha^\top A_k`
    with :math:`\alpha = \Sigma^{-1} Y`. After every third update T and T_n take a step of Fisher
    scoring, which is taken back where it lowers the objective.

    Parameters
    ----------
    update : "mm" | "em" | "mackay" | "lowsnr"
        Which iteration: see below.
    tol : float | None
        Stop when the derivatives with respect to the log variances, summed, are below `tol` times
        half the number of data (and a step in time would bring less than 10 `tol` nats). None:
        take `max_iter` iterations, whatever happens; only then can the answer be differentiated
        by grad and mapped by vmap without waste.
    max_iter : int
        Evaluations of the covariance.
    accelerate : bool | int
        Anderson acceleration with a monotone safeguard, and its memory.

    Raises
    ------
    InputError
        For a prior or noise model that is not linear in its variances, variances that a hyper-prior
        ties together, a density that is unbounded, parameters out of range.

    References
    ----------
    Dempster, Laird and Rubin 1977, doi:10.1111/j.2517-6161.1977.tb01600.x; MacKay 1992,
    doi:10.1162/neco.1992.4.3.415; Wipf and Nagarajan 2009, doi:10.1016/j.neuroimage.2008.02.059;
    Hashemi et al. 2021, doi:10.1016/j.neuroimage.2021.118309; Friston et al. 2008,
    doi:10.1016/j.neuroimage.2007.09.048.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> rng = np.random.default_rng(0)
    >>> gain = rng.standard_normal((8, 12))
    >>> data = 3 * gain[:, [4]] @ rng.standard_normal((1, 30)) + rng.standard_normal((8, 30))
    >>> problem = ej.from_arrays(gain, data, noise_cov=1.0)
    >>> estimate = ej.solve(problem, ej.models.ARD(), ej.inference.EM())
    >>> int(np.argmax(estimate.hyper["gamma"]))
    4
    """

    update: str = eqx.field(static=True, default="mm")
    tol: Any = eqx.field(converter=scalar, default=1e-4)
    max_iter: int = eqx.field(static=True, default=2000)
    accelerate: bool | int = eqx.field(static=True, default=True)
    differentiable: ClassVar[bool] = True
    learns_noise: ClassVar[bool] = True
    takes_separable: ClassVar[bool] = True

    def __check_init__(self):
        if self.update not in UPDATES:
            raise InputError(f"update must be one of {UPDATES}, got {self.update!r}.")
        if self.tol is not None:
            check_positive(self.tol, "tol (None: exactly max_iter iterations)")
        if not (isinstance(self.max_iter, int) and self.max_iter >= 1):
            raise InputError(f"max_iter must be a positive integer, got {self.max_iter!r}.")
        if not (isinstance(self.accelerate, int) and 0 <= self.accelerate <= 50):
            raise InputError(f"accelerate must be bool or 0 to 50, got {self.accelerate!r}.")

    @property
    def no_gradient(self) -> str | None:
        """Why there is no gradient; None for a known number of iterations."""
        if self.tol is None:
            return None
        return (
            "EM with a tol stops when it has converged, and that loop has no gradient: pass "
            "tol=None, which takes max_iter iterations, or use inference.Evidence."
        )

    def check(self, setup: Setup) -> None:
        """Refuse priors, noise and densities that have no update."""
        check_prior(setup, "EM")
        if isinstance(setup.model, TemporalBasis) and setup.model.learned:
            raise InputError(setup.model.refusal("EM"))
        check_variances(setup, "EM")
        check_bounded(setup.model.distributions(ask(setup, lambda m: m.sizes)))
        check_start(setup)
        noise = setup.noise.noise if isinstance(setup.noise, InTime) else setup.noise
        if self.update == "lowsnr" and ask(setup, lambda m: isinstance(m, SeparableMarginal)):
            raise InputError(
                'update="lowsnr" is no maximum of the evidence, which covariances in time are '
                'learned by: use update="mm".'
            )
        if not isinstance(noise, LinearNoise):
            return
        if self.update == "lowsnr":
            raise InputError(
                'update="lowsnr" weighs sources by a noise covariance that is known: noise=None, '
                'or update="mm".'
            )
        check_bounded(noise.distributions() or ())

    @property
    def memory(self) -> int:
        """Differences that the acceleration keeps."""
        return MEMORY if self.accelerate is True else int(self.accelerate)

    def init(self, setup: Setup) -> State:
        """Start from the minimum norm solution or an earlier estimate."""
        theta = linear_marginal(setup).start_variances(earlier_hyper(setup))
        model = em_model(setup, self.update)
        point = model.at(jnp.maximum(jnp.log(theta), floor(theta)))
        trace = jnp.full(self.max_iter + 1, jnp.nan).at[0].set(point.value)
        times = model.now if isinstance(model, SeparableEMModel) else None
        carry = EMProgress(
            anderson_start(point, self.memory),
            times,
            trace,
            jnp.asarray(0),
            self._converged(model, point, times),
        )
        return State(setup, carry, model)

    def step(self, state: State) -> State:
        """Some iterations, about a second."""
        model, carry = state.fixed, state.carry
        if self.tol is None:
            carry = self._counted(model, carry)
        else:
            carry = self._until(model, carry, iterations_per_step(model, self.max_iter))
        return State(state.setup, carry, model)

    def _iterated(self, model: EMModel, carry: EMProgress) -> EMProgress:
        model = model.at_times(carry.times)
        now = anderson_step(model, carry.anderson)
        if self.tol is not None:  # else near-zero components would take ages to come back
            wants = possible_gain(model, now.point) > self.tol
            still = (_gradient(model, now.point) <= self.tol) & jnp.any(wants) & ~now.plain
            moved = leap(model, now.point, wants)
            now = eqx.tree_at(lambda w: w.trial, now, jnp.where(still, moved, now.trial))
        now, times = _climbed_in_time(model, now, carry)
        trace = carry.trace.at[carry.count + 1].set(now.point.value)
        converged = self._converged(model, now.point, times)
        return EMProgress(now, times, trace, carry.count + 1, converged)

    def _counted(self, model: EMModel, carry: EMProgress) -> EMProgress:
        """A known number of iterations; those beyond max_iter leave things as they are."""

        def body(carry, _):
            new = jax.checkpoint(lambda c: self._iterated(model, c))(carry)
            go = carry.count < self.max_iter
            return jax.tree.map(lambda a, b: jnp.where(go, a, b), new, carry), None

        return jax.lax.scan(body, carry, None, length=iterations_per_step(model, self.max_iter))[0]

    def _until(self, model: EMModel, carry: EMProgress, length: int) -> EMProgress:
        """As many iterations as are needed, at most `length`."""
        end = carry.count + length

        def go(carry):
            return (carry.count < end) & jnp.logical_not(self._stopped(carry))

        return jax.lax.while_loop(go, lambda c: self._iterated(model, c), carry)

    def n_chunks(self, setup: Setup) -> int | None:
        """Number of compiled steps, where the number of iterations is known."""
        if self.tol is not None:
            return None
        model = eqx.filter_eval_shape(lambda s: em_model(s, self.update), setup)
        return -(-self.max_iter // iterations_per_step(model, self.max_iter))

    def done(self, state: State) -> Any:
        """Converged, or no iterations left."""
        return self._stopped(state.carry)

    def finish(self, state: State) -> Estimate:
        """Posterior at the most probable variances."""
        carry, target = state.carry, linear_marginal(state.setup)
        model, point = state.fixed, carry.anderson.point
        theta = jnp.where(point.log > floor(point.log), jnp.exp(point.log), 0.0)
        hyper = target.unpack(theta) | model.time_hyper(carry.times)
        fixed = self.tol is None
        gradient = _gradient(model, point)
        diagnostics = Convergence(carry.trace, carry.count, gradient, carry.converged, fixed)
        ok = jnp.asarray(True) if fixed else carry.converged
        result = RESULT.where(ok, RESULT.successful, RESULT.not_converged)
        return point_estimate(target, hyper, "EM", diagnostics=diagnostics, result=result)

    def _stopped(self, carry: EMProgress):
        converged = jnp.asarray(False) if self.tol is None else carry.converged
        lost = jnp.logical_not(jnp.isfinite(carry.anderson.point.value))
        return converged | lost | (carry.count >= self.max_iter)

    def _converged(self, model: EMModel, point: Evaluation, times: TimeState | None):
        """Small derivatives, nothing near zero that wants to grow, nothing to gain in time."""
        tol = 1e-4 if self.tol is None else self.tol
        still = True if times is None else times.gain <= 10 * tol
        return (
            still & (_gradient(model, point) <= tol) & (jnp.max(possible_gain(model, point)) <= tol)
        )


def em_model(setup: Setup, update: str) -> EMModel:
    """What the iteration needs of a model, computed once."""
    target = linear_marginal(setup)
    if isinstance(target, SeparableMarginal):
        return separable_model(target, update, earlier_hyper(setup))
    return pooled_model(target, update)


def _climbed_in_time(model: EMModel, now: AndersonState, carry: EMProgress):
    """A step of the hyper-parameters in time after some of the variances."""
    if not model.learns_time:
        return now, carry.times

    def climb():
        point, times = model.climb(now.point, carry.times)
        # a plain update is not held against the point: it has to be that point's own
        trial = jnp.where(now.plain, point.log + point.move, now.trial)
        return eqx.tree_at(lambda s: (s.point, s.trial), now, (point, trial)), times

    turn = carry.count % UPDATES_PER_CLIMB == 0
    return jax.lax.cond(turn, climb, lambda: (now, carry.times))


def _gradient(model: EMModel, point: Evaluation) -> Scalar:
    """Sum of absolute derivatives, relative to half the number of data."""
    return jnp.sum(jnp.abs(point.gradient)) / (0.5 * model.n_columns * model.rank)


def iterations_per_step(model: EMModel, max_iter: int) -> int:
    """Iterations of about a second, at some 20 GFLOP/s."""
    length = int(np.clip(2e10 / model.operations, 5, 100))
    n_chunks = -(-max_iter // length)
    return -(-max_iter // n_chunks)
