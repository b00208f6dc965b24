r"""The eLORETA fixed point.

.. math:: R_l = W_l^{-1}, \qquad
          W_l = \left( G_l^\top (G W^{-1} G^\top + \lambda^2 I)^{-1} G_l \right)^{1/2}

with tr(G R G') = rank after each step, as in MNE-Python, so that lambda2 keeps its meaning.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
import lineax as lx
from jaxtyping import Array, Bool, Float, Int

from esijax._ops.chunked import filtered_blocks, gram
from esijax._ops.gaussian import symmetric_power
from esijax._ops.safe import divide, divisor
from esijax._types import Blocks, Gain, Scalar
from esijax.models.source_cov import BlockDiagonal


class FixedPoint(NamedTuple):
    """The iteration: R, G R G', the last relative change, iterations, whether to go on."""

    blocks: Blocks
    gram: Float[Array, "rank rank"]
    change: Scalar
    n: Int[Array, ""]
    go: Bool[Array, ""]


def eloreta_blocks(
    gain: Gain,
    orient_scale: Float[Array, "locations orients"],
    lambda2: Scalar,
    eps: Scalar,
    *,
    max_iter: int,
    force_equal: bool,
) -> Blocks:
    """Iterate to the eLORETA source covariance.

    Parameters
    ----------
    gain : (rank, locations, orients)
        Whitened lead field.
    orient_scale : (locations, orients)
        Standard deviation that the orientation constraint gives each axis.
    lambda2 : ()
        1 / SNR^2.
    eps : ()
        Stop when the relative change of R falls below it.
    max_iter : int
        Iterations at most (MNE-Python: 20).
    force_equal : bool
        Uniform orients.

    Returns
    -------
    blocks : (locations, orients, orients)
        R with tr(G R G') = rank for the gain as given.

    Notes
    -----
    As in MNE-Python the constraint scales the gain and is applied to R again after each step,
    for the plain iteration would undo it. Derivatives are those of the fixed point (implicit
    function theorem, GMRES), not of the iterations.
    """
    weight = orient_scale[:, :, None] * orient_scale[:, None, :]
    if force_equal:
        weight = weight * jnp.eye(gain.shape[-1])[None]
    biased = gain * orient_scale[None]

    def normalise(use, blocks):
        gram = _gram(use, blocks)
        size = jnp.trace(gram) / gain.shape[0]
        return blocks / size, gram / size

    def update(gram):
        inverse = _regularised_inverse(gram, lambda2)
        return normalise(biased, _inverse_roots(biased, inverse, force_equal) * weight)

    def body(state: FixedPoint) -> FixedPoint:
        blocks, gram = update(state.gram)
        change = jnp.linalg.norm(blocks - state.blocks) / jnp.linalg.norm(state.blocks)
        n = state.n + 1
        return FixedPoint(blocks, gram, change, n, (change >= eps) & (n < max_iter))

    def iterate(_residual, start):
        blocks, gram = normalise(biased, start)
        first = FixedPoint(blocks, gram, jnp.asarray(jnp.inf), jnp.asarray(0), jnp.asarray(True))
        return jax.lax.while_loop(lambda c: c.go, body, first).blocks

    def residual(blocks):
        return blocks - update(_gram(biased, blocks))[0]

    def tangent(linear, right):
        # lineax: jax.scipy's own GMRES cannot be transposed here
        operator = lx.FunctionLinearOperator(linear, jax.eval_shape(lambda: right))
        solver = lx.GMRES(rtol=1e-10, atol=1e-14, restart=40, max_steps=200)
        return lx.linear_solve(operator, right, solver, throw=False).value

    start = jnp.eye(gain.shape[-1])[None] * weight
    blocks = jax.lax.custom_root(residual, start, iterate, tangent)
    return normalise(gain, blocks)[0]


def _gram(gain: Gain, blocks: Blocks) -> Float[Array, "rank rank"]:
    if gain.shape[-1] == 1:
        return gram(gain, blocks[:, :, 0])
    return BlockDiagonal(blocks).sensor(gain)


def _regularised_inverse(
    gram: Float[Array, "rank rank"], lambda2: Scalar
) -> Float[Array, "rank rank"]:
    chol = jsl.cho_factor(gram + lambda2 * jnp.eye(len(gram)), lower=True)
    return jsl.cho_solve(chol, jnp.eye(len(gram)))


def _inverse_roots(gain: Gain, inverse: Float[Array, "rank rank"], force_equal: bool) -> Blocks:
    """Inverse roots of G_l' N G_l."""
    inner = filtered_blocks(inverse, gain)
    if gain.shape[-1] == 1:
        safe = divisor(inner)
        return jnp.where(inner > 0, 1.0 / jnp.sqrt(safe), 0.0)
    if not force_equal:
        return symmetric_power(inner, -0.5)
    values = jnp.linalg.eigvalsh(inner)
    positive = values > 0
    roots = jnp.where(positive, jnp.sqrt(jnp.where(positive, values, 1.0)), 0.0)
    size = jnp.mean(roots, axis=-1)
    size = divide(1.0, size)
    return size[:, None, None] * jnp.eye(3)[None]
