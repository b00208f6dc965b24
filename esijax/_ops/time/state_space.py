r"""Gaussian Markov series in state-space form: what `steps()` of a temporal covariance gives.

.. math::
   s_1 \sim N(0, P_0), \qquad s_{t+1} = F_t s_t + q_t, \quad q_t \sim N(0, Q_t), \qquad
   x_t = h^\top s_t

A handful of numbers per sample stand for a covariance of times x times.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
from jaxtyping import Array, Float, PRNGKeyArray


class Steps(eqx.Module):
    """A Markov series, sample by sample.

    Parameters
    ----------
    transition : (times - 1, states, states)
        F, from each sample to the next.
    noise : (times - 1, states, states)
        Q, covariance of what comes in between.
    observe : (states,)
        h: how the state makes the series.
    start : (states, states)
        P0, covariance of the state at the first sample.
    """

    transition: Float[Array, "steps states states"]
    noise: Float[Array, "steps states states"]
    observe: Float[Array, " states"]
    start: Float[Array, "states states"]


def scaled_block(steps: Steps, factor) -> Steps:
    """The series with its variance times a factor."""
    return Steps(steps.transition, steps.noise * factor, steps.observe, steps.start * factor)


def side_by_side(blocks: tuple[Steps, ...]) -> Steps:
    """The sum of independent series: their states one below the other."""
    if len(blocks) == 1:
        return blocks[0]
    together = jax.vmap(lambda *each: jsl.block_diag(*each))
    return Steps(
        together(*(b.transition for b in blocks)),
        together(*(b.noise for b in blocks)),
        jnp.concatenate([b.observe for b in blocks]),
        jsl.block_diag(*(b.start for b in blocks)),
    )


def draw(steps: Steps, key: PRNGKeyArray, n: int) -> Float[Array, "n times"]:
    """Draws of a series, step by step: no matrix of times x times."""
    n_times, n_states = len(steps.transition) + 1, len(steps.start)
    white = jax.random.normal(key, (n_times, n_states, n), steps.start.dtype)

    def step(state, move):
        transition, root, fresh = move
        state = transition @ state + root @ fresh
        return state, steps.observe @ state

    first = semidefinite_root(steps.start) @ white[0]
    moves = (steps.transition, semidefinite_root(steps.noise), white[1:])
    later = jax.lax.scan(step, first, moves)[1]
    return jnp.concatenate([(steps.observe @ first)[None], later]).T


def semidefinite_root(matrix: Float[Array, "*batch n n"]) -> Float[Array, "*batch n n"]:
    """Lower triangular L with L L' = A for a small positive semi-definite A.

    The factorisation of Cholesky, a column of zeros where nothing is left (less than 1e-14 of the
    diagonal): the noise of an autoregression has rank one.
    """
    left, columns = matrix, []
    own = jnp.diagonal(matrix, axis1=-2, axis2=-1)
    for k in range(matrix.shape[-1]):
        pivot = left[..., k, k]
        kept = pivot > 1e-14 * own[..., k]
        scale = jnp.where(kept, 1.0 / jnp.sqrt(jnp.where(kept, pivot, 1.0)), 0.0)
        column = left[..., :, k] * scale[..., None]
        columns.append(column.at[..., :k].set(0.0))
        left = left - columns[-1][..., :, None] * columns[-1][..., None, :]
    return jnp.stack(columns, axis=-1)
