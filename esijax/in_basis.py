r"""What a temporal basis makes of a problem: InBasis.

.. math:: X = W \Phi, \; \Phi \Phi^\top = I \quad\Rightarrow\quad
   Y \Phi^\top = G W + E \Phi^\top, \qquad Y (I - \Phi^\top \Phi) = E (I - \Phi^\top \Phi)

K columns hold signal and noise; the others, independent of them, noise alone.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from esijax._types import Scalar, Square


class InBasis(eqx.Module):
    r"""A basis whose coefficients are the columns of a problem, and the columns of noise alone.

    Parameters
    ----------
    rows : (columns, times)
        :math:`\Phi`, orthonormal, of the columns that are independent in time.
    turn : (columns, times)
        From coefficients to samples in standard deviations of the noise at each; columns of unit
        length, or zero where no source is.
    power : (rank, rank)
        Sum of products of the columns of noise alone.
    n_columns : ()
        Their number, T - K for each trial.
    log_jacobian : ()
        Log determinant of the whitening, for each of the columns of either kind.
    name : str
    notes : tuple of str
    from_data : bool
        Whether the basis was made from the same data: then there is no evidence.
    """

    rows: Float[Array, "columns times"]
    turn: Float[Array, "columns times"]
    power: Square
    n_columns: Scalar
    log_jacobian: Scalar
    name: str = eqx.field(static=True)
    notes: tuple[str, ...] = eqx.field(static=True, default=())
    from_data: bool = eqx.field(static=True, default=False)

    @property
    def white_log_density(self) -> Scalar:
        """Log density of the columns of noise alone where the noise is as stated, N(0, I)."""
        size = self.n_columns * len(self.power) * jnp.log(2 * jnp.pi)
        return -0.5 * (jnp.trace(self.power) + size)
