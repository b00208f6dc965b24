"""Sensor noise: known, or learned with the sources."""

from esijax.models.noise.diagonal import Diagonal
from esijax.models.noise.in_time import InTime
from esijax.models.noise.low_rank import LowRank
from esijax.models.noise.noise import LinearNoise, Noise, White
from esijax.models.noise.per_type import PerType
from esijax.models.noise.robust import Huber, Lp, Robust, StudentTNoise
from esijax.models.noise.scalar import Scalar

__all__ = [
    "Diagonal",
    "Huber",
    "InTime",
    "LinearNoise",
    "LowRank",
    "Lp",
    "Noise",
    "PerType",
    "Robust",
    "Scalar",
    "StudentTNoise",
    "White",
]
