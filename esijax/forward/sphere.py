r"""A head of concentric spheres: EEG by the exact series, MEG by Sarvas' formula."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from esijax import _checks
from esijax._types import InputError, is_traced
from esijax.forward._by_location import field_by_location
from esijax.forward._coil_field import MU0_4PI, sarvas_field
from esijax.forward._host import as_array, as_vector
from esijax.forward._shells import surface_potential
from esijax.forward._within import (
    CLOSE,
    FAR,
    check_conductivities,
    check_metres,
    check_places,
    coil_names,
    electrode_names,
    points_of,
    refuse_sources,
)
from esijax.forward.leadfield import LeadField, axes_of
from esijax.forward.sensors import Sensors

__all__ = ["SphereModel"]

TERMS = (1, 32, 64, 128, 256, 512, 1024, 2048, 4096)
TERMS_TRACED = 256
LEFT_OUT = 1e-14  # bound of what follows the last term, relative to the potential


class SphereModel(eqx.Module):
    r"""Concentric spherical shells, one to five.

    .. math::

        u(r) = \frac{1}{4 \pi \sigma_1 R^2} \sum_{n \ge 1} h_n x^{n-1}
        \left[ n \, q_r P_n(\cos \gamma) + q_t \cos\beta \, P_n^1(\cos \gamma) \right], \qquad
        B(r) = \frac{\mu_0}{4 \pi F^2} \left[ F \, q \times r_0 - (q \times r_0 \cdot r) \nabla F
        \right]

    Differentiable to any order in positions, orientations, radii, conductivities and sensors.
    Electrodes are taken to the outermost sphere along the line from its centre. MEG does not
    depend on radii and conductivities.

    Parameters
    ----------
    centre : (3,)
        Head coordinates, m.
    radii : (shells,)
        Outer radius of each shell from the inside outwards, m.
    conductivities : (shells,)
        S/m. The defaults are MNE-Python's: brain, cerebrospinal fluid, skull, scalp.
    n_terms : int, optional
        Terms of the series beyond the asymptotic ones. None: as many as double precision needs
        for these positions (256 where they cannot be looked at).

    Raises
    ------
    InputError
        For radii that do not grow, conductivities that are not positive, or no head's size.

    References
    ----------
    Sarvas 1987, doi:10.1088/0031-9155/32/1/004; de Munck and Peters 1993, doi:10.1109/10.245626.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> sphere = ej.forward.SphereModel((0, 0, 0.04), (0.08, 0.086, 0.092), (0.3, 0.006, 0.3))
    >>> cap = ej.forward.Sensors.eeg([[0.0, 0.0, 0.132], [0.092, 0.0, 0.04]])
    >>> gain = sphere.leadfield([[0.0, 0.0, 0.1]], [[0.0, 0.0, 1.0]], cap).gain
    >>> [round(float(g)) for g in gain[:, 0, 0]]  # V / (A m): above the dipole, and beside
    [229, -21]
    """

    centre: Float[Array, "3"] = eqx.field(converter=as_array, default=(0.0, 0.0, 0.04))
    radii: Float[Array, " shells"] = eqx.field(
        converter=as_vector,
        default=(0.081, 0.0828, 0.0873, 0.09),
    )
    conductivities: Float[Array, " shells"] = eqx.field(
        converter=as_vector,
        default=(0.33, 1.0, 0.004, 0.33),
    )
    n_terms: int | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        radii, sigma = self.radii, self.conductivities
        if not all(isinstance(leaf, Array) for leaf in (self.centre, radii, sigma)):
            return  # a placeholder of a transformation
        if radii.ndim != 1 or radii.shape != sigma.shape or not 1 <= radii.size <= 5:
            raise InputError(
                "one to five radii and as many conductivities, got "
                f"{radii.shape} and {sigma.shape}."
            )
        if not is_traced(radii):
            _check_radii(np.asarray(radii))
        check_conductivities(sigma, [f"shell {i + 1} (from the inside)" for i in range(sigma.size)])
        if not is_traced(self.centre):
            away = np.linalg.norm(np.asarray(self.centre))
            if self.centre.shape != (3,) or not away < FAR:  # NaN too
                raise InputError(
                    f"the centre must be three numbers, in m and in head coordinates (near their "
                    f"origin), got {np.asarray(self.centre).tolist()}."
                )

    def leadfield(self, positions, orientations, sensors: Sensors) -> LeadField:
        """Compute the lead field of dipoles.

        Parameters
        ----------
        positions : (locations, 3)
            Head coordinates, m; inside the innermost sphere.
        orientations : None | (locations, 3) | (locations, orients, 3)
            Moments per unit amplitude; None: the three axes.
        sensors : Sensors

        Returns
        -------
        LeadField

        Raises
        ------
        InputError
            For positions outside the innermost sphere (or in mm), coils inside the head,
            electrodes far from it, sensors at a source, wrong shapes. Traced values are not
            looked at.
        """
        positions = points_of(positions)
        self._check_positions(positions, sensors)
        self._check_sensors(sensors)
        axes = axes_of(orientations, len(positions))
        given = None if orientations is None else axes
        parts = []
        if sensors.coils is not None:
            parts.append(_meg(self.centre, positions, given, sensors.coils))
        if sensors.electrodes is not None:
            shells = (self.centre, self.radii, self.conductivities)
            n_terms = self._terms(positions)
            parts.append(_eeg_field(shells, positions, given, sensors.electrodes, n_terms=n_terms))
        gain = parts[0] if len(parts) == 1 else jnp.concatenate(parts)[sensors.order]
        return LeadField(gain, positions, axes, sensors.ch_names, sensors.ch_types)

    def _terms(self, positions) -> int:
        """Terms needed: what is left out falls with the depth and with the gaps of the shells."""
        if self.n_terms is not None:
            return self.n_terms
        if len(self.radii) == 1:
            return 1  # the closed forms are exact
        if is_traced((self.radii, self.centre)):
            return TERMS_TRACED
        radii = np.asarray(self.radii)
        x = radii[0] / radii[-1]
        if not is_traced(positions) and len(positions):
            offset = np.asarray(positions) - np.asarray(self.centre)
            x = np.linalg.norm(offset, axis=1).max() / radii[-1]
        gap = np.max(radii[:-1] / radii[1:])
        for n in TERMS[1:]:
            if n * x**n * max((1 - x) ** 2 / n**2, gap ** (2 * n)) < LEFT_OUT:
                return n
        return TERMS[-1]

    def _check_positions(self, positions, sensors: Sensors) -> None:
        if is_traced((positions, self.centre, self.radii)):
            return
        places, radii = np.asarray(positions), np.asarray(self.radii)
        check_places(places, sensors)
        distance = np.linalg.norm(places - np.asarray(self.centre), axis=1)
        on = np.abs(distance - radii[0]) <= CLOSE
        out = (distance > radii[0]) & ~on

        def where(source: int) -> str:
            shell = int(np.searchsorted(radii, distance[source]))
            inside = (
                f"in shell {shell + 1} from the inside"
                if shell < len(radii)
                else "outside the head"
            )
            return f"{1e3 * distance[source]:.1f} mm from its centre, {inside}"

        inner = f"innermost sphere (radius {1e3 * radii[0]:.1f} mm)"
        refuse_sources(len(places), np.flatnonzero(on), np.flatnonzero(out), inner, where)

    def _check_sensors(self, sensors: Sensors) -> None:
        if is_traced((sensors, self.centre, self.radii)):
            return
        centre, outer = np.asarray(self.centre), float(self.radii[-1])
        check_metres(sensors, centre)
        if sensors.coils is not None:
            points = np.asarray(sensors.coils.in_head[0]) - centre
            inside = np.flatnonzero(np.linalg.norm(points, axis=2).min(axis=1) < outer)
            if inside.size:
                names = coil_names(sensors)
                raise InputError(
                    f"{inside.size} MEG sensors lie inside the sphere of {1e3 * outer:.1f} mm: "
                    f"{_checks.names(names[i] for i in inside)}. Is dev_head right, and are "
                    "positions in metres?"
                )
        if sensors.electrodes is not None:
            away = np.linalg.norm(np.asarray(sensors.electrodes.positions) - centre, axis=1)
            wrong = np.flatnonzero((away < 0.5 * outer) | (away > 2 * outer))
            if wrong.size:
                names = electrode_names(sensors)
                each = [f"{names[i]} ({1e3 * away[i]:.1f} mm)" for i in wrong]
                raise InputError(
                    f"{wrong.size} electrodes are not on a sphere of {1e3 * outer:.1f} mm, by "
                    f"their distance from its centre: {_checks.names(each)}. Are they in head "
                    "coordinates and in metres?"
                )


def _check_radii(radii: np.ndarray) -> None:
    if not (np.isfinite(radii).all() and (radii > 0).all() and (np.diff(radii) > 0).all()):
        raise InputError(f"radii must be positive and grow outwards, got {radii.tolist()}.")
    if not 0.02 <= radii[-1] <= 0.3:
        raise InputError(f"an outer radius of {radii[-1]:g} is no head's: radii are in metres.")


@jax.jit
def _meg(centre, positions, axes, coils):
    points, vectors = coils.in_head
    points, vectors = points - centre, vectors * MU0_4PI
    field = partial(sarvas_field, points, vectors)
    return field_by_location(field, positions - centre, axes, len(points))


@partial(jax.jit, static_argnames="n_terms")
def _eeg_field(shells, positions, axes, electrodes, n_terms: int):
    centre, radii, conductivities = shells
    away = electrodes.positions - centre
    directions = away / jnp.linalg.norm(away, axis=1, keepdims=True)

    def field(some):
        potential = surface_potential(directions, some, radii, conductivities, n_terms)
        return jnp.tensordot(electrodes.montage, potential, 1)

    return field_by_location(field, positions - centre, axes, len(electrodes.montage))
