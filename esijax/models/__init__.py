"""What is assumed: priors, noise, source covariances."""

from esijax.models.priors.gaussian import ELORETA, LORETA, MinimumNorm, WeightedMinimumNorm

__all__ = ["ELORETA", "LORETA", "MinimumNorm", "WeightedMinimumNorm"]
