r"""Direct networks: sample by sample from data to sources, for the one lead field they know.

.. math:: \hat X_t = P\, f(Y_t)
"""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from esijax._types import InputError
from esijax.estimate import Estimate
from esijax.inference.method import Method, Setup, State
from esijax.models.networks import DirectNetwork, Trained
from esijax.models.posteriors.point import LinearPoint, PointPosterior


class Direct(Method):
    r"""A network that was trained for one lead field: for comparison; takes no model.

    .. math:: \hat X_t = P\, f(Y_t)

    with the whitened data Y and the prior's scale P; f is a matrix that begins as the minimum
    norm, or that and an MLP which says how much of it each location lets through. It knows nothing
    of the lead field but what is in its weights, and refuses another than its own. A point
    estimate: neither spread nor evidence. A matrix has a `kernel`.

    Parameters
    ----------
    network : Trained | DirectNetwork
        From `ej.learn.train` of a task "linear" or "mlp", or `ej.learn.load`.

    Raises
    ------
    InputError
        For another network; in `solve`: for a model, or another lead field than the network's.

    References
    ----------
    Hecker et al. 2021, doi:10.3389/fnins.2021.569918.

    Examples
    --------
    >>> import jax, numpy as np, esijax as ej
    >>> gain = np.random.default_rng(0).standard_normal((8, 12))
    >>> problem = ej.from_arrays(gain, 5 * gain[:, [4]], noise_cov=1.0)
    >>> network = ej.models.networks.LinearMap.untrained(jax.random.key(0), problem)
    >>> estimate = ej.solve(problem, None, ej.inference.Direct(network))
    >>> int(abs(estimate.mean[:, 0, 0]).argmax())
    4
    """

    network: Trained
    differentiable: ClassVar[bool] = True

    def __init__(self, network: Any):
        if isinstance(network, DirectNetwork):
            network = Trained(network)
        if not (isinstance(network, Trained) and isinstance(network.network, DirectNetwork)):
            kind = getattr(network, "network", network)
            raise InputError(
                "network must be a direct one ('linear', 'mlp'), from ej.learn.load or "
                f"ej.learn.train; got {type(kind).__name__}: inference.Unrolled takes networks "
                "whose input the lead field is."
            )
        self.network = network

    def check(self, setup: Setup) -> None:
        """Take no model, and the lead field of the network alone."""
        if setup.model is not None:
            raise InputError("Direct takes no model of the sources: pass None.")
        if setup.problem.noise_time is not None:
            raise InputError(
                "Direct maps sample by sample as it was trained, and noise_time mixes them: give "
                "problem.with_noise_time(None)."
            )
        network: Any = self.network.network
        network.check(setup.problem)

    def finish(self, state: State) -> Estimate:
        """One map for each sample."""
        problem = state.setup.problem
        scale = problem.prior_scale[..., None]
        network = jax.tree.map(lambda w: w.astype(problem.data.dtype), self.network.network)

        def mapped(data):
            found = scale * network.sources(problem.gain, data)
            return found, jnp.tensordot(problem.gain, found, axes=2)

        each = mapped if problem.data.ndim == 2 else jax.vmap(mapped)
        point = PointPosterior(*each(problem.data))
        if network.matrix is not None:
            point = LinearPoint(point.sources, point.prediction, scale * network.matrix)
        return Estimate(problem, point, model="none", method="Direct")
