r"""Sources by learned proximal steps: a point estimate, as that of `MAP`.

.. math:: \hat X = P Z^{(L)}, \qquad Z^{(k+1)} = \operatorname{step}_k(Z^{(k)}), \quad Z^{(0)} = 0
"""

import jax

from esijax._types import InputError
from esijax.estimate import Estimate
from esijax.inference.method import Setup
from esijax.models.networks import SourceNetwork
from esijax.models.penalties import L21
from esijax.models.posteriors.point import PointPosterior


def check_source_prior(network: SourceNetwork, setup: Setup) -> None:
    """Take the mixed norm, whose steps the layers are."""
    if type(setup.model) is not L21:
        raise InputError(
            f"layers of the sources ({type(network).__name__}) are steps of the mixed norm L21, "
            f"got {type(setup.model).__name__}: give ej.models.L21(ej.relative(0.4)), take "
            "inference.MAP for another penalty, or a network of variances for ej.models.ARD()."
        )


def source_estimate(network: SourceNetwork, setup: Setup) -> Estimate:
    """All layers, trials apart; neither spread nor evidence."""
    problem, model = setup.problem, setup.model
    network = jax.tree.map(lambda w: w.astype(problem.data.dtype), network)

    def solved(data):
        fit = model.least_squares(problem, data)
        found = network.solve(fit)
        return found * fit.spread[:, None] * problem.prior_scale[..., None], fit.predict(found)

    each = solved if problem.data.ndim == 2 else jax.vmap(solved)
    return Estimate(
        problem,
        PointPosterior(*each(problem.data)),
        hyper={"alpha": model.alpha},
        model=type(model).__name__,
        method="Unrolled",
    )
