"""`solve`: one problem, one model, one method, one estimate."""

import dataclasses
import warnings
from pathlib import Path

import equinox as eqx
import jax

from esijax._ops.forward_only import forward_only
from esijax._types import EsijaxWarning, InputError, is_traced, prng_key
from esijax.at_samples import at_samples, turned
from esijax.estimate import RESULT, Estimate, combine_notes
from esijax.inference._arguments import check_arguments
from esijax.inference._loops import host_loop, traced_loop
from esijax.inference._oversampled import oversampled
from esijax.inference._resolve import resolved
from esijax.inference.method import Method, Setup
from esijax.models.noise import Noise, Robust
from esijax.models.penalties import Penalty
from esijax.models.priors.prior import Prior
from esijax.models.temporal.basis import FROM_DATA, TemporalBasis
from esijax.noise_time import NoiseTime
from esijax.posterior import Posterior
from esijax.problem import Labels, Problem


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
    method, setup = prepare_inputs(problem, model, method, noise=noise, init=init, key=key)
    if is_traced((problem, model, method, noise, init, key)):
        final = method.solve_traced(setup)
        final = traced_loop(method, setup) if final is None else final
        estimate = method.finish(final)
        if method.no_gradient is not None:
            estimate = forward_only(estimate, method.no_gradient)
        return _of_problem(problem, setup, estimate)
    estimate = host_loop(method, setup, progress, checkpoint)
    return finish_estimate(problem, setup, estimate, throw)


def prepare_inputs(
    problem, model, method, *, noise=None, init=None, key=None
) -> tuple[Method, Setup]:
    """Check the inputs of `solve`, prepare model and noise, and leave out the names."""
    check_arguments(problem, model, method, noise, init, key)
    key = None if key is None else prng_key(key)
    method = method.prepare(problem)
    # names stay outside the compiled part: another subject or condition must not retrace
    core = dataclasses.replace(problem, labels=Labels((), (), surf_ori=problem.labels.surf_ori))
    if noise is not None:
        noise = noise.prepare(problem)
    elif isinstance(model, Prior):
        noise = model.default_noise(problem)
    whole = problem
    if isinstance(model, TemporalBasis):
        placed = model.placed(problem)
        if placed.in_columns(noise):
            core, model = placed.columns(core), model.model
            whole = dataclasses.replace(core, labels=problem.labels)
        elif not method.takes_separable:
            raise InputError(model.refusal(type(method).__name__))
    model = resolved(_without_outliers(core, noise), model)
    if isinstance(model, Prior | Penalty):
        model = model.prepare(whole)
    start = None if init is None else _start(core, init, problem.noise_time)
    setup = Setup(core, model, noise, key, start)
    method.check(setup)
    return method, setup


def _start(core: Problem, init: Estimate, noise_time: NoiseTime | None) -> Estimate:
    """An earlier estimate without what is of no use for a start; its samples are its own."""
    basis = core.basis
    if basis is not None and init.problem.n_times == basis.rows.shape[1]:
        samples = at_samples(init.posterior, init.problem.noise_time)
        back = basis.rows.T if noise_time is None else noise_time.inverse @ basis.rows.T
        return dataclasses.replace(init, problem=core, posterior=turned(samples, back), notes=())
    problem = dataclasses.replace(core, noise_time=init.problem.noise_time)
    return dataclasses.replace(init, problem=problem, notes=())


def _of_problem(problem: Problem, setup: Setup, estimate: Estimate) -> Estimate:
    """The answer at the columns of the caller's problem."""
    basis, model = setup.problem.basis, setup.model
    if basis is not None:
        name = f"TemporalBasis({estimate.model}, {basis.name})"
        posterior = turned(estimate.posterior, basis.rows)
        notes = combine_notes(estimate.notes, basis.notes)
        estimate = dataclasses.replace(estimate, posterior=posterior, model=name, notes=notes)
    elif isinstance(model, TemporalBasis):
        estimate = dataclasses.replace(estimate, notes=combine_notes(estimate.notes, model.notes))
    evidence = None if FROM_DATA in estimate.notes else estimate.evidence
    return dataclasses.replace(estimate, problem=problem, evidence=evidence)


def finish_estimate(
    problem: Problem, setup: Setup, estimate: Estimate, throw: bool = True
) -> Estimate:
    """Put the names back, refuse what is not finite, warn of what the method doubts."""
    estimate = _of_problem(problem, setup, estimate)
    assumed = setup.noise.notes if isinstance(setup.noise, Noise) else ()
    own = combine_notes(estimate.notes, oversampled(setup, estimate))
    notes = combine_notes(problem.labels.notes, assumed, own, problem.labels.remarks)
    known = estimate.diagnostics
    known = None if known is None else known.with_ch_names(problem.labels.ch_names)
    estimate = dataclasses.replace(estimate, notes=notes, diagnostics=known)
    _check_answer(estimate, throw, explains_all=not isinstance(setup.noise, Robust))
    return _with_doubts(estimate)


def _without_outliers(problem: Problem, noise: Noise | Robust | None) -> Problem:
    """Data whose alpha_max `relative` means: without what a robust data term takes off."""
    if not isinstance(noise, Robust):
        return problem
    return dataclasses.replace(problem, data=noise.gradient(problem.data))


def _with_doubts(estimate: Estimate) -> Estimate:
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


def _check_answer(estimate: Estimate, throw: bool, explains_all: bool) -> None:
    explained = estimate.explained_variance
    probe = estimate.posterior.probe() if explained is None else explained
    ok = bool(jax.numpy.isfinite(probe) & _is_finite(estimate.posterior))
    if not ok and throw:
        raise InputError(
            "the answer is not finite: the data, the noise covariance or the lead field hold "
            "values that no arithmetic survives (throw=False of ej.solve returns it all the same)."
        )
    # a single location explains what it can; robust noise leaves artefacts unexplained
    several = estimate.problem.n_locations > 1 and explains_all
    if ok and several and explained is not None and 0 < abs(float(explained)) < 0.05:
        warnings.warn(
            f"the map explains {100 * float(explained):.1f} % of the whitened data: weak signal, "
            "or channels that do not belong to the rows of the lead field.",
            EsijaxWarning,
            stacklevel=4,
        )
