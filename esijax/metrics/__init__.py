"""Scores of source maps against a known truth: where, what course, and how sure.

Every function runs in jit and vmap unless it says that it runs on the host.
"""

from esijax.metrics.active import (
    Reliability,
    brier,
    calibration_error,
    reliability,
    reported_coverage,
)
from esijax.metrics.calibration import mutants
from esijax.metrics.calibration.band import ecdf_band
from esijax.metrics.calibration.mutants import gauntlet
from esijax.metrics.calibration.ranks import ranks
from esijax.metrics.calibration.result import Calibration
from esijax.metrics.calibration.sbc import sbc
from esijax.metrics.card import Grid, SourceMap, score_map, score_maps
from esijax.metrics.course import correlation, cosine, explained_variance, normalised_error
from esijax.metrics.depth import DepthBias, depth_bias, depth_error
from esijax.metrics.detection import (
    Detection,
    above,
    auc,
    auc_close,
    auc_far,
    average_precision,
    precision_recall,
)
from esijax.metrics.grid import (
    distance_to,
    distance_to_active,
    geodesic,
    local_maxima,
    neighbours,
)
from esijax.metrics.interval import (
    LEVELS,
    IntervalCard,
    coverage,
    gaussian_interval,
    interval_card,
    interval_score,
    largest,
    mean_width,
)
from esijax.metrics.localisation import earth_mover, find_peaks, geodesic_error, matched_error
from esijax.metrics.point import (
    blur,
    half_radius,
    peak_error,
    region_error,
    spatial_dispersion,
)
from esijax.metrics.proper import (
    crps_gaussian,
    crps_sample,
    log_score_gaussian,
    log_score_sample,
    pit_gaussian,
    pit_sample,
)
from esijax.metrics.recalibrate import (
    Recalibration,
    recalibrate_levels,
    recalibrate_probability,
    recalibrated_interval,
)
from esijax.metrics.region import (
    ContactDistance,
    RegionScore,
    contact_distance,
    highest_density_region,
    peak_probability,
    probability_within,
    region_score,
)
from esijax.metrics.score import score, score_sizes

__all__ = [
    "LEVELS",
    "Calibration",
    "ContactDistance",
    "DepthBias",
    "Detection",
    "Grid",
    "IntervalCard",
    "Recalibration",
    "RegionScore",
    "Reliability",
    "SourceMap",
    "above",
    "auc",
    "auc_close",
    "auc_far",
    "average_precision",
    "blur",
    "brier",
    "calibration_error",
    "contact_distance",
    "correlation",
    "cosine",
    "coverage",
    "crps_gaussian",
    "crps_sample",
    "depth_bias",
    "depth_error",
    "distance_to",
    "distance_to_active",
    "earth_mover",
    "ecdf_band",
    "explained_variance",
    "find_peaks",
    "gauntlet",
    "gaussian_interval",
    "geodesic",
    "geodesic_error",
    "half_radius",
    "highest_density_region",
    "interval_card",
    "interval_score",
    "largest",
    "local_maxima",
    "log_score_gaussian",
    "log_score_sample",
    "matched_error",
    "mean_width",
    "mutants",
    "neighbours",
    "normalised_error",
    "peak_error",
    "peak_probability",
    "pit_gaussian",
    "pit_sample",
    "precision_recall",
    "probability_within",
    "ranks",
    "recalibrate_levels",
    "recalibrate_probability",
    "recalibrated_interval",
    "region_error",
    "region_score",
    "reliability",
    "reported_coverage",
    "sbc",
    "score",
    "score_map",
    "score_maps",
    "score_sizes",
    "spatial_dispersion",
]
