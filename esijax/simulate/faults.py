r"""What is wrong on purpose: few channels, bad channels, references and lost dimensions.

Whatever is linear over the channels acts on lead field, noise and data alike,

.. math:: L \to A L, \qquad C \to A C A^\top, \qquad B \to A B

and the problem is whitened anew. A wrong lead field needs another forward computation:
`ej.io.perturbed_forward`.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from esijax._ops.safe import divisor
from esijax._types import InputError, prng_key
from esijax.arrays import normalised, whitening
from esijax.noise_time import in_columns
from esijax.problem import Problem
from esijax.simulate._ranges import positive_count


def spread_channels(positions: Any, n: int) -> Int[np.ndarray, " n"]:
    """Choose sensors that are spread evenly: each the farthest from those chosen before.

    Parameters
    ----------
    positions : (channels, 3)
        m.
    n : int
        How many: 128, 64, 32, 19, ...

    Returns
    -------
    index : (n,)
        In increasing order. The first sensor chosen is the one nearest to the mean of all.

    Raises
    ------
    InputError
        If there are fewer sensors, or positions are not known.

    References
    ----------
    Gonzalez 1985, doi:10.1016/0304-3975(85)90224-5: the largest gap is at most twice the least
    possible.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> line = np.c_[np.arange(9.0), np.zeros((9, 2))]
    >>> ej.simulate.spread_channels(line, 3).tolist()
    [0, 4, 8]
    """
    positions = np.asarray(positions, dtype=float)
    n = positive_count(n, "the number of channels")
    if positions.ndim != 2 or positions.shape[1] != 3 or not np.isfinite(positions).all():
        raise InputError(f"positions must be finite, (channels, 3), got {positions.shape}.")
    if n > len(positions):
        raise InputError(f"{n} channels cannot be chosen out of {len(positions)}.")
    apart = np.linalg.norm(positions - positions.mean(axis=0), axis=1)
    chosen = [int(apart.argmin())]
    gap = np.linalg.norm(positions - positions[chosen[0]], axis=1)
    while len(chosen) < n:
        gap[chosen] = -1.0
        chosen.append(int(gap.argmax()))
        gap = np.minimum(gap, np.linalg.norm(positions - positions[chosen[-1]], axis=1))
    return np.sort(np.array(chosen))


def pick_channels(ch_types: Any, index: Any) -> Float[np.ndarray, "picked channels"]:
    """Operator that keeps some channels and refers EEG to the average of those kept.

    Parameters
    ----------
    ch_types : sequence of str
        Of all channels (``problem.labels.ch_types``).
    index : (picked,)
        Channels to keep, each once.

    Returns
    -------
    operator : (picked, channels)

    Raises
    ------
    InputError
        If there is no such channel or one comes twice.

    Examples
    --------
    >>> import esijax as ej
    >>> ej.simulate.pick_channels(("eeg", "eeg", "mag"), [0, 1]).tolist()
    [[0.5, -0.5, 0.0], [-0.5, 0.5, 0.0]]
    """
    index, n = np.asarray(index), len(ch_types)
    if index.ndim != 1 or len(set(index.tolist())) != len(index) or len(index) == 0:
        raise InputError("index must name one channel or more, each once.")
    if not np.isin(index, np.arange(n)).all():
        raise InputError(f"index must lie in 0..{n - 1}, got {index.min()}..{index.max()}.")
    return average_reference([ch_types[i] for i in index]) @ np.eye(n)[index]


def average_reference(ch_types: Any) -> Float[np.ndarray, "channels channels"]:
    """Operator that subtracts the mean over EEG channels from each of them.

    Parameters
    ----------
    ch_types : sequence of str
        Channels of other kinds are left alone.

    Returns
    -------
    operator : (channels, channels)
        A projector of one dimension less.

    Examples
    --------
    >>> import esijax as ej
    >>> ej.simulate.average_reference(("eeg", "eeg", "mag")).tolist()
    [[0.5, -0.5, 0.0], [-0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]
    """
    eeg = np.array([kind == "eeg" for kind in ch_types], dtype=float)
    return np.eye(len(eeg)) - np.outer(eeg, eeg) / max(eeg.sum(), 1.0)


def project_out(vectors: Any) -> Float[np.ndarray, "channels channels"]:
    """Operator that removes what lies along some vectors: the rank loss of SSP or ICA.

    Parameters
    ----------
    vectors : (channels, k)
        Any length, independent: topographies of artefacts, or random ones. Where channels differ
        in unit (V, T) each vector belongs to one kind, zero elsewhere.

    Returns
    -------
    operator : (channels, channels)
        A projector of rank channels minus k.

    Raises
    ------
    InputError
        If the vectors are dependent.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> ej.simulate.project_out(np.array([[1.0], [1.0]])).round(3).tolist()
    [[0.5, -0.5], [-0.5, 0.5]]
    """
    vectors = np.asarray(vectors, dtype=float)
    if vectors.ndim != 2 or not np.isfinite(vectors).all():
        raise InputError(f"vectors must be finite, (channels, k), got {vectors.shape}.")
    size = np.linalg.norm(vectors, axis=0)
    unit = vectors / divisor(size)
    basis, values, _ = np.linalg.svd(unit, full_matrices=False)
    if vectors.shape[1] >= len(vectors) or values.min() < 1e-10:
        raise InputError("vectors must be independent, and fewer than channels.")
    return np.eye(len(vectors)) - basis @ basis.T


def through(problem: Problem, operator: Any) -> Problem:
    """Give the problem as it is behind a linear operator on the channels, whitened anew.

    For the head that makes the data use the same: ``Head(jnp.tensordot(operator, head.gain, 1),
    head.geometry)``.

    Parameters
    ----------
    problem : Problem
        What was measured.
    operator : (new channels, channels)
        From `pick_channels`, `average_reference`, `project_out`, or any other. A row with one 1,
        apart from a reference, keeps the name of its channel.

    Returns
    -------
    problem : Problem
        The prior keeps its relative weights (depth, loose) and is normalised anew.

    Raises
    ------
    InputError
        If the operator has other channels.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> problem = ej.from_arrays(np.eye(4), np.ones((4, 5)), noise_cov=1.0)
    >>> less = ej.simulate.through(problem, ej.simulate.project_out(np.ones((4, 1))))
    >>> problem.rank, less.rank
    (4, 3)
    """
    operator, whitener = np.asarray(operator, dtype=float), problem.whitener
    if operator.ndim != 2 or operator.shape[1] != whitener.matrix.shape[1]:
        raise InputError(
            f"the operator must be (new, {whitener.matrix.shape[1]} channels), "
            f"got {operator.shape}."
        )
    half = operator @ np.asarray(whitener.colorer)
    new = whitening(half @ half.T, nave=float(whitener.nave))
    # G = u W L, so that A L = A W^+ G / u wherever noise is; W' A W^+ takes G to the new G
    turn = np.asarray(new.matrix) @ half
    gain = jnp.tensordot(turn, problem.gain, 1)
    power = np.asarray(jnp.sum(gain**2, axis=0))
    recording = jnp.asarray(operator) @ problem.recording
    scale = normalised(np.asarray(problem.prior_scale), power, gain.shape[0])
    labels = _renamed(problem.labels, operator)
    fresh = dataclasses.replace(
        problem,
        gain=gain,
        data=in_columns(new.matrix @ recording, problem.noise_time),
        recording=recording,
        prior_scale=jnp.asarray(scale),
        whitener=new,
        labels=labels,
    )
    return fresh


def _renamed(labels, operator: np.ndarray):
    """Channel names behind the operator: that of the channel with the largest weight in a row."""
    largest = np.abs(operator).argmax(axis=1)
    return dataclasses.replace(
        labels,
        ch_names=tuple(labels.ch_names[i] for i in largest),
        ch_types=tuple(labels.ch_types[i] for i in largest),
    )


def bad_channels(
    key: Any,
    recording: Any,
    n: Any = 1,
    kind: str = "noisy",
    factor: Any = 10.0,
) -> tuple[Float[Array, "channels times"], Int[Array, " bad"]]:
    """Spoil some channels that nobody marks as bad.

    Parameters
    ----------
    key : PRNG key
        Of the random numbers.
    recording : (channels, times)
        Data in their own units.
    n : int
        How many, chosen at random.
    kind : "noisy" | "flat"
        White noise on top, or zero.
    factor : float
        Standard deviation of that noise in units of the channel's own.

    Returns
    -------
    recording : (channels, times)
    bad : (n,)
        Which.

    Raises
    ------
    InputError
        For an unknown kind or more bad channels than there are.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, esijax as ej
    >>> data, bad = ej.simulate.bad_channels(jax.random.key(0), jnp.ones((8, 20)), 2, "flat")
    >>> int((data == 0).all(axis=1).sum())
    2
    """
    n = positive_count(n, "the number of bad channels")
    if kind not in ("noisy", "flat"):
        raise InputError(f"kind must be 'noisy' or 'flat', got {kind!r}.")
    if n > len(recording):
        raise InputError(f"{n} of {len(recording)} channels cannot be bad.")
    recording = jnp.asarray(recording, dtype=float)
    which, how = jax.random.split(prng_key(key))
    bad = jax.random.choice(which, len(recording), (n,), replace=False)
    if kind == "flat":
        return recording.at[bad].set(0.0), bad
    std = jnp.std(recording[bad], axis=1, keepdims=True)
    extra = factor * std * jax.random.normal(how, (n, recording.shape[1]))
    return recording.at[bad].add(extra), bad
