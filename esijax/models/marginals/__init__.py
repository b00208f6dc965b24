"""The marginal that a model makes: its sources integrated out, its hyper-parameters left."""

from esijax.models.marginals.linear import LinearMarginal
from esijax.models.marginals.marginal import Marginal, Simulation
from esijax.models.marginals.pooled import Pooled, PooledMarginal

__all__ = ["LinearMarginal", "Marginal", "Pooled", "PooledMarginal", "Simulation"]
