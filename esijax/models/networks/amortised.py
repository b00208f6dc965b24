r"""What an amortised posterior has learned, for one lead field, prior and noise.

Two networks without a lead field of their own. On unconstrained hyper-parameters u,

.. math::
   z = \frac{u - \bar u}{s}, \qquad \hat z = f(\text{features of the data}), \qquad
   (a, b) = h(\text{where two exact steps from } \hat z \text{ end})

with :math:`\bar u` and s mean and standard deviation under the prior. A feature is the derivative
of the log-evidence at one of a few places, less what it is without data: half of
:math:`\operatorname{tr} \Sigma^{-1} \Sigma_k \Sigma^{-1} S`, with :math:`\Sigma_k` the derivative
of the covariance there and S the data's sum of products.
"""

import json
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Features = Float[Array, " features"]
Unknowns = Float[Array, " unknowns"]
LEAST_STD = 1e-6
FARTHEST = 2.5  # standard deviations of a feature: beyond, all data look alike, and weights show it


class Scaled(eqx.Module):
    """A small network of standardised features.

    Parameters
    ----------
    mean, std : (features,)
        Over the simulations of training.
    network : equinox.nn.MLP
        Two hidden layers; its last starts at zero.
    """

    mean: Features
    std: Features
    network: eqx.nn.MLP

    def __init__(self, features: Float[Array, "sets features"], n_out: int, width: int, key: Any):
        self.mean, std = jnp.mean(features, axis=0), jnp.std(features, axis=0)
        self.std = jnp.where(std > LEAST_STD, std, 1.0)
        network = eqx.nn.MLP(features.shape[1], n_out, width, 2, jax.nn.gelu, key=key)
        last = lambda n: (n.layers[-1].weight, n.layers[-1].bias)  # noqa: E731
        self.network = eqx.tree_at(last, network, jax.tree.map(jnp.zeros_like, last(network)))

    def __call__(self, features: Features) -> Float[Array, " out"]:
        """Output for features of mean zero and standard deviation one, bounded."""
        mean, std = jax.lax.stop_gradient((self.mean, self.std))  # they are no weights
        return self.network(jnp.clip((features - mean) / std, -FARTHEST, FARTHEST))


class AmortisedPosterior(eqx.Module):
    """An approximate posterior of the hyper-parameters for any data of one problem.

    Made by `ej.learn.amortise`, used by `ej.inference.Amortised`.

    Parameters
    ----------
    places : (places, unknowns)
        Unconstrained hyper-parameters at which derivatives of the log-evidence are features.
    silent : (places, unknowns)
        Those derivatives for data that are zero.
    unit : (places * unknowns,)
        Size of a derivative above which its logarithm counts.
    centre, spread : (unknowns,)
        Mean and standard deviation of the unconstrained hyper-parameters under the prior.
    start : Scaled
        From features to where the exact steps begin.
    correction : Scaled
        From where they end to location and log scales of the draws.
    pattern_limit : ()
        Log power of the largest pattern over the sensors, relative to the model's, that half a
        percent of the simulations exceed.
    trained_for : tuple of (str, str)
        Digests of lead field, whitener, prior, noise and number of samples.
    about_json : str
        What was measured in training, as JSON.
    """

    places: Float[Array, "places unknowns"]
    silent: Float[Array, "places unknowns"]
    unit: Features
    centre: Unknowns
    spread: Unknowns
    start: Scaled
    correction: Scaled
    pattern_limit: Float[Array, ""]
    trained_for: tuple[tuple[str, str], ...] = eqx.field(static=True)
    about_json: str = eqx.field(static=True, default="{}")

    @property
    def about(self) -> dict[str, Any]:
        """What was measured in training."""
        return json.loads(self.about_json)

    def features(self, derivatives: Float[Array, "places unknowns"]) -> Features:
        """Features from the derivatives of the log-evidence at the places."""
        return compressed(jnp.ravel(derivatives - self.silent), self.unit)


def compressed(energies: Features, unit: Features) -> Features:
    """Signed logarithms of what the data add to the derivatives."""
    return jnp.arcsinh(energies / unit)


def in_precision(tree: Any, dtype: Any) -> Any:
    """Real arrays of a tree in a precision; what is no array stays."""
    return jax.tree.map(lambda x: x.astype(dtype) if eqx.is_inexact_array(x) else x, tree)
