"""A penalty whose shape is learned from examples."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from esijax._ops.safe import divisor
from esijax._types import InputError, check_positive, is_traced, scalar
from esijax.models.penalties.concave import Concave, Norms
from esijax.models.penalties.penalty import weight_of, weights_of

KNOTS = (0.1, 0.3, 1.0, 3.0)


class Learned(Concave):
    r"""A mixed norm whose slope changes with the amplitude, as training found best.

    .. math:: \alpha \sum_l w_l\, \rho(\lVert Z_l \rVert_F), \qquad
       \rho'(0) = 1, \quad \rho'(\tau k_i) = s_i, \quad \rho' \text{ linear in between}

    and constant beyond the last knot. Its proximal map shrinks a location of norm n by
    :math:`\alpha w_l \rho'`: learning the slopes is learning that map. With all slopes 1 it is
    `L21`, with one slope of 0 at :math:`\tau` it is `MCP`. Amplitudes are counted in
    :math:`\tau` and alpha may be a share of alpha_max, so that what is learned on simulations
    holds for data of another size. `jax.grad` of anything that comes of `solve` reaches the slopes.

    Parameters
    ----------
    alpha : float | relative
        Weight, absolute, or a share of the alpha_max of the mixed norm.
    slopes : (knots,)
        :math:`s_i`, not negative.
    knots : (knots,), optional
        :math:`k_i`, rising from above 0; by default 0.1, 0.3, 1, 3.
    amplitude : float, optional
        :math:`\tau`, in normalised units; by default a tenth of the largest norm of a source that
        explains the data alone.
    weights : (locations,) or (locations, times), optional
        Weight of each location, or of each of its times.

    Raises
    ------
    InputError
        For numbers that are not finite, slopes below zero, knots that do not rise.

    References
    ----------
    Gribonval and Nikolova 2020, doi:10.1007/s10851-020-00951-y (which shrinkages are proximal
    maps); Bertrand et al. 2022, https://jmlr.org/papers/v23/21-0486.html (learning by implicit
    differentiation).

    Examples
    --------
    >>> import jax, numpy as np, esijax as ej
    >>> gain = np.random.default_rng(0).standard_normal((8, 12))
    >>> problem = ej.from_arrays(gain, 5 * gain[:, [3]], noise_cov=1.0)
    >>> def amplitude(slopes):
    ...     model = ej.models.Learned(ej.relative(0.5), slopes)
    ...     return ej.solve(problem, model, ej.inference.MAP()).posterior.sources[3, 0, 0]
    >>> slopes = np.array([1.0, 0.8, 0.5, 0.2])
    >>> bool(amplitude(0 * slopes) > amplitude(slopes))
    True
    >>> bool((jax.grad(amplitude)(slopes) <= 0).all())
    True
    """

    slopes: Float[Array, " knots"] = eqx.field(default=None)
    knots: Float[Array, " knots"] = eqx.field(default=None)

    def __init__(
        self,
        alpha: Any,
        slopes: Any,
        knots: Any = KNOTS,
        amplitude: Any = None,
        weights: Any = None,
    ):
        self.alpha, self.weights = weight_of(alpha), weights_of(weights)
        self.amplitude = None if amplitude is None else scalar(amplitude)
        if amplitude is not None:
            check_positive(self.amplitude, "amplitude")
        self.slopes = jnp.asarray(slopes, dtype=float)
        self.knots = jnp.asarray(knots, dtype=float)
        if self.slopes.ndim != 1 or self.slopes.shape != self.knots.shape or not len(self.slopes):
            raise InputError(
                f"slopes and knots must be as many: got {self.slopes.shape} and {self.knots.shape}."
            )
        _check_knots(self.slopes, self.knots)

    @property
    def _pieces(self) -> tuple[Array, Array, Array, Array]:
        """Where each piece begins and ends, its slope there, and how that changes."""
        ends = self.tau * self.knots
        begins = jnp.concatenate([jnp.zeros(1), ends])
        first = jnp.concatenate([jnp.ones(1), self.slopes])
        change = jnp.append((self.slopes - first[:-1]) / (ends - begins[:-1]), 0.0)
        return begins, jnp.append(ends, jnp.inf), first, change

    def height(self, norms: Norms) -> Norms:
        """Area under the slope."""
        total = jnp.zeros_like(norms)
        for begin, end, first, change in zip(*self._pieces, strict=True):
            within = jnp.clip(norms, begin, end) - begin
            total = total + first * within + 0.5 * change * within**2
        return total

    def candidates(self, norms: Norms, weight: Norms) -> tuple[Norms, ...]:
        """The minimum of each piece, or its end."""
        out = []
        for begin, end, first, change in zip(*self._pieces, strict=True):
            bent = 1.0 + weight * change
            least = (norms - weight * (first - change * begin)) / divisor(bent)
            # not convex within: one of its ends
            out.append(jnp.clip(jnp.where(bent > 0, least, begin), begin, end))
        return tuple(out)


def _check_knots(slopes: Array, knots: Array) -> None:
    if not is_traced(slopes):
        values = np.asarray(slopes)
        if not (np.isfinite(values).all() and (values >= 0).all()):
            raise InputError(f"slopes must be finite and not negative, got {values}.")
    if not is_traced(knots):
        values = np.asarray(knots)
        if not (np.isfinite(values).all() and (np.diff(values, prepend=0.0) > 0).all()):
            raise InputError(f"knots must be finite and rise from above 0, got {values}.")
