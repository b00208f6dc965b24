"""The whole card of one estimate."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, PRNGKeyArray

from esijax._types import InputError, scalar
from esijax.estimate import Estimate
from esijax.metrics import course, region
from esijax.metrics.card import Grid, SourceMap, score_map
from esijax.metrics.grid import distance_to_active
from esijax.metrics.localisation import earth_mover, matched_error
from esijax.posterior import scaled_members
from esijax.problem import Problem

_AMPLITUDES = ("width_", "crps_", "interval_score_")


def score(
    estimate: Estimate,
    truth_sources: Float[ArrayLike, "locations orients times"],
    active: ArrayLike,
    centres: Float[ArrayLike, "sources 3"],
    *,
    at: Any = "peak",
    radius: Any = 0.02,
    threshold: Any = 0.5,
    share: Any = 0.01,
    emd: bool = False,
    key: PRNGKeyArray | None = None,
    draws: int = 200,
) -> dict[str, float]:
    r"""All scores of one estimate; on the host around a compiled core.

    Scores of uncertainty are there where the method has a posterior standard deviation of the
    sources (a beamformer's is sensor noise through its filter); the map of a noise-normalised
    estimate has no unit, and the truth is divided by the same numbers.

    Parameters
    ----------
    estimate : Estimate
        Of an average, with positions.
    truth_sources : (locations, orients, times)
        A m, on the grid and in the orients of the problem.
    active : bool, (locations,)
        Where the truth is active.
    centres : (sources, 3)
        Positions of the true sources, m.
    at : "peak" | "mean" | int
        The sample at which the whitened data have most power (chosen from the data: a sample
        chosen by the truth would spoil the coverage of any method); the mean over time, whose
        posterior variance is that of one sample over the number of samples; or a sample.
    radius, threshold, share : float
        As of `score_map`.
    emd : bool
        Whether to add the earth mover's distance (seconds, needs POT).
    key : PRNG key, optional
        With it the 90 % region of the peak is made from posterior draws and scored.
    draws : int
        How many.

    Returns
    -------
    scores : dict of float
        As `score_map` names them, amplitudes in nA m (``_nAm``) where the map has a unit, and
        densities per nA m; and
        ``matched_error_mm`` (mean over sources), ``emd_mm``, ``course_correlation`` (mean over
        active sources), ``course_explained_variance`` (active sources, all samples),
        ``region_90_holds``, ``region_90_cm2``.

    Raises
    ------
    InputError
        If shapes do not fit, positions are missing, the estimate has trials, or there is no such
        time.

    References
    ----------
    Those of the functions that are called.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> rng = np.random.default_rng(0)
    >>> gain, truth = rng.standard_normal((8, 12)), np.zeros((12, 1, 3))
    >>> truth[4] = 1.0
    >>> positions = 0.05 * rng.standard_normal((12, 3))
    >>> problem = ej.from_arrays(gain, gain @ truth[:, 0], noise_cov=0.1, positions=positions)
    >>> estimate = ej.solve(problem, ej.models.MinimumNorm(), ej.inference.Linear())
    >>> card = ej.metrics.score(estimate, truth, np.arange(12) == 4, positions[4:5])
    >>> sorted(card)[:2]
    ['auc', 'auc_close']
    """
    problem = estimate.problem
    truth, active, centres = _checked_truth(problem, truth_sources, active, centres)
    grid, when = _grid_of_problem(problem), _when(at, problem)
    if when is None and _goes_together(estimate):
        raise InputError(
            "at='mean' takes samples as independent, and in this model they go together: score "
            "one; label(..., window=) has means of a region."
        )
    mean = np.asarray(estimate.mean)
    truth = truth * np.asarray(estimate.scale / problem.source_unit)
    std = _spread(estimate, mean.shape)
    if mean.shape != truth.shape:  # a beamformer with one orient: sizes alone can be compared
        mean, truth = (np.linalg.norm(x, axis=1, keepdims=True) for x in (mean, truth))
        std = None
    here = _at(when, mean, truth, std)
    members = _members(estimate, when) if std is not None else (None, None)
    source_map = SourceMap(
        here[0],
        here[1],
        jnp.asarray(active),
        jnp.asarray(centres),
        here[2] if members[0] is None else _mixture_std(*members),
        estimate.prob_active,
        *members,
    )
    core = score_map(source_map, grid, *map(scalar, (radius, threshold, share)))
    out = {name: float(value) for name, value in jax.device_get(core).items()}
    out |= _source_scores(source_map, grid, emd) | _courses(mean[active], truth[active])
    if key is not None and std is not None:
        out |= _peak_region(estimate, source_map, grid, when, key, draws)
    return _with_units(out, estimate)


def score_sizes(
    problem: Problem,
    mean: Any,
    truth_sources: Float[ArrayLike, "locations orients times"],
    active: ArrayLike,
    centres: Float[ArrayLike, "sources 3"],
    *,
    at: Any = "peak",
    emd: bool = False,
) -> dict[str, float]:
    """Scores that can be asked of any map, whatever its unit and without uncertainty.

    Lengths of the vectors count, after the choice of the sample or the mean over time, so that
    programs with other orientations can be compared.

    Parameters
    ----------
    problem : Problem
        Its data, grid and times.
    mean : (locations, kept, times)
        The map, of as many components as the program gives.
    truth_sources, active, centres, at, emd : arrays, int, bool
        As of `score`.

    Returns
    -------
    scores : dict of float
        Those of `score_map` that need no unit; ``outside_mm``, from the peak to the nearest
        active location; ``matched_error_mm``; ``size_correlation``, of the active sources'
        lengths over time (signed where both have one component), 0 for a map that is silent there.

    Raises
    ------
    InputError
        If shapes do not fit or positions are missing.

    References
    ----------
    Those of the functions that are called.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> rng = np.random.default_rng(0)
    >>> gain, truth = rng.standard_normal((8, 12)), np.zeros((12, 1, 3))
    >>> truth[4] = 1.0
    >>> positions = 0.05 * rng.standard_normal((12, 3))
    >>> problem = ej.from_arrays(gain, gain @ truth[:, 0], noise_cov=0.1, positions=positions)
    >>> active = np.arange(12) == 4
    >>> card = ej.metrics.score_sizes(problem, 7 * truth, truth, active, positions[4:5])
    >>> card["peak_error_mm"]
    0.0
    """
    truth, active, centres = _checked_truth(problem, truth_sources, active, centres)
    mean = np.asarray(mean, dtype=float)
    if mean.ndim != 3 or mean.shape[::2] != truth.shape[::2]:
        raise InputError(f"mean must be {truth.shape[0]} x any x {truth.shape[2]}: {mean.shape}.")
    grid, when = _grid_of_problem(problem), _when(at, problem)
    here, true, _ = _at(when, mean, truth, None)
    here, true = (jnp.linalg.norm(x, axis=1, keepdims=True) for x in (here, true))
    source_map = SourceMap(here, true, jnp.asarray(active), jnp.asarray(centres))
    core = jax.device_get(score_map(source_map, grid))
    out = {k: float(v) for k, v in core.items() if k not in ("normalised_error", "cosine")}
    gap = np.asarray(distance_to_active(grid.positions, source_map.active))
    out["outside_mm"] = 1e3 * float(gap[int(np.argmax(here))])
    signed = mean.shape[1] == truth.shape[1] == 1
    courses = [x[active, 0] if signed else np.linalg.norm(x[active], axis=1) for x in (mean, truth)]
    heard = courses[1].std(axis=-1) > 0
    each = np.nan_to_num(np.asarray(course.correlation(courses[0][heard], courses[1][heard])))
    out["size_correlation"] = float(each.mean()) if heard.any() else float("nan")
    return out | _source_scores(source_map, grid, emd)


def _checked_truth(problem: Problem, truth: Any, active: Any, centres: Any):
    if problem.data.ndim > 2:
        raise InputError(f"the data have {problem.data.shape[0]} trials: score their average.")
    truth, active, centres = np.asarray(truth, dtype=float), np.asarray(active), np.asarray(centres)
    want = (problem.n_locations, problem.n_orients, problem.n_times)
    if truth.shape != want:
        raise InputError(f"truth_sources must be {want}, got {truth.shape}.")
    if active.shape != want[:1] or active.dtype != bool:
        raise InputError(f"active must be bool ({want[0]},), got {active.dtype} {active.shape}.")
    if centres.ndim != 2 or centres.shape[1] != 3 or len(centres) == 0:
        raise InputError(f"centres must be (sources, 3), got {centres.shape}.")
    return truth, active, centres


def _when(at: Any, problem: Problem) -> int | None:
    """Index of the sample to score; None for the mean over time."""
    n_times = problem.n_times
    if isinstance(at, str):
        if at not in ("peak", "mean"):
            raise InputError(f"at must be 'peak', 'mean' or a sample, got {at!r}.")
        if at == "mean" and problem.noise_time is not None:
            raise InputError("at='mean' takes samples as independent: score one with noise_time.")
        return None if at == "mean" else int(jnp.argmax(jnp.sum(problem.samples**2, axis=0)))
    if not -n_times <= at < n_times:
        raise InputError(f"there is no sample {at}: there are {n_times}.")
    return int(at) % n_times


def _goes_together(estimate: Estimate) -> bool:
    """Whether the posterior has a covariance between samples."""
    weights = jnp.ones((1, estimate.problem.n_locations, estimate.n_orients))
    return eqx.filter_eval_shape(lambda p: p.courses(weights), estimate.samples).root is not None


def _spread(estimate: Estimate, shape: tuple) -> np.ndarray | None:
    if estimate.std is None or not estimate.posterior.spread_is_posterior:
        return None
    return np.broadcast_to(np.asarray(estimate.std), shape)


def _members(estimate: Estimate, when: int | None):
    """Means and standard deviations of the members of a mixture, at a sample or of the mean."""
    if not estimate.is_mixture:
        return None, None
    times = None if when is None else np.array([when])
    mean, std = scaled_members(estimate.samples, estimate.scale, None, times)
    return jnp.mean(mean, axis=-1), std[..., 0] / np.sqrt(mean.shape[-1])


def _mixture_std(mean, std):
    """Standard deviation of a mixture."""
    return jnp.sqrt(jnp.mean(std**2, axis=0) + jnp.var(mean, axis=0))


def _grid_of_problem(problem: Problem) -> Grid:
    geometry = problem.geometry
    if geometry.positions is None:
        raise InputError("scores need positions: give them to from_arrays(positions=...).")
    areas = geometry.areas
    if areas is not None and not float(jnp.sum(areas)) > 0:  # a volume
        areas = None
    return Grid(geometry.positions, areas, geometry.edges)


def _at(when: int | None, mean, truth, std):
    """Mean, truth and std at one sample, or of the mean over independent samples."""
    if when is not None:
        return tuple(None if x is None else jnp.asarray(x[..., when]) for x in (mean, truth, std))
    n = mean.shape[-1]
    spread = None if std is None else jnp.asarray(np.sqrt(np.mean(std**2, axis=-1) / n))
    return jnp.asarray(mean.mean(axis=-1)), jnp.asarray(truth.mean(axis=-1)), spread


def _source_scores(source_map: SourceMap, grid: Grid, emd: bool) -> dict[str, float]:
    amplitude = np.linalg.norm(source_map.mean, axis=-1)
    out = {}
    if grid.edges is not None:
        errors = matched_error(amplitude, grid.positions, source_map.centres, grid.edges)
        out["matched_error_mm"] = 1e3 * float(errors.mean())
    if emd:
        true = np.linalg.norm(source_map.truth, axis=-1)
        out["emd_mm"] = 1e3 * earth_mover(amplitude, true, grid.positions)
    return out


def _courses(mean: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Scores of the active sources' time courses (active, orients, times)."""
    if mean.shape[-1] < 2 or mean.size == 0:
        return {}
    each = np.asarray(course.correlation(mean, truth))
    known = each[np.isfinite(each)]  # orients in which the truth is constant have none
    return {
        "course_correlation": float(known.mean()) if known.size else float("nan"),
        "course_explained_variance": float(course.explained_variance(mean, truth)),
    }


def _peak_region(estimate, source_map: SourceMap, grid: Grid, when, key, draws) -> dict[str, float]:
    """Ninety per cent region of the peak from posterior draws."""
    sample = 0 if when is None else when
    drawn = np.asarray(estimate.sample(key, draws, at=(None, [sample])))[..., 0]
    if when is None:  # of the mean over independent samples
        n = estimate.problem.n_times
        drawn = source_map.mean + (drawn - np.asarray(estimate.mean)[..., sample]) / np.sqrt(n)
    probability = region.peak_probability(jnp.linalg.norm(jnp.asarray(drawn), axis=-1))
    peak = jnp.argmax(jnp.linalg.norm(source_map.truth, axis=-1))
    areas = jnp.ones_like(probability) if grid.areas is None else grid.areas
    found = region.region_score(probability, areas, peak, 0.9)
    out = {"region_90_holds": float(found.holds)}
    if grid.areas is not None:
        out["region_90_cm2"] = 1e4 * float(found.area)
    return out


def _with_units(scores: dict[str, float], estimate: Estimate) -> dict[str, float]:
    """Amplitudes in nA m where the map has a unit."""
    if estimate.unit != "A m":
        return scores
    out = {}
    for name, value in scores.items():
        if name.startswith(_AMPLITUDES):
            out[f"{name}_nAm"] = 1e9 * value
        else:  # a density per nA m is 1e9 times smaller
            out[name] = value + math.log(1e9) if name.startswith("log_score") else value
    return out
