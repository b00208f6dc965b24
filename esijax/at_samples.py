r"""From independent columns back to samples: the one place where answers are turned in time.

.. math:: X = \tilde X \Omega^{1/2}, \qquad \tilde x_s \sim p(\cdot \mid \tilde Y) \text{ for each
          column } s

In units of :math:`d_t = \sqrt{\Omega_{tt}}` a sample has the prior, the noise and the data
:math:`\tilde Y \Omega^{1/2} d_t^{-1}` of one column: each question about single samples is one to
the same posterior of those data, its answer times :math:`d_t`. A temporal basis is the same with
:math:`\Phi` in the place of :math:`\Omega^{1/2}`: few columns, and each sample made of them.
"""

from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from esijax._ops.gaussian import symmetric_power
from esijax._ops.safe import divisor
from esijax._types import InputError
from esijax.noise_time import NoiseTime
from esijax.posterior import Courses, Posterior

EXACT = 1e-14  # samples that are asked for twice make the covariance singular


class AtSamples(Posterior):
    """What a method found for columns, at the samples.

    Parameters
    ----------
    columns : Posterior
    turn : (columns, times)
        From columns to samples in units of their noise: of unit length, or zero.
    std : (times,)
        Those units; ones for a map that stays in them (dSPM, sLORETA).
    """

    steady: ClassVar[bool] = False

    columns: Posterior
    turn: Float[Array, "columns times"]
    std: Float[Array, " times"]

    @classmethod
    def of(cls, columns: Posterior, back: Float[Array, "columns times"]) -> "AtSamples":
        """Samples that are these combinations of the columns."""
        std = jnp.linalg.norm(back, axis=0)
        return cls(columns, back / divisor(std)[None], std)

    @property
    def mixture(self) -> bool:  # ty: ignore[incompatible-property-override]
        """As of the columns."""
        return self.columns.mixture

    @property
    def _unit(self) -> Posterior:
        """The posterior of samples in units of their noise."""
        return self.columns.of_columns(self.turn)

    def _std(self, times: Any = None) -> Float[Array, " some"]:
        return self.std if times is None else self.std[times]

    def _scaled(self, x: Array, times: Any = None, power: int = 1) -> Array:
        """From units of the noise at each sample, along the last axis."""
        return x * jnp.reshape(self._std(times) ** power, (*[1] * (x.ndim - 1), -1))

    def of_columns(self, mix: Float[Array, "times some"]) -> Posterior:
        """Combinations of these samples."""
        return AtSamples.of(self.columns, self._scaled(self.turn) @ mix)

    def mean(self, scale: Any = 1.0) -> Float[Array, "*trials locations orients times"]:
        """Mean at each sample."""
        return self._scaled(self._unit.mean(scale))

    def kernel(self) -> Float[Array, "locations orients rank"]:
        """The map of a sample is that of a column, unless it takes its neighbours in time too."""
        if len(self.turn) < len(self.std):
            raise InputError(
                "a model with a temporal basis has no kernel: the map of a sample takes its "
                "neighbours in time too."
            )
        return self.columns.kernel()

    def cov(self) -> Float[Array, "*trials locations orients orients times"]:
        """Covariance blocks of each sample."""
        found = self._unit.cov()
        return self._scaled(found[..., None] if self.columns.steady else found, power=2)

    def variance(self) -> Float[Array, "*trials locations orients times"]:
        """Variance of each sample."""
        return self._scaled(self._unit.variance(), power=2)

    def draw(
        self, key: PRNGKeyArray, n: int, locations: Any, times: Any
    ) -> Float[Array, "n *trials some orients moments"]:
        """Joint draws: of columns that make these samples alone, or of all where they are fewer."""
        turn = self.turn[:, times]
        if len(turn) < turn.shape[1]:
            drawn = self.columns.draw(key, n, locations, jnp.arange(len(turn)))
            return self._scaled(drawn @ turn, times)
        together = turn.T @ turn  # correlations of these samples
        mix = turn @ symmetric_power(together, -0.5, rtol=EXACT)
        every = jnp.arange(mix.shape[1])
        drawn = self.columns.of_columns(mix).draw(key, n, locations, every)
        return self._scaled(drawn @ symmetric_power(together, 0.5, rtol=EXACT), times)

    def combine(self, weights: Float[Array, "courses locations orients"]):
        """Mean and variance of linear combinations, both (..., courses, times)."""
        members, variance = self.combined(weights)
        mean = jnp.mean(members, axis=0)
        return mean, jnp.mean(variance, axis=0) + jnp.mean((members - mean) ** 2, axis=0)

    def combined(self, weights: Float[Array, "courses locations orients"]):
        """Mean (members, ..., courses, times) and variance (members, courses, times)."""
        mean, variance = self._unit.combined(weights)
        return self._scaled(mean), self._scaled(variance, power=2)

    def courses(self, weights: Float[Array, "courses locations orients"]) -> Courses:
        """Linear combinations: the noise of neighbouring samples goes together."""
        mean, variance, root = self.columns.courses(weights)
        back = self._scaled(self.turn)
        if root is None:
            variance = jnp.broadcast_to(variance, (*variance.shape[:2], len(back)))
            root = jnp.broadcast_to(back.T, (len(variance), *back.T.shape))
        else:
            root = back.T @ root
        return Courses(mean @ back, variance, root)

    def members(self, locations: Any, times: Any):
        """Means and variances in each member of a mixture, with the axis of times."""
        mean, variance = self._unit.members(locations, times)
        return self._scaled(mean, times), self._scaled(variance, times, power=2)

    def quantiles(
        self, probabilities: Float[Array, " p"], locations: Any, times: Any
    ) -> Float[Array, "p *trials some orients moments"]:
        """Quantiles at each sample."""
        return self._scaled(self._unit.quantiles(probabilities, locations, times), times)

    def exceedance(
        self, scale: Array, threshold: Array, along: str, locations: Any, times: Any
    ) -> Float[Array, "*trials some moments"]:
        """Probability that a sample is larger."""
        std = self._std(times)
        found = self._unit.exceedance(scale, threshold / divisor(std), along, locations, times)
        # a sample without sources has none above any threshold
        return jnp.where(jnp.reshape(std > 0, (*[1] * (found.ndim - 1), -1)), found, 0.0)

    def fitted(self) -> Float[Array, "*trials rank times"] | None:
        """Data that the mean predicts, whitened over sensors."""
        found = self._unit.fitted()
        return None if found is None else self._scaled(found)

    def probe(self) -> Float[Array, ""]:
        """As of the columns."""
        return self.columns.probe()


def at_samples(
    posterior: Posterior, noise_time: NoiseTime | None, noise_units: bool = False
) -> Posterior:
    """The posterior at the samples; as it is where none goes with another."""
    if noise_time is None:
        return posterior
    std = jnp.ones(len(noise_time.cov)) if noise_units else noise_time.std
    return AtSamples(posterior, noise_time.turn, std)


def turned(posterior: Posterior, back: Float[Array, "columns times"]) -> Posterior:
    """The posterior of combinations of the columns; a point turns with them."""
    return AtSamples.of(posterior, back) if posterior.spread else posterior.of_columns(back)
