"""Scores of stated regions of the peak, and of maps against reference positions."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from esijax._types import Scalar
from esijax.metrics.grid import distance_to


@jax.jit
def peak_probability(draws: Float[ArrayLike, "draws locations"]) -> Float[Array, " locations"]:
    """Probability that a location is the peak of the map: its share among posterior draws.

    Parameters
    ----------
    draws : (draws, locations)
        Amplitude (norm over orients) of joint posterior draws.

    Returns
    -------
    probability : (locations,)
        Sums to 1; steps of 1 / draws.

    Examples
    --------
    >>> import jax.numpy as jnp, esijax as ej
    >>> ej.metrics.peak_probability(jnp.array([[1.0, 2.0], [3.0, 0.0]])).tolist()
    [0.5, 0.5]
    """
    draws = jnp.asarray(draws)
    peaks = jnp.argmax(draws, axis=1)
    return jnp.zeros(draws.shape[1], draws.dtype).at[peaks].add(1.0 / draws.shape[0])


@jax.jit
def highest_density_region(
    probability: Float[ArrayLike, " locations"],
    areas: Float[ArrayLike, " locations"],
    level: Any = 0.9,
) -> Bool[Array, " locations"]:
    r"""Smallest region that holds the peak with a given probability.

    Locations join in the order of their density :math:`p_l / s_l` until their probabilities
    add up to the level; one whose probability is zero never joins.

    Parameters
    ----------
    probability : (locations,)
        Of being the peak, e.g. `peak_probability`; any map that is not negative is divided by
        its sum.
    areas : (locations,)
        Area of each, m2; ones in a volume, where locations stand for equal parts.
    level : float
        In (0, 1).

    Returns
    -------
    inside : bool, (locations,)

    References
    ----------
    Hyndman 1996, doi:10.1080/00031305.1996.10473359.

    Examples
    --------
    >>> import jax.numpy as jnp, esijax as ej
    >>> p = jnp.array([0.05, 0.6, 0.35])
    >>> ej.metrics.highest_density_region(p, jnp.ones(3)).tolist()
    [False, True, True]
    """
    p, areas = jnp.asarray(probability), jnp.asarray(areas)
    p = p / jnp.sum(p)
    density = p / jnp.where(areas > 0, areas, jnp.inf)
    order = jnp.argsort(-density)
    before = jnp.cumsum(p[order]) - p[order]
    # rounding: 0.6 + 0.3 must count as 0.9
    joins = before < level - 1e-9
    return jnp.zeros(p.shape, bool).at[order].set(joins) & (p > 0)


class RegionScore(eqx.Module):
    """What `region_score` found.

    Parameters
    ----------
    holds : ()
        1 where the region holds the true peak, else 0: its mean over data sets is the level
        for a calibrated method when the truth comes from its prior.
    area : ()
        Of the region, in the unit of the areas; of two regions that hold, the smaller is better.
    """

    holds: Scalar
    area: Scalar


@jax.jit
def region_score(
    probability: Float[ArrayLike, " locations"],
    areas: Float[ArrayLike, " locations"],
    peak: Int[ArrayLike, ""],
    level: Any = 0.9,
) -> RegionScore:
    """Whether the highest-density region holds the true peak, and how much cortex it takes.

    Parameters
    ----------
    probability : (locations,)
        Of being the peak; see `highest_density_region`.
    areas : (locations,)
        m2.
    peak : ()
        Location of the true peak.
    level : float
        In (0, 1).

    Returns
    -------
    score : RegionScore
        m2 (times 1e4 for cm2).

    References
    ----------
    Hyndman 1996, doi:10.1080/00031305.1996.10473359.

    Examples
    --------
    >>> import jax.numpy as jnp, esijax as ej
    >>> p, peak = jnp.array([0.05, 0.6, 0.35]), jnp.array(2)
    >>> score = ej.metrics.region_score(p, jnp.full(3, 2.0), peak)
    >>> float(score.holds), float(score.area)
    (1.0, 4.0)
    """
    inside = highest_density_region(probability, areas, level)
    area = jnp.sum(jnp.where(inside, jnp.asarray(areas), 0.0))
    return RegionScore(inside[peak].astype(area.dtype), area)


class ContactDistance(eqx.Module):
    """How far a map is from reference positions, in the unit of the positions; 0 is best.

    Parameters
    ----------
    peak : ()
        From the largest amplitude to the nearest contact.
    mean : ()
        Mean over the map, weighted by power, of the distance to the nearest contact.
    """

    peak: Scalar
    mean: Scalar


@jax.jit
def contact_distance(
    amplitude: Float[ArrayLike, " locations"],
    positions: Float[ArrayLike, "locations 3"],
    contacts: Float[ArrayLike, "contacts 3"],
) -> ContactDistance:
    r"""Distance of a map to contacts that are known to be in the source.

    Parameters
    ----------
    amplitude : (locations,)
        Not negative.
    positions : (locations, 3)
        Where the locations are, m.
    contacts : (contacts, 3)
        Intracranial contacts, stimulation sites or the middle of a resection, same frame.

    Returns
    -------
    distance : ContactDistance
        The mean is NaN where the map is zero.

    References
    ----------
    Mikulan et al. 2020, doi:10.1038/s41597-020-0467-x.

    Examples
    --------
    >>> import jax.numpy as jnp, esijax as ej
    >>> line = jnp.array([[0.0, 0, 0], [3.0, 0, 0]])
    >>> float(ej.metrics.contact_distance(jnp.array([1.0, 1.0]), line, line[:1]).mean)
    1.5
    """
    amplitude = jnp.asarray(amplitude)
    distance = distance_to(positions, contacts)
    power = amplitude**2
    return ContactDistance(
        distance[jnp.argmax(amplitude)], jnp.sum(power * distance) / jnp.sum(power)
    )


@jax.jit
def probability_within(
    probability: Float[ArrayLike, " locations"],
    positions: Float[ArrayLike, "locations 3"],
    contacts: Float[ArrayLike, "contacts 3"],
    radius: Any,
) -> Scalar:
    """Probability that the source lies within a radius of any contact.

    Parameters
    ----------
    probability : (locations,)
        Of being the source, e.g. `peak_probability`; divided by its sum.
    positions : (locations, 3)
        Where the locations are, m.
    contacts : (contacts, 3)
        Positions of the contacts, m.
    radius : float
        In the unit of the positions.

    Returns
    -------
    probability : ()
        Between 0 and 1 (best).

    References
    ----------
    Mikulan et al. 2020, doi:10.1038/s41597-020-0467-x (reference positions).

    Examples
    --------
    >>> import jax.numpy as jnp, esijax as ej
    >>> line = jnp.array([[0.0, 0, 0], [3.0, 0, 0]])
    >>> float(ej.metrics.probability_within(jnp.array([0.25, 0.75]), line, line[:1], 1.0))
    0.25
    """
    p: jax.Array = jnp.asarray(probability)
    near = distance_to(positions, contacts) <= radius
    return jnp.sum(jnp.where(near, p, 0.0)) / jnp.sum(p)
