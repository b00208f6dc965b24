r"""Integrals of a linear potential over triangles, seen from points: linear collocation.

.. math::

    \Omega_{iv} = \sum_{\text{triangles}} \int \phi_v(r) \, \frac{n \cdot (r - r_i)}{|r - r_i|^3} dS

with :math:`\phi_v` one at vertex v and falling linearly to zero at its neighbours. With the corners
:math:`y_k` of a triangle relative to the point, edges :math:`e_k`, area A and solid angle
:math:`\omega` (van Oosterom and Strackee 1983, doi:10.1109/TBME.1983.325207)

.. math::

    \Omega_k = \frac{1}{4 A^2} \Big[ 2 A \, (y_{k+1} \times y_{k+2} \cdot n) \, \omega
        + \det(y) \sum_j e_{k+1} \cdot e_j \int_{e_j} \frac{ds}{|e_j| \, s} \Big], \qquad
    \int_e \frac{ds}{s} = \ln \frac{|y_a| + |y_b| + |e|}{|y_a| + |y_b| - |e|}

(de Munck 1992, doi:10.1109/10.256433). Lengths belong to vertices and logarithms to edges, which
triangles share: each is computed once. Points are the last axis.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from esijax._ops.safe import divisor
from esijax.forward._host import as_array
from esijax.forward.surface import Surface, edges_of, incident

POINTS_AT_A_TIME = 64  # points
NO_ANGLE = np.pi / 1e6  # half solid angles below are left out, as in MNE-Python


def coefficients(
    points: Float[Array, "points 3"], surface: Surface, *, own: bool = False
) -> Float[Array, "points vertices"]:
    """Fill the matrix for points anywhere, or for the vertices of the surface itself (`own`).

    A point sees nothing of the triangles that it is a corner of; `corrected` adds what they share.
    """
    triangles = np.asarray(surface.triangles)
    edges, sides = edges_of(triangles)
    around = incident(triangles, len(surface.vertices))
    tables = tuple(as_array(table, int) for table in (edges, triangles.T, sides.T, around.T))
    return _fill_columns(points, surface.vertices, tables, own)


@partial(jax.jit, static_argnames="own")
def _fill_columns(points, vertices, tables, own: bool):
    n = len(points)
    size = min(n, POINTS_AT_A_TIME if jax.default_backend() == "cpu" else 1024)

    @jax.checkpoint
    def rows(start):
        index = start + jnp.arange(size) if own else None
        return _seen_from(points[start + jnp.arange(size)], vertices, tables, index).T

    def put(out, start):
        return jax.lax.dynamic_update_slice_in_dim(out, rows(start), start, axis=0), None

    starts = jnp.minimum(jnp.arange(-(-n // size)) * size, n - size)
    return jax.lax.scan(put, jnp.zeros((n, len(vertices)), points.dtype), starts)[0]


def _seen_from(points, vertices, tables, index):
    """Integrals (vertices, points) over the triangles around each vertex, seen from some points.

    `index` tells which vertices the points are, if any: their own triangles are masked.
    """
    edges, corners, sides, around = tables
    length = _lengths(points, vertices)
    side = vertices[edges[:, 1]] - vertices[edges[:, 0]]
    size = jnp.sqrt(jnp.sum(side**2, axis=1))[:, None]
    both = length[edges[:, 0]] + length[edges[:, 1]]
    gap = both - size
    gap = jnp.where(gap > 1e-9 * size, gap, size)  # on the edge: masked below
    strength = jnp.log((both + size) / gap) / size
    a, b, c = (vertices[k] for k in corners)
    la, lb, lc = (length[k] for k in corners)
    ab, bc, ca = b - a, c - b, a - c
    normal = jnp.cross(ab, c - a)
    area2 = jnp.sqrt(jnp.sum(normal**2, axis=1))[:, None]
    unit = normal / area2
    det = area2 * (_dot_product(unit, a)[:, None] - unit @ points.T)
    real = (
        _dot_product(ab, ab)[:, None],
        _dot_product(bc, bc)[:, None],
        _dot_product(ca, ca)[:, None],
    )
    aa, bb, cc = la * la, lb * lb, lc * lc
    scale = la * lb * lc + 0.5 * (
        (aa + bb - real[0]) * lc + (bb + cc - real[1]) * la + (cc + aa - real[2]) * lb
    )
    mine = None
    if index is not None:
        mine = (corners[0][:, None] == index) | (corners[1][:, None] == index)
        mine |= corners[2][:, None] == index
        scale = jnp.where(mine, 1.0, scale)
    half = jnp.arctan2(det, scale)
    skip = jnp.abs(half) < NO_ANGLE
    skip = skip if mine is None else skip | mine
    half = jnp.where(skip, 0.0, half)
    det = jnp.where(skip, 0.0, det)
    logs = [strength[k] for k in sides]
    parts = []
    for first, opposite in ((b, bc), (c, ca), (a, ab)):
        across = jnp.cross(opposite, unit)  # (y1 x y2) . n falls along it
        height = _dot_product(jnp.cross(first, opposite), unit)[:, None] + across @ points.T * -1.0
        linear = sum(
            _dot_product(opposite, e)[:, None] * w for e, w in zip((ab, bc, ca), logs, strict=True)
        )
        parts.append((2 * area2 * height * half + det * linear) / area2**2)
    flat = jnp.concatenate([*parts, jnp.zeros_like(parts[0][:1])])
    return sum(flat[k] for k in around)


def _lengths(points, vertices):
    """Distances (vertices, points); one where they coincide, which is masked."""
    d = [vertices[:, i, None] - points[None, :, i] for i in range(3)]
    square = d[0] ** 2 + d[1] ** 2 + d[2] ** 2
    return jnp.sqrt(divisor(square))


def _dot_product(a, b):
    return jnp.sum(a * b, axis=-1)


def corrected(matrix: Float[Array, "n n"], surface: Surface) -> Float[Array, "n n"]:
    r"""Add the triangles around each vertex, so that every row adds up to :math:`2 \pi`.

    Half of what a row lacks goes to the vertex, the rest to its neighbours, as in MNE-Python.
    """
    missing = 2 * jnp.pi - jnp.sum(matrix, axis=1)
    triangles = surface.triangles
    members = jnp.zeros(len(matrix)).at[triangles.ravel()].add(1.0)
    share = missing / (4 * members)
    n = len(matrix)
    matrix = matrix.at[jnp.arange(n), jnp.arange(n)].set(missing / 2)
    for i in range(3):
        for j in (1, 2):
            here, there = triangles[:, i], triangles[:, (i + j) % 3]
            matrix = matrix.at[here, there].add(share[here])
    return matrix
