r"""The minimiser as a function: its derivative solves one linear system on the support.

At the minimum :math:`-G_l^\top R + \lambda_l \hat X_l = 0` on the support S, so that

.. math:: H_S \, dX_S = G_S^\top (dY - dG\, X) + dG_S^\top R - d\lambda_S \hat X_S

with H the Hessian of `_block_newton`; elsewhere dX = 0, away from changes of the support.
"""

import functools

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap, sequential_vmap
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float

from esijax._ops.prox import block_norms
from esijax.inference.sparse.base.task import Task
from esijax.inference.sparse.newton.block_newton import pull
from esijax.inference.sparse.newton.points import first_point, point_at, resized, spread
from esijax.inference.sparse.newton.working_set import (
    INNER,
    inverse_hessian,
    rotation,
    rounds,
    rungs,
)


def _run(inner: str, gain, scale, data, weight, start, tol, max_iter):
    short, basis = rotation(data)
    task = Task(gain, scale, short, weight)
    start, known = start if basis is None else start @ basis, task.known()
    room = rungs(*scale.shape)[-1]
    point = jax.lax.cond(
        jnp.any(start != 0),
        lambda: resized(room, point_at(task, known, start)),
        lambda: resized(room, first_point(task, known)),
    )
    point = rounds(task, known, point, tol, max_iter, inner)
    x = point.x if basis is None else point.x @ basis.T
    x = spread(x, point.index, len(scale))
    proof = point.proof
    info = (proof.primal, proof.gap, proof.kkt, point.alpha_max, point.rounds, point.steps)
    return x, jnp.stack([jnp.asarray(i, dtype=data.dtype) for i in info])


# under vmap one problem after the other: a batch would run until its slowest has ended
_solved = {name: sequential_vmap(functools.partial(_run, name)) for name in INNER}


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def minimum(
    inner: str,
    gain: Float[Array, "rank locations orients"],
    scale: Float[Array, "locations orients"],
    data: Float[Array, "rank times"],
    weight: Float[Array, " locations"],
    start: Float[Array, "locations orients times"],
    tol: Float[Array, ""],
    max_iter,
):
    """Minimiser (locations, orients, times), and what `INFO` names; zero `start`: none.

    `inner`: what solves on the working sets.
    """
    return _solved[inner](gain, scale, data, weight, start, tol, max_iter)


def _known(tangent) -> bool:
    return not isinstance(tangent, SymbolicZero)


def _jvp(inner: str, primals, tangents):
    x, info = minimum(inner, *primals)
    return (x, info), (tangent(primals[:4], tangents[:4], x, 1.0), jnp.zeros_like(info))


minimum.defjvp(_jvp, symbolic_zeros=True)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def stationary_point(q: float, gain, scale, data, weight, x):  # noqa: ARG001
    """Give `x`, stationary for powers q of the norms, its derivative."""
    return x


def _stationary_jvp(q: float, primals, tangents):
    x = stationary_point(q, *primals)
    norms = block_norms(x)
    on = norms > 0
    slope = jnp.where(on, q * jnp.where(on, norms, 1.0) ** (q - 1.0), 0.0)
    gain, scale, data, weight = primals[:4]
    *others, dweight = tangents[:4]
    dweight = dweight * slope if _known(dweight) else dweight
    majoriser = (gain, scale, data, jnp.where(on, weight * slope, 1.0))
    return x, tangent(majoriser, (*others, dweight), x, 2.0 - q)


stationary_point.defjvp(_stationary_jvp, symbolic_zeros=True)


def tangent(primals, tangents, x, bend: float):
    """Derivative of the minimiser along (gain, scale, data, weight)."""
    task = Task(*primals)
    gain, scale, data, _ = primals
    dgain, dscale, ddata, dweight = tangents
    change = jnp.zeros_like(data) + (ddata if _known(ddata) else 0.0)
    right = jnp.zeros_like(x)
    if _known(dgain) or _known(dscale):
        moved = jnp.zeros_like(gain)
        moved = moved + dgain * scale[None] if _known(dgain) else moved
        moved = moved + gain * dscale[None] if _known(dscale) else moved
        change = change - jnp.tensordot(moved, x, axes=2)
        residual = data - jnp.tensordot(gain, x * scale[..., None], axes=2)
        right = right + jnp.tensordot(moved, residual, axes=(0, 0))
    right = right + task.slope(change)
    if _known(dweight):
        right = right - pull(x, dweight)
    on = (block_norms(x) > 0)[:, None, None]
    return jax.lax.custom_linear_solve(
        lambda v: _hessian(task, x, v, bend),
        jnp.where(on, right, 0.0),
        lambda _, b: _direct(jnp.asarray(bend), *primals, x, b),
        symmetric=True,
    )


def _hessian(task: Task, x, v, bend: float):
    """Hessian on the support, the identity elsewhere."""
    norms = block_norms(x)
    on = norms > 0
    safe = jnp.where(on, norms, 1.0)[:, None, None]
    inside = jnp.where(on[:, None, None], v, 0.0)
    smooth = task.slope(jnp.tensordot(task.gain, inside * task.scale[..., None], axes=2))
    unit = x / safe
    across = inside - bend * unit * jnp.sum(unit * inside, axis=(1, 2))[:, None, None]
    bent = smooth + across * task.weight[:, None, None] / safe
    return jnp.where(on[:, None, None], bent, v)


@custom_vmap
def _direct(bend, gain, scale, data, weight, x, right):
    return inverse_hessian(Task(gain, scale, data, weight), x, right, bend)


@_direct.def_vmap
def _direct_batch(axis_size, batched, *args):  # noqa: ARG001
    """Right-hand sides of one Hessian together; Hessians one after the other."""
    if not any(batched[:-1]):
        return jax.vmap(_plain, (None,) * 6 + (0,))(*args), True
    fixed = [None if b else a for a, b in zip(args, batched, strict=True)]
    moving = [a if b else None for a, b in zip(args, batched, strict=True)]

    def one(some):
        both = [m if f is None else f for f, m in zip(fixed, some, strict=True)]
        return _direct(*both)

    return jax.lax.map(one, moving), True


def _plain(bend, gain, scale, data, weight, x, right):
    return inverse_hessian(Task(gain, scale, data, weight), x, right, bend)
