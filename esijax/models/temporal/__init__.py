"""Priors of sources that have a covariance in time, or few courses."""

from esijax.models.temporal.basis import TemporalBasis
from esijax.models.temporal.kronecker import Kronecker
from esijax.models.temporal.waves import Waves

__all__ = ["Kronecker", "TemporalBasis", "Waves"]
