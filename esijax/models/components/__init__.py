"""Covariance components: what may be active."""

from esijax.models.components.component import IID, Component, Fixed
from esijax.models.components.patches import Patches

__all__ = ["IID", "Component", "Fixed", "Patches"]
