"""Choosing the strength of a prior or penalty from the data.

For the minimum norm family lambda2: `by_evidence`, `by_gcv`, `by_lcurve`. For penalties alpha:
`by_sure`, `by_gcv`, `by_cross_validation`, `by_hypergradient`; `path` solves for many.
"""

from esijax.inference._alpha import (
    by_cross_validation,
    by_gcv,
    by_hypergradient,
    by_sure,
)
from esijax.inference._degrees import degrees_of_freedom
from esijax.inference._lambda2 import RULES, alpha_max, by_evidence, by_lcurve, resolved
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
