"""What an unrolled solver is given of a problem, and simulated examples for it, in float32."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

from esijax.models.marginals import implied_variances
from esijax.models.networks import Neighbours, VarianceNetwork, mesh_neighbours, unrolled
from esijax.problem import Problem
from esijax.simulate import Scenario

NANO = 1e9  # nA m per A m
LEAST_POWER = 1e-8  # of q, which single precision may round below zero
WINDOWS = (1, 5, 21)  # samples around the peak, besides all
Covariance = Float[Array, "rank rank"]
PerLocation = Float[Array, " locations"]


class Inputs(eqx.Module):
    """A problem as a network sees it, its rank padded so that problems share compiled programs.

    Parameters
    ----------
    gain : (rank, locations, orients)
        Whitened lead field times the prior's scale; rows of zeros are padding.
    whitener : (rank, channels)
    amplitude : (locations, orients)
        nA m of a source of variance 1.
    mesh : Neighbours
    distance : (locations, locations)
        cm, between locations; None where no loss needs it.
    """

    gain: Float[Array, "rank locations orients"]
    whitener: Float[Array, "rank channels"]
    amplitude: Float[Array, "locations orients"]
    mesh: Neighbours
    distance: Float[Array, "locations locations"] | None

    @property
    def factor(self) -> Float[Array, "rank columns"]:
        """Sensor factors of all sources."""
        return self.gain.reshape(len(self.gain), -1)

    @property
    def owner(self) -> Int[Array, " columns"]:
        """Location of each column."""
        _, n, n_orients = self.gain.shape
        return jnp.repeat(jnp.arange(n), n_orients)

    def sigma(self, gamma: PerLocation) -> Covariance:
        """Covariance of the whitened data."""
        factor = self.factor
        return (factor * gamma[self.owner][None]) @ factor.T + jnp.eye(
            len(factor), dtype=factor.dtype
        )

    def energies(self, gamma: PerLocation, cov: Covariance) -> tuple[PerLocation, PerLocation]:
        """Give q and z of each location."""
        inverse = jnp.linalg.inv(self.sigma(gamma))
        both = jnp.concatenate([inverse @ cov @ inverse, inverse]) @ self.factor
        each = jnp.sum(both.reshape(2, *self.gain.shape) * self.gain[None], axis=(1, 3))
        return jnp.maximum(each[0], LEAST_POWER), each[1]

    def solve(self, network: VarianceNetwork, cov: Covariance) -> PerLocation:
        """Logarithms of the variances, from where `Unrolled` starts."""
        n = self.gain.shape[1]
        start = implied_variances(self.factor, self.owner, n, cov, jnp.ones((), cov.dtype))
        return unrolled(network, lambda g: self.energies(g, cov), jnp.log(start), self.mesh)


class Examples(eqx.Module):
    """Simulated data sets, as the loss reads them.

    Parameters
    ----------
    cov : (sets, rank, rank)
        Of the whitened data over samples.
    peak : (sets, rank)
        Whitened data at the sample of most power.
    sources : (sets, locations, orients)
        True sources then, nA m.
    amplitude : (sets, locations)
        Root mean square of the true sources over time, nA m.
    """

    cov: Float[Array, "*sets rank rank"]
    peak: Float[Array, "*sets rank"]
    sources: Float[Array, "*sets locations orients"]
    amplitude: Float[Array, "*sets locations"]


def inputs_of(problem: Problem, rank: int, *, distance: bool = True) -> Inputs:
    """Read a problem, padded to a common rank."""
    mesh = mesh_neighbours(problem.geometry)  # refuses a problem without positions
    at = jnp.asarray(problem.geometry.positions)
    pad = ((0, rank - problem.rank), (0, 0))
    made = Inputs(
        jnp.pad(problem.gain * problem.prior_scale[None], (*pad, (0, 0))),
        jnp.pad(problem.whitener.matrix, pad),
        NANO * problem.prior_scale * problem.source_unit,
        mesh,
        100.0 * jnp.linalg.norm(at[:, None] - at[None], axis=-1) if distance else None,
    )
    return in_float32(made)


@eqx.filter_jit
def draw_examples(
    scenario: Scenario,
    inputs: Inputs,
    near: Int[Array, " fine"],
    keys: Key[Array, " sets"],
    windows: tuple[int, ...] = WINDOWS,
) -> Examples:
    """Simulate one data set per key.

    Parameters
    ----------
    scenario : Scenario
    inputs : Inputs
        Of its problem.
    near : (locations of the head,)
        ``scenario.head.nearest(scenario.problem)``.
    keys : (sets,)
    windows : tuple of int
        Samples around the peak of which the covariance is made, drawn for each set; all samples
        are one more.
    """

    def one(key: PRNGKeyArray) -> Examples:
        k_draw, k_window = jax.random.split(key)
        draw = scenario.draw(k_draw)
        data = inputs.whitener @ draw.recording
        sources = NANO * draw.truth.sources_on(scenario.problem, near)
        peak = jnp.argmax(jnp.sum(data**2, axis=0))
        n_times = data.shape[1]
        length = jax.random.choice(k_window, jnp.array([*windows, n_times]))
        near_peak = jnp.abs(jnp.arange(n_times) - peak) <= length // 2
        share = near_peak / jnp.sum(near_peak)
        amplitude = jnp.sqrt(jnp.sum(sources**2, axis=1) @ share)
        cov = (data * share[None]) @ data.T
        return Examples(cov, data[:, peak], sources[..., peak], amplitude)

    return in_float32(jax.vmap(one)(keys))


def in_float32(tree: Any) -> Any:
    """Real arrays in single precision; whole numbers stay."""
    return jax.tree.map(
        lambda a: a.astype(jnp.float32) if jnp.issubdtype(a.dtype, jnp.floating) else a, tree
    )
