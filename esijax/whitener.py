"""From channels to noise of unit variance, and back."""

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float

from esijax._types import Scalar


class Whitener(eqx.Module):
    r"""Linear map that turns sensor noise into white noise of unit variance.

    :math:`W C W^\top = I` with `C` the noise covariance of the average, on its range.

    Parameters
    ----------
    matrix : (rank, channels)
        `W`, in 1/V and 1/T.
    colorer : (channels, rank)
        :math:`W^+`: from white space back to channels.
    log_pdet : ()
        Log pseudo-determinant of `W`: the Jacobian of whitening on the range of `C`.
    nave : ()
        Averages behind the data; `C` is the single-trial covariance divided by it.
    """

    matrix: Float[Array, "rank channels"]
    colorer: Float[Array, "channels rank"]
    log_pdet: Scalar
    nave: Scalar

    def of_means(self, n: int) -> "Whitener":
        """Whitener of means over n independent samples: of n times as many averages."""
        root = float(np.sqrt(n))
        log_pdet = self.log_pdet + len(self.matrix) * np.log(root)
        return Whitener(self.matrix * root, self.colorer / root, log_pdet, self.nave * n)
