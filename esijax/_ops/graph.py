r"""Smoothness on a mesh graph: the shifted normalised Laplacian and its inverse.

.. math:: B = (1 + \epsilon) I - D^{-1/2} A D^{-1/2}

with adjacency A and degrees D is sparse, symmetric and positive definite (eigenvalues between
:math:`\epsilon` and :math:`2 + \epsilon`). Its inverse is never formed: a sparse LU factor on
the host solves for as many right-hand sides as asked.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy import sparse
from scipy.sparse.linalg import splu


def edge_weights(
    edges: Int[Array, "edges 2"], n_locations: int
) -> tuple[Float[Array, " edges"], Float[Array, " locations"]]:
    """Off-diagonal weights 1/sqrt(d_i d_j) of the normalised adjacency, and the degrees."""
    degree = jnp.zeros(n_locations).at[edges.ravel()].add(1.0)
    scale = jnp.where(degree > 0, 1.0 / jnp.sqrt(jnp.maximum(degree, 1.0)), 0.0)
    return scale[edges[:, 0]] * scale[edges[:, 1]], degree


def laplacian_apply(
    edges: Int[Array, "edges 2"], ridge: Float[Array, ""], values: Float[Array, "locations columns"]
) -> Float[Array, "locations columns"]:
    """B v, matrix-free (edges hold each pair of neighbours once)."""
    weights, _ = edge_weights(edges, values.shape[0])
    start, end = edges[:, 0], edges[:, 1]
    flow = jnp.zeros_like(values)
    flow = flow.at[start].add(weights[:, None] * values[end])
    flow = flow.at[end].add(weights[:, None] * values[start])
    return (1.0 + ridge) * values - flow


def laplacian_solve(
    edges: Int[Array, "edges 2"], ridge: Float[Array, ""], values: Float[Array, "locations columns"]
) -> Float[Array, "locations columns"]:
    """B^{-1} v, exactly; differentiable in `values` and `ridge`."""

    def solve(_matvec, right):
        # vmap may batch some arguments only: one factorisation per problem either way
        return jax.pure_callback(
            _solve_on_host,
            jax.ShapeDtypeStruct(right.shape, right.dtype),
            edges,
            jax.lax.stop_gradient(ridge),
            right,
            vmap_method="sequential",
        )

    return jax.lax.custom_linear_solve(
        lambda v: laplacian_apply(edges, ridge, v), values, solve, symmetric=True
    )


def _solve_on_host(edges, ridge, values):
    """Solve by a sparse LU factor, outside of JAX."""
    edges, values = np.ascontiguousarray(edges), np.asarray(values)
    factor = _laplacian_factor(edges.tobytes(), str(edges.dtype), values.shape[0], float(ridge))
    return factor.solve(values.astype(float)).astype(values.dtype)


@functools.lru_cache(maxsize=8)
def _laplacian_factor(content: bytes, dtype: str, n: int, ridge: float):
    """Factorise once for all columns, draws and iterations that ask for the same matrix."""
    edges = np.frombuffer(content, dtype=dtype).reshape(-1, 2)
    degree = np.bincount(edges.ravel(), minlength=n)
    scale = np.where(degree > 0, 1.0 / np.sqrt(np.maximum(degree, 1)), 0.0)
    weights = scale[edges[:, 0]] * scale[edges[:, 1]]
    both = np.concatenate([edges, edges[:, ::-1]])
    adjacency = sparse.csc_array((np.r_[weights, weights], (both[:, 0], both[:, 1])), shape=(n, n))
    matrix = sparse.eye_array(n, format="csc") * (1.0 + ridge) - adjacency
    return splu(matrix.tocsc(), permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True})
