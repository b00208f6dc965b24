"""Blocks that the user names: parcels, patches."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from esijax._ops.prox import block_norms, block_soft_threshold, soft_threshold
from esijax._ops.safe import safe_sqrt
from esijax._types import InputError, Scalar, Sources, is_traced
from esijax.models.penalties.elastic import share
from esijax.models.penalties.penalty import Penalty, weight_of, weights_of
from esijax.problem import Problem

HALVINGS = 60


class SparseGroup(Penalty):
    r"""Few groups are active, and within them few locations.

    .. math:: \alpha \Big( (1 - \rho) \sum_g \sqrt{n_g} \lVert (W Z)_g \rVert_F
       + \rho \sum_l \lVert (W Z)_l \rVert_F \Big)

    with :math:`n_g` the number of locations of group g. Without groups the blocks are locations,
    and what is sparse within them are entries: :math:`(1 - \rho) \lVert Z_l \rVert_F + \rho
    \lVert Z_l \rVert_1`.

    Parameters
    ----------
    alpha : float | relative
        Weight, absolute, or a share of alpha_max.
    ratio : float
        :math:`\rho`; 0 is the group lasso.
    groups : (locations,) of int, optional
        Group of each location, counted from 0: parcels, patches.
    weights : (locations,) or (locations, times), optional
        W: weight of each location, or of each of its times.
    n_groups : int
        Set by `prepare`: the number of groups.

    Raises
    ------
    InputError
        For numbers that are not positive and finite, a ratio outside [0, 1], groups that are no
        integers from 0, one for each location.

    References
    ----------
    Yuan and Lin 2006, doi:10.1111/j.1467-9868.2005.00532.x; Simon et al. 2013,
    doi:10.1080/10618600.2012.681250.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> gain = np.random.default_rng(0).standard_normal((8, 12))
    >>> problem = ej.from_arrays(gain, 5 * gain[:, [3, 4, 5]] @ np.ones((3, 1)), noise_cov=1.0)
    >>> model = ej.models.SparseGroup(ej.relative(0.2), 0.0, groups=np.arange(12) // 3)
    >>> estimate = ej.solve(problem, model, ej.inference.MAP())
    >>> bool((estimate.mean[3:6] != 0).all())
    True
    """

    ratio: Scalar = eqx.field(default=0.5)
    groups: Int[Array, " locations"] | None = None
    n_groups: int = eqx.field(static=True, default=0)

    def __init__(
        self,
        alpha: Any,
        ratio: Any = 0.5,
        groups: Any = None,
        weights: Any = None,
        n_groups: int = 0,
    ):
        self.alpha, self.weights = weight_of(alpha), weights_of(weights)
        self.ratio = share(ratio, "ratio")
        self.groups, self.n_groups = None, n_groups
        if groups is None:
            return
        if not is_traced(groups):
            groups = np.asarray(groups)
            integers = groups.ndim == 1 and groups.dtype.kind in "iu" and groups.size > 0
            if not integers or groups.min() < 0:
                raise InputError("groups must be integers from 0, one for each location.")
            self.n_groups = int(groups.max()) + 1
        self.groups = jnp.asarray(groups)

    def prepare(self, problem: Problem) -> Penalty:
        """Check the sizes of weights and groups against a problem."""
        super().prepare(problem)
        if self.groups is not None and self.groups.shape != (problem.n_locations,):
            raise InputError(f"groups must be ({problem.n_locations},), got {self.groups.shape}.")
        return self

    @property
    def separable(self) -> bool:
        """Tell whether it is a sum over locations: without groups."""
        return self.groups is None

    @property
    def whole_times(self) -> bool:
        """Whether what is sparse in the groups are locations, without weights of times."""
        return self.groups is not None and (self.weights is None or self.weights.ndim == 1)

    @property
    def by_entry(self) -> bool:
        """Tell whether there are weights: all of them multiply the sources."""
        return self.weights is not None

    def spread(self) -> Float[Array, "#locations #times"]:
        """Inverse weights."""
        if self.weights is None:
            return jnp.ones((1, 1))
        return 1.0 / (self.weights if self.weights.ndim == 2 else self.weights[:, None])

    def weighted(self, x: Sources) -> Sources:
        """Sources times the weights."""
        return x if self.weights is None else x / self.spread()[:, None]

    # ------------------------------------------------------------------ two levels of blocks
    def _outer(self, x: Sources) -> Float[Array, " blocks"]:
        """Norms of the groups."""
        norms = block_norms(x)
        if self.groups is None:
            return norms
        return safe_sqrt(jax.ops.segment_sum(norms**2, self.groups, self.n_groups))

    def _sizes(self) -> Float[Array, "#blocks"]:
        if self.groups is None:
            return jnp.ones(1)
        ones = jnp.ones(len(self.groups))
        return jnp.sqrt(jnp.maximum(jax.ops.segment_sum(ones, self.groups, self.n_groups), 1.0))

    def _inner(self, x: Sources, threshold: Float[Array, " blocks"]) -> Sources:
        """Shrink what is inside the groups, by a threshold for each group."""
        if self.groups is None:
            return soft_threshold(x, threshold[:, None, None])
        return block_soft_threshold(x, threshold[self.groups])

    def value(self, x: Sources) -> Scalar:
        """Weighted sum of both levels."""
        x = self.weighted(x)
        inside = jnp.sum(jnp.abs(x) if self.groups is None else block_norms(x))
        outside = jnp.sum(self._sizes() * self._outer(x))
        return self.alpha * ((1.0 - self.ratio) * outside + self.ratio * inside)

    def prox(self, x: Sources, step: Scalar) -> Sources:
        """Shrink inside, then the groups."""
        by = step * self.alpha
        n = x.shape[0] if self.groups is None else self.n_groups
        inside = self._inner(x, jnp.full(n, by * self.ratio))
        norms, threshold = self._outer(inside), by * (1.0 - self.ratio) * self._sizes()
        keep = norms > threshold
        factor = jnp.where(keep, 1.0 - threshold / jnp.where(keep, norms, 1.0), 0.0)
        factor = factor if self.groups is None else factor[self.groups]
        return inside * factor[:, None, None]

    def polar(self, gradient: Sources) -> Scalar:
        r"""Largest root over the groups, by halving and one Newton step.

        .. math:: \lVert S_{\rho \lambda}(gradient_g) \rVert = (1 - \rho) \lambda \sqrt{n_g}
        """

        def left(level, gradient):
            rest = self._outer(self._inner(gradient, self.ratio * level))
            return rest - (1.0 - self.ratio) * level * self._sizes()

        fixed = jax.lax.stop_gradient(gradient)
        top = self._outer(fixed) * (1.0 + 1e-6)
        top = top / jnp.maximum((1.0 - self.ratio) * self._sizes(), self.ratio)

        def halve(ends, _):
            low, high = ends
            middle = 0.5 * (low + high)
            above = left(middle, fixed) > 0
            return (jnp.where(above, middle, low), jnp.where(above, high, middle)), None

        (low, high), _ = jax.lax.scan(halve, (jnp.zeros_like(top), top), None, length=HALVINGS)
        level = 0.5 * (low + high)
        ahead, speed = jax.jvp(lambda v: left(v, fixed), (level,), (jnp.ones_like(level),))
        speed = jnp.where(speed < 0, speed, -1.0)
        moved = left(level, gradient) - ahead  # zero, with the derivative of the gradient
        return jnp.max(level - (ahead + moved) / speed)
