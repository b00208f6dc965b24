r"""What data tell of hyper-parameters on average: a curvature that is never negative.

.. math::
   I(u)_{jk} = \tfrac n2 \operatorname{tr}\left( \Sigma^{-1} \Sigma_j \Sigma^{-1} \Sigma_k \right)
             - \frac{\partial^2 \log p(u)}{\partial u_j \partial u_k}

:math:`\Sigma_j` the derivative of the covariance. It is minus the second derivatives of the log
posterior where the data's sum of products is the one expected, n Sigma.
"""

import equinox as eqx
import jax
from jaxtyping import Array, Float

from esijax.inference.collapsed._curvature import Unravel, log_density_hessian
from esijax.inference.collapsed.target import Target, Unknowns
from esijax.models.marginals import PooledMarginal
from esijax.models.marginals._evidence import AnyNoise


def fisher_information(
    target: Target, unravel: Unravel, point: Unknowns
) -> Float[Array, "size size"]:
    """Fisher information of the evidence, and minus the hyper-prior's second derivatives.

    Parameters
    ----------
    target : Target
        Of a PooledMarginal.
    unravel : callable
        From a vector to unconstrained sites.
    point : (size,)
    """
    marginal = target.marginal
    assert isinstance(marginal, PooledMarginal)
    hyper = target.hyper(unravel(point))
    sigma = jax.lax.stop_gradient(marginal.sigma(hyper))
    expected = marginal.data.n_columns * sigma
    marginal = eqx.tree_at(lambda m: m.data.power, marginal, expected)
    if isinstance(getattr(marginal, "evidence", None), AnyNoise):
        marginal = eqx.tree_at(lambda m: m.evidence.power, marginal, expected)
    if (basis := marginal.problem.basis) is not None:  # columns of noise alone
        expected = basis.n_columns * jax.lax.stop_gradient(marginal.noise_cov(hyper))
        marginal = eqx.tree_at(lambda m: m.problem.basis.power, marginal, expected)
    return -log_density_hessian(Target(marginal), unravel, point, jacobian=True)
