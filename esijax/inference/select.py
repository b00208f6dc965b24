"""Choosing the strength of a prior or penalty from the data.

For the minimum norm family lambda2: `by_evidence`, `by_gcv`, `by_lcurve`. For penalties alpha: the
same and `by_sure`, `by_cross_validation`, `by_hypergradient`; `path` solves for many.
"""

from esijax.inference._alpha import by_gcv, by_lcurve, by_sure
from esijax.inference._cross_validation import by_cross_validation
from esijax.inference._degrees import degrees_of_freedom
from esijax.inference._hypergradient import by_hypergradient
from esijax.inference._lambda2 import RULES, alpha_max, resolved
from esijax.inference._mixture_evidence import by_evidence
from esijax.inference._path import path

__all__ = [
    "RULES",
    "alpha_max",
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
