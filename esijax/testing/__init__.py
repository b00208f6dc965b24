"""Checks for those who extend esijax: a prior, a noise model, a penalty, a data term, a method.

`check` hands an object of one's own to everything that takes it and says in one table what holds.
"""

from esijax.testing.check import check
from esijax.testing.report import Report

__all__ = ["Report", "check"]
