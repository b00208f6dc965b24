r"""The minimiser as a function: its derivative solves one linear system on the support.

At the minimum :math:`-G_l^\top R + \lambda_l \hat X_l = 0` on the support S, so that

.. math:: H_S \, dX_S = G_S^\top (dY - dG\, X) + dG_S^\top R - d\lambda_S \hat X_S

with H the Hessian of `_block_newton`; elsewhere dX = 0, away from changes of the support.
"""

import jax
import jax.numpy as jnp
from jax.custom_batching import sequential_vmap
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float

from esijax._ops.prox import block_norms
from esijax.inference._block_newton import pull
from esijax.inference._working_set import (
    Task,
    first_point,
    inverse_hessian,
    point_at,
    rotation,
    rounds,
    stopped,
)

# what is known of a solve, in this order
INFO = ("primal", "gap", "kkt", "alpha_max", "rounds", "steps")


@sequential_vmap
def _solved(gain, scale, data, weight, start, tol, max_iter):
    """One problem after the other under vmap: a batch would run until its slowest has ended."""
    short, basis = rotation(data)
    task = Task(gain, scale, short, weight)
    start = start if basis is None else start @ basis
    point = jax.lax.cond(
        jnp.any(start != 0), lambda: point_at(task, start), lambda: first_point(task)
    )
    point = rounds(task, point, tol, max_iter)
    x = point.x if basis is None else point.x @ basis.T
    proof = point.proof
    info = (proof.primal, proof.gap, proof.kkt, point.alpha_max, point.rounds, point.steps)
    return x, jnp.stack([jnp.asarray(i, dtype=data.dtype) for i in info])


@jax.custom_jvp
def minimum(
    gain: Float[Array, "rank locations orients"],
    scale: Float[Array, "locations orients"],
    data: Float[Array, "rank times"],
    weight: Float[Array, " locations"],
    start: Float[Array, "locations orients times"],
    tol: Float[Array, ""],
    max_iter,
):
    """Minimiser (locations, orients, times), and what `INFO` names; zero `start`: none."""
    return _solved(gain, scale, data, weight, start, tol, max_iter)


def _known(tangent) -> bool:
    return not isinstance(tangent, SymbolicZero)


def _jvp(primals, tangents):
    gain, scale, data, weight = primals[:4]
    dgain, dscale, ddata, dweight = tangents[:4]
    x, info = minimum(*primals)
    task = Task(gain, scale, data, weight)
    change = jnp.zeros_like(data) + (ddata if _known(ddata) else 0.0)
    right = jnp.zeros_like(x)
    if _known(dgain) or _known(dscale):
        moved = jnp.zeros_like(gain)
        moved = moved + dgain * scale if _known(dgain) else moved
        moved = moved + gain * dscale if _known(dscale) else moved
        change = change - jnp.tensordot(moved, x, axes=2)
        residual = data - jnp.tensordot(gain, x * scale[..., None], axes=2)
        right = right + jnp.tensordot(moved, residual, axes=(0, 0))
    right = right + task.slope(change)
    if _known(dweight):
        right = right - pull(x, dweight)
    on = (block_norms(x) > 0)[:, None, None]
    dx = jax.lax.custom_linear_solve(
        lambda v: _hessian(task, x, v),
        jnp.where(on, right, 0.0),
        lambda _, b: _direct(gain, scale, data, weight, x, b),
        symmetric=True,
    )
    return (x, info), (dx, jnp.zeros_like(info))


minimum.defjvp(_jvp, symbolic_zeros=True)


def _hessian(task: Task, x, v):
    """Hessian on the support, the identity elsewhere."""
    norms = block_norms(x)
    on = norms > 0
    safe = jnp.where(on, norms, 1.0)[:, None, None]
    inside = jnp.where(on[:, None, None], v, 0.0)
    smooth = task.slope(jnp.tensordot(task.gain, inside * task.scale[..., None], axes=2))
    unit = x / safe
    across = inside - unit * jnp.sum(unit * inside, axis=(1, 2))[:, None, None]
    bent = smooth + across * task.weight[:, None, None] / safe
    return jnp.where(on[:, None, None], bent, v)


@sequential_vmap
def _direct(gain, scale, data, weight, x, right):
    return inverse_hessian(Task(gain, scale, data, weight), x, right)
