"""Places, directions and neighbours of the sources."""

import equinox as eqx
from jaxtyping import Array, Float, Int


class Geometry(eqx.Module):
    """Where the sources are.

    Parameters
    ----------
    positions : (locations, 3)
        Head coordinates, m; None where unknown.
    normals : (locations, 3)
        Surface normals (unit vectors).
    frames : (locations, orients, 3)
        Direction of each orient axis in head coordinates; the normal is the last.
    areas : (locations,)
        Cortical area that each location stands for, m2 (zero where there is no surface).
    triangles : (triangles, 3)
        Mesh over the locations.
    edges : (edges, 2)
        Each pair of neighbours once.
    """

    positions: Float[Array, "locations 3"] | None = None
    normals: Float[Array, "locations 3"] | None = None
    frames: Float[Array, "locations orients 3"] | None = None
    areas: Float[Array, " locations"] | None = None
    triangles: Int[Array, "triangles 3"] | None = None
    edges: Int[Array, "edges 2"] | None = None
