r"""The density of the hyper-parameters without constraints, where optimisers and samplers move.

.. math::
   \log p(u \mid Y) = \log p(Y \mid \theta(u)) + \log p(\theta(u))
                      + \log \left| \tfrac{d\theta}{du} \right| + \text{const}
"""

import equinox as eqx
from jaxtyping import Array, Float
from numpyro import handlers
from numpyro.infer.util import constrain_fn, log_density, potential_energy, unconstrain_fn

from esijax._types import Scalar
from esijax.models.marginals import Marginal
from esijax.models.marginals.marginal import Sites

Unknowns = Float[Array, " size"]


class Target(eqx.Module):
    """Log posterior of the hyper-parameters, as functions of unconstrained sites (a dict).

    Parameters
    ----------
    marginal : Marginal
    """

    marginal: Marginal

    def log_posterior(self, free: Sites) -> Scalar:
        """With the Jacobian: the density of the unconstrained sites."""
        return -potential_energy(self.marginal, (), {}, free)

    def log_joint(self, free: Sites) -> Scalar:
        """Without the Jacobian: the density of the hyper-parameters themselves."""
        sites = constrain_fn(self.marginal, (), {}, free)
        return log_density(self.marginal, (), {}, sites)[0]

    def log_prior(self, free: Sites, *, jacobian: bool) -> Scalar:
        """Density of the hyper-prior alone, with or without the Jacobian."""
        model = self.marginal.hyper
        if jacobian:
            return -potential_energy(model, (), {}, free)
        return log_density(model, (), {}, constrain_fn(model, (), {}, free))[0]

    def hyper(self, free: Sites) -> dict[str, Array]:
        """Hyper-parameters as prior and noise take them."""
        sites = constrain_fn(self.marginal, (), {}, free)
        with handlers.substitute(data=sites):
            return self.marginal.hyper()

    def constrained(self, free: Sites) -> Sites:
        """Values of the sampled sites at unconstrained ones."""
        sites = constrain_fn(self.marginal, (), {}, free)
        return {name: sites[name] for name in free}

    def free(self, sites: Sites) -> Sites:
        """Unconstrained values of all sampled sites."""
        return unconstrain_fn(self.marginal, (), {}, sites)
