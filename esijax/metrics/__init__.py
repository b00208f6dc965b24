"""Scores of source maps against a known truth."""

from esijax.metrics.interval import coverage
from esijax.metrics.point import peak_error, spatial_dispersion

__all__ = ["coverage", "peak_error", "spatial_dispersion"]
