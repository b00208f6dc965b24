"""The compiled core of the card: all scores of a map that are arrays in, arrays out."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from esijax._ops.normals import mixture_crps, mixture_log_density, mixture_quantile
from esijax.metrics import course, detection, point, proper
from esijax.metrics.active import brier, calibration_error, reported_coverage
from esijax.metrics.grid import distance_to_active
from esijax.metrics.interval import (
    LEVELS,
    gaussian_interval,
    interval_card,
    interval_score,
    largest,
)
from esijax.metrics.large import large_scores, prob_large


class SourceMap(eqx.Module):
    """One estimated map and its truth, at one time or averaged over time; arrays alone.

    Parameters
    ----------
    mean : (locations, orients)
        Estimate.
    truth : (locations, orients)
        In the unit of the estimate.
    active : bool, (locations,)
        Where the truth is active.
    centres : (sources, 3)
        Positions of the true sources, m.
    std : (locations, orients), optional
        Standard deviation of the estimate, where it has one.
    prob_active : (locations,), optional
        Pr(active), where the method has it.
    member_mean, member_std : (members, locations, orients), optional
        Of a posterior that is a mixture of normals; `mean` and `std` are its moments.
    """

    mean: Float[Array, "locations orients"]
    truth: Float[Array, "locations orients"]
    active: Bool[Array, " locations"]
    centres: Float[Array, "sources 3"]
    std: Float[Array, "locations orients"] | None = None
    prob_active: Float[Array, " locations"] | None = None
    member_mean: Float[Array, "members locations orients"] | None = None
    member_std: Float[Array, "members locations orients"] | None = None


class Grid(eqx.Module):
    """Where the locations are: positions (m), areas (m2) and edges, as in `Geometry`.

    Parameters
    ----------
    positions : (locations, 3)
        Where the locations are, m.
    areas : (locations,), optional
        Cortex of each, m2.
    edges : (edges, 2), optional
        Pairs of neighbours.
    """

    positions: Float[Array, "locations 3"]
    areas: Float[Array, " locations"] | None = None
    edges: Int[Array, "edges 2"] | None = None


@jax.jit
def score_map(
    source_map: SourceMap,
    grid: Grid,
    radius: Any = 0.02,
    threshold: Any = 0.5,
    share: Any = 0.01,
) -> dict[str, Float[Array, ""]]:
    """Scores of one map that run in jit and vmap.

    Parameters
    ----------
    source_map : SourceMap
        The map to be scored.
    grid : Grid
        The locations, prepared once.
    radius : float
        What is near and what is far from the truth for the areas under the ROC, m.
    threshold : float
        A location is reported where it exceeds this share of the map's maximum.
    share : float
        Of the locations that form the group chosen from the data ("chosen"): the largest of
        the posterior mean.

    Returns
    -------
    scores : dict of ()
        Names end in their unit; widths, CRPS and interval scores are in the unit of the map,
        what has no unit needs none. Groups: "all", "chosen", "active", "inactive".

    References
    ----------
    Those of the functions that are called.

    Examples
    --------
    >>> import jax.numpy as jnp, esijax as ej
    >>> line = jnp.array([[0.0, 0, 0], [0.01, 0, 0], [0.05, 0, 0]])
    >>> one = jnp.array([[1.0], [0], [0]])
    >>> it = ej.metrics.SourceMap(one[::-1], one, one[:, 0] > 0, line[:1])
    >>> round(float(ej.metrics.score_map(it, ej.metrics.Grid(line))["peak_error_mm"]), 6)
    50.0
    """
    amplitude = jnp.linalg.norm(source_map.mean, axis=-1)
    distance = distance_to_active(grid.positions, source_map.active)
    out = _where(amplitude, distance, source_map, grid)
    out |= _detected(amplitude, distance, source_map, grid.edges, radius, threshold)
    out["normalised_error"] = course.normalised_error(source_map.mean, source_map.truth)
    out["cosine"] = course.cosine(source_map.mean, source_map.truth)
    if source_map.std is not None:
        out |= _uncertain(source_map, source_map.std, largest(amplitude, share))
        mean, std = source_map.member_mean, source_map.member_std
        if mean is None or std is None:
            mean, std = source_map.mean[None], source_map.std[None]
        out |= large_scores(*prob_large(mean[..., -1], std[..., -1], source_map.truth[:, -1]))
    if source_map.prob_active is not None:
        out |= _probable(source_map, source_map.prob_active)
    return out


def _where(amplitude, distance, source_map: SourceMap, grid: Grid) -> dict[str, Array]:
    error = point.peak_error(amplitude, grid.positions, source_map.centres)
    out = {
        "peak_error_mm": 1e3 * error,
        "dispersion_mm": 1e3 * point.dispersion_by_distance(amplitude, distance),
        "half_radius_mm": 1e3 * point.half_radius_by_distance(amplitude, distance),
    }
    if grid.areas is not None:
        out["blur_mm"] = 1e3 * point.blur(amplitude, grid.areas)
    return out


def _detected(amplitude, distance, source_map: SourceMap, edges, radius, threshold):
    active = source_map.active
    found = detection.precision_recall(detection.above(amplitude, threshold), active)
    return {
        "auc": detection.auc(amplitude, active),
        "auc_close": detection.auc_close(amplitude, active, distance, radius),
        "auc_far": detection.auc_far(amplitude, active, distance, radius, edges),
        "average_precision": detection.average_precision(amplitude, active),
        "precision": found.precision,
        "recall": found.recall,
        "f1": found.f1,
    }


def _uncertain(source_map: SourceMap, std: Array, chosen: Array) -> dict[str, Array]:
    mean, truth, active = source_map.mean, source_map.truth, source_map.active
    groups = {"all": jnp.ones_like(active), "chosen": chosen, "active": active, "inactive": ~active}
    masks = jnp.stack(list(groups.values()))
    members = source_map.member_mean, source_map.member_std
    if members[0] is None or members[1] is None:
        card = interval_card(mean, std, truth, masks[..., None])
        shares, widths = card.coverage, card.width
        crps = proper.crps_gaussian(mean, std, truth)
        log_score = proper.log_score_gaussian(mean, std, truth)
    else:
        shares, widths = _mixture_card(source_map, masks)
        crps = mixture_crps(truth, members[0], members[1])
        log_score = -mixture_log_density(truth, members[0], members[1])
    out = {}
    for g, name in enumerate(groups):
        for i, level in enumerate(LEVELS):
            out[f"coverage_{round(100 * level)}_{name}"] = shares[g, i]
            out[f"width_{round(100 * level)}_{name}"] = widths[g, i]
    per_source = {
        "crps_{}": crps,
        "log_score_{}_nats": log_score,
        "interval_score_90_{}": interval_score(*_interval(source_map, 0.9), truth, 0.9),
    }
    for what, values in per_source.items():
        # an infinite score must not leak into groups that do not hold it: no product here
        total = jnp.sum(jnp.where(masks, jnp.mean(values, axis=-1), 0.0), axis=1)
        for g, name in enumerate(groups):
            out[what.format(name)] = total[g] / jnp.sum(masks[g])
    return out


def _interval(source_map: SourceMap, level: float) -> tuple[Array, Array]:
    """Central interval of a normal, or of the mixture."""
    mean, std = source_map.member_mean, source_map.member_std
    if mean is None or std is None:
        assert source_map.std is not None
        return gaussian_interval(source_map.mean, source_map.std, level)
    tails = jnp.asarray([(1 - level) / 2, (1 + level) / 2])
    low, high = (mixture_quantile(mean, std, p) for p in tails)
    return low, high


def _mixture_card(source_map: SourceMap, masks: Array) -> tuple[Array, Array]:
    """Coverage and mean width, (groups, levels), of a mixture's intervals."""
    share = masks / jnp.sum(masks, axis=1, keepdims=True)
    coverage, width = [], []
    for level in LEVELS:
        low, high = _interval(source_map, level)
        holds = (low <= source_map.truth) & (source_map.truth <= high)
        coverage.append(share @ jnp.mean(holds, axis=1, dtype=share.dtype))
        width.append(share @ jnp.mean(high - low, axis=1))
    return jnp.stack(coverage, axis=1), jnp.stack(width, axis=1)


def _probable(source_map: SourceMap, probability: Array) -> dict[str, Array]:
    out = {
        "brier": brier(probability, source_map.active),
        "calibration_error": calibration_error(probability, source_map.active),
    }
    if source_map.std is not None:
        low, high = _interval(source_map, 0.9)
        out["coverage_90_reported"] = reported_coverage(low, high, source_map.truth, probability)
    return out


@jax.jit
def score_maps(
    source_maps: SourceMap,
    grid: Grid,
    radius: Any = 0.02,
    threshold: Any = 0.5,
    share: Any = 0.01,
) -> dict[str, Float[Array, " maps"]]:
    """Scores of many maps on the same grid, in one compiled program.

    Parameters
    ----------
    source_maps : SourceMap
        With a leading axis over maps on every array.
    grid, radius, threshold, share : Grid, float, float, float
        As of `score_map`.

    Returns
    -------
    scores : dict of (maps,)

    Examples
    --------
    >>> import jax, jax.numpy as jnp, esijax as ej
    >>> line = jnp.array([[0.0, 0, 0], [0.01, 0, 0], [0.05, 0, 0]])
    >>> one = jnp.array([[1.0], [0], [0]])
    >>> it = ej.metrics.SourceMap(one, one, one[:, 0] > 0, line[:1])
    >>> two = jax.tree.map(lambda x: jnp.stack([x, x]), it)
    >>> ej.metrics.score_maps(two, ej.metrics.Grid(line))["auc"].tolist()
    [1.0, 1.0]
    """
    # one map at a time stays within the cache: faster than vmap on a processor
    return jax.lax.map(lambda one: score_map(one, grid, radius, threshold, share), source_maps)
