r"""A head of one or three triangulated surfaces: the boundary element model."""

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from esijax._types import InputError, is_traced
from esijax.forward import _isolated
from esijax.forward._by_location import field_by_location
from esijax.forward._coil_field import dipole_field, inverse_cube
from esijax.forward._collocation import coefficients, corrected
from esijax.forward._host import as_array, as_vector
from esijax.forward._rows import channel_rows, vectors_in_head
from esijax.forward._within import (
    check_conductivities,
    check_metres,
    check_nested,
    check_outside,
    check_places,
    check_simple,
    check_sources,
    points_of,
    share_seen,
)
from esijax.forward.leadfield import LeadField, axes_of
from esijax.forward.rigid import check_rigid, inverse, move, rigid
from esijax.forward.sensors import Sensors
from esijax.forward.surface import (
    Surface,
    check_surface,
    vertices_of,
)

__all__ = ["BEMModel"]

LAYERS = {1: ("inner skull",), 3: ("inner skull", "outer skull", "outer skin")}
TISSUES = ("the brain", "the skull", "the scalp")
ISOLATED_BELOW = 0.1  # skull over brain; the limit of MNE-Python


class BEMModel(eqx.Module):
    r"""Boundary elements: linear collocation with the isolated-problem approach.

    .. math::

        u = A^{-1} u_\infty, \qquad
        B(r) = B_\infty(r) + \frac{\mu_0}{4\pi} \sum_j (\sigma_j^- - \sigma_j^+)
        \int_{S_j} u \, \frac{r - r'}{|r - r'|^3} \times dS

    Differentiable in conductivities, positions, orientations, sensors and the place of the head
    (`moved`); vertices too.

    Parameters
    ----------
    surfaces : sequence of Surface
        One (inner skull) or three (inner skull, outer skull, outer skin), closed, each inside the
        next.
    conductivities : (layers,)
        Brain, skull, scalp, S/m.
    trans : (4, 4), optional
        Head coordinates to those of the surfaces (MRI); the identity when None.
    solution : (vertices, vertices), optional
        Solved earlier, in MNE-Python's order (surfaces from the outermost inwards); computed from
        the surfaces when None, as soon as a lead field needs it.
    isolated : bool, optional
        Whether to use the isolated-problem approach. None: where the skull conducts less than a
        tenth of the brain, as MNE-Python does (and where this cannot be looked at).

    Raises
    ------
    InputError
        For open, inside-out or crossing surfaces, other numbers of them, conductivities that are
        not positive, or no head's size.

    References
    ----------
    de Munck 1992, doi:10.1109/10.256433; Hämäläinen and Sarvas 1989, doi:10.1109/10.16463; Mosher,
    Leahy and Lewis 1999, doi:10.1109/10.748978.

    Examples
    --------
    >>> import esijax as ej
    >>> model = ej.io.head_model(bem, trans)  # doctest: +SKIP
    >>> field = model.leadfield(positions, None, ej.io.sensors(info))  # doctest: +SKIP
    """

    surfaces: tuple[Surface, ...]
    conductivities: Float[Array, " layers"]
    trans: Float[Array, "4 4"]
    solution: Float[Array, "n n"] | None
    omega: Float[Array, "n n"] | None
    isolated: bool = eqx.field(static=True)

    def __init__(
        self, surfaces, conductivities, trans=None, *, solution=None, isolated: bool | None = None
    ):
        self.surfaces = tuple(surfaces)
        self.conductivities = as_vector(conductivities)
        self.trans = as_array(np.eye(4) if trans is None else trans)
        n = len(self.surfaces)
        if n not in LAYERS or self.conductivities.shape != (n,):
            raise InputError(
                f"a boundary element model has one or three surfaces and as many conductivities, "
                f"got {n} and {self.conductivities.shape}."
            )
        check_conductivities(self.conductivities, TISSUES)
        check_rigid(self.trans, "trans (from head to surface coordinates)")
        for surface, name in zip(self.surfaces, LAYERS[n], strict=True):
            check_surface(surface, name)
        self.isolated = _is_isolated(self.conductivities) if isolated is None else isolated
        self.solution = None if solution is None else as_array(solution)
        self.omega = self._assembled() if solution is None else None
        if self.solution is not None:
            self._check_solution(self.solution)

    def _check_solution(self, solution) -> None:
        total = sum(self._counts)
        if solution.shape != (total, total):
            raise InputError(
                f"the solution is {solution.shape}, for {total} vertices in all: is it of "
                "linear collocation, and of these surfaces?"
            )
        if not is_traced(solution) and not np.isfinite(np.asarray(solution).sum()):
            raise InputError("the solution holds NaN or Inf: leave it out, it is computed again.")

    @property
    def _inwards(self) -> tuple[Surface, ...]:
        return self.surfaces[::-1]

    @property
    def _counts(self) -> tuple[int, ...]:
        """Vertices of each surface, from the outermost inwards."""
        return tuple(s.vertices.shape[0] for s in self._inwards)

    def _assembled(self) -> Float[Array, "n n"]:
        """The integrals between all surfaces, which depend on geometry alone."""
        points = jnp.concatenate([s.vertices for s in self._inwards])
        ends = np.cumsum([0, *self._counts])
        columns = []
        for i, surface in enumerate(self._inwards):
            others = np.r_[0 : ends[i], ends[i + 1] : ends[-1]]
            seen = coefficients(surface.vertices, surface, own=True)
            if not is_traced(seen):
                check_simple(np.asarray(seen).sum(axis=1), LAYERS[len(ends) - 1][-1 - i])
            own = corrected(seen, surface)
            block = jnp.zeros((len(points), len(surface.vertices)), points.dtype)
            block = block.at[ends[i] : ends[i + 1]].set(own)
            if others.size:
                block = block.at[others].set(coefficients(points[others], surface))
            columns.append(block)
        omega = jnp.concatenate(columns, axis=1)
        if not is_traced(omega):
            check_nested(np.asarray(omega), self._counts, LAYERS[len(self.surfaces)][::-1])
        return omega

    def with_conductivities(self, conductivities) -> "BEMModel":
        """Give the same head with other conductivities (S/m, brain first); differentiable."""
        sigma = as_vector(conductivities)
        if sigma.shape != self.conductivities.shape:
            raise InputError(f"{len(self.surfaces)} conductivities are needed, got {sigma.shape}.")
        check_conductivities(sigma, TISSUES)
        return _replaced(
            self,
            conductivities=sigma,
            solution=None,
            omega=self._assembled() if self.omega is None else self.omega,
            isolated=self.isolated if is_traced(sigma) else _is_isolated(sigma),
        )

    def moved(self, parameters) -> "BEMModel":
        """Move the head rigidly against head coordinates: three translations, a rotation vector."""
        return _replaced(self, trans=self.trans @ inverse(rigid(parameters)))

    def solved(self) -> "BEMModel":
        """Give the same model with its solution, for many lead fields in one head."""
        if self.solution is not None:
            return self
        assert self.omega is not None
        found = _solve_surfaces(self.omega, self.conductivities, self._counts, self.isolated)
        return _replaced(self, solution=found)

    def leadfield(self, positions, orientations, sensors: Sensors) -> LeadField:
        """Compute the lead field of dipoles.

        Parameters
        ----------
        positions : (locations, 3)
            Head coordinates, m; inside the inner skull.
        orientations : None | (locations, 3) | (locations, orients, 3)
            Moments per unit amplitude; None: the three axes.
        sensors : Sensors

        Returns
        -------
        LeadField

        Raises
        ------
        InputError
            For sources outside the inner skull or on it (or in mm), coils inside the head,
            electrodes far from it, sensors at a source, wrong shapes. Traced values are not
            looked at.
        """
        return self.prepared(sensors)(positions, orientations)

    def prepared(self, sensors: Sensors) -> "Prepared":
        """Solve for some sensors once; call the result with positions and orientations.

        Raises
        ------
        InputError
            For coils inside the head and electrodes that are not on it.
        """
        head, counts = self.in_head, self._counts
        if not is_traced((head, sensors)):
            check_metres(sensors, np.asarray(head[-1].vertices).mean(axis=0))
            check_outside(head[-1], sensors, LAYERS[len(head)][-1])
        rows, source = channel_rows(sensors, head[::-1], self.conductivities)
        if self.solution is not None:
            transfer = _through(rows, self.solution, source)
        else:
            sigma, isolated = self.conductivities, self.isolated
            transfer = _solved_through(rows, self.omega, sigma, source, counts, isolated)
        return Prepared(transfer, head, sensors)

    def contains(self, positions) -> np.ndarray:
        """Tell which positions (head coordinates, concrete) are inside the inner skull."""
        return np.abs(share_seen(np.asarray(positions, dtype=float), self.in_head[0]) - 1) < 1e-3

    @property
    def in_head(self) -> tuple[Surface, ...]:
        """Surfaces in head coordinates."""
        back = inverse(self.trans)
        return tuple(Surface(move(back, s.vertices), s.triangles) for s in self.surfaces)


class Prepared(eqx.Module):
    """A head solved for some sensors: lead fields at any positions, at the cost of a product.

    Parameters
    ----------
    transfer : (channels, vertices)
        What each channel sees of the potential at the vertices in an infinite medium; MEG first.
    surfaces : tuple of Surface
        Head coordinates.
    sensors : Sensors
    """

    transfer: Float[Array, "channels vertices"]
    surfaces: tuple[Surface, ...]
    sensors: Sensors

    def __call__(self, positions, orientations: Any = None) -> LeadField:
        """Lead field of dipoles; arguments and errors as in `BEMModel.leadfield`."""
        positions = points_of(positions)
        if not is_traced((positions, self.surfaces)):
            check_places(np.asarray(positions), self.sensors)
            check_sources(np.asarray(positions), self.surfaces, LAYERS[len(self.surfaces)])
        axes = axes_of(orientations, len(positions))
        gain = _gain(
            self.transfer,
            vertices_of(self.surfaces[::-1]),
            positions,
            None if orientations is None else axes,
            None if self.sensors.coils is None else vectors_in_head(self.sensors.coils),
        )
        order = self.sensors.order
        if (order != np.arange(len(order))).any():
            gain = gain[order]
        names, types = self.sensors.ch_names, self.sensors.ch_types
        return LeadField(gain, positions, axes, names, types)


def _replaced(model: BEMModel, **changes) -> BEMModel:
    """A copy with other fields, without looking at the surfaces again."""
    new = object.__new__(BEMModel)
    for name in ("surfaces", "conductivities", "trans", "solution", "omega", "isolated"):
        object.__setattr__(new, name, changes.get(name, getattr(model, name)))
    return new


def _is_isolated(sigma) -> bool:
    if len(sigma) != 3 or is_traced(sigma):
        return len(sigma) == 3
    brain, skull, _ = np.asarray(sigma)
    return bool(skull / brain <= ISOLATED_BELOW)


@partial(jax.jit, static_argnames=("counts", "isolated"))
def _solve_surfaces(omega, conductivities, counts, isolated):
    return _isolated.solution(omega, conductivities[::-1], counts, isolated)


@jax.jit
def _through(rows, solution, source):
    return rows @ solution * source


@partial(jax.jit, static_argnames=("counts", "isolated"))
def _solved_through(rows, omega, conductivities, source, counts, isolated):
    sigma = conductivities[::-1]
    return _isolated.rows_times_solution(rows, omega, sigma, counts, isolated) * source


@jax.jit
def _gain(transfer, vertices, positions, axes, coils):
    def field(some):
        away = vertices - some[:, None]
        potential = away * inverse_cube(away)[..., None]
        flat = potential.swapaxes(1, 2).reshape(-1, len(vertices))
        out = jax.lax.dot_general(transfer, flat, (((1,), (1,)), ((), ())))
        out = out.reshape(len(transfer), len(some), 3)
        if coils is None:
            return out
        return out.at[: len(coils[0])].add(dipole_field(*coils, some))

    return field_by_location(field, positions, axes, len(transfer))
