r"""Sensors as arrays: electrodes with their reference, coils with their integration points.

.. math::

    V_c = \sum_e M_{ce} \, u(r_e), \qquad B_c = \sum_k w_{ck} \, n_{ck} \cdot B(r_{ck})

Everything is a leaf of a pytree, so that lead fields can be differentiated by where the sensors
are.
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from esijax import _checks
from esijax._types import InputError, is_traced
from esijax.forward._host import as_array, on_host
from esijax.forward.rigid import move, rigid, turn

__all__ = ["Coils", "Electrodes", "Sensors"]


class Electrodes(eqx.Module):
    r"""Electrodes, and the channels that are made of them.

    .. math:: V_c = \sum_e M_{ce} \, u(r_e)

    Parameters
    ----------
    positions : (electrodes, 3)
        Head coordinates, m; reference electrodes among them.
    montage : (channels, electrodes)
        Weights :math:`M`: the identity without a reference.
    """

    positions: Float[Array, "electrodes 3"]
    montage: Float[Array, "channels electrodes"]


class Coils(eqx.Module):
    r"""MEG channels: weighted sums of a field component over integration points.

    .. math:: B_c = \sum_k w_{ck} \, n_{ck} \cdot B(r_{ck})

    Parameters
    ----------
    points : (channels, points, 3)
        Device coordinates, m. Channels with fewer points than others are filled up with weight 0.
    normals : (channels, points, 3)
        Unit vectors.
    weights : (channels, points)
        They add up to 1 for a magnetometer; 1 / m for a gradiometer.
    dev_head : (4, 4)
        Device to head coordinates.
    """

    points: Float[Array, "channels points 3"]
    normals: Float[Array, "channels points 3"]
    weights: Float[Array, "channels points"]
    dev_head: Float[Array, "4 4"]

    @property
    def in_head(
        self,
    ) -> tuple[Float[Array, "channels points 3"], Float[Array, "channels points 3"]]:
        """Integration points, and weights times normals, in head coordinates."""
        weighted = on_host(lambda _, normals, weights: normals * weights[..., None])
        vectors = turn(self.dev_head, weighted(self.normals, self.weights))
        return move(self.dev_head, self.points), vectors


class Sensors(eqx.Module):
    r"""EEG electrodes, MEG coils or both; `SphereModel` and `BEMModel` read them.

    .. math::

        V_c = \sum_e M_{ce} \, u(r_e), \qquad B_c = \sum_k w_{ck} \, n_{ck} \cdot B(r_{ck})

    Made by `esijax.io.sensors`, `Sensors.eeg`, `Sensors.opm`, `Sensors.joined`.

    Parameters
    ----------
    electrodes : Electrodes | None
        Of the channels whose type is "eeg", in their order.
    coils : Coils | None
        Of the other channels, in their order.
    ch_names, ch_types : tuple of str
        Names of the channels, and their types as MNE-Python calls them.

    Raises
    ------
    InputError
        If names, types and arrays do not fit together, or hold NaN.

    Examples
    --------
    >>> import esijax as ej
    >>> cap = ej.forward.Sensors.eeg([[0.0, 0.0, 0.13], [0.0, 0.09, 0.04]], reference="average")
    >>> opm = ej.forward.Sensors.opm([[0.0, 0.0, 0.14]], [[0.0, 0.0, 1.0]])
    >>> ej.forward.Sensors.joined(cap, opm).ch_types
    ('eeg', 'eeg', 'mag')
    """

    electrodes: Electrodes | None
    coils: Coils | None
    ch_names: tuple[str, ...] = eqx.field(static=True)
    ch_types: tuple[str, ...] = eqx.field(static=True)

    def __check_init__(self):
        n_eeg = self.ch_types.count("eeg")
        have = (
            0 if self.electrodes is None else jnp.shape(self.electrodes.montage)[0],
            0 if self.coils is None else jnp.shape(self.coils.weights)[0],
        )
        if len(self.ch_names) != len(self.ch_types) or have != (n_eeg, len(self.ch_types) - n_eeg):
            raise InputError(
                f"{len(self.ch_names)} names and {len(self.ch_types)} types ({n_eeg} of EEG) do "
                f"not fit {have[0]} EEG and {have[1]} MEG channels."
            )
        if len(set(self.ch_names)) < len(self.ch_names):
            raise InputError("channel names occur twice: give each channel its own.")
        for part, kind in ((self.electrodes, "electrodes"), (self.coils, "coils")):
            _check_finite_sensors(part, kind)

    @property
    def order(self) -> np.ndarray:
        """Where each channel stands when MEG comes before EEG."""
        is_eeg = np.array([kind == "eeg" for kind in self.ch_types], dtype=bool)
        order = np.empty(len(is_eeg), dtype=int)
        order[~is_eeg] = np.arange((~is_eeg).sum())
        order[is_eeg] = (~is_eeg).sum() + np.arange(is_eeg.sum())
        return order

    def moved(self, parameters) -> "Sensors":
        """Move all sensors rigidly against the head: three translations (m), a rotation vector."""
        motion = rigid(parameters)
        electrodes, coils = self.electrodes, self.coils
        if electrodes is not None:
            electrodes = Electrodes(move(motion, electrodes.positions), electrodes.montage)
        if coils is not None:
            coils = Coils(coils.points, coils.normals, coils.weights, motion @ coils.dev_head)
        return Sensors(electrodes, coils, self.ch_names, self.ch_types)

    @staticmethod
    def eeg(positions, reference: Any = None, ch_names=None) -> "Sensors":
        """Make EEG sensors from electrode positions, and say what they are measured against.

        Parameters
        ----------
        positions : (channels, 3)
            Head coordinates, m.
        reference : None | "average" | (3,) or (references, 3)
            None: the potential against infinity. "average": the mean of all channels. Else the
            positions of one reference electrode or of several linked ones (their mean, as of
            linked mastoids).
        ch_names : sequence of str, optional

        Raises
        ------
        InputError
            For other shapes or words.
        """
        positions = _points(positions, "electrode positions")
        montage = as_array(np.eye(len(positions)))
        if isinstance(reference, str):
            if reference != "average":
                raise InputError(f"reference: None, 'average' or positions, got {reference!r}.")
            montage = montage - 1.0 / len(positions)
        elif reference is not None:
            others = _points(jnp.atleast_2d(jnp.asarray(reference, dtype=float)), "reference")
            link = jnp.full((len(positions), len(others)), -1.0 / len(others))
            positions = jnp.concatenate([positions, others])
            montage = jnp.concatenate([montage, link], axis=1)
        names = _sensor_names(ch_names, len(montage), "EEG")
        return Sensors(Electrodes(positions, montage), None, names, ("eeg",) * len(montage))

    @staticmethod
    def opm(positions, axes, ch_names=None, *, size: float = 0.0) -> "Sensors":
        """Make magnetometers without coils, such as an array of OPMs, already on the head.

        Parameters
        ----------
        positions : (channels, 3)
            Middle of each cell, head coordinates, m; a cell with three axes comes three times.
        axes : (channels, 3)
            Sensitive directions; their length does not matter.
        ch_names : sequence of str, optional
        size : float
            Edge of the cubic cell, m; the field is averaged over it (2 x 2 x 2 Gauss points). 0: a
            point.

        Raises
        ------
        InputError
            For other shapes, zero axes or a negative size.
        """
        positions, axes = _points(positions, "positions"), _points(axes, "axes")
        if positions.shape != axes.shape:
            raise InputError(f"{len(positions)} positions need as many axes, got {len(axes)}.")
        if not size >= 0:
            raise InputError(f"size must be 0 or the edge of a cell in m, got {size:g}.")
        length = jnp.linalg.norm(axes, axis=1, keepdims=True)
        if not is_traced(axes) and not (np.asarray(length) > 0).all():
            raise InputError("an axis of length zero has no direction.")
        axes = axes / length
        points = positions[:, None]
        if size > 0:
            points = points + size / np.sqrt(12.0) * _cube_corners(axes)
        n, k = points.shape[:2]
        coils = Coils(
            points,
            jnp.broadcast_to(axes[:, None], points.shape),
            jnp.full((n, k), 1.0 / k),
            jnp.eye(4),
        )
        return Sensors(None, coils, _sensor_names(ch_names, n, "OPM"), ("mag",) * n)

    @staticmethod
    def joined(first: "Sensors", second: "Sensors") -> "Sensors":
        """Put EEG and MEG, either in any of the two, into one; coils must share the device frame.

        Raises
        ------
        InputError
            If both have electrodes, or both coils.
        """
        for kind in ("electrodes", "coils"):
            if getattr(first, kind) is not None and getattr(second, kind) is not None:
                raise InputError(f"both have {kind}: put them together before.")
        return Sensors(
            first.electrodes if second.electrodes is None else second.electrodes,
            first.coils if second.coils is None else second.coils,
            first.ch_names + second.ch_names,
            first.ch_types + second.ch_types,
        )


def _points(values, what: str) -> Float[Array, "n 3"]:
    values = as_array(values)
    if values.ndim != 2 or values.shape[1] != 3:
        raise InputError(f"{what} must be (n, 3), got {values.shape}.")
    return values


def _sensor_names(ch_names, n: int, kind: str) -> tuple[str, ...]:
    return tuple(f"{kind} {i + 1:03d}" for i in range(n)) if ch_names is None else tuple(ch_names)


def _check_finite_sensors(part, kind: str) -> None:
    if part is None or is_traced(part):
        return
    places = part.positions if isinstance(part, Electrodes) else part.points
    if isinstance(places, Array) and not np.isfinite(np.asarray(places)).all():
        wrong = np.unique(np.argwhere(~np.isfinite(np.asarray(places)))[:, 0])
        raise InputError(f"the positions of {kind} {_checks.names(wrong)} are NaN or infinite.")


def _cube_corners(axes: Float[Array, "n 3"]) -> Float[Array, "n 8 3"]:
    """Corners of a cube of edge 2 around the origin, one edge along each axis."""
    other = jnp.where(jnp.abs(axes[:, :1]) < 0.7, jnp.eye(3)[:1], jnp.eye(3)[1:2])
    first = jnp.cross(axes, other)
    first = first / jnp.linalg.norm(first, axis=1, keepdims=True)
    frame = jnp.stack([first, jnp.cross(axes, first), axes], axis=1)
    signs = np.array([[a, b, c] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)], dtype=float)
    return jnp.einsum("ks,nsd->nkd", signs, frame)
