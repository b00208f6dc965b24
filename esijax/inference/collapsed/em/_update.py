r"""Four updates of a variance, each the maximum of a bound of one shape.

With n columns of data, :math:`S = Y Y^\top / n`, and

.. math:: F(\gamma) = -\tfrac n2 \left[ \log\det\Sigma + \operatorname{tr}(\Sigma^{-1} S) \right]
          + \sum_k \log p(\gamma_k), \qquad
          \frac{\partial F}{\partial \gamma_k} = \tfrac n2 (q_k - z_k)
          + \frac{d \log p}{d \gamma_k}

each update maximises, component by component,

.. math:: B(\gamma) = -a \log \gamma - \frac{b}{\gamma} - c\, \gamma
          \quad\Rightarrow\quad c \gamma^2 + a \gamma - b = 0,\ \gamma > 0

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

Hyper-priors add to a, b, c: Gamma(s, rate) has a = 1 - s, c = rate; InverseGamma(s, scale) has
a = s + 1, b = scale. At a fixed point c g^2 + a g - b = 0 is dF / dgamma = 0 in each row but the
last.
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.scipy.special import gammaln
from jaxtyping import Array, Float

from esijax._ops.safe import divisor
from esijax._types import InputError, Scalar, is_traced
from esijax.models.hyperpriors import BlockNorm, Flat, Given
from esijax.models.priors.linear import LinearPrior, OneLevel, Sum

Per = Float[Array, " n"]
UPDATES = ("em", "mackay", "mm", "lowsnr")


class Shape(eqx.Module):
    r"""Coefficients of :math:`-a \log\gamma - b / \gamma - c \gamma + d`, one per component."""

    a: Per
    b: Per
    c: Per
    d: Per

    def value(self, gamma: Per) -> Scalar:
        """Sum over the components."""
        return jnp.sum(self.d - self.a * jnp.log(gamma) - self.b / gamma - self.c * gamma)

    def slope(self, gamma: Per) -> Per:
        """Derivative with respect to log gamma."""
        return -self.a + self.b / gamma - self.c * gamma


def updated(
    update: str, gamma: Per, q: Per, z: Per, size: Per, n_columns: Scalar, prior: Shape
) -> Per:
    """Next variances; `z` is z0 where the update is "lowsnr"."""
    half = 0.5 * n_columns
    if update == "em":
        return positive_root(
            half * size + prior.a,
            half * jnp.maximum(size * gamma + gamma**2 * (q - z), 0.0) + prior.b,
            prior.c,
        )
    b = half * gamma**2 * q + prior.b
    if update == "mackay":
        return positive_root(half * gamma * z + prior.a, b, prior.c)
    return positive_root(prior.a, b, half * z + prior.c)


def positive_root(a: Per, b: Per, c: Per) -> Per:
    r"""Root of :math:`c \gamma^2 + a \gamma - b = 0` for b, c >= 0, without cancellation."""
    square = a**2 + 4 * b * c
    root = jnp.sqrt(divisor(square))
    root = jnp.where(square > 0, root, 0.0)
    low = a + root  # a > 0: 2 b / (a + root)
    high = 2 * c  # a <= 0: (root - a) / (2 c)
    small = 2 * b / jnp.where((a > 0) & (low > 0), low, 1.0)
    large = (root - a) / divisor(high)
    return jnp.where(a > 0, small, jnp.where(high > 0, large, 0.0))


# ---------------------------------------------------------------- hyper-priors
def prior_shape(prior: LinearPrior, sizes: dict[str, int]) -> Shape:
    """Coefficients of the log hyper-prior of all components."""
    if isinstance(prior, Sum):
        own = [prior_shape(p, sizes) for p in prior.priors]
        return Shape(*(jnp.concatenate([getattr(s, x) for s in own]) for x in "abcd"))
    if not isinstance(prior, OneLevel):
        raise InputError(
            f"EM knows the hyper-prior of ARD, Components, StudentT, GroupLaplace and their Sum, "
            f"not of {type(prior).__name__}: use inference.Evidence or NUTS."
        )
    return shape_of(prior.local, prior.n_components(sizes), sizes)


def shape_of(local: Any, n: int, sizes: dict[str, int]) -> Shape:
    """Coefficients of a hyper-prior of n variances."""
    if isinstance(local, Flat):
        return Shape(jnp.zeros(n), jnp.zeros(n), jnp.zeros(n), jnp.zeros(n))
    if isinstance(local, BlockNorm):
        return _of_distribution(local.distribution(sizes), n)
    if isinstance(local, Given):
        return _of_distribution(local.law, n)
    raise _refused(type(local).__name__)


def _of_distribution(given: Any, n: int) -> Shape:
    if isinstance(given, dist.ExpandedDistribution):
        given = given.base_dist
    if given.batch_shape not in ((), (1,), (n,)):
        raise InputError(f"the hyper-prior has {given.batch_shape} entries for {n} components.")
    zero = jnp.zeros(n)
    if isinstance(given, dist.Exponential):
        rate = given.rate + zero
        return Shape(zero, zero, rate, jnp.log(rate))
    if isinstance(given, dist.Gamma):  # numpyro's InverseGamma and Chi2 are apart or derived
        shape, rate = given.concentration + zero, given.rate + zero
        if not is_traced(shape) and bool(jnp.any(shape < 1)):
            raise InputError(
                f"Gamma({float(jnp.min(shape)):g}, ...) is unbounded at zero, so that no most "
                "probable variance exists: use a concentration >= 1, or inference.Evidence, NUTS."
            )
        return Shape(1.0 - shape, zero, rate, shape * jnp.log(rate) - gammaln(shape))
    if isinstance(given, dist.InverseGamma):
        shape, scale = given.concentration + zero, given.rate + zero
        return Shape(shape + 1.0, scale, zero, shape * jnp.log(scale) - gammaln(shape))
    raise _refused(type(given).__name__)


def _refused(name: str) -> InputError:
    return InputError(
        f"EM has updates for flat (None), Gamma, Exponential and InverseGamma hyper-priors, not "
        f"for {name}: use inference.Evidence for its point estimate, or NUTS."
    )
