r"""What was measured and what could have caused it: Whitener, Geometry, Problem.

.. math:: B = L S + N, \qquad Y = W B, \quad G = u\,W L, \quad S = u\,X, \quad Y = G X + E

`W` whitens the noise (:math:`E \sim N(0, I)`), `u` is the source unit (1 nA m for MNE objects), so
that `X` is of the order of one. A problem is a pytree: `jit`, `vmap` and `grad` see
through it.
"""

from dataclasses import replace
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from esijax import _checks
from esijax._shown import ShownProblem
from esijax._types import Data, Gain, InputError, Scalar, is_traced
from esijax.geometry import Geometry
from esijax.in_basis import InBasis
from esijax.labels import Labels, record_of
from esijax.noise_time import NoiseTime, in_columns
from esijax.whitener import Whitener

__all__ = ["Geometry", "InputError", "Labels", "Problem", "Whitener"]


class Problem(ShownProblem):
    r"""One whitened inverse problem :math:`Y = G X + E`, in normalised units.

    Parameters
    ----------
    gain : (rank, locations, orients)
        Whitened lead field `G`.
    data : (..., rank, times)
        Whitened data `Y`, in time too where `noise_time` is stated: independent columns. Single
        trials have a leading axis.
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
        What turned the recording into `data`.
    geometry : Geometry
        Where the sources are.
    labels : Labels
        Names of channels, locations and condition.
    head : esijax.forward.SphereModel | esijax.forward.BEMModel | None
        Head model that the lead field was computed with, for `in_head`.
    sensors : esijax.forward.Sensors | None
        Sensors as arrays, for `in_head`.
    noise_time : NoiseTime | None
        Covariance of the whitened noise between samples; None: each is independent.
    basis : InBasis | None
        Temporal basis whose coefficients `data` are, while a method works in it.

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
    noise_time: NoiseTime | None = None
    basis: InBasis | None = None

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

    def with_notes(self, *notes: str) -> "Problem":
        """Give the same problem with more to say of what was assumed."""
        labels = replace(self.labels, notes=(*self.labels.notes, *notes))
        return replace(self, labels=labels)

    @property
    def samples(self) -> Data:
        """Whitened data at their own times, in standard deviations of the noise of each sample."""
        known = self.noise_time if self.basis is None else self.basis
        return self.data if known is None else self.data @ known.turn

    @property
    def log_jacobian(self) -> Scalar:
        r"""Log determinant of the whitening, for each column.

        .. math:: \log \operatorname{pdet} W - \tfrac{r}{2T} \log\det\Omega
        """
        if self.noise_time is None:
            return self.whitener.log_pdet if self.basis is None else self.basis.log_jacobian
        return self.whitener.log_pdet - 0.5 * self.rank * self.noise_time.log_det / self.n_times

    def whiten(self, recording) -> Data:
        """Whiten data in the caller's units, (..., channels, times), over sensors and time."""
        return in_columns(self.whitener.matrix @ recording, self.noise_time)

    def with_noise_time(self, noise_time) -> "Problem":
        r"""Give the same problem with another covariance of the noise between samples.

        .. math:: E \sim MN(0, I, \Omega), \qquad X \sim MN(0, R, \Omega)

        The sources share the noise's covariance in time: then the columns of
        :math:`Y \Omega^{-1/2}` are independent, and every model and method is what it was.

        Parameters
        ----------
        noise_time : (times, times) | None
            :math:`\Omega` of the whitened noise: where the noise covariance holds at each sample
            its diagonal is 1. None: the identity.

        Raises
        ------
        InputError
            If it is not of the times of the problem, not symmetric or not positive definite.

        Examples
        --------
        >>> import numpy as np, esijax as ej
        >>> gain = np.random.default_rng(0).standard_normal((3, 5))
        >>> problem = ej.from_arrays(gain, 2 * gain[:, :4], noise_cov=1.0)
        >>> omega = 0.6 ** abs(np.subtract.outer(np.arange(4), np.arange(4)))
        >>> problem.with_noise_time(omega).samples.shape
        (3, 4)
        """
        known = None if noise_time is None else NoiseTime.of(noise_time)
        if known is not None and known.cov.shape[0] != self.n_times:
            raise InputError(
                f"noise_time must be ({self.n_times}, {self.n_times}), for the times of the data, "
                f"got {known.cov.shape}."
            )
        return self._of_white(self._white, known)

    @property
    def _white(self) -> Data:
        """Data whitened over sensors alone."""
        return self.data if self.noise_time is None else self.data @ self.noise_time.root

    def _of_white(self, white: Data, noise_time: NoiseTime | None, **changes) -> "Problem":
        """The problem of data that are whitened over sensors, and of noise in time."""
        data = in_columns(white, noise_time)
        return replace(self, data=data, noise_time=noise_time, **changes)

    def crop(self, tmin: float | None = None, tmax: float | None = None) -> "Problem":
        """Give the problem of some of the times, both ends included.

        Parameters
        ----------
        tmin, tmax : float | None
            First and last time, s; None: as far as the data go.

        Raises
        ------
        InputError
            If no sample lies between them.

        Examples
        --------
        >>> import numpy as np, esijax as ej
        >>> problem = ej.from_arrays(np.eye(3), np.ones((3, 10)), 1.0, sfreq=100.0, tmin=-0.05)
        >>> problem.crop(0.0, 0.02).times.round(2).tolist()
        [0.0, 0.01, 0.02]
        """
        times, known = self.times, self.noise_time
        low = -np.inf if tmin is None else tmin - 1e-9
        high = np.inf if tmax is None else tmax + 1e-9
        keep = np.flatnonzero((times >= low) & (times <= high))
        if len(keep) == 0:
            raise InputError(
                f"the data go from {times[0]:.3f} to {times[-1]:.3f} s: no sample lies between "
                f"{tmin} and {tmax} s."
            )
        part = slice(keep[0], keep[-1] + 1)
        return self._of_white(
            self._white[..., part],
            None if known is None else NoiseTime.of(known.cov[part, part]),
            recording=self.recording[..., part],
            labels=replace(self.labels, tmin=float(times[keep[0]]), record=record_of(self)),
        )

    def binned(self, n: int) -> "Problem":
        r"""Give the problem of means over n neighbouring samples; what is left over is dropped.

        .. math:: Y_b = Y A, \quad \Omega_b = A^\top \Omega A, \qquad
                  A_{tb} = 1 / \sqrt n \text{ for } t \text{ in bin } b

        Where samples are independent a mean of n has noise of variance 1 / n: whitener and lead
        field are scaled, as for n times as many averages, so that the noise has unit variance
        again and sources keep their unit. With `noise_time` its covariance follows.

        Parameters
        ----------
        n : int
            Samples in a bin.

        Raises
        ------
        InputError
            If n is no whole number from 1 to the number of samples.

        Examples
        --------
        >>> import numpy as np, esijax as ej
        >>> problem = ej.from_arrays(np.eye(3), np.arange(30.0).reshape(3, 10), 1.0, sfreq=100.0)
        >>> bins = problem.binned(4)
        >>> bins.recording[0].tolist(), bins.times.round(3).tolist()
        ([1.5, 5.5], [0.015, 0.055])
        """
        whole = isinstance(n, int | np.integer) and not isinstance(n, bool)
        if not (whole and 1 <= n <= self.n_times):
            raise InputError(
                f"n must be a whole number of samples from 1 to {self.n_times}, got {n!r}."
            )
        n_bins, root, known = self.n_times // int(n), float(np.sqrt(n)), None
        mix = np.kron(np.eye(n_bins), np.ones((int(n), 1)))
        mix = np.concatenate([mix, np.zeros((self.n_times - len(mix), n_bins))]) / root
        if self.noise_time is not None:
            known = NoiseTime.of(mix.T @ self.noise_time.cov @ mix)
        names = self.labels
        return self._of_white(
            self._white @ mix,
            known,
            recording=self.recording @ (mix / root),
            gain=self.gain * root,
            prior_scale=self.prior_scale / root,  # tr(G P^2 G') stays the rank
            whitener=self.whitener.of_means(int(n)),
            labels=replace(
                names, tmin=names.tmin + (n - 1) / 2 / names.sfreq, sfreq=names.sfreq / n
            ),
        )

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
        if self.noise_time is not None and recording.shape[-1] != self.n_times:
            raise InputError(
                f"noise_time is stated for {self.n_times} samples, the data have "
                f"{recording.shape[-1]}: take it off first (with_noise_time)."
            )
        white = self.whiten(recording)
        if seen:
            known = self.labels.ch_names or tuple(str(i) for i in range(n_channels))
            _checks.real_finite(np.asarray(recording), "data", known)
            matrix, types = np.asarray(self.whitener.matrix), self.labels.ch_types or None
            _checks.whitened_scale(np.asarray(white), matrix, types)
        names = replace(self.labels, record=None)
        return replace(self, data=white, recording=recording, labels=names)

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
