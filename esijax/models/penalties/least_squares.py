r"""Least squares as proximal methods see it: value, slope and Lipschitz bound.

.. math:: f(V) = \tfrac12 \lVert Y - G P (S \circ V) \rVert_F^2

S (locations x times) spreads the weights of entries: :math:`\Omega(W \circ Z)` is :math:`\Omega(V)`
with S = 1 / W.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from esijax._types import Scalar, Sources

SMALL = 640  # columns whose largest eigenvalue is computed
Spread = Float[Array, "#locations #times"]


class DataTerm(NamedTuple):
    """All locations."""

    gain: Float[Array, "rank locations orients"]
    scale: Float[Array, "locations orients"]
    data: Float[Array, "rank times"]
    spread: Spread

    def fitted(self, x: Sources) -> Float[Array, "rank times"]:
        """G P (S o V)."""
        return jnp.tensordot(self.gain, x * self.scale[..., None] * self.spread[:, None], axes=2)

    def pulled(self, residual: Float[Array, "rank times"]) -> Sources:
        """Adjoint of `fitted`."""
        back = jnp.tensordot(self.gain, residual, axes=(0, 0))
        return back * self.scale[..., None] * self.spread[:, None]

    def slope(self, x: Sources) -> Sources:
        """Gradient."""
        return self.pulled(self.fitted(x) - self.data)

    def energy(self, x: Sources) -> Scalar:
        """Value."""
        return 0.5 * jnp.sum((self.data - self.fitted(x)) ** 2)

    def bound(self) -> Scalar:
        """Largest curvature."""
        columns = (self.gain * self.scale[None]).reshape(len(self.gain), -1)
        largest = jnp.linalg.eigvalsh(columns @ columns.T)[-1]
        return 1.0001 * largest * jnp.max(self.spread) ** 2

    def within(self, index: Int[Array, " w"]) -> "GramTerm":
        """Some locations, the others at zero."""
        some = (self.gain[:, index] * self.scale[None, index]).reshape(len(self.gain), -1)
        linear = (some.T @ self.data).reshape(len(index), self.scale.shape[1], -1)
        spread = self.spread if len(self.spread) == 1 else self.spread[index]
        return GramTerm(some.T @ some, linear, spread)


class GramTerm(NamedTuple):
    """A working set, whose cost does not grow with the sensors; the constant is left out."""

    gram: Float[Array, "n n"]
    linear: Float[Array, "w orients times"]
    spread: Spread

    def _times(self, x: Sources) -> Sources:
        return (self.gram @ x.reshape(len(self.gram), -1)).reshape(x.shape)

    def slope(self, x: Sources) -> Sources:
        """Gradient."""
        spread = self.spread[:, None]
        return (self._times(x * spread) - self.linear) * spread

    def energy(self, x: Sources) -> Scalar:
        """Value."""
        wide = x * self.spread[:, None]
        return jnp.sum(wide * (0.5 * self._times(wide) - self.linear))

    def bound(self, whole: Scalar) -> Scalar:
        """Largest curvature, that of the whole at most."""
        if len(self.gram) > SMALL:
            return whole
        own = 1.0001 * jnp.linalg.eigvalsh(self.gram)[-1] * jnp.max(self.spread) ** 2
        return jnp.where(own > 0, jnp.minimum(own, whole), whole)
