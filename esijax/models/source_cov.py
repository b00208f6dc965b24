r"""Source covariances that are never formed as locations x locations.

A `SourceCov` is the matrix :math:`R` of :math:`X \sim N(0, R)`, known by what it does.
"""

import abc
import functools
from collections.abc import Iterable
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from esijax._ops.chunked import back_project, gram
from esijax._ops.gaussian import symmetric_power
from esijax._ops.graph import laplacian_solve
from esijax._types import Blocks, Gain, Scalar

SourceColumns = Float[Array, "locations orients columns"]


class SourceCov(eqx.Module):
    """What every inference asks of a source covariance.

    `local` tells that R does not couple locations: it then is what `blocks` says.
    """

    local: ClassVar[bool] = False

    @abc.abstractmethod
    def apply(self, columns: SourceColumns) -> SourceColumns:
        """R V for (locations, orients, columns)."""

    @abc.abstractmethod
    def draw(self, key: PRNGKeyArray, n: int) -> SourceColumns:
        """Draws of the prior, (locations, orients, n)."""

    @abc.abstractmethod
    def blocks(self) -> Blocks:
        """Orients x orients blocks on the diagonal of R."""

    @abc.abstractmethod
    def scaled(self, factor: Scalar) -> "SourceCov":
        """R times a number."""

    def apply_gain(self, gain: Gain) -> Gain:
        """G R, in the layout of G: no transpose of a large array where none is needed."""
        return jnp.moveaxis(self.apply(jnp.moveaxis(gain, 0, -1)), -1, 0)

    def back_project(
        self, gain: Gain, columns: Float[Array, "rank columns"], scale
    ) -> SourceColumns:
        """Scale times R G' V; scale is a number or (locations, 1, 1)."""
        return self.apply(back_project(gain, columns, jnp.ones(gain.shape[1:]))) * scale

    def sensor(self, gain: Gain) -> Float[Array, "rank rank"]:
        """G R G'."""
        return jnp.tensordot(self.apply_gain(gain), gain, axes=((1, 2), (1, 2)))


class Rooted(SourceCov):
    """A covariance with a square root: white columns become draws."""

    @abc.abstractmethod
    def root(self, columns: SourceColumns) -> SourceColumns:
        """F V with F F' = R."""

    def draw(self, key: PRNGKeyArray, n: int) -> SourceColumns:
        """Draws of the prior, (locations, orients, n)."""
        locations, orients = jax.eval_shape(self.blocks).shape[:2]
        return self.root(jax.random.normal(key, (locations, orients, n)))


class Diagonal(Rooted):
    """Independent sources with variances (locations, orients)."""

    local: ClassVar[bool] = True
    variance: Float[Array, "locations orients"]

    def apply(self, columns: SourceColumns) -> SourceColumns:
        """R V: one product per source."""
        return self.variance[..., None] * columns

    def apply_gain(self, gain: Gain) -> Gain:
        """G R: scaled columns."""
        return self.variance[None] * gain

    def back_project(
        self, gain: Gain, columns: Float[Array, "rank columns"], scale
    ) -> SourceColumns:
        """Scale times R G' V, in one pass."""
        return back_project(gain, columns, self.variance * jnp.reshape(scale, (-1, 1)))

    def sensor(self, gain: Gain) -> Float[Array, "rank rank"]:
        """G R G' as a Gram matrix."""
        return gram(gain, self.variance)

    def root(self, columns: SourceColumns) -> SourceColumns:
        """Standard deviations times V."""
        return jnp.sqrt(self.variance)[..., None] * columns

    def blocks(self) -> Blocks:
        """Diagonal blocks."""
        return self.variance[..., None] * jnp.eye(self.variance.shape[-1])[None]

    def scaled(self, factor: Scalar) -> "Diagonal":
        """R times a number."""
        return Diagonal(self.variance * factor)


class BlockDiagonal(Rooted):
    """Locations independent, orients correlated within each: (locations, orients, orients)."""

    local: ClassVar[bool] = True
    block: Blocks

    def apply(self, columns: SourceColumns) -> SourceColumns:
        """R V: one small product per location."""
        return self.block @ columns

    def apply_gain(self, gain: Gain) -> Gain:
        """G R: one small product per location."""
        return jnp.einsum("rlo,lop->rlp", gain, self.block)

    def root(self, columns: SourceColumns) -> SourceColumns:
        """Symmetric roots of the blocks times V."""
        return symmetric_power(self.block, 0.5, rtol=1e-14) @ columns

    def blocks(self) -> Blocks:
        """The blocks themselves."""
        return self.block

    def scaled(self, factor: Scalar) -> "BlockDiagonal":
        """R times a number."""
        return BlockDiagonal(self.block * factor)


class GraphSmooth(Rooted):
    r"""Smooth along the mesh: :math:`R = P\,B^{-2} P`, the same for each orient.

    `B` is the shifted normalised graph Laplacian of `esijax._ops.graph`, P a diagonal scale.
    """

    scale: Float[Array, "locations orients"]
    edges: Int[Array, "edges 2"]
    ridge: Scalar

    def _smooth(self, columns: SourceColumns) -> SourceColumns:
        flat = columns.reshape(columns.shape[0], -1)
        return laplacian_solve(self.edges, self.ridge, flat).reshape(columns.shape)

    def apply(self, columns: SourceColumns) -> SourceColumns:
        """P B^{-2} P V by two sparse solves."""
        scale = self.scale[..., None]
        return scale * self._smooth(self._smooth(scale * columns))

    def sensor(self, gain: Gain) -> Float[Array, "rank rank"]:
        """G R G' as a Gram matrix."""
        half = self._smooth(jnp.moveaxis(gain * self.scale[None], 0, -1)).reshape(-1, gain.shape[0])
        return half.T @ half

    def root(self, columns: SourceColumns) -> SourceColumns:
        """P B^{-1} V."""
        return self.scale[..., None] * self._smooth(columns)

    def blocks(self) -> Blocks:
        """Diagonal of P B^{-2} P: squared columns of B^{-1}, a few hundred at a time."""
        n = self.scale.shape[0]
        chunk = min(n, 512)
        starts = jnp.arange(-(-n // chunk)) * chunk

        def squared(start):
            unit = jax.nn.one_hot(start + jnp.arange(chunk), n, axis=0, dtype=self.scale.dtype)
            return jnp.sum(laplacian_solve(self.edges, self.ridge, unit) ** 2, axis=0)

        diagonal = jax.lax.map(squared, starts).ravel()[:n]
        return (self.scale**2 * diagonal[:, None])[..., None] * jnp.eye(self.scale.shape[-1])[None]

    def scaled(self, factor: Scalar) -> "GraphSmooth":
        """R times a number."""
        return GraphSmooth(self.scale * jnp.sqrt(factor), self.edges, self.ridge)


class Factored(SourceCov):
    r"""Few columns: :math:`R = P F \operatorname{diag}(v) F^\top P`, the same for each orient.

    Parameters
    ----------
    scale : (locations, orients)
        P.
    columns : (locations, columns)
        F.
    variance : (columns,)
        v.
    """

    scale: Float[Array, "locations orients"]
    columns: Float[Array, "locations factors"]
    variance: Float[Array, " factors"]

    def apply(self, columns: SourceColumns) -> SourceColumns:
        """P F diag(v) F' P V."""
        inner = jnp.einsum("lf,loc->foc", self.columns, self.scale[..., None] * columns)
        inner = self.variance[:, None, None] * inner
        return self.scale[..., None] * jnp.einsum("lf,foc->loc", self.columns, inner)

    def back_project(
        self, gain: Gain, columns: Float[Array, "rank columns"], scale
    ) -> SourceColumns:
        """Scale times R G' V, through the factors: G' V is never formed."""
        fields = jnp.einsum("rlo,lf->rfo", gain * self.scale[None], self.columns)
        inner = jnp.einsum("rfo,rc->foc", fields, columns) * self.variance[:, None, None]
        return jnp.einsum("lf,foc->loc", self.columns, inner) * self.scale[..., None] * scale

    def sensor(self, gain: Gain) -> Float[Array, "rank rank"]:
        """G R G' from the fields of the columns."""
        fields = jnp.einsum("rlo,lf->rfo", gain * self.scale[None], self.columns)
        flat = (fields * jnp.sqrt(self.variance)[None, :, None]).reshape(gain.shape[0], -1)
        return flat @ flat.T

    def draw(self, key: PRNGKeyArray, n: int) -> SourceColumns:
        """P F diag(v)^1/2 times white columns."""
        white = jax.random.normal(key, (len(self.variance), self.scale.shape[1], n))
        inner = jnp.sqrt(self.variance)[:, None, None] * white
        return self.scale[..., None] * jnp.einsum("lf,foc->loc", self.columns, inner)

    def blocks(self) -> Blocks:
        """Diagonal of P F diag(v) F' P."""
        power = self.columns**2 @ self.variance
        eye = jnp.eye(self.scale.shape[-1])[None]
        return (self.scale**2 * power[:, None])[..., None] * eye

    def scaled(self, factor: Scalar) -> "Factored":
        """R times a number."""
        return Factored(self.scale, self.columns, self.variance * factor)


class Added(SourceCov):
    """Sum of covariances: sources of several kinds, independent of each other."""

    terms: tuple[SourceCov, ...]

    def apply(self, columns: SourceColumns) -> SourceColumns:
        """Sum of R_i V."""
        return _sum_of_arrays(term.apply(columns) for term in self.terms)

    def apply_gain(self, gain: Gain) -> Gain:
        """Sum of G R_i."""
        return _sum_of_arrays(term.apply_gain(gain) for term in self.terms)

    def back_project(
        self, gain: Gain, columns: Float[Array, "rank columns"], scale
    ) -> SourceColumns:
        """Sum of R_i G' V."""
        return _sum_of_arrays(term.back_project(gain, columns, scale) for term in self.terms)

    def sensor(self, gain: Gain) -> Float[Array, "rank rank"]:
        """Sum of G R_i G'."""
        return _sum_of_arrays(term.sensor(gain) for term in self.terms)

    def draw(self, key: PRNGKeyArray, n: int) -> SourceColumns:
        """Sum of independent draws."""
        keys = jax.random.split(key, len(self.terms))
        return _sum_of_arrays(term.draw(k, n) for term, k in zip(self.terms, keys, strict=True))

    def blocks(self) -> Blocks:
        """Sum of the blocks."""
        return _sum_of_arrays(term.blocks() for term in self.terms)

    def scaled(self, factor: Scalar) -> "Added":
        """R times a number."""
        return Added(tuple(term.scaled(factor) for term in self.terms))


def _sum_of_arrays(arrays: Iterable[Array]) -> Array:
    return functools.reduce(jnp.add, arrays)
