"""How it is computed: methods, and the driver `solve`."""

from esijax.inference import select
from esijax.inference.beamformer import LCMV
from esijax.inference.em import EM
from esijax.inference.linear import Linear
from esijax.inference.mcmc import NUTS
from esijax.inference.method import Method, solve

__all__ = ["EM", "LCMV", "NUTS", "Linear", "Method", "select", "solve"]
