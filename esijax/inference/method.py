"""How a method is driven: `solve`, with progress, Ctrl-C, checkpoints, and under jit.

A method is `init`, `step`, `done`, `finish`; a direct one needs only `finish`. With concrete
inputs `solve` is a host loop over the compiled step; under jit, vmap or grad it is one
`lax.while_loop`.
"""

import abc
import dataclasses
import functools
import warnings
from pathlib import Path
from typing import Any, ClassVar

import equinox as eqx
import jax
from tqdm.auto import tqdm

from esijax._ops.forward_only import forward_only
from esijax._types import EsijaxWarning, InputError, is_traced, prng_key
from esijax.estimate import RESULT, Estimate, combine_notes
from esijax.inference._checkpoint import Checkpoint
from esijax.inference._compiled import compiled
from esijax.inference._resolve import resolved
from esijax.models.noise import Noise, Robust, White
from esijax.models.penalties import Penalty
from esijax.models.priors.prior import Prior
from esijax.posterior import Posterior
from esijax.problem import Labels, Problem


class Setup(eqx.Module):
    """What a method is given; it does not change from step to step."""

    problem: Problem
    model: Any
    noise: Any = None
    key: Any = None
    start: Estimate | None = None


class State(eqx.Module):
    """A method on its way: the setup, what each step replaces, and what `init` worked out."""

    setup: Setup
    carry: Any = None
    fixed: Any = None


class Method(eqx.Module):
    """One way to compute a posterior.

    Subclasses give `finish`, and `init`, `step`, `done` where they iterate. `step` is pure, has
    fixed shapes and takes about a second.
    """

    differentiable: ClassVar[bool] = False
    needs_key: ClassVar[bool] = False
    learns_noise: ClassVar[bool] = False
    takes_robust: ClassVar[bool] = False
    grows: ClassVar[bool] = False  # whether arrays of the state do
    takes_data_cov: ClassVar[bool] = False  # as a field `data_cov`

    @property
    def direct(self) -> bool:
        """Whether `finish` is all there is: no steps to show, nothing to keep in a checkpoint."""
        return type(self).done is Method.done

    @property
    def no_gradient(self) -> str | None:
        """Why jax.grad cannot pass through this method; None where it can."""
        return None if self.differentiable else f"{type(self).__name__} has no gradient."

    def check(self, setup: Setup) -> None:
        """Raise InputError for a model or noise that this method does not take."""

    def prepare(self, problem: Problem) -> "Method":  # noqa: ARG002
        """Bring what was given by channel name into the problem's order."""
        return self

    def init(self, setup: Setup) -> State:
        """First state."""
        return State(setup)

    def whole(self, setup: Setup) -> State | None:  # noqa: ARG002
        """Final state within a transformation, for a method with a derivative rule of its own."""
        return None

    def step(self, state: State) -> State:
        """Next state."""
        return state

    def advance(self, state: State) -> State:
        """Next state on the host, where values are known; by default the compiled `step`."""
        return _step(self, state)

    def kept(self, state: State) -> State:
        """What `finish` is given of a state that was interrupted."""
        return state

    def n_chunks(self, setup: Setup) -> int | None:  # noqa: ARG002
        """How many steps there are, where that is known: the loop then has a gradient."""
        return None

    def done(self, state: State) -> Any:  # noqa: ARG002
        """Tell whether the state is final."""
        return True

    @abc.abstractmethod
    def finish(self, state: State) -> Estimate:
        """Turn a state, final or interrupted, into an estimate."""


def solve(
    problem: Problem,
    model,
    method: Method,
    *,
    noise=None,
    init: Estimate | None = None,
    key=None,
    progress: bool = False,
    checkpoint: str | Path | None = None,
    throw: bool = True,
) -> Estimate:
    """Compute the posterior of the sources.

    Parameters
    ----------
    problem : Problem
        From `from_mne` or `from_arrays`.
    model : prior | None
        What is assumed of the sources (`esijax.models`); None for methods that assume nothing.
    method : Method
        How it is computed (`esijax.inference`).
    noise : noise model of `esijax.models.noise`, optional
        What is learned of the sensor noise; None: it is N(0, noise_cov / nave).
    init : Estimate, optional
        Where an iterative method starts: any earlier estimate; by default the analytic answer of
        the minimum norm family.
    key : PRNG key | int, optional
        Needed by stochastic methods; a whole number stands for `jax.random.key` of it.
    progress : bool
        Show a progress bar of the steps.
    checkpoint : path, optional
        File that an iterative method resumes from and writes to after each step.
    throw : bool
        Raise InputError where the answer is not finite, instead of returning it.

    Returns
    -------
    estimate : Estimate

    Raises
    ------
    InputError
        For a model that the method does not take, a missing key, an answer that is not finite.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> gain = np.random.default_rng(0).standard_normal((8, 12))
    >>> problem = ej.from_arrays(gain, gain[:, :3], noise_cov=0.1)
    >>> ej.solve(problem, ej.models.MinimumNorm("evidence"), ej.inference.Linear()).std.shape
    (12, 1, 1)
    """
    method, setup = posed(problem, model, method, noise=noise, init=init, key=key)
    if is_traced((problem, model, method, noise, init, key)):
        final = method.whole(setup)
        final = _loop(method, method.init(setup)) if final is None else final
        estimate = method.finish(final)
        if method.no_gradient is not None:
            estimate = forward_only(estimate, method.no_gradient)
        return dataclasses.replace(estimate, problem=problem)
    return judged(problem, setup, _host_loop(method, setup, progress, checkpoint), throw)


def posed(problem, model, method, *, noise=None, init=None, key=None) -> tuple["Method", Setup]:
    """What is computed: checked, prepared, without the names."""
    _check_arguments(problem, model, method, noise, init, key)
    key = None if key is None else prng_key(key)
    method = method.prepare(problem)
    # names stay outside the compiled part: another subject or condition must not retrace
    core = dataclasses.replace(problem, labels=Labels((), (), surf_ori=problem.labels.surf_ori))
    noise = None if noise is None else noise.prepare(problem)
    model = resolved(_seen(core, noise), model)
    if isinstance(model, Prior | Penalty):
        model = model.prepare(problem)
    start = None if init is None else dataclasses.replace(init, problem=core, notes=())
    setup = Setup(core, model, noise, key, start)
    method.check(setup)
    return method, setup


def judged(problem: Problem, setup: Setup, estimate: Estimate, throw: bool = True) -> Estimate:
    """Put the names back, and say what is to be doubted."""
    notes = combine_notes(problem.labels.notes, estimate.notes, problem.labels.remarks)
    estimate = dataclasses.replace(estimate, problem=problem, notes=notes)
    _check_answer(estimate, throw, whole=not isinstance(setup.noise, Robust))
    return _judged(estimate)


def _seen(problem: Problem, noise: Noise | None) -> Problem:
    """The problem whose shares of alpha_max are meant: without what robust noise takes off."""
    if not isinstance(noise, Robust):
        return problem
    return dataclasses.replace(problem, data=noise.pulled(problem.data))


def _check_noise(method: "Method", noise: Noise | None) -> None:
    """Raise InputError for noise that the method does not take."""
    if isinstance(noise, Robust):
        if not method.takes_robust:
            raise InputError(
                f"{type(method).__name__} does not take {type(noise).__name__} noise: "
                "esijax.inference.MAP with a penalty does."
            )
        return
    if not (method.learns_noise or noise is None or isinstance(noise, White)):
        raise InputError(
            f"{type(method).__name__} takes the noise covariance as it is: noise=None, or a method "
            "that learns the noise (EM, Evidence, Laplace, SVI, NUTS)."
        )


def _check_arguments(problem, model, method, noise, init, key) -> None:
    if not isinstance(problem, Problem):
        raise TypeError(
            f"problem must be an esijax Problem (from_mne, from_arrays), got {type(problem)}."
        )
    if not isinstance(method, Method):
        raise TypeError(f"method must be one of esijax.inference, e.g. Linear(), got {method!r}.")
    if model is not None and not isinstance(model, eqx.Module):
        raise TypeError(
            f"model must be one of esijax.models, e.g. MinimumNorm(), or None, got {model!r}."
        )
    if noise is not None and not isinstance(noise, Noise):
        raise TypeError(f"noise must be one of esijax.models.noise or None, got {noise!r}.")
    _check_noise(method, noise)
    _check_same_sources(problem, init)
    if method.needs_key and key is None:
        raise InputError(
            f"{type(method).__name__} draws random numbers: pass key=jax.random.key(0)."
        )
    _check_precision(problem)


def _check_same_sources(problem: Problem, init: Estimate | None) -> None:
    """Refuse an earlier estimate of other sources: its variances belong to other places."""
    if init is None:
        return
    if not isinstance(init, Estimate):
        raise TypeError(f"init must be an earlier Estimate or None, got {type(init).__name__}.")
    has, wants = ((p.n_locations, p.n_orients) for p in (init.problem, problem))
    if has != wants:
        raise InputError(
            f"init is an estimate of {has[0]} locations x {has[1]} orients, the problem has "
            f"{wants[0]} x {wants[1]}: give an estimate of the same sources, or none."
        )


def _check_precision(problem: Problem) -> None:
    now, made = jax.numpy.zeros(()).dtype, problem.gain.dtype
    if made != now:
        raise InputError(
            f"the problem was made in {made} and JAX computes in {now} now: set jax_enable_x64 "
            "first and make the problem after that."
        )
    if made == "float32":
        _warn_single_precision()


@functools.cache
def _warn_single_precision() -> None:
    warnings.warn(
        "esijax runs in float32 (expect 1e-3 accuracy): call "
        "jax.config.update('jax_enable_x64', True) before making the problem.",
        EsijaxWarning,
        stacklevel=4,
    )


def _loop(method: Method, state: State) -> State:
    """The iterations as one compiled loop."""
    setup = state.setup
    if method.done(state) is True:
        return state
    dynamic, static = eqx.partition(state.carry, eqx.is_array)

    def whole(carry):
        return State(setup, eqx.combine(carry, static), state.fixed)

    def body(carry):
        return eqx.filter(method.step(whole(carry)).carry, eqx.is_array)

    n_chunks = method.n_chunks(setup)
    if n_chunks is not None:
        final = jax.lax.scan(lambda carry, _: (body(carry), None), dynamic, length=n_chunks)[0]
        return whole(final)

    def go(carry):
        return jax.numpy.logical_not(method.done(whole(carry)))

    return whole(jax.lax.while_loop(go, body, dynamic))


def _host_loop(method: Method, setup: Setup, progress: bool, checkpoint) -> Estimate:
    kept = None if checkpoint is None else Checkpoint(checkpoint, method, setup, method.grows)
    result = None
    with tqdm(disable=not progress, desc=type(method).__name__, unit="step") as bar:
        state = begun(method, setup)
        if kept is not None and method.done(state) is not True:
            state = kept.restore(state)
        try:
            while not bool(method.done(state)):
                state = method.advance(state)
                jax.block_until_ready(jax.tree.leaves(eqx.filter(state.carry, eqx.is_array)))
                bar.update()
                if kept is not None:
                    kept.store(state)
        except KeyboardInterrupt:
            result = RESULT.interrupted
            state = method.kept(state)
    estimate = ended(method, state)
    return estimate if result is None else dataclasses.replace(estimate, result=result)


@compiled
def begun(method: Method, setup: Setup) -> State:
    """First state, on the host."""
    return method.init(setup)


@compiled
def _step(method: Method, state: State) -> State:
    return method.step(state)


@compiled
def ended(method: Method, state: State) -> Estimate:
    """Answer of the last state."""
    return method.finish(state)


def _judged(estimate: Estimate) -> Estimate:
    """Store and say what the method doubts of its own answer."""
    doubts = () if estimate.diagnostics is None else estimate.diagnostics.doubts()
    if not doubts:
        return estimate
    warnings.warn(f"{estimate.method}: {'; '.join(doubts)}.", EsijaxWarning, stacklevel=4)
    notes = combine_notes(estimate.notes, doubts)
    fine = estimate.result == RESULT.successful
    result = RESULT.where(fine, RESULT.doubtful, estimate.result)
    return dataclasses.replace(estimate, notes=notes, result=result)


@eqx.filter_jit
def _is_finite(posterior: Posterior):
    """Whether all that the answer is made of is finite."""
    leaves = jax.tree.leaves(eqx.filter(posterior, eqx.is_inexact_array))
    return jax.numpy.stack([jax.numpy.isfinite(x).all() for x in leaves]).all()


def _check_answer(estimate: Estimate, throw: bool, whole: bool) -> None:
    explained = estimate.explained_variance
    probe = estimate.posterior.probe() if explained is None else explained
    ok = bool(jax.numpy.isfinite(probe) & _is_finite(estimate.posterior))
    if not ok and throw:
        raise InputError(
            "the answer is not finite: the data, the noise covariance or the lead field hold "
            "values that no arithmetic survives (throw=False of ej.solve returns it all the same)."
        )
    # a single location explains what it can; robust noise leaves artefacts unexplained
    several = estimate.problem.n_locations > 1 and whole
    if ok and several and explained is not None and 0 < abs(float(explained)) < 0.05:
        warnings.warn(
            f"the map explains {100 * float(explained):.1f} % of the whitened data: weak signal, "
            "or channels that do not belong to the rows of the lead field.",
            EsijaxWarning,
            stacklevel=4,
        )
