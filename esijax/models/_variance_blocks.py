"""Blocks of independent variances, as the readers of their distributions keep them."""

import math
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from esijax.models._in_order import InOrder
from esijax.models.hyperpriors import as_arrays, clip_inside, support_bounds

LogVariances = Float[Array, " n"]


class VarianceBlock(eqx.Module):
    """Variances that are independent of each other, each with the distribution of its block.

    Parameters
    ----------
    distribution : NumPyro distribution, as a pytree in order
        Of one entry, or of n; where it was expanded to n, what it was before.
    n : int
    """

    distribution: InOrder
    n: int = eqx.field(static=True)

    @property
    def law(self) -> Any:
        """The distribution itself."""
        return self.distribution.law

    @property
    def proper(self) -> bool:
        """Whether it is a distribution, and not flat."""
        return not isinstance(self.law, dist.ImproperUniform)

    @property
    def log_bounds(self) -> tuple[LogVariances, LogVariances]:
        """Logarithms of the ends of the support."""
        low, high = (jnp.log(b) + jnp.zeros(self.n) for b in support_bounds(self.law))
        return low, high

    def log_density(self, log: LogVariances) -> LogVariances:
        """Log density of the variances (not of their logarithms), for each."""
        return self.law.log_prob(jnp.exp(log))

    def inside(self, log: LogVariances) -> LogVariances:
        """Bring a start into the support."""
        return jnp.log(clip_inside(self.law, jnp.exp(log)))


def variance_blocks(distributions: tuple[dist.Distribution, ...]) -> tuple[VarianceBlock, ...]:
    """Blocks of the distributions that a prior or a noise model names."""
    return tuple(_variance_block(own) for own in distributions)


def _variance_block(distribution: Any) -> VarianceBlock:
    n = math.prod(distribution.batch_shape)
    if isinstance(distribution, dist.ExpandedDistribution):
        distribution = distribution.base_dist
    arrays = as_arrays(distribution)
    # a few distributions of NumPyro lose their support as a pytree (Levy)
    return VarianceBlock(InOrder(distribution if arrays.support is None else arrays), n)
