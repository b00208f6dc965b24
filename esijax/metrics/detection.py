r"""Whether active locations stand out: ROC, precision and recall.

`amplitude` may be any map that is larger where activity is likely, Pr(active) as well. Few
locations are active, so that counting for each of them is faster than XLA's sort of the map.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from esijax._types import Scalar
from esijax.metrics.grid import local_maxima, sum_over


@jax.jit
def auc(
    amplitude: Float[ArrayLike, " locations"],
    active: Bool[ArrayLike, " locations"],
    inactive: Bool[ArrayLike, " locations"] | None = None,
) -> Scalar:
    r"""Area under the receiver operating characteristic.

    .. math:: \Pr(a_i > a_j) + \tfrac{1}{2} \Pr(a_i = a_j), \qquad i \text{ active}, j
              \text{ inactive}

    Parameters
    ----------
    amplitude : (locations,)
        Not negative.
    active : bool, (locations,)
        Which locations are truly active.
    inactive : bool, (locations,), optional
        What the active are compared with; all others by default.

    Returns
    -------
    area : ()
        Between 0 and 1: 1 is best, 0.5 is chance, NaN where either set is empty.

    References
    ----------
    Hanley and McNeil 1982, doi:10.1148/radiology.143.1.7063747.

    Examples
    --------
    >>> import jax.numpy as jnp, esijax as ej
    >>> active = jnp.array([False, True, False])
    >>> float(ej.metrics.auc(jnp.array([0.1, 0.5, 0.9]), active))
    0.5
    """
    active = jnp.asarray(active)
    other = ~active if inactive is None else jnp.asarray(inactive)
    amplitude = jnp.asarray(amplitude)

    def beaten(i):  # twice, so that ties count as halves of integers
        lower, tied = other & (amplitude < amplitude[i]), other & (amplitude == amplitude[i])
        return 2 * jnp.sum(lower) + jnp.sum(tied)

    total = sum_over(active, beaten) / 2
    return total / (jnp.sum(active) * jnp.sum(other))


@jax.jit
def auc_close(
    amplitude: Float[ArrayLike, " locations"],
    active: Bool[ArrayLike, " locations"],
    distance: Float[ArrayLike, " locations"],
    radius: Any,
) -> Scalar:
    """Area under the ROC against inactive locations near the truth: how well the extent is found.

    The paper draws as many inactive as there are active locations at random; here all of the
    neighbourhood count, which is the expectation over such draws.

    Parameters
    ----------
    amplitude : (locations,)
        Not negative.
    active : bool, (locations,)
        Which locations are truly active.
    distance : (locations,)
        To the nearest active location: `distance_to_active`, or along the mesh.
    radius : float
        Inactive locations up to this distance are near, in the unit of `distance`.

    Returns
    -------
    area : ()
        Between 0 and 1: 1 is best, 0.5 is chance, NaN where nothing inactive is near.

    References
    ----------
    Grova et al. 2006, doi:10.1016/j.neuroimage.2005.08.053.

    Examples
    --------
    >>> import jax.numpy as jnp, esijax as ej
    >>> active = jnp.array([True, False, False])
    >>> amplitude, distance = jnp.array([2.0, 1, 3]), jnp.array([0.0, 0.01, 0.1])
    >>> float(ej.metrics.auc_close(amplitude, active, distance, 0.02))
    1.0
    """
    return auc(amplitude, active, ~jnp.asarray(active) & (jnp.asarray(distance) <= radius))


@jax.jit
def auc_far(
    amplitude: Float[ArrayLike, " locations"],
    active: Bool[ArrayLike, " locations"],
    distance: Float[ArrayLike, " locations"],
    radius: Any,
    edges: Int[ArrayLike, "edges 2"] | None = None,
) -> Scalar:
    """Area under the ROC against local maxima far from the truth: how harmful ghost sources are.

    The paper draws inactive locations at random among the local maxima of the map that are far
    from the truth; here all of them count. Where the map has none, or without edges, all far
    inactive locations do.

    Parameters
    ----------
    amplitude : (locations,)
        Not negative.
    active : bool, (locations,)
        Which locations are truly active.
    distance : (locations,)
        To the nearest active location: `distance_to_active`, or along the mesh.
    radius : float
        Inactive locations beyond this distance are far, in the unit of `distance`.
    edges : (edges, 2), optional
        Pairs of neighbours, for the local maxima.

    Returns
    -------
    area : ()
        Between 0 and 1: 1 is best, 0.5 is chance, NaN where nothing inactive is far.

    References
    ----------
    Grova et al. 2006, doi:10.1016/j.neuroimage.2005.08.053.

    Examples
    --------
    >>> import jax.numpy as jnp, esijax as ej
    >>> active = jnp.array([True, False, False])
    >>> amplitude, distance = jnp.array([2.0, 1, 3]), jnp.array([0.0, 0.01, 0.1])
    >>> float(ej.metrics.auc_far(amplitude, active, distance, 0.02))
    0.0
    """
    far = ~jnp.asarray(active) & (jnp.asarray(distance) > radius)
    if edges is not None:
        ghosts = far & local_maxima(amplitude, edges)
        far = jnp.where(jnp.any(ghosts), ghosts, far)
    return auc(amplitude, active, far)


@jax.jit
def average_precision(
    amplitude: Float[ArrayLike, " locations"], active: Bool[ArrayLike, " locations"]
) -> Scalar:
    r"""Precision at the amplitude of each active location, averaged over them.

    .. math:: \frac{1}{|A|} \sum_{i \in A} \frac{|\{j \in A : a_j \ge a_i\}|}
              {|\{j : a_j \ge a_i\}|}

    Few locations are active: this is the stricter of the two areas.

    Parameters
    ----------
    amplitude : (locations,)
        Not negative.
    active : bool, (locations,)
        Which locations are truly active.

    Returns
    -------
    precision : ()
        Between 0 and 1: 1 is best, the share of active locations is chance, NaN where none is.

    References
    ----------
    Davis and Goadrich 2006, doi:10.1145/1143844.1143874.

    Examples
    --------
    >>> import jax.numpy as jnp, esijax as ej
    >>> float(ej.metrics.average_precision(jnp.array([3.0, 2, 1]), jnp.array([True, False, False])))
    1.0
    """
    active = jnp.asarray(active)
    amplitude = jnp.asarray(amplitude)

    def precision(i):
        reached = amplitude >= amplitude[i]
        return jnp.sum(reached & active) / jnp.sum(reached)

    return sum_over(active, precision) / jnp.sum(active)


def above(
    amplitude: Float[ArrayLike, "*lead locations"], threshold: Any = 0.5
) -> Bool[Array, "*lead locations"]:
    """Mark locations above a share of the map's maximum: the rule for precision and recall.

    Parameters
    ----------
    amplitude : (..., locations)
        Not negative.
    threshold : float
        Share of the maximum, between 0 and 1; the amplitude must exceed it (as in MNE-Python).

    Returns
    -------
    found : bool, (..., locations)

    Examples
    --------
    >>> import jax.numpy as jnp, esijax as ej
    >>> ej.metrics.above(jnp.array([1.0, 0.5, 0.6])).tolist()
    [True, False, True]
    """
    amplitude = jnp.asarray(amplitude)
    return amplitude > threshold * jnp.max(amplitude, axis=-1, keepdims=True)


class Detection(eqx.Module):
    """Precision, recall and F1 (their harmonic mean), each between 0 and 1 (best).

    Parameters
    ----------
    precision : ()
        Share of the found that is active.
    recall : ()
        Share of the active that is found.
    f1 : ()
        Their harmonic mean.
    """

    precision: Scalar
    recall: Scalar
    f1: Scalar


@jax.jit
def precision_recall(
    found: Bool[ArrayLike, " locations"], active: Bool[ArrayLike, " locations"]
) -> Detection:
    r"""Precision, recall and F1 of reported locations.

    .. math:: \frac{|F \cap A|}{|F|}, \qquad \frac{|F \cap A|}{|A|}, \qquad
              \frac{2 |F \cap A|}{|F| + |A|}

    Parameters
    ----------
    found : bool, (locations,)
        What is reported: `above` a share of the maximum, or Pr(active) > 0.5.
    active : bool, (locations,)
        Which locations are truly active.

    Returns
    -------
    scores : Detection
        0 where the denominator is.

    References
    ----------
    Fawcett 2006, doi:10.1016/j.patrec.2005.10.010.

    Examples
    --------
    >>> import jax.numpy as jnp, esijax as ej
    >>> found, active = jnp.array([True, True, False]), jnp.array([True, False, False])
    >>> float(ej.metrics.precision_recall(found, active).precision)
    0.5
    """
    found, active = jnp.asarray(found), jnp.asarray(active)
    hits, n_found, n_active = jnp.sum(found & active), jnp.sum(found), jnp.sum(active)
    least = jnp.maximum(jnp.stack([n_found, n_active, n_found + n_active]), 1)
    precision, recall, f1 = jnp.stack([hits, hits, 2 * hits]) / least
    return Detection(precision, recall, f1)
