"""An answer without a spread: the most probable sources of a penalty."""

import dataclasses
from typing import Any, ClassVar, NoReturn

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from esijax._types import Data, InputError, Sources
from esijax.posterior import Posterior


def _refuse_spread(what: str) -> NoReturn:
    raise InputError(
        f"a point estimate has no {what}: take a prior that integrates (GroupLaplace, Horseshoe, "
        "ARD) with EM, Laplace, SVI or NUTS."
    )


class PointPosterior(Posterior):
    """All mass at one map.

    Parameters
    ----------
    sources : (..., locations, orients, times)
        Normalised units; zeros are exact.
    prediction : (..., rank, times)
        Whitened data that they predict.
    """

    sources: Sources
    prediction: Data
    spread: ClassVar[bool] = False

    def mean(self, scale: Any = 1.0) -> Sources:
        """The map."""
        return self.sources * scale

    def of_columns(self, mix: Float[Array, "times some"]) -> "PointPosterior":
        """Combinations of the map: it turns with the data."""
        moved = (self.sources @ mix, self.prediction @ mix)
        return dataclasses.replace(self, sources=moved[0], prediction=moved[1])

    def kernel(self) -> Float[Array, "locations orients rank"]:
        """Refuse: the map is not linear in the data."""
        _refuse_spread("kernel: it is not linear in the data")

    def cov(self) -> NoReturn:
        """Refuse: a point has no spread."""
        _refuse_spread("covariance")

    def draw(self, key: PRNGKeyArray, n: int, locations: Any, times: Any) -> NoReturn:  # noqa: ARG002
        """Refuse: a point has no spread."""
        _refuse_spread("draws")

    def combine(self, weights: Float[Array, "courses locations orients"]):
        """Combinations of the map; their variance is unknown."""
        mean = jnp.einsum("klo,...lot->...kt", weights, self.sources)
        return mean, jnp.full(len(weights), jnp.nan)

    def members(self, locations: Any, times: Any) -> NoReturn:  # noqa: ARG002
        """Refuse: a point has no spread."""
        _refuse_spread("interval")

    def quantiles(self, probabilities: Array, locations: Any, times: Any) -> NoReturn:  # noqa: ARG002
        """Refuse: a point has no spread."""
        _refuse_spread("interval")

    def exceedance(
        self,
        scale: Array,  # noqa: ARG002
        threshold: Array,  # noqa: ARG002
        along: str,  # noqa: ARG002
        locations: Any,  # noqa: ARG002
        times: Any,  # noqa: ARG002
    ) -> NoReturn:
        """Refuse: a point has no spread."""
        _refuse_spread("exceedance")

    def fitted(self) -> Data:
        """The prediction."""
        return self.prediction


class LinearPoint(PointPosterior):
    """All mass at one map, which is linear in the data.

    Parameters
    ----------
    weights : (locations, orients, rank)
        From whitened data to the map.
    """

    weights: Float[Array, "locations orients rank"]

    def kernel(self) -> Float[Array, "locations orients rank"]:
        """The map as a matrix."""
        return self.weights
