"""Posteriors whose spread differs from time to time: what follows from means and blocks.

A subclass gives `mean`, `blocks` and `courses`; the other questions are answered here, for a
Gaussian of these moments.
"""

import abc
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from esijax._ops.exceed import along_exceedance, ball_exceedance
from esijax._types import Gain, InputError
from esijax.posterior import Posterior


class GaussianOverTime(Posterior):
    """Gaussian at each location and time, the covariance the same for all trials."""

    steady: ClassVar[bool] = False

    gain: eqx.AbstractVar[Gain]

    @property
    def leading(self) -> tuple[int, ...]:
        """Axes of trials in front of the mean."""
        return ()

    @abc.abstractmethod
    def blocks(self, locations: Any, times: Any) -> Float[Array, "some orients orients moments"]:
        """Covariance of the orients at some locations and times (None: all)."""

    def kernel(self) -> Float[Array, "locations orients rank"]:
        """There is none: the map of a sample takes its neighbours in time too."""
        raise no_kernel()

    def cov(self) -> Float[Array, "*trials locations orients orients times"]:
        """Covariance of the orients at each time."""
        return self._for_trials(self.blocks(None, None))

    def variance(self) -> Float[Array, "*trials locations orients times"]:
        """Variance of each component at each time."""
        return self._for_trials(diagonal_of(self.blocks(None, None)))

    def _for_trials(self, x: Array) -> Array:
        """One for each trial: the covariance does not depend on the data."""
        return jnp.broadcast_to(x, (*self.leading, *x.shape))

    def members(self, locations: Any, times: Any):
        """Mean and variance at some locations and times, as a mixture of one."""
        mean = self.mean()
        mean = mean if locations is None else mean[..., locations, :, :]
        mean = mean if times is None else mean[..., times]
        return mean[None], diagonal_of(self.blocks(locations, times))[None]

    def quantiles(self, probabilities: Float[Array, " p"], locations: Any, times: Any):
        """Quantiles of each component, (p, ..., locations, orients, times)."""
        (mean,), (variance,) = self.members(locations, times)
        std = jnp.sqrt(variance)
        return jnp.stack([mean + z * std for z in jax.scipy.special.ndtri(probabilities)])

    def exceedance(self, scale: Array, threshold: Array, along: str, locations: Any, times: Any):
        """Probability at each time, (..., locations, times)."""
        (mean,), _ = self.members(locations, times)
        scale = jnp.broadcast_to(scale, (self.gain.shape[1], 1, 1))
        scale = scale if locations is None else scale[locations]
        cov = self.blocks(locations, times) * scale[..., None] ** 2
        mean = mean * jnp.broadcast_to(scale, mean.shape)
        return exceedance_over_time(mean, cov, threshold, along, mean)

    def combined(self, weights: Float[Array, "courses locations orients"]):
        """Mean and variance of linear combinations, as a mixture of one."""
        found = self.courses(weights)
        return found.mean, found.at_times

    def combine(self, weights: Float[Array, "courses locations orients"]):
        """Mean and variance of linear combinations, both (..., courses, times)."""
        (mean,), (variance,) = self.combined(weights)
        return mean, self._for_trials(variance)


def diagonal_of(blocks: Float[Array, "some orients orients moments"]) -> Array:
    """Variances (some, orients, moments) of covariance blocks."""
    return jnp.moveaxis(jnp.diagonal(blocks, axis1=1, axis2=2), -1, 1)


def exceedance_over_time(mean, cov, threshold: Array, along: str, towards) -> Array:
    """Exceedance probability where the covariance blocks differ from time to time.

    Parameters
    ----------
    mean, towards : (..., locations, orients, times)
        Mean, and the direction along which it counts.
    cov : (locations, orients, orients, times)
    """

    def one(args):
        mean, cov, towards = (x[..., None] for x in args)
        if along == "norm":
            return ball_exceedance(mean, cov[..., 0], threshold)[..., 0]
        return along_exceedance(towards, mean, cov[..., 0], threshold)[..., 0]

    args = tuple(jnp.moveaxis(x, -1, 0) for x in (mean, cov, towards))
    return jnp.moveaxis(jax.lax.map(one, args), 0, -1)


def no_kernel() -> InputError:
    """What to raise where a kernel of one sample is asked for."""
    return InputError(
        "a model with a covariance in time has no kernel: the map of a sample takes its "
        "neighbours in time too."
    )
