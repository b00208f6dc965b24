r"""What training lowers: the log score of the posterior, and how far the map is from the truth.

.. math:: \frac1n \sum_l \left[ \log \tilde s_l + h\!\left(\frac{u_l - m_l}{\tilde s_l}\right)
          \right] + \lambda\, E(\hat a, a), \qquad \tilde s_l^2 = s_l^2 + \epsilon^2

u, m, s: true sources, posterior mean and standard deviation at the sample of most power, over the
largest true amplitude; h quadratic up to 5 and linear beyond; E the energy distance of the
normalised amplitudes. The :math:`\epsilon` bounds the score where the truth is zero, as it is at
99 % of all locations. Networks that give a map without a spread lower instead

.. math:: \frac{\sum_l \lVert \hat x_l - x_l \rVert^2}{\sum_l \lVert x_l \rVert^2}
          + \lambda\, E(\hat a, a)

at that sample, :math:`a_l = \lVert x_l \rVert`.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from esijax._ops.safe import safe_sqrt
from esijax.learn.inputs import Examples, Inputs
from esijax.models.networks import PointNetwork, VarianceNetwork

LEAST_STD = 0.02  # of the largest amplitude
BEND = 5.0  # standard deviations beyond which errors count linearly
KL_SHARE = 0.3  # of the divergence beside the energy distance, cm
PerSource = Float[Array, "locations orients"]


@functools.singledispatch
def loss(
    network: VarianceNetwork, inputs: Inputs, examples: Examples, energy_weight: float
) -> Float[Array, ""]:
    """Mean over data sets; which loss it is follows the kind of the network."""

    def one(cov, peak, sources, amplitude):
        log_gamma = inputs.solve(network, cov)
        mean, std = posterior_at(inputs, jnp.exp(log_gamma), peak)
        score = log_score(mean, std, sources)
        q, _ = inputs.energies(jnp.exp(log_gamma), cov)
        found = jnp.exp(log_gamma) * jnp.sqrt(jnp.maximum(q, 1e-12)) * inputs.amplitude[:, -1]
        return score + energy_weight * map_distance(found, amplitude, inputs.distance)

    each = jax.vmap(one)(examples.cov, examples.peak, examples.sources, examples.amplitude)
    return jnp.mean(each)


@loss.register(PointNetwork)
def _(network, inputs, examples, energy_weight):
    def one(peak, sources):
        found = network.sources(inputs.gain, peak[:, None])[..., 0] * inputs.amplitude
        error = jnp.sum((found - sources) ** 2) / jnp.maximum(jnp.sum(sources**2), 1e-12)
        found, truth = (safe_sqrt(jnp.sum(x**2, axis=-1)) for x in (found, sources))
        return error + energy_weight * map_distance(found, truth, inputs.distance)

    return jnp.mean(jax.vmap(one)(examples.peak, examples.sources))


def posterior_at(
    inputs: Inputs, gamma: Float[Array, " locations"], data: Float[Array, " rank"]
) -> tuple[PerSource, PerSource]:
    """Posterior mean and standard deviation of one sample, nA m."""
    inverse = jnp.linalg.inv(inputs.sigma(gamma))
    filtered = (inverse @ inputs.factor).reshape(inputs.gain.shape)
    prior = gamma[:, None]
    mean = prior * jnp.tensordot(data, filtered, 1)
    left = prior - prior**2 * jnp.sum(filtered * inputs.gain, axis=0)
    return mean * inputs.amplitude, jnp.sqrt(jnp.maximum(left, 1e-10)) * inputs.amplitude


def log_score(mean: PerSource, std: PerSource, truth: PerSource) -> Float[Array, ""]:
    """Bounded negative log density of the truth, nats a source."""
    largest = jnp.maximum(jnp.max(jnp.abs(truth)), 1e-12)
    wide = jnp.sqrt((std / largest) ** 2 + LEAST_STD**2)
    error = jnp.abs((truth - mean) / largest) / wide
    bent = jnp.where(error < BEND, 0.5 * error**2, BEND * error - 0.5 * BEND**2)
    return jnp.mean(jnp.log(wide) + bent)


def map_distance(found, truth, distance) -> Float[Array, ""]:
    """Energy distance (cm) of normalised amplitudes, and a share of their divergence."""
    found, truth = found / (jnp.sum(found) + 1e-9), truth / (jnp.sum(truth) + 1e-12)
    apart = found - truth
    energy = -0.5 * apart @ distance @ apart
    ratio = jnp.log(truth + 1e-9) - jnp.log(found + 1e-6)
    return energy + KL_SHARE * jnp.sum(jnp.where(truth > 0, truth * ratio, 0.0))
