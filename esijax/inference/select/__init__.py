"""Choosing the strength of a prior or penalty from the data.

For the minimum norm family lambda2: `by_evidence`, `by_gcv`, `by_lcurve`. For penalties alpha: the
same and `by_sure`, `by_cross_validation`, `by_hypergradient`; `path` solves for many. For the
number of waves that are learned: `by_bound`.
"""

from esijax.inference._resolve import resolved
from esijax.inference.select.alpha import by_gcv, by_lcurve, by_sure
from esijax.inference.select.cross_validation import by_cross_validation
from esijax.inference.select.hypergradient import by_hypergradient
from esijax.inference.select.mixture_evidence import by_evidence
from esijax.inference.select.path import path
from esijax.inference.select.waves import by_bound
from esijax.inference.sensitivity.degrees import degrees_of_freedom
from esijax.models.penalties.alpha_max import alpha_max
from esijax.models.priors._lambda2 import RULES

__all__ = [
    "RULES",
    "alpha_max",
    "by_bound",
    "by_cross_validation",
    "by_evidence",
    "by_gcv",
    "by_hypergradient",
    "by_lcurve",
    "by_sure",
    "degrees_of_freedom",
    "path",
    "resolved",
]
