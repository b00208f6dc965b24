"""Penalties: what is assumed of the sources when only their most probable value is asked for."""

from esijax.models.penalties.lrq import Lrq
from esijax.models.penalties.norms import L1, L21
from esijax.models.penalties.penalty import Penalty, Relative, relative

__all__ = ["L1", "L21", "Lrq", "Penalty", "Relative", "relative"]
