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
from esijax.models.priors.gaussian import GaussianPrior
from esijax.models.priors.linear import LinearPrior
from esijax.models.priors.prior import Prior
from esijax.problem import Problem

Reach = Float[Array, "rank some orients"]
Scale = Float[Array, "some orients"]
Within = Float[Array, "some orients orients"]
Index = Int[Array, " some"]


class Rows(eqx.Module):
    """Reach into the sensors and prior covariance of some locations."""

    @abc.abstractmethod
    def at(self, index: Index) -> "Rows":
        """The same for some of the locations."""

    @abc.abstractmethod
    def reach(self, hyper: Any) -> Reach:
        """G R."""

    @abc.abstractmethod
    def prior(self, hyper: Any) -> Within:
        """Blocks of R."""


class SeparateRows(Rows):
    """Independent locations."""

    gain: Gain
    variance: Scale
    member: Index

    def at(self, index: Index) -> "SeparateRows":
        """Some columns of the lead field."""
        return SeparateRows(self.gain[:, index], self.variance[index], self.member[index])

    def _variance(self, gamma) -> Scale:
        return gamma[self.member][:, None] * self.variance

    def reach(self, hyper: Array) -> Reach:
        """Scaled columns."""
        return self.gain * self._variance(hyper)[None]

    def prior(self, hyper: Array) -> Within:
        """Diagonal."""
        return _diagonal(self._variance(hyper))


class LowRankRows(Rows):
    """Few columns; `fields` are what the sensors see of them."""

    fields: Float[Array, "rank factors orients"]
    columns: Float[Array, "some factors"]
    scale: Scale
    member: Int[Array, " factors"]

    def at(self, index: Index) -> "LowRankRows":
        """Some rows of the factors."""
        return LowRankRows(self.fields, self.columns[index], self.scale[index], self.member)

    def reach(self, hyper: Array) -> Reach:
        """Through the factors."""
        fields = self.fields * hyper[self.member][None, :, None]
        return jnp.einsum("lf,rfo->rlo", self.columns, fields) * self.scale[None]

    def prior(self, hyper: Array) -> Within:
        """Diagonal."""
        return _diagonal(self.scale**2 * (self.columns**2 @ hyper[self.member])[:, None])


class WholeRows(Rows):
    """Any covariance times its variance."""

    field: Reach
    block: Within

    def at(self, index: Index) -> "WholeRows":
        """Some columns."""
        return WholeRows(self.field[:, index], self.block[index])

    def reach(self, hyper: Array) -> Reach:
        """Times the variance."""
        return self.field * hyper[0]

    def prior(self, hyper: Array) -> Within:
        """Times the variance."""
        return self.block * hyper[0]


class SumRows(Rows):
    """Parts of a linear prior, whose variances stand side by side."""

    source: LinearPrior
    parts: tuple[Rows, ...]
    sizes: tuple[int, ...] = eqx.field(static=True)

    def at(self, index: Index) -> "SumRows":
        """Some locations of each."""
        return SumRows(self.source, tuple(part.at(index) for part in self.parts), self.sizes)

    def _each(self, hyper):
        gamma, offset = self.source.gamma(hyper), 0
        for part, n in zip(self.parts, self.sizes, strict=True):
            yield part, gamma[offset : offset + n]
            offset += n

    def reach(self, hyper: dict[str, Array]) -> Reach:
        """Sum of the parts."""
        return sum(part.reach(gamma) for part, gamma in self._each(hyper))

    def prior(self, hyper: dict[str, Array]) -> Within:
        """Sum of the parts."""
        return sum(part.prior(gamma) for part, gamma in self._each(hyper))


class GaussianRows(Rows):
    """A covariance that is known up to lambda2."""

    whole: WholeRows

    def at(self, index: Index) -> "GaussianRows":
        """Some columns."""
        return GaussianRows(self.whole.at(index))

    def reach(self, hyper: dict[str, Array]) -> Reach:
        """Over lambda2."""
        return self.whole.field / hyper["lambda2"]

    def prior(self, hyper: dict[str, Array]) -> Within:
        """Over lambda2."""
        return self.whole.block / hyper["lambda2"]


class AnyRows(Rows):
    """Of a prior of which nothing else is known: R anew for each member and each set."""

    source: Prior
    problem: Problem
    index: Index

    def at(self, index: Index) -> "AnyRows":
        """Remember which."""
        return AnyRows(self.source, self.problem, self.index[index])

    def reach(self, hyper: dict[str, Array]) -> Reach:
        """Some columns of all."""
        cov = self.source.source_cov(hyper, self.problem)
        return cov.apply_gain(self.problem.gain)[:, self.index]

    def prior(self, hyper: dict[str, Array]) -> Within:
        """Some blocks of all."""
        return self.source.source_cov(hyper, self.problem).blocks()[self.index]


def _diagonal(variance: Scale) -> Within:
    return variance[..., None] * jnp.eye(variance.shape[-1])[None]


def _of_part(part: Part, problem: Problem) -> Rows | None:
    gain, scale = problem.gain, problem.prior_scale
    if isinstance(part, Separate):
        return SeparateRows(gain, part.variance[:, None] * scale**2, part.member)
    if isinstance(part, LowRank):
        fields = jnp.einsum("rlo,lf->rfo", gain * scale[None], part.columns)
        return LowRankRows(fields, part.columns, scale, part.member)
    if isinstance(part, Whole):
        return WholeRows(part.cov.apply_gain(gain), part.cov.blocks())
    return None


def rows_of(prior: Prior, problem: Problem) -> Rows:
    """Rows of all locations."""
    if isinstance(prior, LinearPrior):
        parts = prior.parts(problem)
        rows = tuple(row for part in parts if (row := _of_part(part, problem)) is not None)
        if len(rows) == len(parts):
            return SumRows(prior, rows, tuple(part.n for part in parts))
    if isinstance(prior, GaussianPrior):
        cov = prior.normalised_cov(problem)
        return GaussianRows(WholeRows(cov.apply_gain(problem.gain), cov.blocks()))
    return AnyRows(prior, problem, jnp.arange(problem.n_locations))
