"""Simulation-based calibration of a prior, a noise model and a method on a problem."""

import dataclasses
import itertools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from esijax._types import InputError
from esijax.inference.method import Method
from esijax.inference.solve import solve
from esijax.metrics.calibration.ranks import ranks
from esijax.metrics.calibration.result import Calibration
from esijax.models.marginals import JointDraw, Marginal
from esijax.models.priors.prior import Prior
from esijax.problem import Problem


class Assumed(eqx.Module):
    """A prior and a noise model on a problem: what can be drawn, and what draws are worth."""

    problem: Problem
    prior: Any
    noise: Any
    locations: tuple[int, ...] = eqx.field(static=True)
    times: tuple[int, ...] = eqx.field(static=True)

    def marginal(self, data: Array) -> Marginal:
        """The model of the hyper-parameters for these whitened data."""
        return self.prior.marginal(with_white_data(self.problem, data), self.noise)

    def simulate(self, key: PRNGKeyArray) -> JointDraw:
        """Draw hyper-parameters, sources and data."""
        return self.prior.marginal(self.problem, self.noise).simulate(key)

    def log_likelihood(self, sources: Array, data: Array) -> Array:
        """Log density of whitened data at the chosen times given (locations, orients, times).

        Up to a constant, and for unit noise: a test quantity may be any function.
        """
        left = data[:, jnp.array(self.times)] - jnp.tensordot(self.problem.gain, sources, axes=2)
        return -0.5 * jnp.sum(left**2)

    def ranked(self, hyper: dict[str, Array], lead: int = 0) -> dict[str, Array]:
        """Leave those entries that are ranked: of arrays over locations, the chosen ones."""
        at = np.array(self.locations)
        n = self.problem.n_locations
        return {
            name: jnp.take(v, at, axis=lead) if v.ndim > lead and v.shape[lead] == n else v
            for name, v in hyper.items()
        }


class Simulate(eqx.Module):
    """Hyper-parameters, sources and data from the model."""

    assumed: Assumed

    def __call__(self, key: PRNGKeyArray) -> tuple[dict[str, Array], Array]:
        """Give what is ranked, and whitened data."""
        assumed = self.assumed
        hyper, sources, data = assumed.simulate(key)
        moments = sources[..., jnp.array(assumed.times)]
        theta = {
            **assumed.ranked(hyper),
            "source": moments[jnp.array(assumed.locations)],
            "log_likelihood": assumed.log_likelihood(moments, data),
            "log_evidence": assumed.marginal(data).log_evidence(hyper),
        }
        return theta, data


class Fit(eqx.Module):
    """The method on simulated data: draws of sources, and of hyper-parameters where it has them."""

    truth: Assumed
    prior: Any
    noise: Any
    method: Method
    draws: int = eqx.field(static=True)

    def __call__(self, key: PRNGKeyArray, data: Array) -> dict[str, Array]:
        """Solve and draw."""
        truth, problem = self.truth, self.truth.problem
        k_solve, k_hyper, k_draw = jax.random.split(key, 3)
        known = with_white_data(problem, data)
        estimate = solve(known, self.prior, self.method, noise=self.noise, key=k_solve)
        # a noise-normalised map has no unit: the same posterior in A m has
        estimate = dataclasses.replace(estimate, norm=None)
        sources = estimate.sample(k_draw, self.draws, at=(None, truth.times)) / problem.source_unit
        drawn = {
            "source": sources[:, jnp.array(truth.locations)],
            "log_likelihood": jax.vmap(lambda x: truth.log_likelihood(x, data))(sources),
        }
        wanted = eqx.filter_eval_shape(truth.simulate, k_hyper).hyper
        hyper = {
            name: jnp.asarray(estimate.hyper[name])
            for name, value in wanted.items()
            if name in estimate.hyper and jnp.ndim(estimate.hyper[name]) == value.ndim + 1
        }
        if hyper and len(hyper) == len(wanted):  # all of them: their log-evidence too
            drawn["log_evidence"] = jax.vmap(truth.marginal(data).log_evidence)(hyper)
        return {**truth.ranked(hyper, lead=1), **drawn}


def sbc(
    prior: Any,
    noise: Any,
    method: Method,
    problem: Any,
    n: int = 1000,
    *,
    key: PRNGKeyArray,
    draws: int = 99,
    locations: Any = None,
    times: Any = None,
    fitted: tuple[Any, Any] | None = None,
    **options: Any,
) -> Calibration:
    r"""Check that a method's posterior is the one its prior and noise imply.

    .. math::
       \theta \sim p(\theta), \quad X \sim N(0, R(\theta)), \quad Y = G X + E, \quad
       E \sim N(0, N(\theta)), \qquad \text{then rank } \theta, X \text{ among draws given } Y

    Ranked are the hyper-parameters that the method draws, the sources at a few locations and
    times, and two quantities that depend on the data: the log-likelihood of the sources and the
    log-evidence of the hyper-parameters.

    Parameters
    ----------
    prior : prior of `esijax.models`
        ``lambda2`` as a number: a rule that looks at the data says not where data come from.
    noise : noise model | None
        None is the noise covariance of the problem.
    method : Method
        The method.
    problem : Problem
        Lead field, noise and number of samples; its data are not used. Some hundred locations
        tell as much as some thousand, and sooner.
    n : int
        Data sets.
    key : PRNG key
        Of the random numbers.
    draws : int
        Posterior draws of the sources for each.
    locations, times : sequence of int, optional
        Where sources are ranked, and hyper-parameters that have one entry per location: by
        default at four locations and the middle sample. Names of sources are
        ``source[location,orient,time]``; other arrays are numbered in the order of `locations`.
    fitted : (prior, noise), optional
        What the fit assumes instead: a wrong one must be caught.
    **options
        For `ranks`: thin, batch_size, threads, progress.

    Returns
    -------
    calibration : Calibration

    Raises
    ------
    InputError
        For a prior that cannot be drawn from, locations or times that the problem lacks, too
        few draws.

    References
    ----------
    Talts et al. 2018, doi:10.48550/arXiv.1804.06788; Modrák et al. 2023, doi:10.1214/23-BA1404.

    Examples
    --------
    >>> import jax, numpy as np, esijax as ej
    >>> gain = np.random.default_rng(0).standard_normal((6, 9))
    >>> problem = ej.from_arrays(gain, gain[:, :2], noise_cov=0.1)
    >>> prior, method = ej.models.MinimumNorm(), ej.inference.Linear()
    >>> ej.metrics.sbc(prior, None, method, problem, 100, key=jax.random.key(0)).passes()
    True
    """
    if not isinstance(problem, Problem):
        raise InputError(
            f"problem must be an esijax Problem (from_mne, from_arrays), got {type(problem)}."
        )
    if not isinstance(prior, Prior):
        raise InputError(f"sbc draws sources from the prior, and {prior!r} has none to draw from.")
    if draws < 2:
        raise InputError(f"draws must be at least 2, got {draws}.")
    spread = np.linspace(0, problem.n_locations - 1, 4).round().astype(int)
    where = _chosen(locations, spread, problem.n_locations, "locations")
    when = _chosen(times, [problem.n_times // 2], problem.n_times, "times")
    for model in (prior,) if fitted is None else (prior, fitted[0]):
        rule = getattr(model, "lambda2", None)
        if isinstance(rule, str):
            raise InputError(f"lambda2 must be a number here: {rule!r} is no prior to draw from.")
    assumed = [_prepared(model, problem) for model in (prior, noise)]
    if problem.data.ndim == 3:  # one recording as long as each of the trials
        problem = problem.with_data(problem.recording[0])
    truth = Assumed(problem, *assumed, where, when)
    other = assumed if fitted is None else [_prepared(model, problem) for model in fitted]
    fit = Fit(truth, *other, method, draws)
    result = ranks(Simulate(truth), fit, n, key=key, **options)
    # the ranks number what was chosen; the reader wants the problem's own numbers
    places = itertools.product(where, range(problem.n_orients), when)
    names = [
        "source[{},{},{}]".format(*next(places)) if name.startswith("source[") else name
        for name in result.names
    ]
    return dataclasses.replace(result, names=tuple(names))


def with_white_data(problem: Problem, data: Array) -> Problem:
    """The same problem for other whitened data, whose columns are the samples."""
    return problem.with_noise_time(None).with_data(problem.whitener.colorer @ data)


def _prepared(model: Any, problem: Problem) -> Any:
    """Prior or noise that knows the problem."""
    return model.prepare(problem) if hasattr(model, "prepare") else model


def _chosen(index: Any, default: Any, n: int, what: str) -> tuple[int, ...]:
    """Indices as plain integers, each once."""
    index = np.unique(np.asarray(default if index is None else index))
    if index.dtype.kind not in "iu" or index.size == 0 or index[0] < 0 or index[-1] >= n:
        raise InputError(f"{what} must be integers from 0 to {n - 1}, got {index}.")
    return tuple(map(int, index))
