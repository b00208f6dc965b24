r"""A few learned updates of the variances of all locations, then the Gaussian posterior.

.. math:: \hat\gamma = c\,\gamma^{(L)}, \qquad X \mid Y \sim N(\hat X, \hat C)
          \text{ under } X_l \sim N(0, \hat\gamma_l P_l^2)
"""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp

from esijax._types import InputError
from esijax.estimate import Estimate
from esijax.inference.collapsed.answers import linear_marginal, point_estimate
from esijax.inference.collapsed.em._pooled import PooledEMModel, pooled_model
from esijax.inference.learned.fit_check import fit_check
from esijax.inference.learned.sources import check_source_prior, source_estimate
from esijax.inference.method import Method, Setup, State
from esijax.models.hyperpriors import Flat
from esijax.models.marginals import LinearMarginal
from esijax.models.networks import (
    SourceNetwork,
    Trained,
    VarianceNetwork,
    mesh_neighbours,
    shipped_network,
    unrolled,
)
from esijax.models.priors.scale_mixture import ARD


class Unrolled(Method):
    r"""Learned updates of variances: six layers that were trained to say where, and how sure.

    .. math:: \log \gamma^{(k+1)} = \log \gamma^{(k)} + \tfrac{s_k}{2} \log \frac{q}{z}
              + c_k(\text{features}), \qquad k = 1, \dots, L

    Each layer is the update "mm" of `EM` for a flat `ARD` prior, corrected by a small network that
    sees each location and its neighbours, in quantities without unit. The lead field, the noise
    covariance and the number of sensors are inputs: weights trained on one head serve another.

    Parameters
    ----------
    network : Trained | VarianceNetwork | SourceNetwork, optional
        By default the one that comes with esijax; others from `ej.learn`. A network of sources
        ("ista", "fista") takes the prior `L21` instead and gives a point estimate as that of
        `MAP`, by proximal steps whose lengths and shrinkage were learned.

    Raises
    ------
    InputError
        In `solve`: for a prior other than flat `ARD` (`L21` where the network is one of sources),
        noise that is learned, or a problem without positions.

    References
    ----------
    Gregor and LeCun 2010, https://icml.cc/Conferences/2010/papers/449.pdf; Monga, Li and Eldar
    2021, doi:10.1109/MSP.2020.3016905; Wipf and Nagarajan 2009,
    doi:10.1016/j.neuroimage.2008.02.059.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> rng = np.random.default_rng(0)
    >>> gain, positions = rng.standard_normal((8, 12)), 0.03 * rng.standard_normal((12, 3))
    >>> problem = ej.from_arrays(gain, 5 * gain[:, [4]], noise_cov=1.0, positions=positions)
    >>> estimate = ej.solve(problem, ej.models.ARD(), ej.inference.Unrolled())
    >>> int(abs(estimate.mean[:, 0, 0]).argmax())
    4
    """

    network: Trained = eqx.field(default=None)
    differentiable: ClassVar[bool] = True

    def __init__(self, network: Any = None):
        if network is None:
            network = shipped_network()
        elif isinstance(network, VarianceNetwork | SourceNetwork):
            network = Trained(network)
        kind = getattr(network, "network", network)
        if not (isinstance(network, Trained) and isinstance(kind, VarianceNetwork | SourceNetwork)):
            raise InputError(
                "network must be one of variances or sources, from ej.learn.load or "
                f"ej.learn.train; got {type(kind).__name__} (a direct one: inference.Direct)."
            )
        self.network = network

    def check(self, setup: Setup) -> None:
        """Take the prior that it was trained for: flat ARD, noise as given, known places."""
        model = setup.model
        if isinstance(self.network.network, SourceNetwork):
            return check_source_prior(self.network.network, setup)
        if not (isinstance(model, ARD) and isinstance(model.local, Flat)):
            raise InputError(
                f"Unrolled was trained for the flat ARD prior, got {type(model).__name__}"
                f"{' with a hyper-prior' if isinstance(model, ARD) else ''}: give ej.models.ARD(), "
                "or use inference.EM or Evidence for this one."
            )
        eqx.filter_eval_shape(lambda p: mesh_neighbours(p.geometry), setup.problem)

    def finish(self, state: State) -> Estimate:
        """All layers, then the posterior at the variances that they give."""
        setup = state.setup
        if isinstance(self.network.network, SourceNetwork):
            return source_estimate(self.network.network, setup)
        target = linear_marginal(setup)
        model = pooled_model(target, "mm")
        network = jax.tree.map(lambda w: w.astype(model.data.dtype), self.network.network)
        log_gamma = layers(network, target, model)
        check = fit_check(target, model, log_gamma, network.scale)
        return point_estimate(
            target,
            target.unpack(network.scale * jnp.exp(log_gamma)),
            "Unrolled",
            evidence=check.evidence,
            diagnostics=check,
        )


def layers(network: VarianceNetwork, target: LinearMarginal, model: PooledEMModel):
    """Logarithms of the variances after the layers, from where EM would start."""
    mesh = mesh_neighbours(target.problem.geometry)

    def energies(gamma):
        return model.energy(model.filter(gamma))

    return unrolled(network, energies, jnp.log(target.start_variances(None)), mesh)
