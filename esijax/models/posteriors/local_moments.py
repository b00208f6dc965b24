r"""The part of a posterior that belongs to some locations, shared by all members of a mixture.

With :math:`\Sigma = L L^\top` of a member, everything about a location follows from two arrays,

.. math:: B = G R(\gamma)\,[:, l], \qquad R(\gamma)\,[l, l], \qquad
          m = (L^{-1} B)^\top L^{-1} Y, \qquad C = R[l, l] - (L^{-1} B)^\top L^{-1} B

and what does not depend on :math:`\gamma` is computed once, not for each member.
"""

import abc
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from esijax._types import Gain
from esijax.models.parts import LowRank, Part, Separate, Whole
from esijax.models.source_cov import SourceCov
from esijax.problem import Problem

SensorImage = Float[Array, "rank some orients"]
LocalVariance = Float[Array, "some orients"]
LocalBlocks = Float[Array, "some orients orients"]
Locations = Int[Array, " some"]


class LocalMoments(eqx.Module):
    """What some locations look like at the sensors (G R), and their prior covariance."""

    @abc.abstractmethod
    def at(self, index: Locations) -> "LocalMoments":
        """The same for some of the locations."""

    @abc.abstractmethod
    def reach(self, hyper: Any) -> SensorImage:
        """Columns of G R at these locations, (rank, some, orients)."""

    @abc.abstractmethod
    def prior(self, hyper: Any) -> LocalBlocks:
        """Orients x orients blocks of R at these locations."""


class SeparateMoments(LocalMoments):
    """Independent locations."""

    gain: Gain
    variance: LocalVariance
    member: Locations

    def at(self, index: Locations) -> "SeparateMoments":
        """Some columns of the lead field."""
        return SeparateMoments(self.gain[:, index], self.variance[index], self.member[index])

    def _variance(self, gamma) -> LocalVariance:
        return gamma[self.member][:, None] * self.variance

    def reach(self, hyper: Array) -> SensorImage:
        """Scaled columns."""
        return self.gain * self._variance(hyper)[None]

    def prior(self, hyper: Array) -> LocalBlocks:
        """Diagonal."""
        return _diagonal_blocks(self._variance(hyper))


class LowRankMoments(LocalMoments):
    """Few columns; `fields` are what the sensors see of them."""

    fields: Float[Array, "rank factors orients"]
    columns: Float[Array, "some factors"]
    scale: LocalVariance
    member: Int[Array, " factors"]

    def at(self, index: Locations) -> "LowRankMoments":
        """Some rows of the factors."""
        return LowRankMoments(self.fields, self.columns[index], self.scale[index], self.member)

    def reach(self, hyper: Array) -> SensorImage:
        """Through the factors."""
        fields = self.fields * hyper[self.member][None, :, None]
        return jnp.einsum("lf,rfo->rlo", self.columns, fields) * self.scale[None]

    def prior(self, hyper: Array) -> LocalBlocks:
        """Diagonal."""
        return _diagonal_blocks(self.scale**2 * (self.columns**2 @ hyper[self.member])[:, None])


class WholeMoments(LocalMoments):
    """Any covariance times its variance."""

    field: SensorImage
    block: LocalBlocks

    def at(self, index: Locations) -> "WholeMoments":
        """Some columns."""
        return WholeMoments(self.field[:, index], self.block[index])

    def reach(self, hyper: Array) -> SensorImage:
        """Those for a variance of 1, times the variance."""
        return self.field * hyper[0]

    def prior(self, hyper: Array) -> LocalBlocks:
        """Those for a variance of 1, times the variance."""
        return self.block * hyper[0]


class LinearMoments(LocalMoments):
    """Parts of a linear prior, whose variances stand side by side."""

    source: Any  # the LinearPrior that makes these: it stands below in the reading order
    parts: tuple[LocalMoments, ...]
    sizes: tuple[int, ...] = eqx.field(static=True)

    def at(self, index: Locations) -> "LinearMoments":
        """Some locations of each."""
        return LinearMoments(self.source, tuple(part.at(index) for part in self.parts), self.sizes)

    def _each(self, hyper):
        gamma, offset = self.source.gamma(hyper), 0
        for part, n in zip(self.parts, self.sizes, strict=True):
            yield part, gamma[offset : offset + n]
            offset += n

    def reach(self, hyper: dict[str, Array]) -> SensorImage:
        """Sum of the parts."""
        return sum(part.reach(gamma) for part, gamma in self._each(hyper))

    def prior(self, hyper: dict[str, Array]) -> LocalBlocks:
        """Sum of the parts."""
        return sum(part.prior(gamma) for part, gamma in self._each(hyper))


class ScaledMoments(LocalMoments):
    """A covariance that is known up to lambda2."""

    whole: WholeMoments

    def at(self, index: Locations) -> "ScaledMoments":
        """Some columns."""
        return ScaledMoments(self.whole.at(index))

    def reach(self, hyper: dict[str, Array]) -> SensorImage:
        """Those for lambda2 = 1, over lambda2."""
        return self.whole.field / hyper["lambda2"]

    def prior(self, hyper: dict[str, Array]) -> LocalBlocks:
        """Those for lambda2 = 1, over lambda2."""
        return self.whole.block / hyper["lambda2"]


class GenericMoments(LocalMoments):
    """Of a prior of which nothing else is known: R anew for each member and each set."""

    source: Any  # the Prior that makes these
    problem: Problem
    index: Locations

    def at(self, index: Locations) -> "GenericMoments":
        """Note the locations; R is asked for them later."""
        return GenericMoments(self.source, self.problem, self.index[index])

    def reach(self, hyper: dict[str, Array]) -> SensorImage:
        """Some columns of all."""
        cov = self.source.source_cov(hyper, self.problem)
        return cov.apply_gain(self.problem.gain)[:, self.index]

    def prior(self, hyper: dict[str, Array]) -> LocalBlocks:
        """Some blocks of all."""
        return self.source.source_cov(hyper, self.problem).blocks()[self.index]


def _diagonal_blocks(variance: LocalVariance) -> LocalBlocks:
    return variance[..., None] * jnp.eye(variance.shape[-1])[None]


def part_moments(part: Part, problem: Problem) -> LocalMoments | None:
    """Moments of all locations under one part, for a variance of 1; None for a part of its own."""
    gain, scale = problem.gain, problem.prior_scale
    if isinstance(part, Separate):
        return SeparateMoments(gain, part.variance[:, None] * scale**2, part.member)
    if isinstance(part, LowRank):
        fields = jnp.einsum("rlo,lf->rfo", gain * scale[None], part.columns)
        return LowRankMoments(fields, part.columns, scale, part.member)
    if isinstance(part, Whole):
        return WholeMoments(part.cov.apply_gain(gain), part.cov.blocks())
    return None


def generic_moments(prior: Any, problem: Problem) -> GenericMoments:
    """Moments of all locations under a prior that is known by `source_cov` alone."""
    return GenericMoments(prior, problem, jnp.arange(problem.n_locations))


def linear_moments(prior: Any, problem: Problem) -> LocalMoments:
    """Moments of all locations under a LinearPrior."""
    parts = prior.parts(problem)
    found = tuple(own for part in parts if (own := part_moments(part, problem)) is not None)
    if len(found) < len(parts):
        return generic_moments(prior, problem)
    return LinearMoments(prior, found, tuple(part.n for part in parts))


def scaled_moments(cov: SourceCov, problem: Problem) -> ScaledMoments:
    """Moments of all locations under a covariance that is divided by lambda2."""
    return ScaledMoments(WholeMoments(cov.apply_gain(problem.gain), cov.blocks()))
