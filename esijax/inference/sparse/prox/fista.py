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
from esijax.inference.sparse.base.gap import Certificate, duality_gap
from esijax.models.penalties import Penalty
from esijax.models.penalties.least_squares import GramTerm, LeastSquares

CHECK_EVERY = 10


class ProxIterate(NamedTuple):
    """Sources with momentum, between two proximal steps."""

    x: Sources
    ahead: Sources
    momentum: Scalar
    far: Scalar  # distance to the subdifferential over alpha
    steps: Int[Array, ""]


def prox_step(term: Any, penalty: Penalty, x: Sources, bound: Scalar) -> Sources:
    """One proximal gradient step by the term's `gradient`; the minimiser is its fixed point."""
    return penalty.prox(x - term.gradient(x) / bound, 1.0 / bound)


def subgradient_norms(new, x, after, before, bound: Scalar) -> Float[Array, " locations"]:
    r"""Norms of a subgradient of the objective at the new point, per location.

    For :math:`x^+ = \operatorname{prox}(x - \nabla f(x) / L)` the vector
    :math:`L (x - x^+) + \nabla f(x^+) - \nabla f(x)` is one.
    """
    return block_norms(bound * (x - new) + after - before)


def certified_step(
    term: LeastSquares, penalty: Penalty, x: Sources, bound: Scalar
) -> tuple[Sources, Certificate, Float[Array, " locations"]]:
    """One more step, its certificate, and how far it moved each location, times the bound."""
    before = term.gradient(x)
    new = penalty.prox(x - before / bound, 1.0 / bound)
    residual = term.data - term.predict(new)
    correlation = term.adjoint(residual)
    kkt = jnp.max(subgradient_norms(new, x, -correlation, before, bound)) / penalty.alpha
    moved = bound * block_norms(x - new)
    value = penalty.value(new)
    agreement = jnp.sum(new * correlation)
    primal = 0.5 * jnp.sum(residual**2) + value
    polar = penalty.polar(correlation)
    if penalty.convex and polar is not None:
        polar = polar / penalty.alpha
        if penalty.conjugate(correlation) is None:
            return new, duality_gap(residual, value, agreement, polar, kkt), moved
        gap = _gap(penalty, residual, correlation, new, polar)
        return new, Certificate(primal, gap, kkt), moved
    return new, Certificate(primal, jnp.full_like(primal, jnp.nan), kkt), moved


def _gap(penalty: Penalty, residual, correlation: Sources, x: Sources, polar: Scalar) -> Scalar:
    r"""Gap of a penalty that is no norm: at the residual, and where zero would be the answer.

    .. math:: \Omega(X) + \Omega^*(s\, G^\top R) - s \langle X, G^\top R \rangle
       + \tfrac12 (1 - s)^2 \lVert R \rVert^2
    """
    value, agreement, square = penalty.value(x), jnp.sum(x * correlation), jnp.sum(residual**2)

    def at(s):
        conjugate = penalty.conjugate(s * correlation)
        assert conjugate is not None
        return value + conjugate - s * agreement + 0.5 * (1 - s) ** 2 * square

    inside = (1.0 - 4 * jnp.finfo(x.dtype).eps) / jnp.maximum(polar, 1.0)
    return jnp.minimum(at(jnp.ones_like(inside)), at(inside))


def accelerated_gradient(
    term: LeastSquares | GramTerm,
    penalty: Penalty,
    start: Sources,
    bound: Scalar,
    target: Scalar,
    max_iter: int,
) -> ProxIterate:
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

    def some(at: ProxIterate) -> ProxIterate:
        carry = (at.x, at.ahead, at.momentum)
        (x, ahead, momentum), _ = jax.lax.scan(once, carry, None, length=CHECK_EVERY)
        before = term.gradient(x)
        new = penalty.prox(x - before / bound, 1.0 / bound)
        far = jnp.max(subgradient_norms(new, x, term.gradient(new), before, bound)) / penalty.alpha
        return ProxIterate(new, ahead, momentum, far, at.steps + CHECK_EVERY + 1)

    def go(at: ProxIterate):
        return (at.steps < max_iter) & ~(at.far <= target) & ~jnp.isnan(at.far)

    one = jnp.ones((), dtype=start.dtype)
    begin = ProxIterate(start, start, one, one * jnp.inf, jnp.zeros((), dtype=int))
    return jax.lax.while_loop(go, some, begin)
