r"""Four updates of a variance, each the maximum of a bound of one shape.

With n columns of data, :math:`S = Y Y^\top / n`, and

.. math:: F(\gamma) = -\tfrac n2 \left[ \log\det\Sigma + \operatorname{tr}(\Sigma^{-1} S) \right]
          + \sum_k \log p(\gamma_k), \qquad
          \frac{\partial F}{\partial \gamma_k} = \tfrac n2 (q_k - z_k)
          + \frac{d \log p}{d \gamma_k}

each update maximises, component by component,

.. math:: B(\gamma) = -a \log \gamma - \frac{b}{\gamma} - c\, \gamma + \log p(\gamma)

The data give, at the current value g with r dimensions:

=========  =============================  ==============================  ===================
update     a                              b                               c
=========  =============================  ==============================  ===================
em         n r / 2                        n [r g + g^2 (q - z)] / 2       0
mackay     n g z / 2                      n g^2 q / 2                     0
mm         0                              n g^2 q / 2                     n z / 2
lowsnr     0                              n g^2 q / 2                     n z0 / 2
=========  =============================  ==============================  ===================

**em**: the expected log density of the component's r x n latent variables, whose posterior second
moment is n [r g + g^2 (q - z)]; F never falls (Dempster, Laird and Rubin 1977).

**mm**: log det is concave, so it lies below its tangent, sum_k z_k gamma_k + const, and
tr(Sigma^-1 S) = min over X of ||Y - A X||^2 / n + sum_k ||X_k||^2 / (n gamma_k), so it lies below
the value at the current posterior mean, sum_k g_k^2 q_k / gamma_k + const. F never falls (Wipf and
Nagarajan 2009).

**mackay**: em with the posterior variance kept as a share of the new variance, g - g^2 z / r =
gamma (1 - g z / r): the same stationary points, faster, no promise to rise (MacKay 1992).

**lowsnr**: mm for the objective in which log det is replaced by its tangent at gamma = 0,
log det N + sum_k z0_k gamma_k with z0_k = tr(A_k' N^-1 A_k). By concavity that objective lies below
F; it is convex to minimise, and no longer the evidence (Hashemi et al. 2021).

Hyper-priors add to the bound (`_hyperprior`). At a fixed point its derivative is dF / dgamma = 0 in
each row but the last.
"""

from jax import numpy as jnp

from esijax._types import Scalar
from esijax.inference.collapsed.em._sensor import Variances

UPDATES = ("em", "mackay", "mm", "lowsnr")


def bound_coefficients(
    update: str, gamma: Variances, q: Variances, z: Variances, size: Variances, n_columns: Scalar
) -> tuple[Variances, Variances, Variances]:
    """Give a, b, c of the data's bound; `z` is z0 where the update is "lowsnr"."""
    half, zero = 0.5 * n_columns, jnp.zeros_like(gamma)
    if update == "em":
        second = jnp.maximum(size * gamma + gamma**2 * (q - z), 0.0)
        return half * size, half * second, zero
    b = half * gamma**2 * q
    if update == "mackay":
        return half * gamma * z, b, zero
    return zero, b, half * z
