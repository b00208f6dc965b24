r"""Linearly constrained minimum variance beamformer.

With `C` the whitened data covariance (loaded by ``reg``) and :math:`G_l` a location's lead field,

.. math::
   W_l = (G_l^\top C^{-1} G_l)^{-1} G_l^\top C^{-1} \quad \text{(unit gain)}, \qquad
   W_l / \lVert W_l \rVert \quad \text{(unit noise gain)}

A beamformer has no prior over the other sources: its spread is the sensor noise that passes the
filter, without the leakage of other sources.
"""

import functools
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from esijax import _checks
from esijax._ops.chunked import by_location
from esijax._ops.gaussian import symmetric_power
from esijax._ops.safe import divide
from esijax._ops.trials import trials_as_columns
from esijax._types import Blocks, Data, InputError, is_traced, scalar
from esijax.estimate import Estimate
from esijax.inference.method import Method, Setup, State
from esijax.posterior import Posterior
from esijax.problem import Problem

ORIENT_PICKS = (None, "normal", "max-power", "vector")
WEIGHT_NORMS = (None, "unit-noise-gain", "unit-noise-gain-invariant", "nai")
Filters = Float[Array, "locations _ rank"]


class FilterPosterior(Posterior):
    """Output of fixed filters on whitened data, with the sensor noise that passes them.

    Parameters
    ----------
    weights : (locations, orients, rank)
    data : (..., rank, times)
    """

    weights: Filters
    data: Data
    spread_is_posterior: ClassVar[bool] = False

    def mean(self, scale=1.0) -> Float[Array, "*trials locations orients times"]:
        """Filter outputs, W Y."""
        return _filter_data(self.weights * scale, self.data)

    def of_columns(self, mix: Float[Array, "times some"]) -> "FilterPosterior":
        """The same filters of other data."""
        return FilterPosterior(self.weights, self.data @ mix)

    def kernel(self) -> Filters:
        """Filters of all locations."""
        return self.weights

    def cov(self) -> Float[Array, "locations orients orients"]:
        """W W' within each location."""
        return self.weights @ jnp.swapaxes(self.weights, 1, 2)

    def draw(self, key: PRNGKeyArray, n: int, locations, times):
        """Filters applied to fresh sensor noise around the data."""
        data = self.data[..., times]
        noise = jax.random.normal(key, (n, *data.shape))
        return _filter_data(self.weights[locations], data + noise)

    def combine(self, weights: Float[Array, "courses locations orients"]):
        """Mean and variance of combinations of filter outputs."""
        filters = jnp.tensordot(weights, self.weights, axes=2)
        return filters @ self.data, jnp.sum(filters**2, axis=-1)

    def fitted(self) -> None:
        """None: filter outputs do not add up to the data."""
        return None


def _filter_data(weights: Filters, data: Float[Array, "*lead rank times"]):
    """Filter outputs, (..., locations, orients, times)."""
    out = weights.reshape(-1, weights.shape[-1]) @ data
    return out.reshape(*out.shape[:-2], *weights.shape[:2], out.shape[-1])


class LCMV(Method):
    """LCMV beamformer; takes no model.

    Parameters
    ----------
    data_cov : mne.Covariance | (channels, channels) array | None
        Covariance of the data, in their units. None: of the problem's data, mean removed.
    reg : float
        Diagonal loading, as a share of the mean eigenvalue of the whitened data covariance.
    pick_ori : None | "normal" | "max-power" | "vector"
        One filter along the normal, one along the direction of most power, or three.
    weight_norm : None | "unit-noise-gain" | "unit-noise-gain-invariant" | "nai"
        None is unit gain: A m, biased towards deep sources. The others have no unit.

    Raises
    ------
    InputError
        For an unknown choice, a model, an invalid data covariance or one that lacks channels.

    Notes
    -----
    Depth weighting and the orientation constraint do not enter; the whitener is that of the
    noise covariance without nave, as in MNE-Python, so that outputs of averages and of single
    trials compare.

    References
    ----------
    Van Veen et al. 1997, doi:10.1109/10.623056; Sekihara and Nagarajan 2008,
    doi:10.1007/978-3-540-79370-0.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> gain = np.random.default_rng(0).standard_normal((8, 12))
    >>> noise = np.random.default_rng(1).standard_normal((8, 50))
    >>> data = 9 * gain[:, [3]] * np.sin(np.arange(50)) + noise
    >>> problem = ej.from_arrays(gain, data, noise_cov=1.0)
    >>> estimate = ej.solve(problem, None, ej.inference.LCMV(weight_norm="unit-noise-gain"))
    >>> int((estimate.mean[:, 0] ** 2).mean(-1).argmax())
    3
    """

    data_cov: Any = None
    reg: Any = eqx.field(converter=scalar, default=0.05)
    pick_ori: str | None = eqx.field(static=True, default=None)
    weight_norm: str | None = eqx.field(static=True, default="unit-noise-gain")
    differentiable: ClassVar[bool] = True
    takes_data_cov: ClassVar[bool] = True

    def __init__(self, data_cov=None, reg=0.05, pick_ori=None, weight_norm="unit-noise-gain"):
        self.data_cov = _ChannelCov.of(data_cov)
        self.reg = reg
        self.pick_ori = pick_ori
        self.weight_norm = weight_norm

    def __check_init__(self):
        if self.pick_ori not in ORIENT_PICKS:
            raise InputError(f"pick_ori must be one of {ORIENT_PICKS}, got {self.pick_ori!r}.")
        if self.weight_norm not in WEIGHT_NORMS:
            raise InputError(
                f"weight_norm must be one of {WEIGHT_NORMS}, got {self.weight_norm!r}."
            )
        if not is_traced(self.reg) and not 0 <= float(self.reg) < np.inf:
            raise InputError(f"reg must be finite and not negative, got {self.reg}.")

    def prepare(self, problem: Problem) -> "LCMV":
        """Bring the data covariance into the channel order of the problem."""
        if self.data_cov is None:
            return self
        ordered = self.data_cov.ordered(problem.labels.ch_names)
        return LCMV(ordered, self.reg, self.pick_ori, self.weight_norm)

    def check(self, setup: Setup) -> None:
        """Take no model; orientations only where there are three."""
        if setup.model is not None:
            raise InputError("LCMV takes no model of the sources: pass None.")
        if self.data_cov is None and setup.problem.data.size // setup.problem.rank < 2:
            raise InputError(
                "a single sample has no covariance: give LCMV more samples, or data_cov."
            )
        if setup.problem.n_orients == 1 and self.pick_ori in ("max-power", "vector"):
            raise InputError(
                f"pick_ori={self.pick_ori!r} needs three orientations; this problem has fixed ones "
                "(loose=0)."
            )

    def finish(self, state: State) -> Estimate:
        """Filters of all locations, applied to the data."""
        problem = state.setup.problem
        weights = self._filters(problem)
        has_unit = self.weight_norm is None
        return Estimate(
            problem,
            FilterPosterior(weights, problem.data),
            norm=None if has_unit else jnp.ones(problem.n_locations),
            model="none",
            method="LCMV" + (f" {self.weight_norm}" if self.weight_norm else ""),
            notes=("LCMV: the spread is sensor noise through the filter, without leakage",),
        )

    def _whitened_cov(self, problem: Problem) -> Float[Array, "rank rank"]:
        """Covariance of the whitened data, given or measured, for one trial."""
        nave = problem.whitener.nave
        if self.data_cov is None:
            columns = trials_as_columns(problem.data) / jnp.sqrt(nave)
            columns = columns - jnp.mean(columns, axis=1, keepdims=True)
            return columns @ columns.T / max(columns.shape[1] - 1, 1)
        w = problem.whitener.matrix / jnp.sqrt(nave)
        cov = w @ self.data_cov.data @ w.T
        return (cov + cov.T) / 2

    def _filters(self, problem: Problem) -> Filters:
        """Filters of all locations, some at a time."""
        cov, n_channels = self._whitened_cov(problem), problem.whitener.matrix.shape[1]
        loading = self.reg * jnp.trace(cov) / n_channels
        inverse = symmetric_power(cov + loading * jnp.eye(len(cov)), -1.0, rtol=1e-15)
        frames, trial = _field_frames(problem), 1.0 / jnp.sqrt(problem.whitener.nave)
        unit = trial
        if self.weight_norm == "nai":
            unit = unit / jnp.sqrt(jnp.maximum(jnp.linalg.eigvalsh(cov)[0], loading))

        def build(rows, start, size):
            columns = (rows * trial).reshape(size, -1, len(inverse))
            numer = (rows @ (inverse * trial)).reshape(columns.shape)
            native = None if frames is None else jax.lax.dynamic_slice_in_dim(frames, start, size)
            return self._filter(columns, numer, native) * unit

        kept = 1 if self.pick_ori in ("normal", "max-power") else problem.n_orients
        return by_location(build, problem.gain, (kept, len(inverse)))

    def _filter(self, columns: Filters, numer: Filters, native) -> Filters:
        """Filters of some locations from G_l' and G_l' C^-1, both (locations, orients, rank)."""
        if columns.shape[1] == 3 and self.pick_ori == "normal":
            columns, numer = columns[:, 2:], numer[:, 2:]
        if self.pick_ori == "max-power":
            direction = _max_power_direction(columns, numer, self.weight_norm, native)[:, None]
            columns, numer = (
                _combine_orients(direction, columns),
                _combine_orients(direction, numer),
            )
        if self.weight_norm == "unit-noise-gain-invariant":
            return _combine_orients(symmetric_power(_row_products(numer, numer), -0.5), numer)
        weights = _combine_orients(_location_inverses(_row_products(numer, columns)), numer)
        return weights if self.weight_norm is None else _unit_rows(weights, native)


def _row_products(left: Filters, right: Filters) -> Blocks:
    """Inner products of rows within each location; sums, as batched products of 3 rows crawl."""
    return jnp.stack(
        [
            jnp.stack([jnp.sum(a * b, axis=-1) for b in jnp.moveaxis(right, 1, 0)], axis=-1)
            for a in jnp.moveaxis(left, 1, 0)
        ],
        axis=1,
    )


def _combine_orients(mix: Float[Array, "locations kept orients"], rows: Filters) -> Filters:
    """Linear combinations of the rows of each location."""
    terms = [mix[:, :, k, None] * rows[:, None, k] for k in range(rows.shape[1])]
    return functools.reduce(jnp.add, terms)


def _location_inverses(blocks: Blocks) -> Blocks:
    """Inverse of each location's matrix; 1 where a single entry is not positive."""
    if blocks.shape[-1] > 1:
        return symmetric_power(blocks, -1.0)
    positive = blocks > 0
    return jnp.where(positive, 1.0 / jnp.where(positive, blocks, 1.0), 1.0)


def _field_frames(problem: Problem) -> Float[Array, "locations 3 3"] | None:
    """Frames that lead from orient axes to those in which the lead field came; None: the same."""
    frames = problem.geometry.frames
    moved = problem.n_orients == 3 and frames is not None and not problem.labels.surf_ori
    return frames if moved else None


def _max_power_direction(columns: Filters, numer: Filters, weight_norm, native):
    """Direction of most power, (locations, orients)."""
    power = _row_products(numer, columns)
    if weight_norm is None:  # largest eigenvector of the unit-gain output power
        root, inner = symmetric_power(power, -0.5), jnp.eye(3)[None]
    else:  # largest ratio of output power to noise gain, Sekihara and Nagarajan 2008, eq. 4.47
        root, inner = symmetric_power(_row_products(numer, numer), -0.5), power
    _, vectors = jnp.linalg.eigh(root @ inner @ root)
    direction = (root @ vectors[..., -1:])[..., 0]
    direction = direction / jnp.maximum(jnp.linalg.norm(direction, axis=1, keepdims=True), 1e-300)
    # the sign is arbitrary: along the last axis of the frame in which the lead field came
    last = direction[:, 2] if native is None else jnp.sum(direction * native[:, :, 2], axis=1)
    return direction * jnp.where(last[:, None] < 0, -1.0, 1.0)


def _unit_rows(weights: Filters, native) -> Filters:
    """Unit noise gain of each row, along the axes in which the lead field came."""
    native = native if weights.shape[1] == 3 else None
    if native is not None:
        weights = _combine_orients(jnp.swapaxes(native, 1, 2), weights)
    size = jnp.linalg.norm(weights, axis=-1, keepdims=True)
    weights = divide(weights, size)
    return weights if native is None else _combine_orients(native, weights)


class _ChannelCov(eqx.Module):
    """A covariance with channel names, or in an order that is known already."""

    data: Float[Array, "channels channels"]
    ch_names: tuple[str, ...] | None = eqx.field(static=True)

    @classmethod
    def of(cls, cov) -> "_ChannelCov | None":
        """From what the user gave: an MNE covariance, an array, or None."""
        if cov is None or isinstance(cov, cls):
            return cov
        if hasattr(cov, "ch_names"):  # an mne.Covariance, diagonal or full
            data = np.asarray(cov.data, dtype=float)
            return cls(jnp.asarray(np.diag(data) if data.ndim == 1 else data), tuple(cov.ch_names))
        if not hasattr(cov, "shape"):
            raise TypeError(f"data_cov must be an mne.Covariance or an array, got {type(cov)}.")
        return cls(jnp.asarray(cov, dtype=float), None)

    def ordered(self, ch_names: tuple[str, ...]) -> "_ChannelCov":
        """Covariance of these channels, in their order, checked."""
        data = self.data
        if self.ch_names is not None:
            missing = [name for name in ch_names if name not in self.ch_names]
            if missing:
                raise InputError(f"data_cov lacks the channels {_checks.names(missing)}.")
            index = np.array([self.ch_names.index(name) for name in ch_names])
            data = data[index[:, None], index]
        if not is_traced(data):
            _checks.covariance(np.asarray(data), ch_names, "data_cov")
        return _ChannelCov(data, None)
