r"""Degrees of freedom of a reweighted mixed norm (irMxNE).

The last turn is a convex problem with weights :math:`\mu` that the earlier turns left, themselves
functions of the data:

.. math:: \operatorname{df} = \operatorname{tr} \frac{\partial\, G \hat Z(Y, \mu)}{\partial Y}
   - \sum_l \frac{\partial \mu_l}{\partial Y} \big[ G H^{-1} (e_l \otimes \hat Z_l) \big], \qquad
   \mu_l = q \lambda_l \lVert Z^{\text{before}}_l \rVert^{q - 1}

The first term is closed (`block_newton.hessian_trace`). The second asks for the derivative of the
earlier turns along one direction for each active location, not one for each active entry.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from esijax._types import Scalar
from esijax.inference.sparse.map import MAP
from esijax.inference.sparse.newton.block_newton import norm_gradient
from esijax.inference.sparse.newton.reweighting import inverse_weights
from esijax.inference.sparse.newton.support import inverse_hessian, norm_degrees
from esijax.models.penalties import Lrq, Penalty
from esijax.problem import Problem


@eqx.filter_jit
def degrees_of_turns(
    problem: Problem,
    penalty: Penalty,
    power: Lrq,
    earlier: MAP,
    z: Float[Array, "locations orients times"],
    active: Int[Array, " n"],
    n_active: Int[Array, ""],
) -> Scalar:
    """Trace at the answer `z` of the turns of a power, the last one after those of `earlier`.

    `active`: locations that are not zero, padded; `n_active`: how many they are.
    """
    start = jnp.zeros_like(z)

    def strengths(data: Float[Array, "rank times"]) -> Float[Array, " locations"]:
        return power.norms(earlier.minimise(problem, penalty, data, start).z)

    norms, linear = jax.linearize(strengths, problem.data)
    factor = inverse_weights(norms, power.q)
    on = factor > 0
    weight = jnp.where(on, penalty.location_weights(len(z)) / jnp.where(on, factor, 1.0), 1.0)
    fit = penalty.least_squares(problem, problem.data)._replace(weight=weight)
    unit, gain = norm_gradient(z, jnp.ones(len(z))), problem.gain * problem.prior_scale

    def along(k):
        right = jnp.zeros_like(z).at[k].set(unit[k])
        grown = linear(jnp.tensordot(gain, inverse_hessian(fit, z, right), axes=2))[k]
        return weight[k] * grown / jnp.where(on[k], norms[k], 1.0)

    found = jnp.where(jnp.arange(len(active)) < n_active, jax.vmap(along)(active), 0.0)
    return norm_degrees(fit, z, z.shape[2]) + (1.0 - power.q) * jnp.sum(found)
