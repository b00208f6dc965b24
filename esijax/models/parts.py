r"""Groups of covariance components, known by their factors.

.. math:: R(\gamma) = \sum_k \gamma_k C_k, \qquad C_k = P F_k F_k^\top P \otimes I_{orients}

A part holds the factors of one or many components; P is the problem's scale (depth, orientation).
In sensor space each component is :math:`A_k A_k^\top` with :math:`A_k = G P F_k`, at most `rank`
columns, and that is all that inference on :math:`\gamma` needs.
"""

import abc
from typing import TYPE_CHECKING

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from esijax._ops.gaussian import symmetric_power
from esijax._types import Gain, Scale
from esijax.models.source_cov import Added, Diagonal, Factored, SourceCov


class Part(eqx.Module):
    """Components that are represented in one way."""

    if TYPE_CHECKING:  # checkers take an abstract field for the first of the constructor's

        @property
        def n(self) -> int:
            """Number of components."""
            ...

    else:
        n: eqx.AbstractVar[int]

    @abc.abstractmethod
    def group(self, n_orients: int) -> Int[Array, " columns"]:
        """Component to which each column of the sensor factor belongs."""

    @abc.abstractmethod
    def factor(self, gain: Gain, scale: Scale) -> Float[Array, "rank columns"]:
        """Sensor factor :math:`G P F` of all components, side by side."""

    @abc.abstractmethod
    def source_cov(self, gamma: Float[Array, " n"], scale: Scale) -> SourceCov:
        """Covariance of the sources for given variances."""

    @abc.abstractmethod
    def scaled(self, factor: Float[Array, " n"]) -> "Part":
        """Each component times a number."""


class Separate(Part):
    """Independent locations; a component is a set of them with relative variances.

    Parameters
    ----------
    variance : (locations,)
        Relative variance; zero leaves a location out.
    member : (locations,)
        Component of each location.
    n : int
        Number of components.
    """

    variance: Float[Array, " locations"]
    member: Int[Array, " locations"]
    n: int = eqx.field(static=True)

    def group(self, n_orients: int) -> Int[Array, " columns"]:
        """Orients of a location belong together."""
        return jnp.repeat(self.member, n_orients)

    def factor(self, gain: Gain, scale: Scale) -> Float[Array, "rank columns"]:
        """Scaled columns of the lead field."""
        weight = scale * jnp.sqrt(self.variance)[:, None]
        return (gain * weight[None]).reshape(gain.shape[0], -1)

    def source_cov(self, gamma: Float[Array, " n"], scale: Scale) -> SourceCov:
        """Diagonal."""
        return Diagonal((gamma[self.member] * self.variance)[:, None] * scale**2)

    def scaled(self, factor: Float[Array, " n"]) -> "Separate":
        """Relative variances times the number of their component."""
        return Separate(self.variance * factor[self.member], self.member, self.n)


class Listed(Part):
    """Independent locations again, one entry for each location of each component.

    Components may share locations, and locations in none of them cost nothing.

    Parameters
    ----------
    location : (entries,)
    variance : (entries,)
        Relative variance.
    member : (entries,)
        Component of each entry.
    n : int
        Number of components.
    """

    location: Int[Array, " entries"]
    variance: Float[Array, " entries"]
    member: Int[Array, " entries"]
    n: int = eqx.field(static=True)

    def group(self, n_orients: int) -> Int[Array, " columns"]:
        """Orients of an entry belong together."""
        return jnp.repeat(self.member, n_orients)

    def factor(self, gain: Gain, scale: Scale) -> Float[Array, "rank columns"]:
        """Scaled columns of the lead field, those that are listed."""
        weight = scale[self.location] * jnp.sqrt(self.variance)[:, None]
        return (gain[:, self.location] * weight[None]).reshape(gain.shape[0], -1)

    def source_cov(self, gamma: Float[Array, " n"], scale: Scale) -> SourceCov:
        """Diagonal; zero at locations that are not listed."""
        own = gamma[self.member] * self.variance
        total = jnp.zeros(scale.shape[0], dtype=own.dtype).at[self.location].add(own)
        return Diagonal(total[:, None] * scale**2)

    def scaled(self, factor: Float[Array, " n"]) -> "Listed":
        """Relative variances times the number of their component."""
        variance = self.variance * factor[self.member]
        return Listed(self.location, variance, self.member, self.n)


class LowRank(Part):
    """Components of few columns: patches, kernels, labels, maps.

    Parameters
    ----------
    columns : (locations, columns)
        F, the factors side by side.
    member : (columns,)
        Component of each column.
    n : int
        Number of components.
    """

    columns: Float[Array, "locations columns"]
    member: Int[Array, " columns"]
    n: int = eqx.field(static=True)

    def group(self, n_orients: int) -> Int[Array, " _"]:
        """Each column serves all orients."""
        return jnp.repeat(self.member, n_orients)

    def factor(self, gain: Gain, scale: Scale) -> Float[Array, "rank _"]:
        """Fields of the columns, orient by orient."""
        fields = jnp.einsum("rlo,lc->rco", gain * scale[None], self.columns)
        return fields.reshape(gain.shape[0], -1)

    def source_cov(self, gamma: Float[Array, " n"], scale: Scale) -> SourceCov:
        """Product of thin factors."""
        return Factored(scale, self.columns, gamma[self.member])

    def scaled(self, factor: Float[Array, " n"]) -> "LowRank":
        """Each column times the root of the number of its component."""
        return LowRank(self.columns * jnp.sqrt(factor)[self.member][None], self.member, self.n)


class Whole(Part):
    """One component with any source covariance (smooth on the mesh, minimum norm).

    Parameters
    ----------
    cov : SourceCov
        With the problem's scale in it already.
    rank : int
        Dimensions of the whitened data: more columns the sensors cannot tell apart.
    """

    cov: SourceCov
    rank: int = eqx.field(static=True)
    n: int = eqx.field(static=True, default=1)

    def group(self, n_orients: int) -> Int[Array, " _"]:  # noqa: ARG002
        """All columns are one component."""
        return jnp.zeros(self.rank, dtype=int)

    def factor(self, gain: Gain, scale: Scale) -> Float[Array, "rank _"]:  # noqa: ARG002
        """Symmetric root of G R G'."""
        return symmetric_power(self.cov.sensor(gain), 0.5, rtol=1e-14)

    def source_cov(self, gamma: Float[Array, " n"], scale: Scale) -> SourceCov:  # noqa: ARG002
        """R times its variance."""
        return self.cov.scaled(gamma[0])

    def scaled(self, factor: Float[Array, " n"]) -> "Whole":
        """The covariance times the number."""
        return Whole(self.cov.scaled(factor[0]), self.rank)


class Joined(Part):
    """Sums: component k is the sum of the k-th components of all terms, with one variance.

    Parameters
    ----------
    terms : tuple of Part
        Each with n components.
    """

    terms: tuple[Part, ...]
    n: int = eqx.field(static=True)

    def group(self, n_orients: int) -> Int[Array, " _"]:
        """Columns of the terms side by side."""
        return jnp.concatenate([term.group(n_orients) for term in self.terms])

    def factor(self, gain: Gain, scale: Scale) -> Float[Array, "rank _"]:
        """Columns of the terms side by side."""
        return jnp.concatenate([term.factor(gain, scale) for term in self.terms], axis=1)

    def source_cov(self, gamma: Float[Array, " n"], scale: Scale) -> SourceCov:
        """Sum."""
        return Added(tuple(term.source_cov(gamma, scale) for term in self.terms))

    def scaled(self, factor: Float[Array, " n"]) -> "Joined":
        """Each term times the number."""
        return Joined(tuple(term.scaled(factor) for term in self.terms), self.n)


def stacked(
    parts: tuple[Part, ...], gain: Gain, scale: Scale
) -> tuple[Float[Array, "rank columns"], Int[Array, " columns"]]:
    """Sensor factors of all parts side by side, and the component of each column."""
    groups, offset = [], 0
    for part in parts:
        groups.append(part.group(gain.shape[2]) + offset)
        offset += part.n
    factors = [part.factor(gain, scale) for part in parts]
    if len(parts) == 1:
        return factors[0], groups[0]
    return jnp.concatenate(factors, axis=1), jnp.concatenate(groups)


def total_cov(parts: tuple[Part, ...], gamma: Float[Array, " _"], scale: Scale) -> SourceCov:
    """Covariance of the sources: the sum over all parts."""
    covs, offset = [], 0
    for part in parts:
        covs.append(part.source_cov(gamma[offset : offset + part.n], scale))
        offset += part.n
    return covs[0] if len(covs) == 1 else Added(tuple(covs))
