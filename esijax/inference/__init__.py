"""How it is computed: methods, the driver `solve`, and what a method of one's own is made of."""

from esijax.estimate import RESULT, Diagnostics, Estimate
from esijax.inference import select
from esijax.inference.collapsed.em.em import EM
from esijax.inference.collapsed.evidence import Evidence
from esijax.inference.collapsed.laplace import Laplace
from esijax.inference.collapsed.sampling.gibbs import Gibbs
from esijax.inference.collapsed.sampling.nuts import NUTS
from esijax.inference.collapsed.variational import SVI
from esijax.inference.collapsed.vb.vb import VB
from esijax.inference.compare import compare
from esijax.inference.learned.amortised import Amortised
from esijax.inference.learned.direct import Direct
from esijax.inference.learned.unrolled import Unrolled
from esijax.inference.linear.beamformer import LCMV
from esijax.inference.linear.linear import Linear
from esijax.inference.method import Method, Setup, State
from esijax.inference.sensitivity import local
from esijax.inference.solve import solve
from esijax.inference.sparse.debias import debias
from esijax.inference.sparse.map import MAP
from esijax.inference.sparse.reweighted import Reweighted
from esijax.models.posteriors.gaussian import GaussianPosterior
from esijax.models.posteriors.mixture import MixturePosterior
from esijax.models.posteriors.point import PointPosterior

__all__ = [
    "EM",
    "LCMV",
    "MAP",
    "NUTS",
    "RESULT",
    "SVI",
    "VB",
    "Amortised",
    "Diagnostics",
    "Direct",
    "Estimate",
    "Evidence",
    "GaussianPosterior",
    "Gibbs",
    "Laplace",
    "Linear",
    "Method",
    "MixturePosterior",
    "PointPosterior",
    "Reweighted",
    "Setup",
    "State",
    "Unrolled",
    "compare",
    "debias",
    "local",
    "select",
    "solve",
]
