"""Second derivatives at a mode, and derivatives of the mode itself."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from esijax.inference.collapsed.target import Sites, Target, Unknowns

Unravel = Callable[[Unknowns], Sites]
DENSE = 2000  # unknowns up to which a matrix of second derivatives is formed


def log_density_hessian(
    target: Target, unravel: Unravel, point: Unknowns, *, jacobian: bool
) -> Float[Array, "size size"]:
    """Second derivatives of `log_posterior` (with `jacobian`) or of `log_joint`."""
    if len(point) <= DENSE:
        evidence = target.marginal.evidence_hessian(lambda u: target.hyper(unravel(u)), point)
        if evidence is not None:
            prior = jax.hessian(lambda u: target.log_prior(unravel(u), jacobian=jacobian))(point)
            return _symmetric(evidence + prior)
    value = target.log_posterior if jacobian else target.log_joint
    gradient = jax.grad(lambda u: value(unravel(u)))

    def column(direction):
        return jax.jvp(gradient, (point,), (direction,))[1]

    # a few columns at a time: all at once would hold as many sensor factors as unknowns
    side_by_side = target.marginal.side_by_side
    return _symmetric(jax.lax.map(column, jnp.eye(len(point)), batch_size=side_by_side))


def _symmetric(matrix: Float[Array, "size size"]) -> Float[Array, "size size"]:
    return (matrix + matrix.T) / 2


def polished_mode(
    target: Target,
    unravel: Unravel,
    point: Unknowns,
    held: Bool[Array, " size"],
    *,
    jacobian: bool,
) -> Unknowns:
    r"""Make a point near the mode the mode, with derivatives of the mode.

    Two Newton steps remove what the search's tolerance left. The implicit function theorem gives

    .. math:: du = -H^{-1}\, \partial_\theta \nabla \log p\; d\theta

    with entries in `held` fixed.
    """
    value = target.log_posterior if jacobian else target.log_joint

    def gradient(u):
        return jnp.where(held, u - point, -jax.grad(lambda p: value(unravel(p)))(u))

    def newton(_, u):
        curvature = -log_density_hessian(target, unravel, u, jacobian=jacobian)
        curvature = jnp.where(held[:, None] | held[None, :], jnp.eye(len(u)), curvature)
        move = jnp.linalg.solve(curvature, gradient(u))
        new = u - move
        better = jnp.max(jnp.abs(gradient(new))) < jnp.max(jnp.abs(gradient(u)))
        small = jnp.max(jnp.abs(move)) < 0.1  # polishing, not searching
        return jnp.where(better & small, new, u)

    def solve(_, u):
        return jax.lax.fori_loop(0, 2, newton, u) if len(u) <= DENSE else u

    def tangent_solve(linear, right):
        if len(right) <= DENSE:
            return jnp.linalg.solve(jax.jacfwd(linear)(jnp.zeros_like(right)), right)
        return jax.scipy.sparse.linalg.cg(linear, right, tol=1e-10, maxiter=2000)[0]

    return jax.lax.custom_root(gradient, jax.lax.stop_gradient(point), solve, tangent_solve)
