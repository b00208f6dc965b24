"""Penalties: what is assumed of the sources when only their most probable value is asked for."""

from esijax.models.penalties.analysis import Analysis
from esijax.models.penalties.concave import MCP, Concave, LogSum
from esijax.models.penalties.elastic import Elastic
from esijax.models.penalties.learned import Learned
from esijax.models.penalties.lrq import Lrq
from esijax.models.penalties.mesh import SISSY, TV
from esijax.models.penalties.norms import L1, L21
from esijax.models.penalties.penalty import Penalty, Relative, relative
from esijax.models.penalties.sparse_group import SparseGroup
from esijax.models.penalties.terms import Differences, Identity, InTime, Map, Matrix, Term
from esijax.models.penalties.time_frequency import TimeFrequency

__all__ = [
    "L1",
    "L21",
    "MCP",
    "SISSY",
    "TV",
    "Analysis",
    "Concave",
    "Differences",
    "Elastic",
    "Identity",
    "InTime",
    "Learned",
    "LogSum",
    "Lrq",
    "Map",
    "Matrix",
    "Penalty",
    "Relative",
    "SparseGroup",
    "Term",
    "TimeFrequency",
    "relative",
]
