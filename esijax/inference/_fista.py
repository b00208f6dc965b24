r"""Accelerated proximal gradient with restarts: any penalty with a proximal map.

.. math:: X^+ = \operatorname{prox}_{\Omega / L}(V - G^\top (G V - Y) / L), \qquad
   V = X^+ + \tfrac{t - 1}{t^+} (X^+ - X)

Beck and Teboulle 2009, doi:10.1137/080716542; restarts: O'Donoghue and Candès 2015,
doi:10.1007/s10208-013-9150-3.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from esijax._ops.prox import block_norms
from esijax._types import Scalar
from esijax.inference._gap import Certificate, certificate
from esijax.inference._working_set import Task
from esijax.models.penalties import Penalty

CHECK_EVERY = 10
Sources = Float[Array, "locations orients times"]


class Glide(NamedTuple):
    """A point with momentum."""

    x: Sources
    ahead: Sources
    momentum: Scalar
    proof: Certificate
    steps: Int[Array, ""]


def lipschitz(task: Task) -> Scalar:
    """Largest eigenvalue of G G'."""
    columns = task.columns(jnp.arange(task.scale.shape[0]))
    return 1.0001 * jnp.linalg.eigvalsh(columns @ columns.T)[-1]


def _forward(task: Task, x: Sources):
    return jnp.tensordot(task.gain, x * task.scale[..., None], axes=2)


def prox_step(task: Task, penalty: Penalty, x: Sources, bound: Scalar) -> Sources:
    """One proximal gradient step; the minimiser is its fixed point."""
    slope = task.slope(_forward(task, x) - task.data)
    return penalty.prox(x - slope / bound, 1.0 / bound)


def proved(task: Task, penalty: Penalty, x: Sources, bound: Scalar) -> tuple[Sources, Certificate]:
    r"""One more step, and its certificate.

    For :math:`x^+ = \operatorname{prox}(x - \nabla f(x) / L)` the vector
    :math:`L (x - x^+) + \nabla f(x^+) - \nabla f(x)` is a subgradient of the objective at
    :math:`x^+`.
    """
    before = task.slope(_forward(task, x) - task.data)
    new = penalty.prox(x - before / bound, 1.0 / bound)
    residual = task.data - _forward(task, new)
    slope = task.slope(residual)
    kkt = jnp.max(block_norms(bound * (x - new) - slope - before)) / penalty.alpha
    value, polar = penalty.value(new), penalty.polar(slope)
    if polar is None or not penalty.convex:
        primal = 0.5 * jnp.sum(residual**2) + value
        return new, Certificate(primal, jnp.full_like(primal, jnp.nan), kkt)
    agreement = jnp.sum(new * slope)
    return new, certificate(residual, value, agreement, polar / penalty.alpha, kkt)


def converged(proof: Certificate, tol: Scalar):
    """Small distance to the subdifferential, and a small gap where there is one."""
    tight = jnp.isnan(proof.gap) | (proof.gap <= tol * proof.primal)
    return tight & (proof.kkt <= 100 * tol)


def glide(task: Task, penalty: Penalty, start: Sources, tol: Scalar, max_iter) -> Glide:
    """Iterate; the certificate is looked at every few steps."""
    bound = lipschitz(task)

    def once(carry, _):
        x, ahead, momentum = carry
        new = prox_step(task, penalty, ahead, bound)
        back = jnp.sum((ahead - new) * (new - x)) > 0  # the step turns against the momentum
        momentum = jnp.where(back, 1.0, momentum)
        grown = (1 + jnp.sqrt(1 + 4 * momentum**2)) / 2
        ahead = new + jnp.where(back, 0.0, (momentum - 1) / grown) * (new - x)
        return (new, ahead, grown), None

    def some(state: Glide) -> Glide:
        carry = (state.x, state.ahead, state.momentum)
        (x, ahead, momentum), _ = jax.lax.scan(once, carry, None, length=CHECK_EVERY)
        x, proof = proved(task, penalty, x, bound)
        return Glide(x, ahead, momentum, proof, state.steps + CHECK_EVERY)

    def go(state: Glide):
        more = (state.steps < max_iter) & jnp.isfinite(state.proof.primal)
        return more & ~converged(state.proof, tol)

    x, proof = proved(task, penalty, start, bound)
    one = jnp.ones((), dtype=start.dtype)
    return jax.lax.while_loop(go, some, Glide(x, x, one, proof, jnp.zeros((), dtype=int)))
