r"""A head without an MRI: a template scaled and turned until it fits digitised points.

.. math::

    \min_{t, \omega, s} \sum_i \left( \frac{d_i}{\sigma} \right)^2 + \left| \frac{\log s}{\sigma_s}
    \right|^2 + \left| \frac{t}{\sigma_t} \right|^2 + \left| \frac{\omega}{\sigma_\omega} \right|^2

with :math:`d_i` the distance of point i from the surface
:math:`R(\omega) \operatorname{diag}(s) r + t`.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from esijax._types import InputError
from esijax.forward._host import as_array
from esijax.forward.bem import BEMModel
from esijax.forward.rigid import inverse, move, rigid, turn
from esijax.forward.surface import Surface, nearest

__all__ = ["Placement", "fit_points"]

POINT_SD = 3e-3  # m: digitising, hair, and what three scales cannot do
SCALE_SD = 0.07  # adult heads
SHIFT_SD, TURN_SD = 0.01, 0.1  # m, rad: the fiducials have aligned the heads already


class Placement(eqx.Module):
    """Where a scaled template is: x goes to R (scale x) + t.

    Parameters
    ----------
    scale : (3,)
        Along the axes of head coordinates.
    motion : (4, 4)
        The rigid motion after it.
    distance : ()
        Rms distance of the points from the surface, m.
    """

    scale: Float[Array, "3"]
    motion: Float[Array, "4 4"]
    distance: Float[Array, ""]

    def points(self, positions) -> Float[Array, "n 3"]:
        """Move positions of the template (head coordinates)."""
        return move(self.motion, as_array(positions) * self.scale)

    def normals(self, directions) -> Float[Array, "n 3"]:
        """Turn normals of the template: they stay normal to the scaled surface."""
        turned = turn(self.motion, as_array(directions) / self.scale)
        return turned / jnp.linalg.norm(turned, axis=1, keepdims=True)

    def head(self, model: BEMModel) -> BEMModel:
        """Give the template's model scaled and moved, with the conductivities that it has."""
        surfaces = [Surface(self.points(s.vertices), s.triangles) for s in model.in_head]
        return BEMModel(surfaces, model.conductivities, isolated=model.isolated)


def fit_points(scalp: Surface, points, *, scale: bool = True) -> Placement:
    r"""Fit a head surface to digitised points of another head.

    .. math:: \min \sum_i (d_i / \sigma)^2 + \text{priors of scale, shift and turn}

    Parameters
    ----------
    scalp : Surface
        Outer skin of the template, in head coordinates (``model.in_head[-1]``): both heads share
        the axes that nasion and ears define, which is the start.
    points : (points, 3)
        On the other head's skin, its head coordinates, m: electrodes and extra points; leave out
        those of nose and face, which three scales cannot fit.
    scale : bool
        Whether to scale along the three axes, by about 7 %; else the template is only moved.

    Returns
    -------
    Placement

    Raises
    ------
    InputError
        For fewer than nine points, or points in mm.

    References
    ----------
    Besl and McKay 1992 (iterated closest points), doi:10.1109/34.121791; here by
    Levenberg-Marquardt on the distances from planes.

    Examples
    --------
    >>> import esijax as ej
    >>> placed = ej.forward.fit_points(model.in_head[-1], points)  # doctest: +SKIP
    >>> own = placed.head(model)  # doctest: +SKIP
    """
    points = as_array(points)
    if points.ndim != 2 or points.shape[1] != 3 or len(points) < 9:
        raise InputError(f"at least nine points (n, 3) are needed, got {points.shape}.")
    reach = float(np.linalg.norm(np.asarray(points), axis=1).max())
    if not 0.05 < reach < 0.3:  # NaN too
        raise InputError(f"the farthest point is {reach:.3g} m from the origin: points in metres?")
    import optimistix as optx  # takes longer to load than a lead field to compute

    solver = optx.LevenbergMarquardt(rtol=1e-6, atol=1e-8)
    found = optx.least_squares(
        _residuals, solver, jnp.zeros(9), (scalp, points, as_array(float(scale))), throw=False
    )
    size, motion = _unpacked(found.value, as_array(float(scale)))
    back = move(inverse(motion), points)
    distance = nearest(Surface(scalp.vertices * size, scalp.triangles), back)[2]
    return Placement(size, motion, jnp.sqrt(jnp.mean(distance**2)))


def _unpacked(parameters, scale):
    spread = jnp.array([SHIFT_SD] * 3 + [TURN_SD] * 3)
    return jnp.exp(scale * SCALE_SD * parameters[6:]), rigid(spread * parameters[:6])


def _residuals(parameters, arguments):
    """Distances from the planes of the nearest triangles; parameters in units of their priors."""
    scalp, points, scale = arguments
    size, motion = _unpacked(parameters, scale)
    placed = Surface(move(motion, scalp.vertices * size), scalp.triangles)
    index = jax.lax.stop_gradient(nearest(placed, points)[1])
    a, b, c = (placed.vertices[placed.triangles[index, i]] for i in range(3))
    normal = jnp.cross(b - a, c - a)
    normal = normal / jnp.linalg.norm(normal, axis=1, keepdims=True)
    return jnp.concatenate([jnp.sum(normal * (points - a), axis=1) / POINT_SD, parameters])
