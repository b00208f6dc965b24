r"""Accelerated proximal gradient with restarts: any penalty with a proximal map.

.. math:: X^+ = \operatorname{prox}_{\Omega / L}(V - \nabla f(V) / L), \qquad
   V = X^+ + \tfrac{t - 1}{t^+} (X^+ - X)

Where the penalty is not convex, the better of this step and of the plain one from X is taken, so
that the objective never rises.

Beck and Teboulle 2009, doi:10.1137/080716542; restarts: O'Donoghue and Candès 2015,
doi:10.1007/s10208-013-9150-3; not convex: Li and Lin 2015.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from esijax._ops.prox import block_norms
from esijax._types import Scalar, Sources
from esijax.inference.sparse.base.gap import Certificate, certificate
from esijax.models.penalties import Penalty
from esijax.models.penalties._data_term import DataTerm, GramTerm

CHECK_EVERY = 10


class Glide(NamedTuple):
    """A point with momentum."""

    x: Sources
    ahead: Sources
    momentum: Scalar
    far: Scalar  # distance to the subdifferential over alpha
    steps: Int[Array, ""]


def prox_step(term: Any, penalty: Penalty, x: Sources, bound: Scalar) -> Sources:
    """One proximal gradient step by the term's `slope`; the minimiser is its fixed point."""
    return penalty.prox(x - term.slope(x) / bound, 1.0 / bound)


def distances(new, x, after, before, bound: Scalar) -> Float[Array, " locations"]:
    r"""Norms of a subgradient of the objective at the new point, per location.

    For :math:`x^+ = \operatorname{prox}(x - \nabla f(x) / L)` the vector
    :math:`L (x - x^+) + \nabla f(x^+) - \nabla f(x)` is one.
    """
    return block_norms(bound * (x - new) + after - before)


def proved(
    term: DataTerm, penalty: Penalty, x: Sources, bound: Scalar
) -> tuple[Sources, Certificate, Float[Array, " locations"]]:
    """One more step, its certificate, and how far each location was from resting."""
    before = term.slope(x)
    new = penalty.prox(x - before / bound, 1.0 / bound)
    residual = term.data - term.fitted(new)
    slope = term.pulled(residual)
    kkt = jnp.max(distances(new, x, -slope, before, bound)) / penalty.alpha
    moved = bound * block_norms(x - new)
    value = penalty.value(new)
    agreement = jnp.sum(new * slope)
    primal = 0.5 * jnp.sum(residual**2) + value
    polar = penalty.polar(slope)
    if penalty.convex and polar is not None:
        polar = polar / penalty.alpha
        if penalty.conjugate(slope) is None:
            return new, certificate(residual, value, agreement, polar, kkt), moved
        gap = _gap(penalty, residual, slope, new, polar)
        return new, Certificate(primal, gap, kkt), moved
    return new, Certificate(primal, jnp.full_like(primal, jnp.nan), kkt), moved


def _gap(penalty: Penalty, residual, slope: Sources, x: Sources, polar: Scalar) -> Scalar:
    r"""Gap of a penalty that is no norm: at the residual, and where zero would be the answer.

    .. math:: \Omega(X) + \Omega^*(s\, G^\top R) - s \langle X, G^\top R \rangle
       + \tfrac12 (1 - s)^2 \lVert R \rVert^2
    """
    value, agreement, square = penalty.value(x), jnp.sum(x * slope), jnp.sum(residual**2)

    def at(s):
        conjugate = penalty.conjugate(s * slope)
        assert conjugate is not None
        return value + conjugate - s * agreement + 0.5 * (1 - s) ** 2 * square

    inside = (1.0 - 4 * jnp.finfo(x.dtype).eps) / jnp.maximum(polar, 1.0)
    return jnp.minimum(at(jnp.ones_like(inside)), at(inside))


def converged(proof: Certificate, tol: Scalar):
    """Small distance to the subdifferential, and a small gap where there is one."""
    tight = jnp.isnan(proof.gap) | (proof.gap <= tol * proof.primal)
    return tight & (proof.kkt <= 100 * tol)


def glide(
    term: DataTerm | GramTerm,
    penalty: Penalty,
    start: Sources,
    bound: Scalar,
    target: Scalar,
    max_iter: int,
) -> Glide:
    """Iterate until the distance to the subdifferential, over alpha, is below the target."""

    def step(x):
        return prox_step(term, penalty, x, bound)

    def lower(new, x):
        plain = step(x)
        worse = term.energy(plain) + penalty.value(plain) < term.energy(new) + penalty.value(new)
        return jnp.where(worse, plain, new)

    def once(carry, _):
        x, ahead, momentum = carry
        new = step(ahead)
        new = new if penalty.convex else lower(new, x)
        back = jnp.sum((ahead - new) * (new - x)) > 0  # the step turns against the momentum
        momentum = jnp.where(back, 1.0, momentum)
        grown = (1 + jnp.sqrt(1 + 4 * momentum**2)) / 2
        ahead = new + jnp.where(back, 0.0, (momentum - 1) / grown) * (new - x)
        return (new, ahead, grown), None

    def some(state: Glide) -> Glide:
        carry = (state.x, state.ahead, state.momentum)
        (x, ahead, momentum), _ = jax.lax.scan(once, carry, None, length=CHECK_EVERY)
        before = term.slope(x)
        new = penalty.prox(x - before / bound, 1.0 / bound)
        far = jnp.max(distances(new, x, term.slope(new), before, bound)) / penalty.alpha
        return Glide(new, ahead, momentum, far, state.steps + CHECK_EVERY + 1)

    def go(state: Glide):
        return (state.steps < max_iter) & ~(state.far <= target) & ~jnp.isnan(state.far)

    one = jnp.ones((), dtype=start.dtype)
    begin = Glide(start, start, one, one * jnp.inf, jnp.zeros((), dtype=int))
    return jax.lax.while_loop(go, some, begin)
