"""The door for a researcher's own arrays: `from_arrays`."""

from collections import Counter

import jax.numpy as jnp
import numpy as np

from esijax import _checks
from esijax._ops.safe import divisor
from esijax._ops.trials import trials_as_columns
from esijax._types import InputError, check_positive, is_number
from esijax.problem import Geometry, Labels, Problem, Whitener


def from_arrays(
    gain,
    data,
    noise_cov=None,
    positions=None,
    normals=None,
    sfreq=None,
    tmin=0.0,
    *,
    edges=None,
    ch_names=None,
    ch_types=None,
    noise_time=None,
) -> Problem:
    r"""Make a problem from plain arrays, without MNE.

    .. math:: B = L S + N, \qquad N \sim N(0, C)

    Parameters
    ----------
    gain : (channels, locations) or (channels, locations, orients)
        Lead field `L`; orients is 1 or 3 (the axes of the head frame).
    data : (channels, times) or (trials, channels, times)
        `B`, in the units that gain times sources has.
    noise_cov : (channels, channels), (channels,) or float, optional
        `C` of the data as given (already divided by the number of averages). None: from the
        samples before time zero (Ledoit-Wolf), else one variance for all channels, a tenth of
        the mean data variance; either is said in a warning.
    positions : (locations, 3), optional
        m, for LORETA, localisation scores and pictures.
    normals : (locations, 3), optional
        Unit vectors.
    sfreq : float, optional
        Hz; 1 where not given.
    tmin : float
        Time of the first sample, s.
    edges : (edges, 2), optional
        Pairs of neighbouring locations; by default the six nearest neighbours.
    ch_names, ch_types : sequence of str, optional
        Names of the channels, and their types as MNE-Python calls them.
    noise_time : (times, times), optional
        Covariance of the whitened noise between samples, see `Problem.with_noise_time`; by default
        they are independent.

    Returns
    -------
    Problem
        Whitened, in normalised units.

    Raises
    ------
    InputError
        For shapes that do not match, NaN, complex data, masked entries, an invalid covariance,
        names that are given twice, a row of the lead field in other units.
    TypeError
        For what is no array of numbers.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> rng = np.random.default_rng(0)
    >>> gain = rng.standard_normal((20, 50))
    >>> data = gain[:, [7]] * np.hanning(30) + 0.1 * rng.standard_normal((20, 30))
    >>> problem = ej.from_arrays(gain, data, noise_cov=0.01)
    >>> estimate = ej.solve(problem, ej.models.MinimumNorm(), ej.inference.Linear("sLORETA"))
    >>> int(abs(estimate.mean[:, 0, 15]).argmax())
    7
    """
    gain = _checks.real_array(gain, "gain", (2, 3))
    data = _checks.real_array(data, "data", (2, 3))
    gain = gain[..., None] if gain.ndim == 2 else gain
    n_channels, n_locations, n_orients = gain.shape
    if n_orients not in (1, 3):
        raise InputError(f"gain must have 1 or 3 orients, got {n_orients}.")
    _checks.few(n_channels, n_locations)
    if data.shape[-2] != n_channels:
        raise InputError(
            f"gain has {n_channels} channels and data {data.shape[-2]}: shapes "
            f"{gain.shape} and {data.shape} (data is channels x times)."
        )
    if 0 in data.shape:
        raise InputError(
            f"data has the shape {data.shape}: {'no trials' if data.shape[0] == 0 else 'no times'}."
        )
    ch_names = _channel_names(ch_names, n_channels)
    ch_types = _types(ch_types, n_channels)
    _checks.real_finite(data, "data", ch_names)
    _checks.flat_channels(data, ch_names)
    _checks.lead_field(gain, slice(None), ch_names, ())
    sfreq, tmin = _clock(sfreq, tmin)
    cov, notes = _noise_cov(noise_cov, data, tmin, sfreq, ch_names)
    _checks.outlying_rows(gain, np.sqrt(np.diag(cov)), ch_names)
    whitener = whitening(cov)
    matrix = np.asarray(whitener.matrix)
    if len(matrix) < 0.8 * n_channels:
        _checks.warn(
            f"noise_cov has rank {len(matrix)} of {n_channels}: too few samples? Estimate it with "
            "shrinkage; the other dimensions do not take part."
        )
    white = matrix @ data
    _checks.whitened_scale(white, matrix, ch_types)
    gain_white = np.tensordot(matrix, gain, 1)
    power = np.sum(gain_white**2, axis=0)
    silent = _checks.silent_sources(power)
    scale = normalised(np.where(silent[:, None], 0.0, np.ones(power.shape)), power, len(matrix))
    unit = float(np.sqrt(np.mean(scale[~silent] ** 2)))  # so that X is of the order of one
    problem = Problem(
        gain=jnp.asarray(gain_white * unit),
        data=jnp.asarray(white),
        recording=jnp.asarray(data),
        prior_scale=jnp.asarray(scale / unit),
        orient_scale=jnp.ones((n_locations, n_orients)),
        source_unit=jnp.asarray(unit, dtype=float),
        whitener=whitener,
        geometry=_geometry(positions, normals, n_locations, n_orients, edges),
        labels=Labels(
            ch_names=ch_names,
            ch_types=ch_types,
            vertices=(np.arange(n_locations),),
            kinds=("discrete",),
            tmin=float(tmin),
            sfreq=sfreq,
            notes=notes,
        ),
    )
    return problem if noise_time is None else problem.with_noise_time(noise_time)


def _clock(sfreq, tmin) -> tuple[float, float]:
    """Check sampling frequency and time of the first sample."""
    sfreq = 1.0 if sfreq is None else sfreq
    check_positive(sfreq, "sfreq (Hz)")
    if not (is_number(tmin) and np.isfinite(tmin)):
        raise InputError(f"tmin must be a finite number of seconds, got {tmin!r}.")
    return float(sfreq), float(tmin)


def _channel_names(ch_names, n_channels: int) -> tuple[str, ...]:
    if ch_names is None:
        return tuple(f"{i}" for i in range(n_channels))
    found = _texts(ch_names, n_channels, "ch_names")
    twice = [name for name, n in Counter(found).items() if n > 1]
    if twice:
        raise InputError(f"ch_names holds {_checks.names(twice)} more than once.")
    return found


def _types(ch_types, n_channels: int) -> tuple[str, ...]:
    if ch_types is None:
        return ("unknown",) * n_channels
    return _texts(ch_types, n_channels, "ch_types")


def _texts(values, n_channels: int, what: str) -> tuple[str, ...]:
    """One text per channel."""
    if isinstance(values, str) or not np.iterable(values):
        raise TypeError(f"{what} must be a list of texts, one per channel, got {values!r}.")
    found = tuple(values)
    strange = [value for value in found if not isinstance(value, str)]
    if strange:
        raise TypeError(f"{what} must hold texts, got {strange[0]!r}.")
    if len(found) != n_channels:
        raise InputError(f"{len(found)} {what} for {n_channels} channels.")
    return tuple(str(value) for value in found)


def _noise_cov(noise_cov, data, tmin, sfreq, ch_names) -> tuple[np.ndarray, tuple[str, ...]]:
    if noise_cov is not None:
        cov = _checks.real_array(noise_cov, "noise_cov", (0, 1, 2))
        if cov.ndim == 0:
            cov = np.full(len(ch_names), cov)
        cov = np.diag(cov) if cov.ndim == 1 else cov
        _checks.covariance(cov, ch_names)
        return cov, ()
    n_baseline = int(np.floor(-tmin * sfreq)) if tmin < 0 else 0
    if n_baseline >= 20:
        baseline = trials_as_columns(data[..., :n_baseline])
        cov = ledoit_wolf(baseline)
        note = f"noise_cov: Ledoit-Wolf estimate of the {n_baseline} samples before time zero"
    else:
        variance = float(np.mean(data**2)) / 10
        cov = np.eye(len(ch_names)) * (variance or 1.0)
        note = "noise_cov: one variance for all channels, a tenth of the mean data variance"
    _checks.warn(f"no noise_cov given. {note}.")
    return cov, (note,)


def ledoit_wolf(samples: np.ndarray) -> np.ndarray:
    """Shrunk covariance of (channels, times) samples, channels scaled to unit variance first.

    Ledoit and Wolf 2004, doi:10.1016/S0047-259X(03)00096-4, by scikit-learn.
    """
    from sklearn.covariance import ledoit_wolf as shrink

    std = samples.std(axis=1)
    std[std == 0] = 1.0
    corr, _ = shrink((samples / std[:, None]).T)
    return corr * np.outer(std, std)


def whitening(cov: np.ndarray, nave: float = 1.0, rtol: float = 1e-10) -> Whitener:
    """Whitener of a covariance, its rank counted on the correlations: channels may differ in unit.

    Parameters
    ----------
    cov : (channels, channels)
        Noise covariance of the data.
    nave : float
        Averages behind the data, for the record.
    rtol : float
        Eigenvalues of the correlation matrix below this share of the largest count as zero.
    """
    std = np.sqrt(np.diag(cov))
    safe = divisor(std)
    values, vectors = np.linalg.eigh(cov / np.outer(safe, safe))
    keep = values > rtol * values[-1]
    values, vectors = values[keep], vectors[:, keep]
    colorer = safe[:, None] * vectors * np.sqrt(values)
    if keep.all():
        matrix = (vectors / np.sqrt(values)).T / safe
        log_pdet = -np.log(safe).sum() - 0.5 * np.log(values).sum()
    else:  # noise lives on the range of cov: project onto it
        q, r = np.linalg.qr(colorer)
        matrix = np.linalg.solve(r, q.T)
        log_pdet = -np.log(np.abs(np.diag(r))).sum()
    numbers = (jnp.asarray(x, dtype=float) for x in (matrix, colorer, log_pdet, nave))
    return Whitener(*numbers)


def _geometry(positions, normals, n_locations, n_orients, edges) -> Geometry:
    edges = None if edges is None else _edges(edges, n_locations)
    if positions is None:
        return Geometry(edges=None if edges is None else jnp.asarray(edges, dtype=int))
    positions = _checks.real_array(positions, "positions", (2,))
    if positions.shape != (n_locations, 3):
        raise InputError(f"positions must be ({n_locations}, 3), got {positions.shape}.")
    _checks.positions(positions)
    _checks.coincident(positions)
    if edges is None and n_locations > 6:
        edges = nearest_neighbours(positions)
    frames = np.broadcast_to(np.eye(3), (n_locations, 3, 3)) if n_orients == 3 else None
    if normals is not None:
        normals = _checks.real_array(normals, "normals", (2,))
        if normals.shape != (n_locations, 3):
            raise InputError(f"normals must be ({n_locations}, 3), got {normals.shape}.")
        if not np.allclose(np.linalg.norm(normals, axis=1), 1.0, atol=1e-2):
            raise InputError("normals must be finite unit vectors: divide each by its length.")
        frames = normals[:, None] if n_orients == 1 else frames
    return Geometry(
        positions=jnp.asarray(positions),
        normals=None if normals is None else jnp.asarray(normals),
        frames=None if frames is None else jnp.asarray(frames),
        edges=None if edges is None else jnp.asarray(edges, dtype=int),
    )


def _edges(edges, n_locations: int) -> np.ndarray:
    edges = _checks.real_array(edges, "edges", (2,))
    if edges.shape[1] != 2 or not np.isin(edges, np.arange(n_locations)).all():
        raise InputError(f"edges must be pairs of integers from 0 to {n_locations - 1}.")
    loops = edges[edges[:, 0] == edges[:, 1], 0].astype(int)
    if len(loops):
        raise InputError(f"edges joins location {_checks.names(loops)} to itself: leave that out.")
    pairs = np.sort(edges.astype(int), axis=1)
    once = np.unique(pairs, axis=0)  # an adjacency matrix names both directions
    return edges.astype(int) if len(once) == len(pairs) else once


def nearest_neighbours(positions: np.ndarray, k: int = 6) -> np.ndarray:
    """Pairs (i < j) where either is among the other's k nearest."""
    from scipy.spatial import KDTree

    _, index = KDTree(positions).query(positions, k=min(k + 1, len(positions)))
    start = np.repeat(np.arange(len(positions)), index.shape[1] - 1)
    pairs = np.sort(np.c_[start, index[:, 1:].ravel()], axis=1)
    return np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0)


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
