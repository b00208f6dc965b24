r"""Least squares with norms of Gabor coefficients on few locations, in Gram form.

.. math:: \min_C \; \tfrac12 \langle C \Phi^H, A\, C \Phi^H \rangle - \langle B, C \Phi^H \rangle
   + \sum_l \Omega_l(C_l)

Accelerated proximal gradients, each location with a step of its own, find the entries that are not
zero; on those Newton's method, by preconditioned conjugate gradients, ends exactly.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.sparse.linalg import cg
from jaxtyping import Array, Float, Int

from esijax._ops.epsilon import block_sizes, excess, moduli, tree_prox, tree_value
from esijax._ops.gabor import Frame
from esijax._ops.safe import divisor
from esijax._types import Scalar
from esijax.inference.sparse.base.gap import OBJECTIVE_ROUNDING
from esijax.models.penalties.least_squares import EIGEN_COLUMNS

GaborCoefs = Float[Array, "w orients 2 coefs"]
BlockSignals = Float[Array, "w orients times"]
PROX_STEPS = 20  # between two Newton steps
CG_STEPS = 60
POWER_STEPS = 20


class GaborBlocks(eqx.Module):
    """Gram matrix A (w orients x w orients), B, and the weights of entries and blocks."""

    gram: Float[Array, "n n"]
    linear: BlockSignals
    mu: Float[Array, "w coefs"]
    lam: Float[Array, " w"]
    frame: Frame = eqx.field(static=True)

    def apply(self, x: BlockSignals) -> BlockSignals:
        """A X."""
        return (self.gram @ x.reshape(len(self.gram), -1)).reshape(x.shape)

    def gradient(self, c: GaborCoefs) -> GaborCoefs:
        """Gradient of the data term."""
        return self.frame.analysis(self.apply(self.frame.synthesis(c)) - self.linear)

    def value(self, c: GaborCoefs) -> Scalar:
        """Objective, less the energy of the data."""
        x = self.frame.synthesis(c)
        smooth = jnp.sum(x * (0.5 * self.apply(x) - self.linear))
        return smooth + jnp.sum(tree_value(c, self.mu, self.lam))

    def penalty(self, c: GaborCoefs) -> Scalar:
        """Sum of the norms."""
        return jnp.sum(tree_value(c, self.mu, self.lam))

    def curvatures(self) -> Float[Array, " w"]:
        """One bound per location, such that their diagonal matrix is above A."""
        w = len(self.lam)
        n_orients = len(self.gram) // w
        parts = self.gram.reshape(w, n_orients, w, n_orients)
        own = jnp.trace(jnp.einsum("iaib->iab", parts), axis1=1, axis2=2)
        root = jnp.where(own > 0, 1.0 / jnp.sqrt(divisor(own)), 0.0)
        root = jnp.repeat(root, n_orients)
        related = self.gram * root[:, None] * root[None, :]
        return divisor(own) * jnp.maximum(_eigenvalue_bound(related), 1e-12)


def _eigenvalue_bound(matrix: Array) -> Scalar:
    """Above the largest eigenvalue, by a little where the matrix is small."""
    if len(matrix) <= EIGEN_COLUMNS:
        return 1.0001 * jnp.linalg.eigvalsh(matrix)[-1]
    size = jnp.abs(matrix) + 1e-3 * jnp.eye(len(matrix))

    def body(_, v):
        v = size @ v + 1e-6
        return v / jnp.max(v)

    v = jax.lax.fori_loop(0, POWER_STEPS, body, jnp.ones(len(matrix), dtype=matrix.dtype))
    return jnp.max(size @ v / v)  # Collatz and Wielandt


def block_distances(gradient: GaborCoefs, c: GaborCoefs, mu, lam) -> Float[Array, " w"]:
    """Distance of zero to the subdifferential, of each location, given the data term's gradient."""
    entries, norm = moduli(c), block_sizes(c)
    on = entries > 0
    some = jnp.where(jnp.isfinite(mu), mu, 0.0)
    norm_part = jnp.where(on, some / jnp.where(on, entries, 1.0), 0.0)[:, None, None]
    norm_part = norm_part + (lam / divisor(norm))[:, None, None, None]
    inside = moduli(gradient + c * norm_part)
    off = jnp.maximum(moduli(gradient) - mu, 0.0)
    active = jnp.sqrt(jnp.sum(jnp.where(on, inside, off) ** 2, axis=-1))
    return jnp.where(norm > 0, active, jnp.maximum(excess(moduli(gradient), mu, lam), 0.0))


class GaborIterate(NamedTuple):
    """Coefficients between two Newton steps."""

    c: GaborCoefs
    ahead: GaborCoefs
    momentum: Scalar
    far: Scalar  # largest distance to the subdifferential, over the weight
    count: Int[Array, ""]
    idle: Int[Array, ""]


def minimise_blocks(
    blocks: GaborBlocks, c: GaborCoefs, weight: Float[Array, " w"], target: Scalar, max_iter
) -> tuple[GaborCoefs, Int[Array, ""]]:
    """Minimise until the distance to the subdifferential is below `target` times the weight."""
    bound = blocks.curvatures()
    wide = bound[:, None, None, None]

    def far(c):
        return jnp.max(block_distances(blocks.gradient(c), c, blocks.mu, blocks.lam) / weight)

    def once(carry, _):
        c, ahead, momentum = carry
        stepped = ahead - blocks.gradient(ahead) / wide
        new = tree_prox(stepped, blocks.mu / bound[:, None], blocks.lam / bound)
        back = jnp.sum(wide * (ahead - new) * (new - c)) > 0
        momentum = jnp.where(back, 1.0, momentum)
        grown = (1 + jnp.sqrt(1 + 4 * momentum**2)) / 2
        ahead = new + jnp.where(back, 0.0, (momentum - 1) / grown) * (new - c)
        return (new, ahead, grown), None

    def more(at: GaborIterate) -> GaborIterate:
        carry = (at.c, at.ahead, at.momentum)
        (c, ahead, momentum), _ = jax.lax.scan(once, carry, None, length=PROX_STEPS)
        new, moved = gabor_newton_step(blocks, bound, c)
        reached = far(new)
        ahead = jnp.where(moved, new, ahead)
        momentum = jnp.where(moved, 1.0, momentum)
        idle = jnp.where((reached < 0.9 * at.far) | (reached > 1e-7), 0, at.idle + 1)
        return GaborIterate(new, ahead, momentum, reached, at.count + PROX_STEPS + 1, idle)

    def go(at: GaborIterate):
        return (at.far > target) & (at.count < max_iter) & (at.idle < 6)

    one, zero = jnp.ones((), dtype=c.dtype), jnp.zeros((), dtype=int)
    end = jax.lax.while_loop(go, more, GaborIterate(c, c, one, far(c), zero, zero))
    return end.c, end.count


def gabor_newton_step(blocks: GaborBlocks, bound: Float[Array, " w"], c: GaborCoefs):
    """One step on the support, and whether it went down."""
    on = (moduli(c) > 0)[:, None, None]
    gradient = jnp.where(on, jax.grad(blocks.value)(c), 0.0)
    size = jnp.sqrt(jnp.sum(gradient**2))
    tol = jnp.clip(jnp.sqrt(size / (jnp.sqrt(jnp.sum(blocks.lam**2)) + size + 1e-300)), 1e-6, 0.1)
    move = -inverse_gabor_hessian(blocks, bound, c, gradient, tol, CG_STEPS)
    value = blocks.value(c)
    limit = value + OBJECTIVE_ROUNDING * jnp.abs(jnp.sum(blocks.frame.synthesis(c) * blocks.linear))
    along, square = jnp.sum(c * move, axis=(1, 2)), moduli(c) ** 2

    def trial(t):
        new = jnp.where((square + t * along > 0)[:, None, None], c + t * move, 0.0)
        return new, blocks.value(new)

    def worse(carry):
        t, _, reached = carry
        return ~(reached <= limit) & (t > 1e-2)

    def shorter(carry):
        t = carry[0] / 4
        return (t, *trial(t))

    t = jnp.ones((), dtype=c.dtype)
    _, new, reached = jax.lax.while_loop(worse, shorter, (t, *trial(t)))
    better = reached <= limit
    return jnp.where(better, new, c), better


def gabor_hessian(blocks: GaborBlocks, c: GaborCoefs, v: GaborCoefs) -> GaborCoefs:
    """Hessian on the support times v; elsewhere v itself."""
    on = (moduli(c) > 0)[:, None, None]
    inside = jnp.where(on, v, 0.0)
    smooth = blocks.frame.analysis(blocks.apply(blocks.frame.synthesis(inside)))
    return jnp.where(on, smooth + _norm_hessian(blocks, c, inside), v)


def _norm_hessian(blocks: GaborBlocks, c: GaborCoefs, v: GaborCoefs) -> GaborCoefs:
    """Hessian of the norms times v."""
    entries, norm = moduli(c)[:, None, None], block_sizes(c)[:, None, None, None]
    safe, whole = divisor(entries), divisor(norm)
    mu = jnp.where(jnp.isfinite(blocks.mu), blocks.mu, 0.0)[:, None, None]
    lam = blocks.lam[:, None, None, None]
    unit, all_ = c / safe, c / whole
    across = v - unit * jnp.sum(unit * v, axis=(1, 2), keepdims=True)
    apart = v - all_ * jnp.sum(all_ * v, axis=(1, 2, 3), keepdims=True)
    return across * mu / safe + apart * lam / whole


def inverse_gabor_hessian(
    blocks: GaborBlocks,
    bound: Float[Array, " w"],
    c: GaborCoefs,
    right: GaborCoefs,
    tol,
    maxiter: int,
) -> GaborCoefs:
    """Conjugate gradients; the preconditioner is the curvature of the norms, entry by entry."""
    entries, norm = moduli(c)[:, None, None], block_sizes(c)[:, None, None, None]
    on = entries > 0
    safe, whole = jnp.where(on, entries, 1.0), divisor(norm)
    mu = jnp.where(jnp.isfinite(blocks.mu), blocks.mu, 0.0)[:, None, None]
    unit = c / safe
    # a tight frame of so many coefficients per sample has eigenvalues 0 and 1
    base = bound[:, None, None, None] / 2 + blocks.lam[:, None, None, None] / whole
    steep = base + mu / safe

    def precondition(v):
        radial = unit * jnp.sum(unit * v, axis=(1, 2), keepdims=True)
        return jnp.where(on, radial / base + (v - radial) / steep, v)

    return cg(
        lambda v: gabor_hessian(blocks, c, v), right, tol=tol, maxiter=maxiter, M=precondition
    )[0]
