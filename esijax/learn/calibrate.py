"""The constant by which variances are multiplied, so that intervals hold what they state."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm
from jaxtyping import Array, Float
from tqdm.auto import tqdm

from esijax._types import InputError, prng_key
from esijax.learn.inputs import Examples, Inputs, draw_examples, inputs_of
from esijax.learn.loss import posterior_at
from esijax.models.networks import Trained, VarianceNetwork
from esijax.simulate import Scenario

LEVEL = 0.9
LEAST = 0.85  # in each scenario
CHOSEN = 0.01  # share of the locations with the largest posterior mean
SCALES = np.geomspace(0.25, 32.0, 29)


def calibrate(
    trained: Trained, scenarios: Sequence[Scenario], *, key: Any, n: int = 24, progress: bool = True
) -> Trained:
    """Fit the constant of a network anew, on simulations of given scenarios.

    Parameters
    ----------
    trained : Trained
    scenarios : sequence of Scenario
        Each counts alike; what they simulate should be what the network will meet.
    key : PRNG key | int
    n : int
        Data sets of each.
    progress : bool

    Returns
    -------
    trained : Trained
        With the smallest constant at which 90 % intervals hold 90 % of the largest sources of the
        map on average, and 85 % in each scenario (the largest 1 % of the posterior mean at the
        sample of most power).

    Raises
    ------
    InputError
        For a network without variances, which has no such constant.

    Examples
    --------
    >>> trained = ej.learn.calibrate(trained, scenarios, key=0)  # doctest: +SKIP
    """
    if not isinstance(trained.network, VarianceNetwork):
        raise InputError(
            f"{type(trained.network).__name__} states no spread: there is nothing to calibrate."
        )
    keys = jax.random.split(prng_key(key), len(scenarios))
    network = jax.tree.map(lambda w: jnp.asarray(w, jnp.float32), trained.network)
    inputs = [inputs_of(s.problem, s.problem.rank) for s in scenarios]
    examples = [
        draw_examples(s, i, s.head.nearest(s.problem), jax.random.split(k, n), ())
        for s, i, k in zip(scenarios, inputs, keys, strict=True)
    ]
    scale = _fitted(network, inputs, examples, LEAST, progress)
    return eqx.tree_at(lambda t: t.network.scale, trained, scale)


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
    scale = _fitted(network, inputs, examples, 0.0, False)
    return Trained(eqx.tree_at(lambda n: n.scale, network, scale))


def _fitted(network, inputs, examples, least: float, progress: bool) -> Float[Array, ""]:
    """Constant at which 90 % are held on average, and `least` in each scenario."""
    scales = jnp.asarray(SCALES, jnp.float32)
    pairs = tqdm(list(zip(inputs, examples, strict=True)), "constant", disable=not progress)
    each = np.array([_coverage(network, i, e, scales) for i, e in pairs])
    found = max(_reached(each.mean(axis=0), LEVEL), *(_reached(one, least) for one in each))
    return jnp.asarray(found, jnp.float32)


def _reached(share: np.ndarray, level: float) -> float:
    """Constant at which a share that rises with it reaches a level."""
    return float(np.exp(np.interp(level, np.maximum.accumulate(share), np.log(SCALES))))


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

    given = (examples.cov, examples.peak, examples.sources)
    return jnp.mean(jax.lax.map(lambda e: one(*e), given), axis=0)
