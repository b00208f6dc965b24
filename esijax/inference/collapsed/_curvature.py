r"""Second derivatives at a mode, and derivatives of the mode itself.

Where the covariance is linear in its variances v, with sensor factors B and
:math:`M = B^\top \Sigma^{-1} B`, :math:`Q = B^\top \Sigma^{-1} S \Sigma^{-1} B`,

.. math::
   \frac{\partial^2 \log p(Y)}{\partial v_j \partial v_k}
   = \sum_{a \in j,\, b \in k} M_{ab} \left( \tfrac n2 M_{ab} - Q_{ab} \right)

one product of matrices instead of one derivative per unknown. A few components of many columns
are matrices :math:`C_k = B_k B_k^\top` of sensors x sensors instead,

.. math:: \operatorname{tr}\left( \Sigma^{-1} C_k \left( \tfrac n2 I - \Sigma^{-1} S \right)
          \Sigma^{-1} C_j \right)
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
from jaxtyping import Array, Bool, Float
from numpyro.infer.util import constrain_fn, log_density, potential_energy

from esijax._ops.grams import few_and_large, grams
from esijax.inference.collapsed._start import factors
from esijax.inference.collapsed.target import Sites, Target
from esijax.models.noise import LinearNoise, White
from esijax.models.priors.linear import LinearPrior

Point = Float[Array, " size"]
Unravel = Callable[[Point], Sites]
WIDTH = 512  # columns of sensor factors that are multiplied at once
DENSE = 2000  # unknowns up to which a matrix of second derivatives is formed


def hessian(
    target: Target, unravel: Unravel, point: Point, *, jacobian: bool
) -> Float[Array, "size size"]:
    """Second derivatives of `log_posterior` (with `jacobian`) or of `log_joint`."""
    model = target.marginal
    linear = isinstance(model.prior, LinearPrior) and isinstance(model.noise, White | LinearNoise)
    if linear and len(point) <= DENSE:
        return _linear_hessian(target, unravel, point, jacobian=jacobian)
    value = target.log_posterior if jacobian else target.log_joint
    slope = jax.grad(lambda u: value(unravel(u)))

    def column(direction):
        return jax.jvp(slope, (point,), (direction,))[1]

    # a few columns at a time: all at once would hold as many sensor factors as unknowns
    side_by_side = target.marginal.side_by_side
    return _symmetric(jax.lax.map(column, jnp.eye(len(point)), batch_size=side_by_side))


def _linear_hessian(target: Target, unravel: Unravel, point: Point, *, jacobian: bool):
    model = target.marginal
    prior = model.prior
    assert isinstance(prior, LinearPrior)
    factor, owner, n_owners = factors(model)

    def variances(u):
        hyper = target.hyper(unravel(u))
        gamma = prior.gamma(hyper)
        noisy = isinstance(model.noise, LinearNoise)
        return jnp.concatenate([gamma, hyper["noise_var"]]) if noisy else gamma

    def prior_density(u):
        if jacobian:
            return -potential_energy(model.hyper, (), {}, unravel(u))
        sites = constrain_fn(model.hyper, (), {}, unravel(u))
        return log_density(model.hyper, (), {}, sites)[0]

    sigma = model.sigma(target.hyper(unravel(point)))
    chol, n, power = jnp.linalg.cholesky(sigma), model.data.n_columns, model.data.power
    inverse = jsl.cho_solve((chol, True), factor)
    m, q = jnp.sum(factor * inverse, axis=0), jnp.sum(inverse * (power @ inverse), axis=0)
    slope = jnp.zeros(n_owners).at[owner].add(0.5 * (q - n * m))
    if few_and_large(*factor.shape, n_owners):
        white = jsl.cho_solve((chol, True), jnp.eye(len(chol), dtype=chol.dtype))
        inner = _by_matrices(grams(factor, owner, n_owners), white, power, n)
    else:
        inner = _by_columns(factor, inverse, owner, n_owners, power, n)
    steep = jax.jacfwd(variances)(point)
    rest = jax.hessian(lambda u: jnp.sum(slope * variances(u)) + prior_density(u))
    # the slope is a constant of this derivative, yet follows data and gain in an outer one
    return _symmetric(steep.T @ inner @ steep + rest(point))


def _by_matrices(matrices, white, power, n) -> Float[Array, "owners owners"]:
    """Second derivatives with respect to the variances of few components."""
    left = white @ matrices
    right = left @ (n / 2 * jnp.eye(len(white), dtype=white.dtype) - white @ power)
    return jnp.einsum("kxy,jyx->jk", right, left)


def _by_columns(factor, inverse, owner, n_owners: int, power, n) -> Float[Array, "owners owners"]:
    """Second derivatives with respect to the variances of many components, in bounded memory."""
    columns = factor.shape[1]
    width = min(columns, WIDTH)
    n_chunks = -(-columns // width)
    weighed = power @ inverse

    def summed(rows):  # over the columns of each component
        return jnp.zeros((n_owners, rows.shape[1])).at[owner].add(rows)

    def chunk(start):
        a, b = (jax.lax.dynamic_slice_in_dim(x, start, width, 1) for x in (factor, inverse))
        m, q = inverse.T @ a, weighed.T @ b
        return summed(m * (n / 2 * m - q))

    if n_chunks == 1:
        return summed(chunk(0).T)
    starts = jnp.minimum(jnp.arange(n_chunks) * width, columns - width)
    each = jax.lax.map(chunk, starts)  # the last chunk overlaps the one before: it starts late
    each = jnp.moveaxis(each, 0, 1).reshape(n_owners, -1)
    late = columns - (n_chunks - 1) * width
    return summed(jnp.concatenate([each[:, : columns - late], each[:, -late:]], axis=1).T)


def _symmetric(matrix: Float[Array, "size size"]) -> Float[Array, "size size"]:
    return (matrix + matrix.T) / 2


def settled(
    target: Target,
    unravel: Unravel,
    point: Point,
    held: Bool[Array, " size"],
    *,
    jacobian: bool,
) -> Point:
    r"""Make a point near the mode the mode, with derivatives of the mode.

    Two Newton steps remove what the search's tolerance left. The implicit function theorem gives

    .. math:: du = -H^{-1}\, \partial_\theta \nabla \log p\; d\theta

    with entries in `held` fixed.
    """
    value = target.log_posterior if jacobian else target.log_joint

    def slope(u):
        return jnp.where(held, u - point, -jax.grad(lambda p: value(unravel(p)))(u))

    def newton(_, u):
        curvature = -hessian(target, unravel, u, jacobian=jacobian)
        curvature = jnp.where(held[:, None] | held[None, :], jnp.eye(len(u)), curvature)
        move = jnp.linalg.solve(curvature, slope(u))
        new = u - move
        better = jnp.max(jnp.abs(slope(new))) < jnp.max(jnp.abs(slope(u)))
        small = jnp.max(jnp.abs(move)) < 0.1  # polishing, not searching
        return jnp.where(better & small, new, u)

    def solve(_, u):
        return jax.lax.fori_loop(0, 2, newton, u) if len(u) <= DENSE else u

    def tangent_solve(linear, right):
        if len(right) <= DENSE:
            return jnp.linalg.solve(jax.jacfwd(linear)(jnp.zeros_like(right)), right)
        return jax.scipy.sparse.linalg.cg(linear, right, tol=1e-10, maxiter=2000)[0]

    return jax.lax.custom_root(slope, jax.lax.stop_gradient(point), solve, tangent_solve)
