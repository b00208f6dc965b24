"""How it is computed: methods, and the driver `solve`."""

from esijax.inference import local, select
from esijax.inference.beamformer import LCMV
from esijax.inference.compare import compare
from esijax.inference.debias import debias
from esijax.inference.em import EM
from esijax.inference.evidence import Evidence
from esijax.inference.gibbs import Gibbs
from esijax.inference.laplace import Laplace
from esijax.inference.linear import Linear
from esijax.inference.mcmc import NUTS
from esijax.inference.method import Method, solve
from esijax.inference.proximal import MAP
from esijax.inference.reweighted import Reweighted
from esijax.inference.variational import SVI

__all__ = [
    "EM",
    "LCMV",
    "MAP",
    "NUTS",
    "SVI",
    "Evidence",
    "Gibbs",
    "Laplace",
    "Linear",
    "Method",
    "Reweighted",
    "compare",
    "debias",
    "local",
    "select",
    "solve",
]
