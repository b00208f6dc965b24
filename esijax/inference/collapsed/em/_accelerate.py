r"""Anderson acceleration of a fixed-point iteration, with a safeguard.

The iteration :math:`x \to x + f(x)`, x the logarithms of the variances, is extrapolated from its
last differences,

.. math:: x^+ = x + f - (\Delta X + \Delta F)\, c, \qquad
          c = \arg\min_c \lVert W^{1/2} (f - \Delta F c) \rVert

(Walker and Ni 2011, doi:10.1137/10078356X), W the share of each component that the data
determine: components on their way to zero, whose f is constant, do not count. A trial below the
objective of the point that it came from is dropped for the plain update, so that the objective
rises wherever the plain update makes it rise.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from esijax._ops.safe import divisor
from esijax._types import Scalar
from esijax.inference.collapsed.em._model import EMModel, Point, floor

Per = Float[Array, " n"]
REACH = 8.0


class Walk(eqx.Module):
    """Where the iteration stands.

    Parameters
    ----------
    point : Point
        Best point so far.
    trial : (n,)
        Where to look next.
    plain : ()
        Whether the trial is the plain update of the point.
    d_log, d_move : (memory, n)
        Last differences of x and f.
    filled : ()
        How many of them hold something.
    """

    point: Point
    trial: Per
    plain: Bool[Array, ""]
    d_log: Float[Array, "memory n"]
    d_move: Float[Array, "memory n"]
    filled: Int[Array, ""]


def started(point: Point, memory: int) -> Walk:
    """Before the first iteration: the plain update is next."""
    empty = jnp.zeros((memory, len(point.log)), point.log.dtype)
    return Walk(point, point.log + point.move, jnp.asarray(True), empty, empty, jnp.asarray(0))


def walked(model: EMModel, walk: Walk) -> Walk:
    """One evaluation."""
    old, new = walk.point, model.at(walk.trial)
    better = jnp.isfinite(new.value) & (new.value >= old.value - slack(old.value))
    taken = better | walk.plain
    memory = walk.d_log.shape[0]
    if memory == 0:
        return Walk(new, new.log + new.move, walk.plain, walk.d_log, walk.d_move, walk.filled)
    d_log = jnp.roll(walk.d_log, 1, axis=0).at[0].set(new.log - old.log)
    d_move = jnp.roll(walk.d_move, 1, axis=0).at[0].set(new.move - old.move)
    filled = jnp.where(taken, jnp.minimum(walk.filled + 1, memory), 0)
    point = jax.tree.map(lambda a, b: jnp.where(taken, a, b), new, old)
    trial = jnp.where(taken, _extrapolated(new, d_log, d_move, filled), old.log + old.move)
    return Walk(point, trial, ~taken, d_log, d_move, filled)


def slack(value: Scalar) -> Scalar:
    """Rounding of the objective."""
    return 100 * jnp.finfo(value.dtype).eps * jnp.abs(value)


def _extrapolated(point: Point, d_log, d_move, filled) -> Per:
    """Anderson's point; the plain update where there is nothing to go by."""
    used = (jnp.arange(len(d_log)) < filled).astype(d_log.dtype)
    d_log, d_move = d_log * used[:, None], d_move * used[:, None]
    weighted = d_move * point.share
    gram = weighted @ d_move.T
    size = jnp.diag(gram)
    scale = jnp.where(size > 0, 1.0 / jnp.sqrt(divisor(size)), 0.0)
    system = scale[:, None] * gram * scale[None]
    system = system + (1e-10 + (size <= 0)) * jnp.eye(len(gram), dtype=gram.dtype)
    c = scale * jnp.linalg.solve(system, scale * (weighted @ point.move))
    further = point.move - c @ (d_log + d_move)
    limit = floor(point.log)
    return jnp.maximum(point.log + jnp.clip(further, -REACH, REACH), limit)
