r"""Independent sources with variances from the lead field or from the data."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from esijax._ops.safe import divide, divisor
from esijax._ops.trials import trials_as_columns
from esijax._types import InputError, check_positive, is_number, scalar
from esijax.models.components.component import Component
from esijax.models.parts import Part, Separate
from esijax.problem import Problem


class DepthWeighted(Component):
    r"""Independent sources with a depth weighting of their own, in place of the problem's.

    .. math:: C_{ll} \propto \lVert g_l \rVert^{-2 p}

    Parameters
    ----------
    exponent : float
        p; 0 is no weighting, 0.8 MNE-Python's default, 1 makes all sources equally visible.
    limit : float
        Largest ratio of two standard deviations, as in MNE-Python.

    Raises
    ------
    InputError
        For an exponent that is not between 0 and 2, a limit that is not positive.

    References
    ----------
    Lin et al. 2006, doi:10.1016/j.neuroimage.2005.11.054.

    Examples
    --------
    >>> import esijax as ej
    >>> depths = [ej.models.components.DepthWeighted(p) for p in (0.0, 0.5, 1.0)]
    >>> prior = ej.models.Components(depths)
    """

    exponent: Any = eqx.field(converter=scalar, default=0.8)
    limit: Any = eqx.field(converter=scalar, default=10.0)

    def __check_init__(self):
        check_positive(self.limit, "DepthWeighted: limit")
        if not is_number(self.exponent) or not 0 <= float(self.exponent) <= 2:
            raise InputError(f"DepthWeighted: exponent must be in 0 ... 2, got {self.exponent!r}.")

    def build(self, problem: Problem) -> Part:
        """Variance of each location, the problem's own divided out."""
        power = jnp.sum(problem.gain**2, axis=(0, 2))
        reached = power > 0
        variance = jnp.where(reached, power, 1.0) ** -self.exponent
        least = jnp.min(jnp.where(reached, variance, jnp.inf))
        variance = jnp.minimum(variance, least * self.limit**2)
        own = jnp.sum(problem.prior_scale**2, axis=1)
        orient = jnp.sum(problem.orient_scale**2, axis=1)
        kept = reached & (own > 0)
        variance = jnp.where(kept, variance * orient / divisor(own), 0.0)
        n = problem.n_locations
        return Separate(variance / jnp.max(variance), jnp.zeros(n, dtype=int), 1)


class EBB(Component):
    r"""Empirical-Bayes beamformer: independent sources, their variances a beamformer's power.

    .. math::
       C_{ll} = \frac{\operatorname{tr} (g_l^\top S^{-1} g_l)^{-1}}
                     {\operatorname{tr} (g_l^\top g_l)^{-1}}, \qquad
       S = \tfrac1n Y Y^\top + \delta I

    with g the whitened lead field times the problem's scale; for white data it is minimum norm.
    The data are used twice, for the prior and for the fit: its evidence is optimistic.

    Parameters
    ----------
    reg : float
        :math:`\delta` in mean variances of the data.

    Raises
    ------
    InputError
        For a regularisation that is not positive, or data of zeros.

    References
    ----------
    Belardinelli et al. 2012, doi:10.1371/journal.pone.0051985.

    Examples
    --------
    >>> import esijax as ej
    >>> prior = ej.models.Components(["iid", ej.models.components.EBB()])
    """

    reg: Any = eqx.field(converter=scalar, default=0.05)

    def __check_init__(self):
        check_positive(self.reg, "EBB: reg")

    def build(self, problem: Problem) -> Part:
        """Beamformer power of each location."""
        columns = trials_as_columns(problem.data)
        cov = columns @ columns.T / columns.shape[1]
        cov = cov + self.reg * jnp.trace(cov) / problem.rank * jnp.eye(problem.rank)
        own = problem.gain * problem.prior_scale[None]
        seen = jnp.einsum("rlo,rs,slp->lop", own, jnp.linalg.inv(cov), own)
        plain = jnp.einsum("rlo,rlp->lop", own, own)
        power, size = _trace_of_inverse(seen), _trace_of_inverse(plain)
        variance = divide(power, size)
        n = problem.n_locations
        return Separate(variance / jnp.max(variance), jnp.zeros(n, dtype=int), 1)


def _trace_of_inverse(
    blocks: Float[Array, "locations orients _"], rtol: float = 1e-7
) -> Float[Array, " locations"]:
    """Sum of 1 / eigenvalue, over the directions that the sensors see; 0 where there is none."""
    values = jnp.linalg.eigvalsh(blocks)
    kept = (values > rtol * values[:, -1:]) & (values > 0)
    return jnp.sum(jnp.where(kept, 1.0 / jnp.where(kept, values, 1.0), 0.0), axis=1)
