r"""What was measured and what could have caused it: Whitener, Geometry, Problem.

.. math:: B = L S + N, \qquad Y = W B, \quad G = u\,W L, \quad S = u\,X, \quad Y = G X + E

`W` whitens the noise (:math:`E \sim N(0, I)`), `u` is the source unit (1 nA m for MNE objects), so
that `X` is of the order of one. A problem is a pytree: `jit`, `vmap` and `grad` see
through it.
"""

import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from esijax import _checks
from esijax._types import Data, Gain, InputError, Scalar, is_traced

__all__ = ["Geometry", "InputError", "Labels", "Problem", "Whitener"]


@dataclass(frozen=True, eq=False)
class Labels:
    """Names that never enter a computation; equal by content, so that jit does not retrace.

    Parameters
    ----------
    ch_names, ch_types : tuple of str
        Good channels in the order of the measurement, and their kinds ("grad", "mag", "eeg").
    vertices : tuple of ndarray
        Vertex numbers per source space.
    kinds : tuple of str
        Kind of each source space: "surface", "volume" or "discrete".
    subject : str | None
        FreeSurfer subject.
    tmin, sfreq : float
        Time of the first sample (s) and sampling frequency (Hz).
    comment : str
        Name of the condition.
    surf_ori : bool
        Whether the lead field came in surface orientation.
    notes : tuple of str
        What was assumed on the user's behalf when the problem was made.
    """

    ch_names: tuple[str, ...]
    ch_types: tuple[str, ...]
    vertices: tuple[np.ndarray, ...] = ()
    kinds: tuple[str, ...] = ()
    subject: str | None = None
    tmin: float = 0.0
    sfreq: float = 1.0
    comment: str = ""
    surf_ori: bool = False
    notes: tuple[str, ...] = field(default=())

    @cached_property
    def digest(self) -> str:
        """Content hash of all names."""
        h = hashlib.sha256(repr((self.ch_names, self.ch_types, self.kinds, self.subject)).encode())
        h.update(repr((self.tmin, self.sfreq, self.comment, self.surf_ori, self.notes)).encode())
        for v in self.vertices:
            h.update(np.ascontiguousarray(v, dtype=np.int64).tobytes() + b"|")
        return h.hexdigest()

    def __hash__(self) -> int:
        return hash(self.digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Labels) and self.digest == other.digest

    @property
    def n_eeg(self) -> int:
        """Number of EEG channels."""
        return self.ch_types.count("eeg")

    @property
    def remarks(self) -> tuple[str, ...]:
        """What the channels alone tell the reader of a map."""
        if not (0 < self.n_eeg < 64 and self.n_eeg == len(self.ch_types)):
            return ()
        return (
            f"{self.n_eeg} EEG channels: below 64, expect localisation errors of a centimetre or "
            "more (Song et al. 2015, doi:10.1016/j.jneumeth.2015.08.015).",
        )


class Whitener(eqx.Module):
    r"""Linear map that turns sensor noise into white noise of unit variance.

    :math:`W C W^\top = I` with `C` the noise covariance of the average, on its range.

    Parameters
    ----------
    matrix : (rank, channels)
        `W`, in 1/V and 1/T.
    colorer : (channels, rank)
        :math:`W^+`: from white space back to channels.
    log_pdet : ()
        Log pseudo-determinant of `W`: the Jacobian of whitening on the range of `C`.
    nave : ()
        Averages behind the data; `C` is the single-trial covariance divided by it.
    """

    matrix: Float[Array, "rank channels"]
    colorer: Float[Array, "channels rank"]
    log_pdet: Scalar
    nave: Scalar


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


class Problem(eqx.Module):
    r"""One whitened inverse problem :math:`Y = G X + E`, in normalised units.

    Parameters
    ----------
    gain : (rank, locations, orients)
        Whitened lead field `G`.
    data : (..., rank, times)
        Whitened data `Y`; single trials have a leading axis.
    recording : (..., channels, times)
        The data in the caller's units (V, T).
    prior_scale : (locations, orients)
        Standard deviation of `X` that depth weighting and the orientation constraint imply,
        with :math:`\operatorname{tr}(G P^2 G^\top) = \text{rank}` as in MNE-Python.
    orient_scale : (locations, orients)
        The orientation constraint alone: 1 along the normal, sqrt(loose) tangentially.
    source_unit : ()
        A m per unit of `X`.
    whitener : Whitener
    geometry : Geometry
    labels : Labels
    head : esijax.forward.SphereModel | esijax.forward.BEMModel | None
        Head model that the lead field was computed with, for `in_head`.
    sensors : esijax.forward.Sensors | None
        Sensors as arrays, for `in_head`.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> gain, data = np.eye(3, 5), np.ones((3, 10))
    >>> ej.from_arrays(gain, data, noise_cov=np.eye(3)).n_locations
    5
    """

    gain: Gain
    data: Data
    recording: Float[Array, "*trials channels times"]
    prior_scale: Float[Array, "locations orients"]
    orient_scale: Float[Array, "locations orients"]
    source_unit: Scalar
    whitener: Whitener
    geometry: Geometry
    labels: Labels = eqx.field(static=True)
    head: Any = None
    sensors: Any = None

    @property
    def rank(self) -> int:
        """Dimensions of the whitened data."""
        return self.gain.shape[-3]

    @property
    def n_locations(self) -> int:
        """Number of source locations."""
        return self.gain.shape[-2]

    @property
    def n_orients(self) -> int:
        """Orientations per location: 1 or 3."""
        return self.gain.shape[-1]

    @property
    def n_times(self) -> int:
        """Number of samples."""
        return self.data.shape[-1]

    @property
    def times(self) -> np.ndarray:
        """Time of each sample, s."""
        return self.labels.tmin + np.arange(self.n_times) / self.labels.sfreq

    def with_data(self, recording) -> "Problem":
        """Give the same problem for other data, (..., channels, times) in the caller's units.

        Raises
        ------
        InputError
            If the number of channels differs; and, outside jit, vmap and grad, for NaN, complex
            data and other units.
        TypeError
            For what is no array of numbers.
        """
        seen = not is_traced((self, recording))
        n_channels = self.whitener.matrix.shape[1]
        if seen:
            recording = _checks.real_array(recording, "data", (2, 3))
        recording = jnp.asarray(recording, dtype=float)
        if recording.ndim < 2 or recording.shape[-2] != n_channels or 0 in recording.shape:
            raise InputError(
                f"data must be (..., {n_channels} channels, times), got {recording.shape}."
            )
        white = self.whitener.matrix @ recording
        if seen:
            known = self.labels.ch_names or tuple(str(i) for i in range(n_channels))
            _checks.real_finite(np.asarray(recording), "data", known)
            matrix, types = np.asarray(self.whitener.matrix), self.labels.ch_types or None
            _checks.whitened_scale(np.asarray(white), matrix, types)
        return eqx.tree_at(lambda p: (p.data, p.recording), self, (white, recording))

    def with_leadfield(self, leadfield) -> "Problem":
        r"""Give the same problem in another head, keeping the prior's scale; differentiable.

        .. math:: G = u \, W L

        The whitener `W`, the source unit `u`, `prior_scale` and the geometry stay: a new head
        must not change what the hyper-parameters mean. An average-reference projector is part of
        `W`, so EEG lead fields may have any reference.

        Parameters
        ----------
        leadfield : esijax.forward.LeadField | (channels, locations) or (channels, locations, 3)
            V / (A m), T / (A m). An array has the channels of the problem in its order and, with
            three orients, the axes of the head frame; a LeadField knows both itself and may have
            more channels.

        Raises
        ------
        InputError
            If channels, locations or directions do not fit the problem.
        """
        if hasattr(leadfield, "ch_names"):
            leadfield = self._oriented(leadfield)
        else:
            leadfield = jnp.asarray(leadfield, dtype=float)
            if leadfield.ndim == 2:
                leadfield = leadfield[..., None]
            frames = self.geometry.frames
            if leadfield.shape[-1] == 3 and frames is not None:
                leadfield = jnp.einsum("cld,lod->clo", leadfield, frames)
        want = (self.whitener.matrix.shape[1], self.n_locations, self.n_orients)
        if leadfield.shape != want:
            raise InputError(f"the lead field must be {want}, got {leadfield.shape}.")
        if not is_traced((self, leadfield)):
            known = self.labels.ch_names or tuple(str(i) for i in range(want[0]))
            _checks.lead_field(np.asarray(leadfield), slice(None), known, ())
        gain = jnp.tensordot(self.whitener.matrix, leadfield, 1) * self.source_unit
        return eqx.tree_at(lambda p: p.gain, self, gain)

    def in_head(self, head, sensors=None) -> "Problem":
        r"""Give the same problem with the lead field of another head or other sensors.

        .. math:: G = u \, W L(\text{head}, \text{sensors})

        Computed at the positions and along the frames of the problem, and put in place as by
        `with_leadfield`; differentiable in all that `head` and `sensors` hold.

        Parameters
        ----------
        head : esijax.forward.SphereModel | esijax.forward.BEMModel
            E.g. ``problem.head.with_conductivities(sigma)``.
        sensors : esijax.forward.Sensors, optional
            With the channels of the problem among theirs; those of the problem when None.

        Raises
        ------
        InputError
            If the problem has no positions, if there are no sensors, and what the head refuses.

        Examples
        --------
        >>> import jax
        >>> def misfit(sigma):
        ...     other = problem.in_head(problem.head.with_conductivities(sigma))
        ...     return ((other.data - other.gain[:, 0] @ moment) ** 2).sum()
        >>> jax.grad(misfit)(problem.head.conductivities)  # doctest: +SKIP
        """
        sensors = self.sensors if sensors is None else sensors
        if sensors is None:
            raise InputError("the problem has no sensors: give them here or to from_mne.")
        if self.geometry.positions is None:
            raise InputError("the problem has no positions of sources: no lead field without.")
        field = head.leadfield(self.geometry.positions, self.geometry.frames, sensors)
        return replace(self.with_leadfield(field), head=head, sensors=sensors)

    def _oriented(self, field) -> Float[Array, "channels locations orients"]:
        """A LeadField in the channels and frames of the problem."""
        frames = self.geometry.frames
        field = field.pick(self.labels.ch_names)
        if field.gain.shape[1] != self.n_locations:
            raise InputError(
                f"the lead field has {field.gain.shape[1]} locations, the problem "
                f"{self.n_locations}."
            )
        if frames is None:
            return field.gain
        if field.gain.shape[2] == 3:
            turn = jnp.einsum("lod,led->loe", frames, field.orientations)
            return jnp.einsum("cle,loe->clo", field.gain, turn)
        if self.n_orients == 1 and not is_traced((field.orientations, frames)):
            along = jnp.sum(field.orientations[:, 0] * frames[:, 0], axis=1)
            if not bool((along > 0.99).all()):
                raise InputError(
                    f"location {int(jnp.argmin(along))} of the lead field points elsewhere than in "
                    "the problem: compute it with orientations None, or along its frames."
                )
        return field.gain


def normalised(scale: np.ndarray, power: np.ndarray, rank: int) -> np.ndarray:
    r"""Scale prior standard deviations so that :math:`\operatorname{tr}(G P^2 G^\top)` is the rank.

    Parameters
    ----------
    scale : (locations, orients)
        Relative prior standard deviation; zero excludes a source.
    power : (locations, orients)
        Squared norms of the columns of the whitened lead field.
    rank : int
        Dimensions of the whitened data.

    Raises
    ------
    InputError
        If no source reaches any sensor.
    """
    total = float(np.sum(power * scale**2))
    if not total > 0:
        raise InputError("the lead field is zero at every location: nothing can be localised.")
    return scale * np.sqrt(rank / total)
