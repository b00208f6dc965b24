"""What is assumed: priors, noise, source covariances."""

from esijax.models import components, hyperpriors, networks, noise, penalties, time
from esijax.models.collapsed import collapsed
from esijax.models.penalties import (
    L1,
    L21,
    MCP,
    SISSY,
    TV,
    Analysis,
    Elastic,
    Learned,
    LogSum,
    Lrq,
    Penalty,
    SparseGroup,
    TimeFrequency,
    relative,
)
from esijax.models.priors.components import Components
from esijax.models.priors.gaussian import ELORETA, LORETA, MinimumNorm, WeightedMinimumNorm
from esijax.models.priors.linear import LinearPrior, Sum
from esijax.models.priors.prior import Prior
from esijax.models.priors.scale_mixture import ARD, GroupLaplace, Horseshoe, StudentT
from esijax.models.temporal import Kronecker, TemporalBasis, Waves

__all__ = [
    "ARD",
    "ELORETA",
    "L1",
    "L21",
    "LORETA",
    "MCP",
    "SISSY",
    "TV",
    "Analysis",
    "Components",
    "Elastic",
    "GroupLaplace",
    "Horseshoe",
    "Kronecker",
    "Learned",
    "LinearPrior",
    "LogSum",
    "Lrq",
    "MinimumNorm",
    "Penalty",
    "Prior",
    "SparseGroup",
    "StudentT",
    "Sum",
    "TemporalBasis",
    "TimeFrequency",
    "Waves",
    "WeightedMinimumNorm",
    "collapsed",
    "components",
    "hyperpriors",
    "networks",
    "noise",
    "penalties",
    "relative",
    "time",
]
