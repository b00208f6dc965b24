"""What components on the cortex need to know of it, as NumPy arrays."""

from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from esijax._ops.geodesic import joined_edges, laplacian, mesh_graph
from esijax._types import InputError, is_traced
from esijax.problem import Problem


class Mesh(NamedTuple):
    """Positions (m), edges (crumbs of the mesh joined), area of each location (m2) or None."""

    positions: np.ndarray
    edges: np.ndarray
    areas: np.ndarray | None

    @property
    def graph(self) -> sparse.csr_array:
        """Edge lengths."""
        return mesh_graph(self.positions, self.edges)

    @property
    def laplacian(self) -> sparse.csr_array:
        """Minus the Laplacian: of a surface where there are areas, else of a volume."""
        return laplacian(self.positions, self.edges, 3 if self.areas is None else 2)


def mesh_of(problem: Problem, who: str) -> Mesh:
    """Read the mesh; InputError where there is none, or where values cannot be looked at."""
    geometry = problem.geometry
    check_concrete(geometry, who)
    if geometry.positions is None or geometry.edges is None or len(geometry.edges) == 0:
        raise InputError(
            f"{who} needs to know where the sources are: give positions to from_arrays, or a "
            "forward with a surface or volume source space."
        )
    positions, edges = np.asarray(geometry.positions), np.asarray(geometry.edges)
    areas = None if geometry.areas is None else np.asarray(geometry.areas)
    if areas is not None and not areas.any():
        areas = None
    return Mesh(positions, joined_edges(positions, edges), areas)


def check_concrete(tree: Any, who: str) -> None:
    """Refuse arrays that a transformation has hidden."""
    if is_traced(tree):
        raise InputError(
            f"{who} is built on the host and cannot see through jit, vmap or grad: call "
            "`prior = prior.prepare(problem)` outside, and use that prior inside."
        )


def check_positions(chosen: Any, n_locations: int, who: str) -> np.ndarray:
    """Read indices of locations, each at most once; InputError names the one that is outside."""
    index = np.asarray(chosen)
    if index.ndim != 1 or index.dtype.kind not in "iu" or index.size == 0:
        raise InputError(
            f"{who} must be a list of location numbers, got {index.dtype} of shape {index.shape}."
        )
    outside = index[(index < 0) | (index >= n_locations)]
    if outside.size:
        raise InputError(
            f"{who}: location {outside[0]} is outside the source space of {n_locations} locations."
        )
    if len(np.unique(index)) < len(index):
        raise InputError(f"{who}: locations are named more than once.")
    return index.astype(int)
