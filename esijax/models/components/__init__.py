"""Covariance components: what may be active."""

from esijax.models.components.component import IID, Component, Fixed
from esijax.models.components.kernels import Kernels
from esijax.models.components.labels import Labels
from esijax.models.components.matrix import Covariance, Factor, Map
from esijax.models.components.patches import Patches
from esijax.models.components.smooth import Smooth
from esijax.models.components.weighted import EBB, DepthWeighted

__all__ = [
    "EBB",
    "IID",
    "Component",
    "Covariance",
    "DepthWeighted",
    "Factor",
    "Fixed",
    "Kernels",
    "Labels",
    "Map",
    "Patches",
    "Smooth",
]
