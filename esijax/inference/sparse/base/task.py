"""One recording under a penalty as solvers see it: gain, scale, data, weights."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from esijax._types import Data, Gain, Sources

ROUGH = jnp.float32


Weights = Float[Array, " locations"]


class Known(NamedTuple):
    """What is the same at all weights and scales."""

    pulled: Float[Array, "times locations orients"]  # G' Y, in single precision
    squares: Float[Array, "locations orients"]  # of the norms of columns


class Task(NamedTuple):
    """One problem: the gain is ``gain * scale``."""

    gain: Gain
    scale: Float[Array, "locations orients"]
    data: Data
    weight: Weights

    def columns(self, index: Int[Array, " w"]) -> Float[Array, "rank columns"]:
        """Scaled columns of some locations."""
        some = self.gain[:, index] * self.scale[None, index]
        return some.reshape(len(some), -1)

    def known(self) -> Known:
        """Gradients at zero and norms, not scaled."""
        return Known(_rough(self.data, self.gain), jnp.sum(self.gain**2, axis=0))

    def slope(self, residual: Data) -> Sources:
        """G' R."""
        return jnp.tensordot(self.gain, residual, axes=(0, 0)) * self.scale[..., None]


def _rough(right: Float[Array, "rank n"], gain: Gain) -> Float[Array, "n locations orients"]:
    """Something times G, in single precision; in this order it is a third faster."""
    return _product(right.astype(ROUGH), gain.astype(ROUGH))


def _product(left, right):
    return jnp.tensordot(left, right, axes=(0, 0), precision=jax.lax.Precision.HIGHEST)
