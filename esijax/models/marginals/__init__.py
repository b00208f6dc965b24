"""The marginal that a model makes: its sources integrated out, its hyper-parameters left."""

from esijax.models.marginals._start import implied_variances
from esijax.models.marginals.linear import LinearMarginal
from esijax.models.marginals.marginal import JointDraw, Marginal
from esijax.models.marginals.pooled import Pooled, PooledMarginal

__all__ = [
    "JointDraw",
    "LinearMarginal",
    "Marginal",
    "Pooled",
    "PooledMarginal",
    "implied_variances",
]
