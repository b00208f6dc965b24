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
from esijax.inference.collapsed.em._model import EMModel, Evaluation
from esijax.inference.collapsed.em._sensor import Variances, floor

LONGEST_STEP = 8.0


class AndersonState(eqx.Module):
    """Where the iteration stands.

    Parameters
    ----------
    point : Evaluation
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

    point: Evaluation
    trial: Variances
    plain: Bool[Array, ""]
    d_log: Float[Array, "memory n"]
    d_move: Float[Array, "memory n"]
    filled: Int[Array, ""]


def anderson_start(point: Evaluation, memory: int) -> AndersonState:
    """Before the first iteration: the plain update is next."""
    empty = jnp.zeros((memory, len(point.log)), point.log.dtype)
    return AndersonState(
        point, point.log + point.move, jnp.asarray(True), empty, empty, jnp.asarray(0)
    )


def anderson_step(model: EMModel, state: AndersonState) -> AndersonState:
    """Evaluate the trial, take it or fall back, and say where to look next."""
    old, new = state.point, model.at(state.trial)
    better = jnp.isfinite(new.value) & (new.value >= old.value - slack(old.value))
    taken = better | state.plain
    memory = state.d_log.shape[0]
    if memory == 0:
        return AndersonState(
            new, new.log + new.move, state.plain, state.d_log, state.d_move, state.filled
        )
    d_log = jnp.roll(state.d_log, 1, axis=0).at[0].set(new.log - old.log)
    d_move = jnp.roll(state.d_move, 1, axis=0).at[0].set(new.move - old.move)
    filled = jnp.where(taken, jnp.minimum(state.filled + 1, memory), 0)
    point = jax.tree.map(lambda a, b: jnp.where(taken, a, b), new, old)
    trial = jnp.where(taken, _extrapolated(new, d_log, d_move, filled), old.log + old.move)
    return AndersonState(point, trial, ~taken, d_log, d_move, filled)


def slack(value: Scalar) -> Scalar:
    """Rounding error that a comparison of two objectives allows for."""
    return 100 * jnp.finfo(value.dtype).eps * jnp.abs(value)


def _extrapolated(point: Evaluation, d_log, d_move, filled) -> Variances:
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
    return jnp.maximum(point.log + jnp.clip(further, -LONGEST_STEP, LONGEST_STEP), limit)
