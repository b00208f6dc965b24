"""Families of distributions for variational inference, by name or as NumPyro's classes."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from numpyro.distributions import constraints
from numpyro.distributions.transforms import AffineTransform
from numpyro.infer import autoguide
from numpyro.infer.initialization import init_to_value

from esijax._types import InputError
from esijax.inference.collapsed.target import Sites


class CentredFlow(autoguide.AutoIAFNormal):
    """NumPyro's inverse autoregressive flow, moved to where the search starts and scaled."""

    def _get_posterior(self):
        flow = super()._get_posterior()
        loc: Any = numpyro.param(f"{self.prefix}_loc", self._init_latent)
        small = jnp.full(self.latent_dim, 0.3)
        scale: Any = numpyro.param(f"{self.prefix}_scale", small, constraint=constraints.positive)
        moved = [*flow.transforms, AffineTransform(loc, scale)]
        return dist.TransformedDistribution(flow.base_dist, moved)


GUIDES: dict[str, type[autoguide.AutoGuide]] = {
    "mean-field": autoguide.AutoNormal,
    "low-rank": autoguide.AutoLowRankMultivariateNormal,
    "full": autoguide.AutoMultivariateNormal,
    "flow": CentredFlow,
}
WITHOUT_SPREAD = {
    autoguide.AutoDelta: "Evidence",
    autoguide.AutoLaplaceApproximation: "Laplace",
}


def guide_class(guide: Any) -> type[autoguide.AutoGuide]:
    """Read a name or a class of `numpyro.infer.autoguide`."""
    if isinstance(guide, str) and guide in GUIDES:
        return GUIDES[guide]
    if not (isinstance(guide, type) and issubclass(guide, autoguide.AutoGuide)):
        raise InputError(
            f"guide must be one of {sorted(GUIDES)} or a class of numpyro.infer.autoguide, "
            f"got {guide!r}."
        )
    for point, instead in WITHOUT_SPREAD.items():
        if issubclass(guide, point):
            raise InputError(f"{guide.__name__} has no spread of its own: use {instead}().")
    return guide


def make_guide(guide: Any, model: Callable, start: Sites) -> autoguide.AutoGuide:
    """Guide of a model, around a starting value."""
    return guide_class(guide)(model, init_loc_fn=init_to_value(values=start))
