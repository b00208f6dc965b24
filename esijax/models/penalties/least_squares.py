r"""One recording under a penalty: the data term with its gradient, and the weights of the penalty.

.. math:: f(V) = \tfrac12 \lVert Y - G P (S \circ V) \rVert_F^2

S (locations x times) spreads the weights of entries: :math:`\Omega(W \circ Z)` is :math:`\Omega(V)`
with S = 1 / W. All solvers of `esijax.inference.sparse` read a problem through this class.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from esijax._types import Data, Gain, Scalar, Scale, Sources

EIGEN_COLUMNS = 640  # up to so many columns the largest eigenvalue of a Gram matrix is computed
NO_SPREAD = np.ones((1, 1))
LocationWeights = Float[Array, " locations"]
EntrySpread = Float[Array, "#locations #times"]


class LeastSquares(NamedTuple):
    """The problem of one recording: the gain is ``gain * scale``, entries are spread by S."""

    gain: Gain
    scale: Scale
    data: Data
    weight: LocationWeights  # alpha times the weights of locations
    spread: EntrySpread = NO_SPREAD  # ty: ignore[invalid-assignment]

    def predict(self, x: Sources) -> Data:
        """G P (S o V)."""
        return jnp.tensordot(self.gain, x * self.scale[..., None] * self.spread[:, None], axes=2)

    def adjoint(self, residual: Data) -> Sources:
        """Adjoint of `predict`; minus the gradient where `residual` is that of the sources."""
        back = jnp.tensordot(self.gain, residual, axes=(0, 0))
        return back * self.scale[..., None] * self.spread[:, None]

    def gradient(self, x: Sources) -> Sources:
        """Gradient of f."""
        return self.adjoint(self.predict(x) - self.data)

    def energy(self, x: Sources) -> Scalar:
        """Value of f."""
        return 0.5 * jnp.sum((self.data - self.predict(x)) ** 2)

    def lipschitz(self) -> Scalar:
        """Largest curvature of f: the Lipschitz constant of its gradient."""
        columns = (self.gain * self.scale[None]).reshape(len(self.gain), -1)
        largest = jnp.linalg.eigvalsh(columns @ columns.T)[-1]
        return 1.0001 * largest * jnp.max(self.spread) ** 2

    def columns(self, index: Int[Array, " w"]) -> Float[Array, "rank columns"]:
        """Scaled columns of the gain of some locations, not spread."""
        some = self.gain[:, index] * self.scale[None, index]
        return some.reshape(len(some), -1)

    def within(self, index: Int[Array, " w"]) -> "GramTerm":
        """The problem of some locations, the others at zero."""
        columns = self.columns(index)
        linear = (columns.T @ self.data).reshape(len(index), self.scale.shape[1], -1)
        spread = self.spread if len(self.spread) == 1 else self.spread[index]
        return GramTerm(columns.T @ columns, linear, spread)


class GramTerm(NamedTuple):
    """A working set, whose cost does not grow with the sensors; the constant of f is left out."""

    gram: Float[Array, "n n"]
    linear: Float[Array, "w orients times"]
    spread: EntrySpread

    def _times(self, x: Sources) -> Sources:
        return (self.gram @ x.reshape(len(self.gram), -1)).reshape(x.shape)

    def gradient(self, x: Sources) -> Sources:
        """Gradient of f."""
        spread = self.spread[:, None]
        return (self._times(x * spread) - self.linear) * spread

    def energy(self, x: Sources) -> Scalar:
        """Value of f, less half the energy of the data."""
        wide = x * self.spread[:, None]
        return jnp.sum(wide * (0.5 * self._times(wide) - self.linear))

    def lipschitz(self, whole: Scalar) -> Scalar:
        """Largest curvature of f, at most `whole`, that of all locations."""
        if len(self.gram) > EIGEN_COLUMNS:
            return whole
        own = 1.0001 * jnp.linalg.eigvalsh(self.gram)[-1] * jnp.max(self.spread) ** 2
        return jnp.where(own > 0, jnp.minimum(own, whole), whole)
