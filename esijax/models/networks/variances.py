r"""Unrolled solvers of the variances: a few updates, each with what was learned added to it.

.. math:: \log \gamma^{(k+1)} = \log \gamma^{(k)} + \tfrac12 \log \frac{q}{z}
          + c_k\!\left(\text{features of } \gamma^{(k)}, q, z\right)

with :math:`q_l = \operatorname{tr} A_l^\top \Sigma^{-1} S \Sigma^{-1} A_l` and
:math:`z_l = \operatorname{tr} A_l^\top \Sigma^{-1} A_l` summed over the orients of a location, S
the covariance of the whitened data. Without correction it is the update "mm" of `EM`. The lead
field enters through q and z alone: it is no weight, and any head will do.
"""

import abc
import math
from collections.abc import Callable
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from esijax._types import scalar
from esijax.models.networks.neighbours import Neighbours
from esijax.models.networks.network import Network

PerLocation = Float[Array, " locations"]
Energies = Callable[[PerLocation], tuple[PerLocation, PerLocation]]

N_LAYERS = 6
WIDTH = 8  # hidden features
N_FEATURES = 5
LARGEST_RATIO = 6.0  # of log q / z, as a feature
LARGEST_CORRECTION = 3.0
FAINT = 1e-3  # relative amplitudes below count alike


def unrolled(
    network: "VarianceNetwork", energies: Energies, log_gamma: PerLocation, mesh: Neighbours
) -> PerLocation:
    """Logarithms of the variances after all layers.

    Below the square root of the smallest normal number a variance counts as that, as in `EM`:
    numbers that are not normal take a processor ten times as long.

    Parameters
    ----------
    network : VarianceNetwork
        The network with its weights.
    energies : callable
        From variances to q and z.
    log_gamma : (locations,)
        Where to start.
    mesh : Neighbours
        Edges of the mesh, for networks that look at neighbours.

    Returns
    -------
    log_gamma : (locations,)
        After the last layer.
    """
    least = 0.5 * math.log(float(jnp.finfo(log_gamma.dtype).tiny))

    def layer(log_gamma, weights):
        q, z = energies(jnp.exp(log_gamma))
        return jnp.maximum(network.layer(weights, log_gamma, q, z, mesh), least), None

    return jax.lax.scan(layer, log_gamma, network.layers)[0]


def mm_step(q: PerLocation, z: PerLocation) -> PerLocation:
    """Half of log q / z, which EM's update "mm" adds; what the sensors do not see goes to zero."""
    seen = z > 0
    return jnp.where(seen, 0.5 * (jnp.log(q) - jnp.log(jnp.where(seen, z, 1.0))), -jnp.inf)


class VarianceNetwork(Network):
    """What an unrolled solver does in each layer; implement `layer`.

    Attributes
    ----------
    layers : pytree
        Weights, each with a leading axis over layers.
    scale : ()
        What the variances are multiplied by at the end, so that intervals hold what they state:
        fitted on simulations that training has not seen.
    adapted : tuple of str
        Which of the weights move when it adapts to recordings without truth; none named: all.
    """

    layers: eqx.AbstractVar[dict[str, Array]]
    scale: eqx.AbstractVar[Float[Array, ""]]
    kept: ClassVar[tuple[str, ...]] = ("scale",)
    adapted: ClassVar[tuple[str, ...]] = ()

    @abc.abstractmethod
    def layer(
        self,
        weights: dict[str, Array],
        log_gamma: PerLocation,
        q: PerLocation,
        z: PerLocation,
        mesh: Neighbours,
    ) -> PerLocation:
        """Next logarithms of the variances; `weights` are those of this layer."""


class Smoothing(VarianceNetwork):
    r"""Three numbers a layer: length of the step, smoothing over neighbours, level.

    .. math:: \gamma^{1/2} \leftarrow e^{b_k / 2} \left[ (1 - m_k)\, v + m_k\, \bar v \right],
              \qquad v = \gamma^{1/2} (q / z)^{s_k / 4}

    with the mean over mesh neighbours of `Neighbours`; :math:`0 \le m_k \le 1`.

    Parameters
    ----------
    key : PRNG key, optional
        Of no use here: nothing is drawn.
    n_layers : int
        How many layers.
    """

    layers: dict[str, Array]
    scale: Float[Array, ""]

    def __init__(self, key: PRNGKeyArray | None = None, n_layers: int = N_LAYERS):  # noqa: ARG002
        start = {"step": 1.0, "mix": 0.2, "level": 0.0}
        self.layers = {name: jnp.full(n_layers, value) for name, value in start.items()}
        self.scale = scalar(1.0)

    def layer(self, weights, log_gamma, q, z, mesh):
        """Step, then smoothing of the standard deviations."""
        root = jnp.exp(0.5 * (log_gamma + weights["step"] * mm_step(q, z)))
        mix = jnp.clip(weights["mix"], 0.0, 1.0)
        smooth = (1.0 - mix) * root + mix * mesh.average(root[:, None])[:, 0]
        return 2.0 * jnp.log(smooth) + weights["level"]


class MeshNetwork(VarianceNetwork):
    r"""A small network over mesh neighbours corrects each step.

    Features of a location know neither unit nor head: :math:`\log q / z`, the share
    :math:`\gamma z` that the data determine, amplitude :math:`\gamma q^{1/2}` and variance
    relative to the largest. Two averages over neighbours; the last layer starts at zero, so that
    an untrained network is EM.

    Parameters
    ----------
    key : PRNG key
        Of the random numbers.
    n_layers, width : int
        How many layers, and how wide.

    References
    ----------
    Gregor and LeCun 2010, https://icml.cc/Conferences/2010/papers/449.pdf (unrolled solvers);
    Hashemi et al. 2021, doi:10.1016/j.neuroimage.2021.118309 (the update).
    """

    layers: dict[str, Array]
    scale: Float[Array, ""]
    adapted: ClassVar[tuple[str, ...]] = ("step", "w3", "b3")
    sized_by: ClassVar[str] = "b1"

    def __init__(self, key: PRNGKeyArray, n_layers: int = N_LAYERS, width: int = WIDTH):
        first, second = jax.random.split(key)
        inputs = 2 * N_FEATURES
        self.layers = {
            "w1": 0.3 * jax.random.normal(first, (n_layers, inputs, width)),
            "b1": jnp.zeros((n_layers, width)),
            "w2": 0.25 * jax.random.normal(second, (n_layers, 2 * width, width)),
            "b2": jnp.zeros((n_layers, width)),
            "w3": jnp.zeros((n_layers, width + N_FEATURES)),
            "b3": jnp.zeros(n_layers),
            "step": jnp.ones(n_layers),
        }
        self.scale = scalar(1.0)

    def layer(self, weights, log_gamma, q, z, mesh):
        """Step of the length that was learned, and the correction."""
        correction = _correction(weights, features(log_gamma, q, z), mesh)
        return log_gamma + weights["step"] * mm_step(q, z) + correction


def features(
    log_gamma: PerLocation, q: PerLocation, z: PerLocation
) -> Float[Array, "locations features"]:
    """What a network is told of each location; numbers of order one without unit."""
    tiny = jnp.finfo(q.dtype).tiny
    ratio = jnp.log(jnp.maximum(q, tiny)) - jnp.log(jnp.maximum(z, tiny))
    log_gamma = jnp.maximum(log_gamma, jnp.log(tiny))
    log_amplitude = log_gamma + 0.5 * jnp.log(jnp.maximum(q, tiny))
    relative = jnp.exp(log_amplitude - jnp.max(log_amplitude))
    return jnp.stack(
        [
            jnp.clip(ratio, -LARGEST_RATIO, LARGEST_RATIO) / 2,
            jnp.exp(log_gamma) * z,
            jnp.log(relative + FAINT) / 3,
            jnp.clip(log_gamma - jnp.max(log_gamma), -10.0, 0.0) / 5,
            relative,
        ],
        axis=-1,
    )


def _correction(weights, own, mesh: Neighbours) -> PerLocation:
    """Bounded, zero where the last layer is."""
    hidden = _with_average(own, mesh) @ weights["w1"] + weights["b1"][None]
    hidden = _with_average(jax.nn.gelu(hidden), mesh) @ weights["w2"] + weights["b2"][None]
    last = jnp.concatenate([jax.nn.gelu(hidden), own], axis=-1) @ weights["w3"] + weights["b3"]
    return LARGEST_CORRECTION * jnp.tanh(last)


def _with_average(x, mesh: Neighbours):
    return jnp.concatenate([x, mesh.average(x)], axis=-1)
