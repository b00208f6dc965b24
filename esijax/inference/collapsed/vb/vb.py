r"""Variational Bayes of sources that are a product of two unknown factors."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from esijax._types import InputError, Scalar, check_positive, scalar
from esijax.estimate import RESULT, Diagnostics, Estimate
from esijax.inference.collapsed.answers import earlier_hyper
from esijax.inference.collapsed.em._sensor import Variances, floor
from esijax.inference.collapsed.vb._checks import check_waves
from esijax.inference.collapsed.vb._courses import WaveCourses, asked, courses, rescaled
from esijax.inference.collapsed.vb._maps import Maps, SpaceModel, maps_of, raised, wave_data
from esijax.inference.collapsed.vb._mixing import mixed, rows_that_count
from esijax.inference.collapsed.vb._model import (
    rest_cov,
    space_model,
    spatial_marginal,
    started,
    time_model,
)
from esijax.inference.collapsed.vb._time import TimeCarry, TimeModel, climbed
from esijax.inference.method import Method, Setup, State
from esijax.models._scope import under
from esijax.models.posteriors.waves import WavesPosterior


class Ascent(Diagnostics):
    """How the bound rose.

    Parameters
    ----------
    trace : (max_iter + 1,)
        Bound and log hyper-priors after each round; NaN where the iteration had ended.
    iterations : ()
        Rounds.
    converged : ()
    fixed : bool
        Whether the number of rounds was given.
    """

    trace: Float[Array, " _"]
    iterations: Int[Array, ""]
    converged: Bool[Array, ""]
    fixed: bool = eqx.field(static=True, default=False)

    @property
    def evidence_note(self) -> str:
        """It is a bound."""
        return "lower bound"

    def verdict(self) -> dict[str, Any]:
        """Numbers by name."""
        trace = np.asarray(self.trace)
        rises = np.diff(trace[np.isfinite(trace)])
        return {
            "converged": bool(self.converged),
            "iterations": int(self.iterations),
            "last_rise": float(rises[-1]) if len(rises) else None,
        }

    def doubts(self) -> tuple[str, ...]:
        """Say so where the rounds did not suffice."""
        if self.fixed or bool(self.converged) or int(self.iterations) < len(self.trace) - 1:
            return ()
        last = self.verdict()["last_rise"]
        return (
            f"not converged after {int(self.iterations)} rounds (the last raised the bound by "
            f"{last:.1e} nats): raise max_iter or tol",
        )


class VBProgress(eqx.Module):
    """Where the rounds stand: both factors, variances, covariance in time, objectives so far."""

    theta: Variances
    courses: WaveCourses
    time: TimeCarry
    maps: Maps
    trace: Float[Array, " _"]
    count: Int[Array, ""]
    converged: Bool[Array, ""]


class VB(Method):
    r"""Maps and waves of sources :math:`X = W \Phi`, both with their uncertainty.

    .. math::
       \log p(Y \mid \gamma, v, \theta) \ge \operatorname{E}_q \log \frac{p(Y \mid W, \Phi, v)\,
       p(W \mid \gamma)\, p(\Phi \mid \theta)}{q(W)\, q(\Phi)}

    for `ej.models.TemporalBasis` with `ej.models.Waves`. A round updates, each in closed form and
    none of them lowering the bound: the variances of components, noise and remainder (q(W) taken at
    its best for each value, convex bound), q(W), the scale that both factors share, the
    hyper-parameters of the covariance in time (Fisher scoring, shortened until the bound does not
    fall), q(Phi). q(W) and q(Phi) hold all correlations between waves, locations and times; only
    between the two factors there are none. Variances and hyper-parameters in time are their most
    probable values. It starts at the singular vectors of the filtered data.

    Parameters
    ----------
    tol : float | None
        Stop when a round raises the bound, hyper-priors included, by less than this, nats. None:
        take `max_iter` rounds, whatever happens.
    max_iter : int
        Rounds.
    updates : int
        Updates of the variances in a round.

    Raises
    ------
    InputError
        For another model, a prior in space or a noise model that is not linear in independent
        variances, a density that is unbounded, several trials, parameters out of range.

    Notes
    -----
    The evidence is the bound at the most probable variances: below the evidence there, and
    `ej.compare` says so. ``hyper["waves"]`` and ``hyper["waves_std"]`` (waves, times) are the
    waves and their standard deviations, strongest first, turned so that they are independent of
    each other under q; a rotation of all waves is not determined by data.

    References
    ----------
    Liu et al. 2019, doi:10.1109/TBME.2018.2890291; Wipf and Nagarajan 2009,
    doi:10.1016/j.neuroimage.2008.02.059.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> rng = np.random.default_rng(0)
    >>> gain = rng.standard_normal((8, 12))
    >>> course = np.exp(-0.5 * ((np.arange(40) - 20) / 5) ** 2)
    >>> data = 3 * gain[:, [4]] * course + rng.standard_normal((8, 40))
    >>> problem = ej.from_arrays(gain, data, noise_cov=1.0, sfreq=200.0)
    >>> waves = ej.models.Waves(1, ej.models.time.SquaredExponential(0.025))
    >>> model = ej.models.TemporalBasis(ej.models.ARD(), waves, rest=None)
    >>> estimate = ej.solve(problem, model, ej.inference.VB())
    >>> estimate.hyper["waves"].shape, int(np.argmax(estimate.hyper["gamma"]))
    ((1, 40), 4)
    """

    tol: Any = eqx.field(converter=scalar, default=1e-2)
    max_iter: int = eqx.field(static=True, default=500)
    updates: int = eqx.field(static=True, default=1)
    takes_separable: ClassVar[bool] = True
    learns_noise: ClassVar[bool] = True

    def __check_init__(self):
        if self.tol is not None:
            check_positive(self.tol, "tol (None: exactly max_iter rounds)")
        for name in ("max_iter", "updates"):
            value = getattr(self, name)
            if not (isinstance(value, int) and value >= 1):
                raise InputError(f"{name} must be a positive whole number, got {value!r}.")

    @property
    def no_gradient(self) -> str:
        """Why there is none."""
        return (
            "VB has no gradient (its modes have none where eigenvalues coincide): use Kronecker "
            "with inference.Evidence."
        )

    def check(self, setup: Setup) -> None:
        """Refuse models, noise and densities that have no update."""
        check_waves(setup)

    def init(self, setup: Setup) -> State:
        """Start from the minimum norm solution or an earlier estimate."""
        marginal, time = spatial_marginal(setup), time_model(setup)
        space = space_model(setup, marginal)
        theta, first, at = started(setup, space, time, marginal, earlier_hyper(setup))
        maps = maps_of(space, theta, first.law)
        trace = (
            jnp.full(self.max_iter + 1, jnp.nan).at[0].set(objective(space, theta, first, at, maps))
        )
        carry = VBProgress(theta, first, at, maps, trace, jnp.asarray(0), jnp.asarray(False))
        return State(setup, carry, (space, time))

    def step(self, state: State) -> State:
        """Some rounds, about a second."""
        space, time = state.fixed
        carry = state.carry
        end = carry.count + rounds_per_step(space, time, self.updates, self.max_iter)

        def go(carry):
            return (carry.count < end) & jnp.logical_not(self._stopped(carry))

        carry = jax.lax.while_loop(go, lambda c: self._round(space, time, c), carry)
        return State(state.setup, carry, state.fixed)

    def _round(self, space: SpaceModel, time: TimeModel, carry: VBProgress) -> VBProgress:
        """Update everything once."""
        theta, maps = carry.theta, carry.maps
        for _ in range(self.updates):
            theta = raised(space, theta, maps)
            maps = maps_of(space, theta, carry.courses.law)
        wanted = asked(*maps.moments(space.data))
        wanted, theta = rescaled(wanted, carry.time, theta, space)
        at = climbed(time, carry.time, wanted.strength, wanted.drive)
        rows = rows_that_count(space, theta, maps)
        last = carry.trace[carry.count]

        mixed_first = mixed(wanted, maps, at, rows)

        def tried(state):
            """Mixed first; as it was where the bound would fall."""
            n, *_ = state
            chosen = jax.tree.map(lambda a, b: jnp.where(n == 0, a, b), mixed_first, wanted)
            new = courses(chosen, at)
            found = maps_of(space, theta, new.law)
            return n + 1, new, found, objective(space, theta, new, at, found)

        first = (jnp.asarray(0), carry.courses, maps, jnp.asarray(-jnp.inf, last.dtype))
        _, new, maps, value = jax.lax.while_loop(
            lambda state: (state[0] < 2) & ~(state[3] >= last), tried, first
        )
        tol = 0.0 if self.tol is None else self.tol
        converged = value - carry.trace[carry.count] < tol
        trace = carry.trace.at[carry.count + 1].set(value)
        return VBProgress(theta, new, at, maps, trace, carry.count + 1, converged)

    def _stopped(self, carry: VBProgress):
        converged = jnp.asarray(False) if self.tol is None else carry.converged
        lost = jnp.logical_not(jnp.isfinite(carry.trace[carry.count]))
        return converged | lost | (carry.count >= self.max_iter)

    def done(self, state: State) -> Any:
        """Converged, or no rounds left."""
        return self._stopped(state.carry)

    def finish(self, state: State) -> Estimate:
        """Both factors at the last round."""
        setup, carry, (space, time) = state.setup, state.carry, state.fixed
        p, law, marginal = setup.problem, carry.courses.law, spatial_marginal(setup)
        theta = jnp.where(jnp.log(carry.theta) > floor(carry.theta), carry.theta, 0.0)
        gamma, noise, rest = space.apart(theta)
        hyper = marginal.unpack(jnp.concatenate([gamma, noise]))
        own = marginal.prior.source_cov(hyper, p)
        posterior = WavesPosterior(
            p.gain,
            own,
            rest_cov(setup, rest[0]) if space.rest is not None else None,
            carry.maps.space,
            wave_data(space, law),
            p.data,
            jnp.linalg.cholesky(space.sensor_noise(theta)),
            law,
        )
        at_samples = law if p.noise_time is None else law.of_columns(p.noise_time.root)
        mean, std = at_samples.apart()
        hyper = hyper | under("time", time.hyper(carry.time.free))
        if space.rest is not None:
            hyper = hyper | {"rest/gamma": rest}
        hyper = hyper | {"waves": mean[::-1], "waves_std": std[::-1]}
        fixed = self.tol is None
        ok = jnp.asarray(True) if fixed else carry.converged
        return Estimate(
            p,
            posterior,
            evidence=carry.maps.value - carry.courses.divergence + space.log_jacobian,
            hyper=hyper,
            diagnostics=Ascent(carry.trace, carry.count, carry.converged, fixed),
            result=RESULT.where(ok, RESULT.successful, RESULT.not_converged),
            model=f"TemporalBasis({marginal.name}, {setup.model.basis.name})",
            method="VB",
            notes=("the evidence is a lower bound (variational Bayes)",),
        )


def objective(
    space: SpaceModel, theta: Variances, new: WaveCourses, at: TimeCarry, maps: Maps
) -> Scalar:
    """The bound with q(W) at its best, and the log hyper-priors."""
    bound = maps.value - new.divergence + space.log_jacobian
    return bound + space.prior.value(theta) + at.log_prior


def rounds_per_step(space: SpaceModel, time: TimeModel, updates: int, max_iter: int) -> int:
    """Rounds of about a second, at some 10 GFLOP/s."""
    rank, n_times = len(space.data), len(time.times)
    leaves = jax.tree.leaves((space.source, space.noise, space.rest))
    columns = sum(leaf.size for leaf in leaves) / rank
    cost = (updates + 1) * rank**2 * (4 * columns + 20 * rank) + 30 * n_times**3
    return int(np.clip(1e10 / cost, 1, min(50, max_iter)))
