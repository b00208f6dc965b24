r"""The norm that is a sum over entries and of a block at once, its proximal map and its dual.

.. math:: \Omega(c) = \lambda \lVert c \rVert + \sum_k \mu_k \lVert c_k \rVert, \qquad
   \Omega^\circ(s) = \min \Big\{ \nu : \sqrt{\textstyle\sum_k (\lVert s_k \rVert - \nu \mu_k)_+^2}
   \le \nu \lambda \Big\}

Blocks are (orients, 2, coefs): an entry k is one coefficient, complex, of all orients. An infinite
:math:`\mu_k` keeps an entry at zero.

Tree of norms: Jenatton et al. 2011, http://jmlr.org/papers/v12/jenatton11a.html; epsilon norm:
Burdakov and Merkulov 2001; Ndiaye et al. 2016, arXiv:1602.06225.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from esijax._ops.safe import divisor, safe_sqrt
from esijax._types import Scalar

CoefBlocks = Float[Array, "*lead orients 2 coefs"]
EntrySizes = Float[Array, "*lead coefs"]
BlockSizes = Float[Array, "*lead"]
MAX_STEPS = 100


def moduli(c: CoefBlocks) -> EntrySizes:
    """Size of each entry, over orients and the complex plane."""
    return safe_sqrt(jnp.sum(c**2, axis=(-3, -2)))


def block_sizes(c: CoefBlocks) -> BlockSizes:
    """Norm of each block."""
    return safe_sqrt(jnp.sum(c**2, axis=(-3, -2, -1)))


def tree_value(c: CoefBlocks, mu: EntrySizes, lam: BlockSizes) -> BlockSizes:
    """Omega of each block; an entry at zero counts nothing, whatever its weight."""
    entries = moduli(c)
    some = jnp.where(entries > 0, jnp.where(jnp.isfinite(mu), mu, 0.0) * entries, 0.0)
    return jnp.sum(some, axis=-1) + lam * block_sizes(c)


def tree_prox(c: CoefBlocks, mu: EntrySizes, lam: BlockSizes) -> CoefBlocks:
    r"""Minimise :math:`\tfrac12 \lVert z - c \rVert^2 + \Omega(z)`: the entries, then the block."""
    entries = moduli(c)
    on = entries > mu
    left = jnp.where(on, entries - jnp.where(on, mu, 0.0), 0.0)
    norm = safe_sqrt(jnp.sum(left**2, axis=-1))
    keep = norm > lam
    block = jnp.where(keep, 1.0 - lam / jnp.where(keep, norm, 1.0), 0.0)
    factor = left / jnp.where(on, entries, 1.0) * block[..., None]
    return c * factor[..., None, None, :]


def excess(entries: EntrySizes, mu: EntrySizes, lam: BlockSizes) -> BlockSizes:
    """How far a gradient is beyond what the norm takes at zero; negative inside."""
    return safe_sqrt(jnp.sum(jnp.maximum(entries - mu, 0.0) ** 2, axis=-1)) - lam


def _dual_norm_step(
    entries: EntrySizes, mu: EntrySizes, lam: BlockSizes, nu: BlockSizes
) -> BlockSizes:
    """One Newton step from the left on the decreasing convex function whose root is the norm."""
    free = jnp.isfinite(mu)
    mu = jnp.where(free, mu, 0.0)
    over = jnp.where(free, jnp.maximum(entries - nu[..., None] * mu, 0.0), 0.0)
    norm = safe_sqrt(jnp.sum(over**2, axis=-1))
    fall = lam + jnp.sum(mu * over, axis=-1) / divisor(norm)
    return nu + jnp.where(norm > 0, (norm - nu * lam) / divisor(fall), 0.0)


def _dual_norm_bound(entries: EntrySizes, mu: EntrySizes, lam: BlockSizes) -> BlockSizes:
    """Lower bound of the dual norm, from two directions: the gradient and its largest entry."""
    free = jnp.isfinite(mu)
    entries, mu = jnp.where(free, entries, 0.0), jnp.where(free, mu, 1.0)
    square = jnp.sum(entries**2, axis=-1)
    value = lam * jnp.sqrt(square) + jnp.sum(mu * entries, axis=-1)
    along = square / divisor(value)
    return jnp.maximum(along, jnp.max(entries / (mu + lam[..., None]), axis=-1))


def dual_norm(entries: EntrySizes, mu: EntrySizes, lam: BlockSizes) -> BlockSizes:
    """Dual norm of each block, given the moduli of its entries; differentiable.

    Parameters
    ----------
    entries : (..., coefs)
    mu : (..., coefs)
        Positive or infinite; zeros where `lam` is not.
    lam : (...)
    """
    fixed = tuple(jax.lax.stop_gradient(x) for x in (entries, mu, lam))
    nu = _rise_to_root(*fixed, _dual_norm_bound(*fixed), lambda new: new)
    return _dual_norm_step(
        entries, mu, lam, jax.lax.stop_gradient(nu)
    )  # its derivative is the root's


def largest_dual_norm(
    entries: EntrySizes, mu: EntrySizes, lam: BlockSizes, least: Scalar
) -> Scalar:
    """Largest dual norm of several blocks, at least `least`; most blocks take one step."""
    return _rise_to_root(entries, mu, lam, least, lambda new: jnp.max(new))


def _rise_to_root(
    entries: EntrySizes, mu: EntrySizes, lam: BlockSizes, nu: Array, reduced
) -> Array:
    """Newton's steps from the left, which never pass the root, until nothing rises."""

    def step(nu):
        return jnp.maximum(
            nu, reduced(_dual_norm_step(entries, mu, lam, jnp.broadcast_to(nu, lam.shape)))
        )

    def body(carry):
        nu, _, count = carry
        new = step(nu)
        eps = 4 * jnp.finfo(nu.dtype).eps
        return new, jnp.any(new > nu * (1 + eps)), count + 1

    def go(carry) -> Bool[Array, ""]:
        return carry[1] & (carry[2] < MAX_STEPS)

    start = (nu, jnp.asarray(True), jnp.zeros((), dtype=int))
    return jax.lax.while_loop(go, body, start)[0]
