"""Scores of the stated probability that a source is large: how sure, where it matters."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from esijax._ops.normals import mixture_cdf

SHARE = 0.25  # of the largest true amplitude along the normal
EDGES = (0.02, 0.1, 0.3, 0.5, 0.7, 0.9)  # of the bins of stated probability
Values = Float[Array, " locations"]


def prob_large(
    mean: Float[Array, "members locations"],
    std: Float[Array, "members locations"],
    truth: Values,
    share: float = SHARE,
) -> tuple[Values, Bool[Array, " locations"]]:
    """Probability that a source exceeds a share of the largest true one, and whether it does.

    Parameters
    ----------
    mean, std : (members, locations)
        Of the component along the normal; several members of a mixture, or one.
    truth : (locations,)
    share : float

    Returns
    -------
    probability : (locations,)
        Pr(abs(x) > share * max abs(truth)).
    large : bool, (locations,)

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from esijax.metrics.large import prob_large
    >>> p, large = prob_large(jnp.array([[1.0, 0.0]]), jnp.full((1, 2), 0.1), jnp.array([1.0, 0]))
    >>> p.round(3).tolist(), large.tolist()
    ([1.0, 0.012], [True, False])
    """
    threshold = share * jnp.max(jnp.abs(truth))
    level = jnp.broadcast_to(threshold, truth.shape)
    above = 1.0 - mixture_cdf(level, mean, std) + mixture_cdf(-level, mean, std)
    return jnp.clip(above, 0.0, 1.0), jnp.abs(truth) > threshold


def large_scores(probability: Values, large: Bool[Array, " locations"]) -> dict[str, Array]:
    """Brier score of a map, that of always saying no, and sums in bins of stated probability.

    Sums, so that maps can be put together: `large_stated_k` over `large_count_k` is what was
    stated in the bin k, `large_true_k` over it what came true.

    References
    ----------
    Brier 1950, doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2.
    """
    bins = jnp.searchsorted(jnp.asarray(EDGES), probability, side="right")
    member = bins[None] == jnp.arange(len(EDGES) + 1)[:, None]
    sums = {
        "count": jnp.sum(member, axis=1),
        "stated": jnp.sum(member * probability, axis=1),
        "true": jnp.sum(member & large, axis=1),
    }
    out = {f"large_{what}_{k}": v for what, values in sums.items() for k, v in enumerate(values)}
    out["large_brier"] = jnp.sum((probability - large) ** 2)
    out["large_brier_never"] = jnp.sum(large)
    return out
