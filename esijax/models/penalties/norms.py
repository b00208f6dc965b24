"""Convex norms: one per location (MxNE), or one per entry (minimum current estimate)."""

from typing import ClassVar

import jax.numpy as jnp

from esijax._ops.prox import block_norms, block_soft_threshold, soft_threshold
from esijax._types import Scalar, Sources
from esijax.models.penalties.penalty import Penalty


class L21(Penalty):
    r"""Mixed norm of MxNE: few locations are active, each of them at all times.

    .. math:: \alpha \sum_l w_l \lVert Z_l \rVert_F, \qquad Z_l: \text{orients} \times \text{times}

    Parameters
    ----------
    alpha : float | relative
        Weight, absolute, or a share of alpha_max: ``ej.relative(0.4)``.
    weights : (locations,) or (locations, times), optional
        Weight of each location, or of each of its times.

    Raises
    ------
    InputError
        For an alpha or weights that are not positive and finite.

    References
    ----------
    Gramfort, Kowalski and Hämäläinen 2012, doi:10.1088/0031-9155/57/7/1937; Ou, Hämäläinen and
    Golland 2009, doi:10.1016/j.neuroimage.2008.10.006.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> gain = np.random.default_rng(0).standard_normal((8, 12))
    >>> problem = ej.from_arrays(gain, 5 * gain[:, [3]] * np.hanning(9), noise_cov=1.0)
    >>> estimate = ej.solve(problem, ej.models.L21(ej.relative(0.5)), ej.inference.MAP())
    >>> [int(i) for i in np.flatnonzero(abs(estimate.mean).sum((1, 2)))]
    [3]
    """

    block: ClassVar[str | None] = "location"
    sums_locations: ClassVar[bool] = True

    @property
    def whole_times(self) -> bool:
        """Whether there are no weights of times."""
        return not self.by_entry

    def value(self, x: Sources) -> Scalar:
        """Weighted sum of the norms of locations."""
        return jnp.sum(self.location_weights(x.shape[-3]) * block_norms(self.weighted(x)))

    def prox(self, x: Sources, step: Scalar) -> Sources:
        """Shrink each location's block."""
        return block_soft_threshold(x, step * self.location_weights(x.shape[-3]))

    def polar(self, gradient: Sources) -> Scalar:
        """Largest norm of a location over its weight."""
        return jnp.max(self.per_weight(block_norms(gradient)))


class L1(Penalty):
    r"""Sum of absolute values: the minimum current estimate; few entries are not zero.

    .. math:: \alpha \sum_{l, o, t} w_l \lvert z_{lot} \rvert

    Each time is solved by itself, and each orient counts alone: with free orientation the answer
    depends on the frame.

    Parameters
    ----------
    alpha : float | relative
        Weight, absolute, or a share of alpha_max: ``ej.relative(0.4)``.
    weights : (locations,) or (locations, times), optional
        Weight of each location, or of each of its times.

    Raises
    ------
    InputError
        For an alpha or weights that are not positive and finite.

    References
    ----------
    Matsuura and Okabe 1995, doi:10.1109/10.391171; Uutela, Hämäläinen and Somersalo 1999,
    doi:10.1006/nimg.1999.0454.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> gain = np.random.default_rng(0).standard_normal((8, 12))
    >>> problem = ej.from_arrays(gain, 5 * gain[:, [3]], noise_cov=1.0)
    >>> estimate = ej.solve(problem, ej.models.L1(ej.relative(0.5)), ej.inference.MAP())
    >>> [int(i) for i in np.flatnonzero(estimate.mean[:, 0, 0])]
    [3]
    """

    block: ClassVar[str | None] = "entry"
    sums_locations: ClassVar[bool] = True

    def value(self, x: Sources) -> Scalar:
        """Weighted sum of absolute values."""
        sizes = jnp.sum(jnp.abs(self.weighted(x)), axis=(-2, -1))
        return jnp.sum(self.location_weights(x.shape[-3]) * sizes)

    def prox(self, x: Sources, step: Scalar) -> Sources:
        """Shrink each entry."""
        return soft_threshold(x, step * self.location_weights(x.shape[-3])[:, None, None])

    def polar(self, gradient: Sources) -> Scalar:
        """Largest entry over its weight."""
        size = jnp.max(jnp.abs(gradient), axis=(-2, -1))
        return jnp.max(self.per_weight(size))
