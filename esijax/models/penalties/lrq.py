"""Powers of norms, convex or not."""

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from esijax._ops.prox import block_norms
from esijax._types import InputError, Scalar, Sources
from esijax.models.penalties.norms import L1, L21
from esijax.models.penalties.penalty import Penalty, weight_of, weights_of


class Lrq(Penalty):
    r"""Power of a norm of each location: sparser than MxNE for q < 1, and not convex.

    .. math:: \alpha \sum_l w_l \lVert Z_l \rVert_r^q, \qquad r \in \{1, 2\}, \; 0 < q \le 1

    Its majoriser at :math:`Z^k` is the norm with the weights :math:`q \lVert Z_l^k \rVert_r^{q-1}`:
    `MAP` and `Reweighted` solve one such problem after the other, from the convex one with all
    weights :math:`w_l` (irMxNE: r = 2, q = 1/2). The answer is a stationary point.

    Parameters
    ----------
    alpha : float | relative
        Weight, absolute, or a share of the alpha_max of the convex norm (q = 1).
    r : 1 | 2
        Norm within a location's orients and times.
    q : float
        Power, static.
    weights : (locations,) or (locations, times), optional
        Weight of each location, or of each of its times: then the powers are those of the norms
        of :math:`W \circ Z`.

    Raises
    ------
    InputError
        For an alpha or weights that are not positive and finite, r or q out of range.

    References
    ----------
    Strohmeier et al. 2016, doi:10.1109/TMI.2016.2553445; Gorodnitsky and Rao 1997,
    doi:10.1109/78.558475.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> gain = np.random.default_rng(0).standard_normal((8, 12))
    >>> problem = ej.from_arrays(gain, 5 * gain[:, [3]], noise_cov=1.0)
    >>> model = ej.models.Lrq(ej.relative(0.5), r=2, q=0.5)
    >>> estimate = ej.solve(problem, model, ej.inference.MAP())
    >>> [int(i) for i in np.flatnonzero(estimate.mean[:, 0, 0])]
    [3]
    """

    r: int = eqx.field(static=True, default=2)
    q: float = eqx.field(static=True, default=0.5)
    convex: ClassVar[bool] = False

    def __init__(self, alpha: Any, r: int = 2, q: float = 0.5, weights: Any = None):
        if r not in (1, 2):
            raise InputError(f"r must be 1 or 2, got {r!r}.")
        if not (isinstance(q, int | float) and 0 < q <= 1):
            raise InputError(f"q must lie in (0, 1], got {q!r}.")
        self.alpha, self.weights = weight_of(alpha), weights_of(weights)
        self.r, self.q = int(r), float(q)

    @property
    def whole_times(self) -> bool:
        """Whether it is of Frobenius norms, without weights of times."""
        return self.r == 2 and not self.by_entry

    @property
    def majoriser(self) -> L1 | L21:
        """The convex norm that is reweighted."""
        return (L21 if self.r == 2 else L1)(self.alpha, self.weights)

    def norms(self, x: Sources) -> Float[Array, " locations"]:
        """r-norm of each location."""
        x = self.weighted(x)
        return block_norms(x) if self.r == 2 else jnp.sum(jnp.abs(x), axis=(-2, -1))

    def value(self, x: Sources) -> Scalar:
        """Weighted sum of powers."""
        norms = self.norms(x)
        on = norms > 0
        powers = jnp.where(on, jnp.where(on, norms, 1.0) ** self.q, 0.0)
        return jnp.sum(self.location_weights(x.shape[-3]) * powers)

    def prox(self, x: Sources, step: Scalar) -> Sources:  # noqa: ARG002
        """Raise InputError: there is no closed form for every q, the solvers majorise instead."""
        raise InputError("Lrq is solved by majorisation: inference.MAP() or Reweighted(n).")

    def polar(self, gradient: Sources) -> Scalar:
        """Dual norm of the convex norm: from there on the first majoriser gives zero."""
        return self.majoriser.polar(gradient)
