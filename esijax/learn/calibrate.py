"""The constant by which variances are multiplied, so that intervals hold what they state."""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm

from esijax.learn.inputs import Examples, Inputs
from esijax.learn.loss import posterior_at
from esijax.models.networks import Trained, VarianceNetwork

LEVEL = 0.9
CHOSEN = 0.01  # share of the locations with the largest posterior mean
SCALES = np.geomspace(0.25, 32.0, 29)


def fitted_scale(
    network: VarianceNetwork, inputs: Sequence[Inputs], examples: Sequence[Examples]
) -> Trained:
    """Choose the constant at which 90 % intervals hold 90 % of the largest sources of the map.

    Parameters
    ----------
    network : VarianceNetwork
    inputs, examples : sequences
        Of data that training has not seen.
    """
    scales = jnp.asarray(SCALES, jnp.float32)
    shares = [_coverage(network, i, e, scales) for i, e in zip(inputs, examples, strict=True)]
    share = np.mean([np.asarray(s) for s in shares], axis=0)
    share = np.maximum.accumulate(share)
    found = np.interp(LEVEL, share, np.log(SCALES))
    scale = jnp.asarray(np.exp(found), jnp.float32)
    return Trained(eqx.tree_at(lambda n: n.scale, network, scale))


@eqx.filter_jit
def _coverage(network, inputs: Inputs, examples: Examples, scales):
    """Share of the chosen sources in their intervals, for each constant."""
    n = inputs.gain.shape[1]
    n_chosen = max(1, round(CHOSEN * n))

    def one(cov, peak, sources):
        gamma = jnp.exp(inputs.solve(network, cov))

        def covered(scale):
            mean, std = posterior_at(inputs, scale * gamma, peak)
            _, chosen = jax.lax.top_k(jnp.linalg.norm(mean, axis=-1), n_chosen)
            half = norm.ppf((1 + LEVEL) / 2) * std[chosen]
            return jnp.mean(jnp.abs(sources[chosen] - mean[chosen]) <= half)

        return jax.lax.map(covered, scales)

    return jnp.mean(jax.vmap(one)(examples.cov, examples.peak, examples.sources), axis=0)
