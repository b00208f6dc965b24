"""Hyper-parameters of a covariance in time as one row of numbers without constraints."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float
from numpyro import handlers
from numpyro.infer.util import constrain_fn, log_density, unconstrain_fn

from esijax._types import Scalar
from esijax.models.marginals.marginal import medians_of, only_known
from esijax.models.time import Time

FreeRow = Float[Array, " _"]


class TimeSites(eqx.Module):
    """What `time` samples; none where it has nothing to learn.

    Parameters
    ----------
    time : Time
    """

    time: Time

    def _model(self) -> dict[str, Array]:
        return self.time.hyper({})

    @property
    def _free_medians(self) -> dict[str, Array]:
        return unconstrain_fn(self._model, (), {}, medians_of(self._model))

    def start(self, sites: dict[str, Any] | None = None) -> FreeRow:
        """Medians of the prior, or other values of the sites."""
        if not self.time.learned:
            return jnp.zeros(0)
        known = only_known(medians_of(self._model), sites or {})
        return ravel_pytree(unconstrain_fn(self._model, (), {}, known))[0]

    def _sites(self, free: FreeRow) -> dict[str, Any]:
        if not self.time.learned:
            return {}
        shapes = eqx.filter_eval_shape(lambda s: s._free_medians, self)
        unravel = ravel_pytree(jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes))[1]
        return constrain_fn(self._model, (), {}, unravel(free))

    def hyper(self, free: FreeRow) -> dict[str, Array]:
        """Hyper-parameters as `Time` takes them."""
        with handlers.substitute(data=self._sites(free)):
            return self._model()

    def log_prior(self, free: FreeRow) -> Scalar:
        """Log density of the hyper-parameters themselves (no Jacobian)."""
        if not self.time.learned:
            return jnp.zeros(())
        return log_density(self._model, (), {}, self._sites(free))[0]
