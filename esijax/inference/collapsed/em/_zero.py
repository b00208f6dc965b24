r"""Components near zero: which of them still want to grow, and where to put them.

Zero is right if and only if the derivative there is not positive. Multiplicative updates leave
zero slowly, so that a component that an extrapolation brought too low is put back at once.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from esijax._ops.safe import divisor
from esijax.inference.collapsed.em._model import EMModel, Evaluation

NEAR_ZERO = 1e-4


def relative_growth(model: EMModel, point: Evaluation) -> Float[Array, " n"]:
    r"""Relative derivative, :math:`q_k / z_k - 1` under a flat hyper-prior."""
    dims = 0.5 * model.n_columns * model.size * point.share
    return point.gradient / divisor(dims)


def possible_gain(model: EMModel, point: Evaluation) -> Float[Array, " n"]:
    r"""What each component could gain by growing, :math:`n r_k (q_k / z_k - 1)_+^2 / 4` nats.

    Relative to half the number of data.
    """
    up = jnp.maximum(relative_growth(model, point), 0.0)
    return 0.5 * model.size * up**2 / model.rank


def leap(model: EMModel, point: Evaluation, which: Bool[Array, " n"]) -> Float[Array, " n"]:
    """Put components near zero at the value that is best for one alone, shared among them."""
    rate = relative_growth(model, point)
    which = which & (point.share < NEAR_ZERO)
    log_z = jnp.log(jnp.maximum(point.share, jnp.finfo(rate.dtype).tiny)) - point.log
    best = jnp.log(jnp.where(which, rate, 1.0)) - log_z - jnp.log(model.size)
    best = best - jnp.log(jnp.maximum(jnp.sum(which), 1))
    return jnp.where(which, jnp.maximum(best, point.log), point.log)
