"""Questions to the members of a mixture, a few hundred sources at a time.

Outer loop over locations, inner loop over members: lead field and sums of a chunk stay in cache,
and nothing of the size of a map exists per member.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from esijax._ops.chunked import chunk_size
from esijax.models.posteriors.local_moments import LocalMoments

VALUES_AT_ONCE = 16_000_000  # of all members together that may be held at once


class Member(NamedTuple):
    """What one member of the mixture is known by; the first axis runs over members."""

    hyper: dict[str, Array]
    root: Array  # (rank, rank), inverse of the Cholesky factor
    white: Array  # (..., rank, times), root times data


class MemberMoments(NamedTuple):
    """Posterior of a member at some locations: mean, covariance blocks, and L^-1 G R."""

    mean: Array
    cov: Array
    half: Array


def member_moments(local: LocalMoments, member: Member) -> MemberMoments:
    """Mean and covariance blocks at the chosen locations."""
    reach = local.reach(member.hyper)
    rank, n, orients = reach.shape
    half = member.root @ reach.reshape(rank, -1)
    mean = jnp.einsum("rk,...rt->...kt", half, member.white)
    mean = mean.reshape(*mean.shape[:-2], n, orients, mean.shape[-1])
    half = half.reshape(rank, n, orients)
    explained = jnp.sum(half[:, :, :, None] * half[:, :, None, :], axis=0)
    return MemberMoments(mean, nonnegative(local.prior(member.hyper) - explained), half)


def nonnegative(cov: Array) -> Array:
    """Rounding may leave a variance of -1e-17 where the data determine a source."""
    diagonal = jnp.maximum(jnp.diagonal(cov, axis1=-2, axis2=-1), 0.0)
    eye = jnp.eye(cov.shape[-1])
    return cov * (1 - eye) + diagonal[..., None] * eye


def block_variance(cov: Array) -> Array:
    """Diagonals of blocks, (locations, orients)."""
    return jnp.diagonal(cov, axis1=-2, axis2=-1)


def average(function: Callable[[Member], Any], members: Member) -> Any:
    """Average over members, one at a time; for a gradient each is computed again."""
    n = len(members.root)
    shapes = jax.eval_shape(function, jax.tree.map(lambda x: x[0], members))
    zero = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

    @functools.partial(jax.checkpoint, prevent_cse=False)
    def add(total, member):
        return jax.tree.map(jnp.add, total, function(member)), None

    total, _ = jax.lax.scan(add, zero, members)
    return jax.tree.map(lambda x: x / n, total)


def by_chunks(
    function: Callable, local: LocalMoments, index: Array, size: int, *more: Array
) -> Any:
    """Stack `function(local of a chunk, chunks of more)`, whose results begin with locations."""
    n = len(index)
    size = min(n, size)
    n_chunks = -(-n // size)
    padded = jnp.minimum(jnp.arange(n_chunks * size), n - 1).reshape(n_chunks, size)

    def one(chosen):
        return function(local.at(index[chosen]), *(x[chosen] for x in more))

    if n_chunks == 1:
        return one(padded[0])
    stacked = jax.lax.map(one, padded)
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:n], stacked)


def summed_size(n_locations: int, n_orients: int) -> int:
    """Locations at once for sums over members."""
    return chunk_size(n_locations, n_orients)


def together_size(members: Member, n_locations: int, n_orients: int) -> int:
    """Locations at once where the values of all members are needed side by side."""
    per_location = n_orients * math.prod(members.white.shape) // members.white.shape[-2]
    return max(1, min(chunk_size(n_locations, n_orients), VALUES_AT_ONCE // per_location))
