"""Peaks and active places of an estimate, in rows: `ej.places`."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, overload

import jax.numpy as jnp
import numpy as np
from scipy import sparse

from esijax import courses
from esijax._files import replacing, require_folder
from esijax._ops.normals import mixture_cdf, mixture_quantile
from esijax._types import InputError, is_number, is_traced
from esijax.estimate import Estimate
from esijax.io.anatomy import anatomy
from esijax.posterior import scaled_combined
from esijax.tables.peaks import (
    active_groups,
    is_sparse,
    local_maxima,
    nearest_peak,
    neighbours,
    patch,
)

FLOOR = 0.2  # of the largest amplitude: lower peaks are left out
MOST = 10  # peaks of a map that is not sparse
Point = tuple[float, float, float]


@dataclass(frozen=True)
class Place:
    """A peak, or active locations that belong together.

    Parameters
    ----------
    location : int
        Index of its strongest location.
    hemisphere : str
        "lh" or "rh", by the source space; "" in a volume.
    vertex : int | None
        Number in the source space.
    head : tuple of float | None
        Head coordinates, mm.
    mni : tuple of float | None
        MNI coordinates, mm, of `Places.mni_space`.
    region : str | None
        By `Places.atlas`.
    area : float | None
        cm2 of cortex: of a peak, what lies above half of it at its latency, hangs together with it
        on the mesh and is nearer to it than to other peaks; of a sparse map, the active locations.
    n_locations : int
        How many locations that is.
    latency : float
        s, when the posterior mean at `location` is largest.
    amplitude : float
        Norm over orients of the posterior mean then, in `Places.unit`.
    lower, upper : float | None
        Limits of the credible interval of the component along that mean.
    probability : float | None
        `Places.probability_of` says of what.
    """

    location: int
    hemisphere: str
    vertex: int | None
    head: Point | None
    mni: Point | None
    region: str | None
    area: float | None
    n_locations: int
    latency: float
    amplitude: float
    lower: float | None
    upper: float | None
    probability: float | None


@dataclass(frozen=True)
class Places(Sequence[Place]):
    """Places of an estimate, the strongest first.

    Parameters
    ----------
    rows : tuple of Place
    sparse : bool
        Whether the rows are all that is active, and not the peaks of a map.
    unit : str
        Of amplitudes.
    level : float
        Probability of the intervals.
    threshold : float
        Amplitude of which `probability` speaks.
    probability_of : str
        "active", or "exceeds": that the component along the mean exceeds the threshold.
    mni_space, atlas : str
        What MNI coordinates and regions are of; empty without.
    notes : tuple of str
        What is not known, and why.
    """

    rows: tuple[Place, ...]
    sparse: bool
    unit: str
    level: float
    threshold: float
    probability_of: str
    mni_space: str
    atlas: str
    notes: tuple[str, ...]

    @overload
    def __getitem__(self, index: int) -> Place: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Place, ...]: ...
    def __getitem__(self, index):
        """Give a place, or several."""
        return self.rows[index]

    def __len__(self) -> int:
        """Give the number of places."""
        return len(self.rows)

    def __iter__(self) -> Iterator[Place]:
        """Go through the places."""
        return iter(self.rows)

    def to_frame(self):
        """Give a pandas.DataFrame, a row for each place; coordinates in columns of their own."""
        import pandas as pd

        rows = []
        for number, place in enumerate(self.rows, 1):
            row: dict[str, Any] = {"place": number}
            for key, value in asdict(place).items():
                if key in ("head", "mni"):
                    point = value or (None, None, None)
                    row |= {f"{key}_{a}_mm": v for a, v in zip("xyz", point, strict=True)}
                    if key == "mni":
                        row["mni_space"] = self.mni_space
                else:
                    row[NAMES.get(key, key)] = value
            rows.append(
                row
                | {
                    "level": self.level,
                    "unit": self.unit,
                    "probability_of": self.probability_of,
                    "threshold": self.threshold,
                    "atlas": self.atlas,
                    "note": "; ".join(self.notes),
                }
            )
        return pd.DataFrame(rows)

    def to_csv(self, path: Any) -> Path:
        """Write the rows as a csv file, which is replaced only when it is complete.

        Returns
        -------
        path : Path
        """
        path = Path(path)
        require_folder(path.parent)
        with replacing(path) as temporary:
            self.to_frame().to_csv(temporary, index=False)
        return path


NAMES = {"area": "area_cm2", "latency": "latency_s"}


def places(
    estimate: Estimate,
    *,
    subjects_dir: Any = None,
    parc: str = "aparc",
    trans: Any = None,
    level: Any = 0.9,
    threshold: Any = None,
    n: Any = None,
    apart: Any = 0.03,
) -> Places:
    r"""List where an estimate is active: peaks of a map, or all active places of a sparse one.

    A map's peaks are the local maxima over the mesh of
    :math:`\max_t \lVert \bar x_l(t) \rVert`, the norm over orients of the posterior mean, the
    strongest first, those near a stronger one of their hemisphere left out. Where at most a tenth
    of the locations is active, all are listed, neighbours on the mesh and those within a centimetre
    as one. The interval is that of :math:`u^\top x_l(t)` with
    :math:`u = \bar x_l(t) / \lVert \bar x_l(t) \rVert`, whose mean is the amplitude.

    Parameters
    ----------
    estimate : Estimate
        Of any method.
    subjects_dir : path-like | None
        Folder of FreeSurfer's subjects; None: SUBJECTS_DIR, as MNE-Python has it.
    parc : str
        Annotation that names the regions.
    trans : mne.transforms.Transform | None
        Between head and MRI; only volumes need it, a cortex lies in both.
    level : float
        Probability of the interval.
    threshold : float, optional
        For the probability that it is exceeded, in the unit of the map; by default half of the
        largest amplitude. Where the model knows Pr(active) it is given instead.
    n : int, optional
        At most so many; by default ten peaks, and all places of a sparse map.
    apart : float
        Distance between peaks, m.

    Returns
    -------
    places : Places
        A sequence of `Place` with ``to_frame()`` and ``to_csv(path)``.

    Raises
    ------
    InputError
        For numbers that cannot be, and a `subjects_dir` that is no folder.

    Notes
    -----
    MNI coordinates are MNI305: those of the subject's ``talairach.xfm`` [1]_, or of fsaverage,
    which lies in that space. Without either there are none, and `Places.notes` says why. The
    largest of many noisy amplitudes is too large: the interval does not know that the place was
    chosen for it.

    References
    ----------
    .. [1] Collins et al. 1994, doi:10.1097/00004728-199403000-00005.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> rng = np.random.default_rng(0)
    >>> gain, where = rng.standard_normal((8, 12)), rng.uniform(-0.06, 0.06, (12, 3))
    >>> problem = ej.from_arrays(gain, 9 * gain[:, 4:5], noise_cov=0.1, positions=where)
    >>> found = ej.places(ej.solve(problem, ej.models.MinimumNorm(), ej.inference.Linear()), n=1)
    >>> found[0].location, found.notes[1:]
    (4, ('no regions: no source is on a cortex of known sides',))
    """
    _check(estimate, n, apart, threshold)
    courses.tails_of(level)
    mean = np.asarray(estimate.mean)
    mean = mean.mean(axis=0) if mean.ndim == 4 else mean
    amplitude = np.linalg.norm(mean, axis=-2)
    threshold = float(amplitude.max(initial=0) / 2 if threshold is None else threshold)
    few, groups = _groups(estimate, amplitude, n, apart)
    known = anatomy(estimate.problem, subjects_dir, parc, trans)
    peaks = np.array([group[0] for group in groups], dtype=int)
    at = np.argmax(amplitude[peaks], axis=1)
    no_posterior = _no_posterior(estimate)
    sure = np.full((len(peaks), 3), None)
    if len(peaks) and not no_posterior:
        directions = mean[peaks, :, at] / amplitude[peaks, at][:, None]
        sure = _bands(estimate, directions, at, peaks, level, threshold)
    if estimate.prob_active is not None:
        sure[:, 2] = np.asarray(estimate.prob_active)[peaks]
    rows = []
    for group, when, band in zip(groups, at, sure.tolist(), strict=True):
        location = int(group[0])
        rows.append(
            Place(
                location,
                *_names(estimate, location),
                _point(estimate.problem.geometry.positions, location, 1e3),
                _point(known.mni, location),
                None if known.regions is None else str(known.regions[location]) or None,
                _area(estimate, group),
                len(group),
                round(float(estimate.problem.times[when]), 6),
                float(amplitude[location, when]),
                *band,
            )
        )
    return Places(
        tuple(rows),
        few,
        estimate.unit or estimate.method,
        float(level),
        threshold,
        "exceeds" if estimate.prob_active is None else "active",
        known.space,
        known.atlas,
        (*known.notes, *no_posterior),
    )


def _check(estimate: Any, n: Any, apart: Any, threshold: Any) -> None:
    if not isinstance(estimate, Estimate):
        raise TypeError(f"estimate must be an esijax Estimate, got {type(estimate).__name__}.")
    if is_traced(estimate):
        raise InputError("places gives a table: call it outside jit, vmap and grad.")
    whole = isinstance(n, int | np.integer) and not isinstance(n, bool)
    if n is not None and not (whole and n >= 1):
        raise InputError(f"n must be a whole number of places from 1, got {n!r}.")
    if not (is_number(apart) and apart >= 0):
        raise InputError(f"apart must be a distance in metres, not negative, got {apart!r}.")
    if threshold is not None and not (is_number(threshold) and threshold >= 0):
        raise InputError(f"threshold must be a number >= 0, got {threshold!r}.")


def _groups(
    estimate: Estimate, amplitude: np.ndarray, n: int | None, apart: float
) -> tuple[bool, list[np.ndarray]]:
    """Whether the map is sparse, and the locations of each place, its strongest first."""
    problem = estimate.problem
    highest, where = amplitude.max(axis=1), problem.geometry.positions
    graph: sparse.csr_array = neighbours(problem.geometry, problem.n_locations)
    where = None if where is None else np.asarray(where)
    sizes = [len(v) for v in problem.labels.vertices] or [problem.n_locations]
    space = np.repeat(np.arange(len(sizes)), sizes)
    if is_sparse(highest):
        return True, active_groups(highest, graph, where, space)[:n]
    peaks = local_maxima(highest, graph, where, space, apart, FLOOR)
    owner = nearest_peak(peaks, where, space)
    patches = [
        patch(np.where(owner == i, amplitude[:, np.argmax(amplitude[p])], 0.0), graph, p)
        for i, p in enumerate(peaks[: n or MOST])
    ]
    firsts = zip(peaks, patches, strict=False)
    return False, [np.concatenate([[p], members[members != p]]) for p, members in firsts]


def _names(estimate: Estimate, location: int) -> tuple[str, int | None]:
    labels = estimate.problem.labels
    if not labels.vertices:
        return "", None
    vertex = int(np.concatenate(labels.vertices)[location])
    return str(labels.hemispheres[location]), vertex


def _point(points: Any, location: int, factor: float = 1.0) -> Point | None:
    if points is None:
        return None
    x, y, z = (float(factor * v) for v in np.asarray(points)[location])
    return x, y, z


def _area(estimate: Estimate, group: np.ndarray) -> float | None:
    """Square centimetres; None where there is no surface."""
    areas = estimate.problem.geometry.areas
    total = 0.0 if areas is None else float(np.asarray(areas)[group].sum())
    return 1e4 * total or None


def _no_posterior(estimate: Estimate) -> tuple[str, ...]:
    """Why there are no intervals, where there are none."""
    if estimate.problem.data.ndim == 3:
        return ("no intervals: the rows are of the mean over trials",)
    if not estimate.posterior.spread:
        return (f"no intervals: {estimate.method} gives a point estimate",)
    if not estimate.posterior.spread_is_posterior:
        return (f"no intervals: the spread of {estimate.method} is no posterior",)
    return ()


def _bands(
    estimate: Estimate, directions: np.ndarray, at: np.ndarray, peaks: np.ndarray, level, threshold
) -> np.ndarray:
    """Limits of the component along a direction and Pr(it exceeds the threshold), (peaks, 3).

    Parameters
    ----------
    directions : (peaks, orients)
        Unit vectors.
    at, peaks : (peaks,)
        Sample and location of each.
    """
    scale = np.broadcast_to(np.asarray(estimate.scale), (estimate.problem.n_locations, 1, 1))
    tails = courses.tails_of(level)
    out = []
    for start in range(0, len(peaks), MOST):  # of one size: compiled once
        part = slice(start, start + MOST)
        weights = np.zeros((MOST, estimate.problem.n_locations, directions.shape[1]))
        rows = np.arange(len(peaks[part]))
        weights[rows, peaks[part]] = directions[part] * scale[peaks[part], :, 0]
        mean, variance = (
            np.asarray(x) for x in scaled_combined(estimate.samples, jnp.asarray(weights))
        )
        times = at[part] if variance.shape[-1] > 1 else 0 * at[part]
        mean, spread = mean[:, rows, at[part]], np.sqrt(variance[:, rows, times])
        pad = ((0, 0), (0, MOST - len(rows)))
        mean, spread = (jnp.asarray(np.pad(x, pad)) for x in (mean, spread))
        limits = [mixture_quantile(mean, spread, jnp.asarray(p)) for p in tails]
        below = mixture_cdf(jnp.full(MOST, float(threshold)), mean, spread)
        out.append(np.stack([*limits, 1 - below], axis=1)[rows])
    return np.concatenate(out)
