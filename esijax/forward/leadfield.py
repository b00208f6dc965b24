r"""The lead field: what each sensor sees of a unit current at each place.

.. math:: B_c = \sum_{l,o} L_{clo} \, S_{lo}
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from esijax import _checks
from esijax._types import InputError, is_traced
from esijax.forward._host import as_array

__all__ = ["LeadField", "axes_of"]


class LeadField(eqx.Module):
    r"""Lead field of given sources for given sensors.

    .. math:: B_c = \sum_{l,o} L_{clo} \, S_{lo}

    Parameters
    ----------
    gain : (channels, locations, orients)
        V / (A m) for EEG, T / (A m) for magnetometers, T / (m A m) for gradiometers. EEG has the
        reference that the sensors have; by default none (the potential against infinity).
    positions : (locations, 3)
        Head coordinates, m.
    orientations : (locations, orients, 3)
        Direction of each orient in head coordinates: the three axes, unless others were asked for.
    ch_names, ch_types : tuple of str
        Channels, and their kinds ("grad", "mag", "eeg").

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> sensors = ej.forward.Sensors.opm([[0.0, 0.0, 0.14]], [[0.0, 1.0, 0.0]])
    >>> field = ej.forward.SphereModel().leadfield([[0.02, 0.0, 0.06]], None, sensors)
    >>> field.gain.shape
    (1, 1, 3)
    """

    gain: Float[Array, "channels locations orients"]
    positions: Float[Array, "locations 3"]
    orientations: Float[Array, "locations orients 3"]
    ch_names: tuple[str, ...] = eqx.field(static=True)
    ch_types: tuple[str, ...] = eqx.field(static=True)

    def pick(self, ch_names) -> "LeadField":
        """Give the rows of some channels, in the order asked for; InputError for unknown names."""
        place = {name: i for i, name in enumerate(self.ch_names)}
        missing = [name for name in ch_names if name not in place]
        if missing:
            raise InputError(f"the lead field has no channel {_checks.names(missing)}.")
        rows = np.array([place[name] for name in ch_names], dtype=int)
        return LeadField(
            self.gain[rows],
            self.positions,
            self.orientations,
            tuple(ch_names),
            tuple(self.ch_types[i] for i in rows),
        )

    def along(self, orientations) -> "LeadField":
        """Project on other directions, (locations, 3) or (locations, orients, 3); from three axes.

        Raises
        ------
        InputError
            If the lead field has not three orients, or the directions do not fit.
        """
        if self.gain.shape[2] != 3:
            raise InputError(f"directions need three orients, there are {self.gain.shape[2]}.")
        axes = axes_of(orientations, len(self.positions))
        turn = jnp.einsum("lod,led->loe", axes, self.orientations)
        gain = jnp.einsum("cle,loe->clo", self.gain, turn)
        return LeadField(gain, self.positions, axes, self.ch_names, self.ch_types)


def axes_of(orientations, n_locations: int) -> Float[Array, "locations orients 3"]:
    """Directions (locations, orients, 3) of what the caller gave; None: the three axes.

    Raises
    ------
    InputError
        If the shape does not fit, or a concrete direction is not finite or zero.
    """
    if orientations is None:
        return as_array(np.broadcast_to(np.eye(3), (n_locations, 3, 3)))
    axes = as_array(orientations)
    axes = axes[:, None] if axes.ndim == 2 else axes
    if axes.ndim != 3 or axes.shape[0] != n_locations or axes.shape[2] != 3:
        raise InputError(
            f"orientations must be None, ({n_locations}, 3) or ({n_locations}, orients, 3), got "
            f"{jnp.shape(orientations)}."
        )
    if not is_traced(axes):
        length = np.linalg.norm(np.asarray(axes), axis=2)
        wrong = np.flatnonzero(~(np.isfinite(length) & (length > 0)).all(axis=1))
        if wrong.size:
            raise InputError(f"zero, NaN or infinite orientations at {_checks.names(wrong)}.")
    return axes
