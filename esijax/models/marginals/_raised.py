"""Variances to start from where samples go together: a few updates of the convex bound."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array
from numpyro import handlers

from esijax._ops.safe import divisor
from esijax._ops.separable import powers_and_limits
from esijax.models.marginals._start import LEAST_SHARE, N_RAISES
from esijax.models.marginals.linear import LinearMarginal
from esijax.models.marginals.marginal import Sites


def raised_variances_in_time(
    marginal: Any, spatial: LinearMarginal, sites: Sites
) -> tuple[Array, Array, Array]:
    r"""Updates :math:`v_k \leftarrow v_k \sqrt{q_k / z_k}`, each of which raises the evidence.

    .. math:: q_k = \operatorname{tr} A_k^\top \alpha T \alpha^\top A_k, \qquad
              z_k = \operatorname{tr} A_k^\top \operatorname{tr}_t[\Sigma^{-1}(I \otimes T)] A_k

    with T_n in T's place for noise and remainder. None falls to zero.

    Returns
    -------
    gamma, noise, rest : (components,), (variances of the noise,), (1,)
    """
    with handlers.substitute(data=sites), handlers.seed(rng_seed=0):
        hyper = marginal.hyper()
    p, n = marginal.problem, spatial.n_sources
    factor, owner, n_owners = spatial.columns()
    data = p.data.reshape(-1, p.rank, p.n_times)

    def update(_, carry):
        variance, rest = carry
        now = hyper | spatial.unpack(variance)
        if marginal.rest_sensor is not None:
            now = now | {"rest/gamma": rest}
        slopes = powers_and_limits(marginal.cov(now), marginal.known_time, data)
        (power, limit), (noise_power, noise_limit) = slopes

        def of(matrices):
            each = [jnp.sum(factor * (m @ factor), axis=0) for m in matrices]
            own = jnp.where(owner < n, *each)
            return jnp.zeros(n_owners).at[owner].add(own)

        def raised(value, power, limit):
            ratio = jnp.where(limit > 0, power / divisor(limit), 1.0)
            return value * jnp.sqrt(jnp.maximum(ratio, 0.0))

        variance = raised(variance, of((power, noise_power)), of((limit, noise_limit)))
        if marginal.rest_sensor is not None:
            own = [jnp.sum(marginal.rest_sensor * m) for m in (noise_power, noise_limit)]
            rest = raised(rest, *own)
        return variance, rest

    rest = hyper.get("rest/gamma", jnp.ones(1))
    variance, rest = jax.lax.fori_loop(0, N_RAISES, update, (spatial.pack(hyper), rest))
    gamma = jnp.maximum(variance[:n], LEAST_SHARE * jnp.max(variance[:n]))
    return gamma, jnp.maximum(variance[n:], LEAST_SHARE), jnp.maximum(rest, LEAST_SHARE)
