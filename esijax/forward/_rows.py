r"""What each sensor reads of the potentials at the vertices of a head.

.. math::

    V_c = \sum_v w_{cv} u_v, \qquad B_c = \frac{\mu_0}{4\pi} \sum_v
    \frac{\sigma_v^+ - \sigma_v^-}{3} \, u_v \, S_v \cdot \sum_k
    \frac{(r_k - r_v) \times c_k}{|r_k - r_v|^3}

with :math:`w` the weights of the three corners under an electrode and :math:`S_v` the sum of area
times normal around a vertex. On the host where all is concrete: it is done once for some sensors.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from esijax._types import is_traced
from esijax.forward._coil_field import MU0_4PI, projected_field
from esijax.forward._host import on_host
from esijax.forward._isolated import multipliers
from esijax.forward._within import check_electrodes
from esijax.forward.sensors import Coils, Sensors
from esijax.forward.surface import Surface, nearest, vector_areas, vertices_of


def channel_rows(
    sensors: Sensors, surfaces: tuple[Surface, ...], conductivities: Float[Array, " layers"]
) -> tuple[Float[Array, "channels vertices"], Float[Array, " vertices"]]:
    """Rows of all channels, MEG first, and what a source counts at each vertex.

    Parameters
    ----------
    sensors : Sensors
    surfaces : tuple of Surface
        From the outermost inwards, head coordinates.
    conductivities : (layers,)
        From the innermost outwards.

    Raises
    ------
    InputError
        For electrodes that are not near the outermost surface.
    """
    field = under = None
    each = np.repeat(np.arange(len(surfaces)), [s.vertices.shape[0] for s in surfaces])
    if sensors.coils is not None:
        points, vectors = vectors_in_head(sensors.coils)
        field = projected_field(points, vectors, vertices_of(surfaces), vector_areas(surfaces))
    if sensors.electrodes is not None:
        weights, index, distance = nearest(surfaces[0], sensors.electrodes.positions)
        if not is_traced(distance):
            check_electrodes(np.asarray(distance), len(surfaces) == 1, sensors)
        under = _corner_weights(
            sensors.electrodes.montage, weights, surfaces[0].triangles, index, each
        )
    return _stacked(conductivities, each, field, under)


def vectors_in_head(coils: Coils):
    """Integration points in head coordinates, and their vectors times mu0 / 4 pi."""
    points, vectors = coils.in_head
    return points, on_host(lambda _, v: v * MU0_4PI)(vectors)


@on_host
def _corner_weights(xp, montage, weights, triangles, index, each):
    """Weights of the corners under each electrode, at their vertices."""
    row, corners = np.arange(len(weights))[:, None], triangles[index]
    out = xp.zeros((len(weights), len(each)), weights.dtype)
    if xp is jnp:
        return montage @ out.at[row, corners].add(weights)
    np.add.at(out, (row, corners), weights)
    return montage @ out


@on_host
def _stacked(xp, conductivities, each, field, under):
    source, jump, _ = multipliers(conductivities[::-1], xp)
    rows = [] if field is None else [field * (-jump[each] / 3)]
    rows += [] if under is None else [under]
    return xp.concatenate(rows), source[each] / (4 * np.pi)
