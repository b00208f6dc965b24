r"""Sums of norms, and powers of norms as one weighted sum after the other.

Powers :math:`\lVert Z_l \rVert^q` are majorised: with :math:`Z_l = f_l X_l`, :math:`f_l =
\lVert Z^k_l \rVert^{1 - q} / q`, each turn is the convex problem of X with the gain :math:`G_l f_l`
and the same alpha; locations at zero stay there.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from esijax._ops.stop_gradient import stop_gradient
from esijax._types import Scalar, Sources
from esijax.inference.sparse.base.answer import SparseAnswer, sum_info
from esijax.inference.sparse.base.gap import KKT_SHARE, Limits
from esijax.inference.sparse.newton.gradients import gain_products
from esijax.inference.sparse.newton.implicit import minimise_norms, stationary_point
from esijax.inference.sparse.newton.working_set import certify_sources
from esijax.inference.sparse.prox.descent import ProxDescent
from esijax.inference.sparse.prox.fista import certified_step
from esijax.inference.sparse.prox.fixed_point import refuse_derivative
from esijax.models.penalties import L1, L21, Lrq
from esijax.models.penalties.least_squares import LeastSquares

MOST_MAJORISERS = 300  # until nothing moves


# ---------------------------------------------------------------------- one convex problem
def minimise_convex(
    fit: LeastSquares, norm: L1 | L21, start: Sources, limits: Limits, inner: str = "newton"
) -> SparseAnswer:
    """Sum of the norms of locations, or of entries, each time by itself."""
    if norm.block == "location":
        some = (fit.gain, fit.scale, fit.data, fit.weight)
        return SparseAnswer(*minimise_norms(inner, *some, start, *limits))
    rank, n, n_orients = fit.gain.shape
    gain, scale = fit.gain.reshape(rank, -1, 1), fit.scale.reshape(-1, 1)
    weight = jnp.repeat(fit.weight, n_orients)

    def at_time(data, start):
        some = (gain, scale, data[:, None], weight, start[:, None, None])
        return minimise_norms(inner, *some, *limits)

    columns = start.reshape(n * n_orients, -1)
    z, info = jax.vmap(at_time, in_axes=(1, 1))(fit.data, columns)
    z = jnp.moveaxis(z[..., 0, 0], 0, 1).reshape(n, n_orients, -1)
    return SparseAnswer(z, sum_info(info))


# ---------------------------------------------------------------------- majorisers of a power
def inverse_weights(norms: Float[Array, " locations"], q: float) -> Float[Array, " locations"]:
    r"""Inverse weights of the majoriser, :math:`\lVert Z_l \rVert^{1-q} / q`; zero at zero."""
    on = norms > 0
    return jnp.where(on, jnp.where(on, norms, 1.0) ** (1.0 - q) / q, 0.0)


def over_factor(x: Array, factor: Float[Array, " locations"]) -> Array:
    """Divide by the inverse weights; zero where they are."""
    on = factor > 0
    return x * jnp.where(on, 1.0 / jnp.where(on, factor, 1.0), 0.0)[:, None, None]


def scaled_by(fit: LeastSquares, factor: Float[Array, " locations"]) -> LeastSquares:
    """The convex problem of X with the gain G f."""
    return fit._replace(scale=fit.scale * factor[:, None])


def minimise_majoriser(fit: LeastSquares, power: Lrq, z: Sources, limits: Limits) -> SparseAnswer:
    """Solve the majoriser at `z`."""
    return _minimise_scaled(fit, power, z, inverse_weights(power.norms(z), power.q), limits)


def _minimise_scaled(
    fit: LeastSquares, power: Lrq, z: Sources, factor, limits: Limits
) -> SparseAnswer:
    """Solve the convex problem whose inverse weights are `factor`, from `z`."""
    scaled, start = scaled_by(fit, factor), stop_gradient(over_factor(z, factor))
    if power.by_entry:
        answer = ProxDescent.of(scaled, power.majoriser, limits).run(start)
    else:
        answer = minimise_convex(scaled, power.majoriser, start, limits)
    return SparseAnswer(answer.z * factor[:, None, None], answer.info)


def _first_turn(fit: LeastSquares, power: Lrq, start: Sources, limits: Limits) -> SparseAnswer:
    """The convex norm, or the majoriser at a start."""
    norms = power.norms(start)
    factor = jnp.where(jnp.any(norms > 0), inverse_weights(norms, power.q), 1.0)
    return _minimise_scaled(fit, power, start, factor, limits)


def _add_turn(before: SparseAnswer, after: SparseAnswer) -> SparseAnswer:
    """The later answer, with alpha_max of the first turn and the rounds and steps of both."""
    info = after.info.at[3].set(before.info[3]).at[4:].add(before.info[4:])
    return SparseAnswer(after.z, info)


def minimise_in_turns(
    fit: LeastSquares, power: Lrq, start: Sources, n: int, limits: Limits
) -> SparseAnswer:
    """Take n turns, the first with the plain weights unless there is a start."""
    first = _first_turn(fit, power, start, limits)

    def body(answer, _):
        return _add_turn(answer, minimise_majoriser(fit, power, answer.z, limits)), None

    return jax.lax.scan(body, first, None, length=n - 1)[0]


def minimise_power(fit: LeastSquares, power: Lrq, start: Sources, limits: Limits) -> SparseAnswer:
    """Turns until nothing moves; the derivative is that of the fixed point."""
    fixed, some = stop_gradient((fit, power))

    def body(carry):
        answer, count, _ = carry
        new = _add_turn(answer, minimise_majoriser(fixed, some, answer.z, limits))
        return new, count + 1, power_kkt(fixed, some, new.z)

    def go(carry):
        _, count, kkt = carry
        return (kkt > KKT_SHARE * limits.tol) & (count < MOST_MAJORISERS)

    first = _first_turn(fixed, some, start, limits)
    carry = first, jnp.ones((), dtype=int), power_kkt(fixed, some, first.z)
    answer, _, kkt = jax.lax.while_loop(go, body, carry)
    z = answer.z
    if power.r == 2 and not power.by_entry:
        rest = (fit.gain, fit.scale, fit.data, fit.weight, stop_gradient(z))
        z = stationary_point(power.q, *rest)
    else:
        z = refuse_derivative(z, fit, power)
    return SparseAnswer(z, answer.info.at[2].set(kkt))


def power_kkt(fit: LeastSquares, power: Lrq, z: Sources) -> Scalar:
    """Largest distance to the subdifferential of a power, relative to the majoriser's weights."""
    factor = inverse_weights(power.norms(z), power.q)
    fit, x = scaled_by(fit, factor), over_factor(z, factor)
    if power.by_entry:
        x = x / fit.spread[:, None]
        return certified_step(fit, power.majoriser.even(), x, fit.lipschitz())[1].kkt
    if power.r == 2:
        return certify_sources(fit, gain_products(fit), x)[2].kkt
    residual = fit.data - fit.predict(x)
    ratio = fit.adjoint(residual) / fit.weight[:, None, None]
    off = jnp.where(x == 0, jnp.maximum(jnp.abs(ratio) - 1, 0), jnp.abs(ratio - jnp.sign(x)))
    return jnp.max(off)
