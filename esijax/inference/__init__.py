"""How it is computed: methods, and the driver `solve`."""

from esijax.inference import select
from esijax.inference.collapsed.em.em import EM
from esijax.inference.collapsed.evidence import Evidence
from esijax.inference.collapsed.laplace import Laplace
from esijax.inference.collapsed.sampling.gibbs import Gibbs
from esijax.inference.collapsed.sampling.nuts import NUTS
from esijax.inference.collapsed.variational import SVI
from esijax.inference.compare import compare
from esijax.inference.linear.beamformer import LCMV
from esijax.inference.linear.linear import Linear
from esijax.inference.method import Method
from esijax.inference.sensitivity import local
from esijax.inference.solve import solve
from esijax.inference.sparse.debias import debias
from esijax.inference.sparse.map import MAP
from esijax.inference.sparse.reweighted import Reweighted

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
