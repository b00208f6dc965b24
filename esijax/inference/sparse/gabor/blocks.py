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

from esijax._ops.epsilon import excess, moduli, sizes, tree_prox, tree_value
from esijax._ops.gabor import Frame
from esijax._ops.safe import divisor
from esijax._types import Scalar

Coefs = Float[Array, "w orients 2 coefs"]
Signals = Float[Array, "w orients times"]
PROX_STEPS = 20  # between two Newton steps
CG_STEPS = 60
SMALL = 640  # columns whose largest eigenvalue is computed
POWERS = 20
SLACK = 4e-15  # rounding of the objective


class Blocks(eqx.Module):
    """Gram matrix A (w orients x w orients), B, and the weights of entries and blocks."""

    gram: Float[Array, "n n"]
    linear: Signals
    mu: Float[Array, "w coefs"]
    lam: Float[Array, " w"]
    frame: Frame = eqx.field(static=True)

    def applied(self, x: Signals) -> Signals:
        """A X."""
        return (self.gram @ x.reshape(len(self.gram), -1)).reshape(x.shape)

    def slope(self, c: Coefs) -> Coefs:
        """Gradient of the data term."""
        return self.frame.analysis(self.applied(self.frame.synthesis(c)) - self.linear)

    def value(self, c: Coefs) -> Scalar:
        """Objective, less the energy of the data."""
        x = self.frame.synthesis(c)
        smooth = jnp.sum(x * (0.5 * self.applied(x) - self.linear))
        return smooth + jnp.sum(tree_value(c, self.mu, self.lam))

    def penalty(self, c: Coefs) -> Scalar:
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
        return divisor(own) * jnp.maximum(_largest(related), 1e-12)


def _largest(matrix: Array) -> Scalar:
    """Above the largest eigenvalue, by a little where the matrix is small."""
    if len(matrix) <= SMALL:
        return 1.0001 * jnp.linalg.eigvalsh(matrix)[-1]
    size = jnp.abs(matrix) + 1e-3 * jnp.eye(len(matrix))

    def body(_, v):
        v = size @ v + 1e-6
        return v / jnp.max(v)

    v = jax.lax.fori_loop(0, POWERS, body, jnp.ones(len(matrix), dtype=matrix.dtype))
    return jnp.max(size @ v / v)  # Collatz and Wielandt


def distances(slope: Coefs, c: Coefs, mu, lam) -> Float[Array, " w"]:
    """Distance of zero to the subdifferential, of each location; the slope is the data term's."""
    entries, norm = moduli(c), sizes(c)
    on = entries > 0
    some = jnp.where(jnp.isfinite(mu), mu, 0.0)
    pull = jnp.where(on, some / jnp.where(on, entries, 1.0), 0.0)[:, None, None]
    pull = pull + (lam / divisor(norm))[:, None, None, None]
    inside = moduli(slope + c * pull)
    off = jnp.maximum(moduli(slope) - mu, 0.0)
    active = jnp.sqrt(jnp.sum(jnp.where(on, inside, off) ** 2, axis=-1))
    return jnp.where(norm > 0, active, jnp.maximum(excess(moduli(slope), mu, lam), 0.0))


class Walk(NamedTuple):
    """A point on the way."""

    c: Coefs
    ahead: Coefs
    momentum: Scalar
    far: Scalar  # largest distance to the subdifferential, over the weight
    count: Int[Array, ""]
    idle: Int[Array, ""]


def descend(
    blocks: Blocks, c: Coefs, weight: Float[Array, " w"], target: Scalar, max_iter
) -> tuple[Coefs, Int[Array, ""]]:
    """Minimise until the distance to the subdifferential is below `target` times the weight."""
    bound = blocks.curvatures()
    wide = bound[:, None, None, None]

    def far(c):
        return jnp.max(distances(blocks.slope(c), c, blocks.mu, blocks.lam) / weight)

    def once(carry, _):
        c, ahead, momentum = carry
        stepped = ahead - blocks.slope(ahead) / wide
        new = tree_prox(stepped, blocks.mu / bound[:, None], blocks.lam / bound)
        back = jnp.sum(wide * (ahead - new) * (new - c)) > 0
        momentum = jnp.where(back, 1.0, momentum)
        grown = (1 + jnp.sqrt(1 + 4 * momentum**2)) / 2
        ahead = new + jnp.where(back, 0.0, (momentum - 1) / grown) * (new - c)
        return (new, ahead, grown), None

    def more(walk: Walk) -> Walk:
        carry = (walk.c, walk.ahead, walk.momentum)
        (c, ahead, momentum), _ = jax.lax.scan(once, carry, None, length=PROX_STEPS)
        new, moved = newton(blocks, bound, c)
        reached = far(new)
        ahead = jnp.where(moved, new, ahead)
        momentum = jnp.where(moved, 1.0, momentum)
        idle = jnp.where((reached < 0.9 * walk.far) | (reached > 1e-7), 0, walk.idle + 1)
        return Walk(new, ahead, momentum, reached, walk.count + PROX_STEPS + 1, idle)

    def go(walk: Walk):
        return (walk.far > target) & (walk.count < max_iter) & (walk.idle < 6)

    one, zero = jnp.ones((), dtype=c.dtype), jnp.zeros((), dtype=int)
    end = jax.lax.while_loop(go, more, Walk(c, c, one, far(c), zero, zero))
    return end.c, end.count


def newton(blocks: Blocks, bound: Float[Array, " w"], c: Coefs):
    """One step on the support, and whether it went down."""
    on = (moduli(c) > 0)[:, None, None]
    slope = jnp.where(on, jax.grad(blocks.value)(c), 0.0)
    size = jnp.sqrt(jnp.sum(slope**2))
    tol = jnp.clip(jnp.sqrt(size / (jnp.sqrt(jnp.sum(blocks.lam**2)) + size + 1e-300)), 1e-6, 0.1)
    move = -inverse_hessian(blocks, bound, c, slope, tol, CG_STEPS)
    value = blocks.value(c)
    limit = value + SLACK * jnp.abs(jnp.sum(blocks.frame.synthesis(c) * blocks.linear))
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


def hessian(blocks: Blocks, c: Coefs, v: Coefs) -> Coefs:
    """Hessian on the support, the identity elsewhere."""
    on = (moduli(c) > 0)[:, None, None]
    inside = jnp.where(on, v, 0.0)
    smooth = blocks.frame.analysis(blocks.applied(blocks.frame.synthesis(inside)))
    return jnp.where(on, smooth + _bent(blocks, c, inside), v)


def _bent(blocks: Blocks, c: Coefs, v: Coefs) -> Coefs:
    """Curvature of the norms."""
    entries, norm = moduli(c)[:, None, None], sizes(c)[:, None, None, None]
    safe, whole = divisor(entries), divisor(norm)
    mu = jnp.where(jnp.isfinite(blocks.mu), blocks.mu, 0.0)[:, None, None]
    lam = blocks.lam[:, None, None, None]
    unit, all_ = c / safe, c / whole
    across = v - unit * jnp.sum(unit * v, axis=(1, 2), keepdims=True)
    apart = v - all_ * jnp.sum(all_ * v, axis=(1, 2, 3), keepdims=True)
    return across * mu / safe + apart * lam / whole


def inverse_hessian(
    blocks: Blocks, bound: Float[Array, " w"], c: Coefs, right: Coefs, tol, maxiter: int
) -> Coefs:
    """Conjugate gradients; the preconditioner is the curvature of the norms, entry by entry."""
    entries, norm = moduli(c)[:, None, None], sizes(c)[:, None, None, None]
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

    return cg(lambda v: hessian(blocks, c, v), right, tol=tol, maxiter=maxiter, M=precondition)[0]
