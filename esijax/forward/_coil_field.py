r"""Magnetic fields of current dipoles at coils: in free space, and in a sphere (Sarvas).

A coil reads :math:`\sum_k c_k \cdot B(r_k)` with :math:`c_k` weight times normal. The loop is over
the few points of a coil; pairs of channels and locations are the vectorised axes.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from esijax.forward._host import on_host

MU0_4PI = 1e-7  # T m / A


def dipole_field(
    points: Float[Array, "channels points 3"],
    vectors: Float[Array, "channels points 3"],
    positions: Float[Array, "locations 3"],
) -> Float[Array, "channels locations 3"]:
    r"""Field of unit current dipoles in free space, without the factor mu0 / 4 pi.

    .. math:: \sum_k \frac{(r_k - r_0) \times c_k}{|r_k - r_0|^3}

    (Mosher, Leahy and Lewis 1999, doi:10.1109/10.748978.)
    """

    def add(total, at):
        away = at[0][:, None] - positions
        return total + jnp.cross(away, at[1][:, None]) * inverse_cube(away)[..., None], None

    start = jnp.zeros((len(points), len(positions), 3), positions.dtype)
    return jax.lax.scan(add, start, (points.swapaxes(0, 1), vectors.swapaxes(0, 1)))[0]


def inverse_cube(away: Float[Array, "*n 3"]) -> Float[Array, "*n"]:
    """One over the cube of a length; few kernels, which compile in a fraction of a second."""
    inverse = jax.lax.rsqrt(away[..., 0] ** 2 + away[..., 1] ** 2 + away[..., 2] ** 2)
    return inverse * inverse * inverse


@on_host
def projected_field(xp, points, vectors, positions, moments):
    r"""Field of one dipole of any moment at each of few places, as `dipole_field` has it.

    .. math:: \sum_k \frac{(r_k \times c_k) \cdot q + c_k \cdot (r_0 \times q)}{|r_k - r_0|^3}

    Parameters
    ----------
    points, vectors : (channels, points, 3)
    positions, moments : (locations, 3)

    Returns
    -------
    (channels, locations)
    """
    left = xp.concatenate([xp.cross(points, vectors), vectors], axis=-1)
    right = xp.concatenate([moments, xp.cross(positions, moments)], axis=-1).T

    def term(point, six):
        square = sum((point[:, i, None] - positions[:, i]) ** 2 for i in range(3))
        return six @ right / (square * xp.sqrt(square))

    each = points.swapaxes(0, 1), left.swapaxes(0, 1)
    if xp is np:
        return sum(term(*at) for at in zip(*each, strict=True))
    start = jnp.zeros((len(points), len(positions)), positions.dtype)
    return jax.lax.scan(lambda total, at: (total + term(*at), None), start, each)[0]


def sarvas_field(
    points: Float[Array, "channels points 3"],
    vectors: Float[Array, "channels points 3"],
    positions: Float[Array, "locations 3"],
) -> Float[Array, "channels locations 3"]:
    r"""Field of unit dipoles in any spherical conductor around the origin, without mu0 / 4 pi.

    .. math::

        B = \frac{F \, Q \times r_0 - (Q \times r_0 \cdot r) \nabla F}{F^2}, \qquad
        F = a (r a + r^2 - r_0 \cdot r), \quad a = r - r_0

    so that :math:`c \cdot B = Q \cdot (r_0 \times A)` with
    :math:`A = c / F - r \, (c \cdot \nabla F) / F^2`
    (Sarvas 1987, doi:10.1088/0031-9155/32/1/004).
    """
    x0, y0, z0 = (c[None] for c in positions.T)

    def add(total, at):
        (x, y, z), (cx, cy, cz) = _vector_components(at[0]), _vector_components(at[1])
        dx, dy, dz = x - x0, y - y0, z - z0
        square = dx * dx + dy * dy + dz * dz
        inverse = jax.lax.rsqrt(square)
        a, r = square * inverse, jnp.sqrt(x * x + y * y + z * z)
        along = x * dx + y * dy + z * dz  # r . a
        f = a * (r * a + along)
        slope_r = square / r + along * inverse + 2.0 * (a + r)
        slope_0 = a + 2.0 * r + along * inverse
        c_grad = slope_r * (cx * x + cy * y + cz * z) - slope_0 * (cx * x0 + cy * y0 + cz * z0)
        one, two = 1.0 / f, c_grad / (f * f)
        return (
            total[0] + cx * one - x * two,
            total[1] + cy * one - y * two,
            total[2] + cz * one - z * two,
        ), None

    start = (jnp.zeros((len(points), len(positions)), positions.dtype),) * 3
    each = points.swapaxes(0, 1), vectors.swapaxes(0, 1)
    ax, ay, az = jax.lax.scan(add, start, each, unroll=min(4, points.shape[1]))[0]
    return jnp.stack([y0 * az - z0 * ay, z0 * ax - x0 * az, x0 * ay - y0 * ax], axis=-1)


def _vector_components(vectors: Float[Array, "channels 3"]) -> tuple:
    return tuple(vectors[:, i, None] for i in range(3))
