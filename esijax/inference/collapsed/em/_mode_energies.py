"""Energies of components in the modes of space: of samples that go together, and of waves."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from esijax._ops.separable import Modes
from esijax._types import Square
from esijax.inference.collapsed.em._sensor import Energies


class ModeEnergies(Energies):
    """What components of one covariance in time are asked for, known in the modes of space.

    Parameters
    ----------
    space : Modes
    seen : (rank, waves)
        Columns whose products are the matrix of q.
    left : (rank, rank) | None
        What is added to it.
    limit : (rank,)
        Diagonal of the matrix of z.
    """

    space: Modes
    seen: Float[Array, "rank some"]
    left: Square | None
    limit: Float[Array, " rank"]

    @property
    def inverse(self) -> Square:
        """The matrix of z."""
        return (self.space.inverse * self.limit[None]) @ self.space.inverse.T

    def sandwich(self) -> Square:
        """The matrix of q."""
        power = self.seen @ self.seen.T
        return self.space.within(power if self.left is None else power + self.left)

    def energy(self, part: Float[Array, "rank _"]) -> tuple[Array, Array]:
        """What each column of a factor adds to q and z."""
        own = self.space.inverse.T @ part
        q = jnp.sum((self.seen.T @ own) ** 2, axis=0)
        if self.left is not None:
            q = q + jnp.sum(own * (self.left @ own), axis=0)
        return q, self.limit @ own**2
