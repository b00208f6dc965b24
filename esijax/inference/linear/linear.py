r"""The closed-form answer to a Gaussian prior, with noise normalisation.

.. math::
   K = R G^\top (G R G^\top + I)^{-1}, \qquad \hat X = K Y, \qquad
   \text{dSPM}_l = \frac{\hat x_l}{\sqrt{\operatorname{tr}(K K^\top)_{ll}}}, \qquad
   \text{sLORETA}_l = \frac{\hat x_l}{\sqrt{\operatorname{tr}(K \Sigma K^\top)_{ll}}}
"""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from esijax._ops.gaussian import log_density
from esijax._types import InputError
from esijax.estimate import Estimate
from esijax.inference.method import Method, Setup, State
from esijax.models.posteriors.gaussian import GaussianPosterior
from esijax.models.priors.gaussian import GaussianPrior

NOISE_NORMS = (None, "dSPM", "sLORETA")


class Linear(Method):
    """Posterior of the minimum norm family, in closed form.

    Parameters
    ----------
    noise_norm : None | "dSPM" | "sLORETA"
        What the map is divided by; the posterior's spread is divided likewise, and the map
        has no unit. One factor per location, as in MNE-Python.

    Raises
    ------
    InputError
        For an unknown noise_norm, or (in `solve`) a model that is no Gaussian prior.

    References
    ----------
    Hämäläinen and Ilmoniemi 1994, doi:10.1007/BF02512476; Dale et al. 2000 (dSPM),
    doi:10.1016/S0896-6273(00)81138-1; Pascual-Marqui 2002 (sLORETA), PMID 12575463.

    Examples
    --------
    >>> import numpy as np, esijax as ej
    >>> gain = np.random.default_rng(0).standard_normal((8, 12))
    >>> problem = ej.from_arrays(gain, gain[:, 3:4], noise_cov=0.1)
    >>> estimate = ej.solve(problem, ej.models.MinimumNorm(), ej.inference.Linear("dSPM"))
    >>> int(abs(estimate.mean[:, 0, 0]).argmax())
    3
    """

    noise_norm: str | None = eqx.field(static=True, default=None)
    differentiable: ClassVar[bool] = True

    def __check_init__(self):
        if self.noise_norm not in NOISE_NORMS:
            raise InputError(f"noise_norm must be one of {NOISE_NORMS}, got {self.noise_norm!r}.")

    def check(self, setup: Setup) -> None:
        """Take Gaussian priors of the minimum norm family."""
        if not isinstance(setup.model, GaussianPrior):
            raise InputError(
                "Linear needs a prior of the minimum norm family, got "
                f"{type(setup.model).__name__}."
            )

    def finish(self, state: State) -> Estimate:
        """Posterior from one Cholesky factor in sensor space."""
        problem, model = state.setup.problem, state.setup.model
        hyper = model.hyper({})
        shape, sensor = model.normalised(problem)
        chol = jnp.linalg.cholesky(sensor / hyper["lambda2"] + jnp.eye(problem.rank))
        source_cov = shape.scaled(1.0 / hyper["lambda2"])
        posterior = GaussianPosterior(problem.gain, source_cov, chol, problem.data)
        n_columns = problem.data.size // problem.rank
        evidence = log_density(chol, problem.data)
        if problem.basis is not None:  # columns of noise alone
            evidence += problem.basis.white_log_density
            n_columns += problem.basis.n_columns
        evidence += n_columns * problem.log_jacobian
        return Estimate(
            problem,
            posterior,
            norm=self._norm(posterior),
            evidence=evidence,
            hyper=hyper,
            model=type(model).__name__,
            method=self.noise_norm or "Linear",
        )

    def _norm(self, posterior: GaussianPosterior) -> Float[Array, " locations"] | None:
        """Deviation that the map of each location is divided by."""
        if self.noise_norm is None:
            return None
        power = posterior.explained(squared=self.noise_norm == "dSPM")
        return jnp.sqrt(jnp.maximum(jnp.trace(power, axis1=1, axis2=2), 0.0))
