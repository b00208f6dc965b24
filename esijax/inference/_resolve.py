"""Strengths that are given as a rule or a share become numbers."""

import dataclasses

from esijax._ops.safe import divisor
from esijax.models.penalties import Relative
from esijax.models.penalties.alpha_max import alpha_max
from esijax.models.priors._lambda2 import RULES
from esijax.problem import Problem


def resolved(problem: Problem, model):
    """Replace a share of alpha_max, or the name of a rule for lambda2, by its number.

    Parameters
    ----------
    problem : Problem
        What was measured.
    model : model
        Whose strength may be a share or the name of a rule.

    Returns
    -------
    model
        With a number.
    """
    if isinstance(getattr(model, "alpha", None), Relative):
        largest = alpha_max(problem, dataclasses.replace(model, alpha=1.0))
        return dataclasses.replace(model, alpha=divisor(model.alpha.fraction * largest))
    rule = getattr(model, "lambda2", None)
    return RULES[rule](problem, model) if isinstance(rule, str) else model
