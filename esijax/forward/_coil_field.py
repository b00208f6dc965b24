r"""Magnetic fields of current dipoles at coils: in free space, and in a sphere (Sarvas).

A coil reads :math:`\sum_k c_k \cdot B(r_k)` with :math:`c_k` weight times normal. The loop is over
the few points of a coil; pairs of channels and locations are the vectorised axes.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

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
    return jnp.stack(_components(points, vectors, positions), axis=-1)


def projected_field(
    points: Float[Array, "channels points 3"],
    vectors: Float[Array, "channels points 3"],
    positions: Float[Array, "locations 3"],
    moments: Float[Array, "locations 3"],
) -> Float[Array, "channels locations"]:
    """Field of one dipole a location, of any moment, as `dipole_field` has it."""
    parts = _components(points, vectors, positions)
    return sum(part * moment for part, moment in zip(parts, moments.T, strict=True))


def _components(points, vectors, positions):
    """Sums over the points of coils, for dipoles along each axis: three (channels, locations)."""
    shape = (len(points), len(positions))

    def add(total, at):
        (dx, dy, dz), (cx, cy, cz) = _difference(at[0], positions), _columns(at[1])
        square = dx * dx + dy * dy + dz * dz
        cube = jax.lax.rsqrt(square) / square
        return (
            total[0] + (dy * cz - dz * cy) * cube,
            total[1] + (dz * cx - dx * cz) * cube,
            total[2] + (dx * cy - dy * cx) * cube,
        ), None

    start = (jnp.zeros(shape, positions.dtype),) * 3
    each = points.swapaxes(0, 1), vectors.swapaxes(0, 1)
    return jax.lax.scan(add, start, each, unroll=min(4, points.shape[1]))[0]


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
        (x, y, z), (cx, cy, cz) = _columns(at[0]), _columns(at[1])
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


def _columns(vectors: Float[Array, "channels 3"]) -> tuple:
    return tuple(vectors[:, i, None] for i in range(3))


def _difference(
    points: Float[Array, "channels 3"], positions: Float[Array, "locations 3"]
) -> tuple:
    return tuple(points[:, i, None] - positions[None, :, i] for i in range(3))
