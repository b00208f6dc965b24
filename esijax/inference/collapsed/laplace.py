r"""Laplace's approximation of the hyper-parameters' posterior.

On unconstrained hyper-parameters u (the logarithm of a variance), with the Jacobian,

.. math::
   q(u) = N(\hat u, H^{-1}), \qquad H = -\nabla^2 \log p(\hat u, Y), \qquad
   \log p(Y) \approx \log p(\hat u, Y) + \tfrac d2 \log 2\pi - \tfrac12 \log\det H
"""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl

from esijax._ops.stop_gradient import stop_gradient
from esijax._types import InputError, scalar
from esijax.estimate import RESULT, Estimate
from esijax.inference.collapsed._curvature import DENSE, log_density_hessian
from esijax.inference.collapsed._search import SearchMethod
from esijax.inference.collapsed._weights import GaussianChecks, n_weights
from esijax.inference.collapsed.answers import mixture_estimate
from esijax.inference.collapsed.checks import check_search_model
from esijax.inference.collapsed.evidence import check_search
from esijax.inference.method import Setup, State

LEAST_CURVATURE = 1e-8


class Laplace(SearchMethod):
    r"""Gaussian posterior of the hyper-parameters at their mode; sources as a mixture.

    .. math::
       p(X \mid Y) \approx \frac1S \sum_s p(X \mid Y, \theta(u_s)), \qquad
       u_s \sim N(\hat u, H^{-1})

    One Gaussian, symmetric in the logarithms of the variances: right for well determined ones,
    wrong for the long tails of a variance that the data leave open. `estimate.verdict()` holds the
    k-hat that says so.

    Parameters
    ----------
    num_samples : int
        Draws of the hyper-parameters.
    num_maps : int
        Draws, at most, whose maps are averaged.
    n_starts, solver, rtol, atol, max_steps : int, str, float, float, int
        Of the search for the mode, as in `Evidence`.

    Raises
    ------
    InputError
        For numbers out of range, or (in `solve`) a flat hyper-prior, a model without
        hyper-parameters, or more than 2,000 of them.

    Notes
    -----
    `estimate.log_evidence` is Laplace's approximation, in the data's own units; the verdict has
    the importance-sampling estimate beside it. For a fixed key the moments are differentiable in
    data, lead field and the parameters of the hyper-priors.

    References
    ----------
    Tierney and Kadane 1986, doi:10.1080/01621459.1986.10478240; Friston et al. 2007,
    doi:10.1016/j.neuroimage.2006.08.035.

    Examples
    --------
    >>> import jax, numpy as np, esijax as ej, numpyro.distributions as dist
    >>> gain = np.random.default_rng(0).standard_normal((8, 12))
    >>> problem = ej.from_arrays(gain, 3 * gain[:, :2], noise_cov=1.0)
    >>> prior = ej.models.Components([np.arange(6), np.arange(6, 12)], dist.LogNormal(-1.0, 1.0))
    >>> estimate = ej.solve(problem, prior, ej.inference.Laplace(), key=jax.random.key(0))
    >>> estimate.hyper["gamma"].shape
    (1000, 2)
    """

    num_samples: int = eqx.field(static=True, default=1000)
    num_maps: int = eqx.field(static=True, default=200)
    n_starts: int = eqx.field(static=True, default=1)
    solver: Any = "bfgs"
    rtol: Any = eqx.field(converter=scalar, default=1e-8)
    atol: Any = eqx.field(converter=scalar, default=1e-8)
    max_steps: int = eqx.field(static=True, default=2000)
    jacobian: ClassVar[bool] = True
    differentiable: ClassVar[bool] = True
    needs_key: ClassVar[bool] = True
    learns_noise: ClassVar[bool] = True

    def __check_init__(self):
        check_search(self)
        check_draws(self)

    def check(self, setup: Setup) -> None:
        """Take priors with a posterior, of a size whose second derivatives fit."""
        size = check_search_model(setup, "Laplace", proper=True)
        if size > DENSE:
            raise InputError(
                f"Laplace forms a matrix of unknowns x unknowns: {size} are more than {DENSE}. "
                "Use SVI or NUTS, or components of many locations (patches, labels)."
            )

    def finish(self, state: State) -> Estimate:
        """Second derivatives at the mode, draws, maps."""
        search = self.search(state.setup)
        mode, checks = search.end(state.carry)
        curvature = -log_density_hessian(search.target, search.unravel, mode, jacobian=True)
        values = jnp.linalg.eigvalsh(stop_gradient(curvature))
        lowest = LEAST_CURVATURE * jnp.maximum(values[-1], 0.0)
        definite = values[0] > lowest
        # not definite: lifted, so that there is something to draw from; the verdict says so
        lift = jnp.where(definite, 0.0, 1.0 - values[0])
        size = len(mode)
        chol = jnp.linalg.cholesky(curvature + lift * jnp.eye(size))
        n_draws = n_weights(search.target.marginal, self.num_samples)
        white = jax.random.normal(state.setup.key, (n_draws, size))
        points = mode + jsl.solve_triangular(chol.T, white.T, lower=False).T
        log_det = jnp.sum(jnp.log(jnp.diag(chol)))
        constant = 0.5 * size * jnp.log(2 * jnp.pi)
        evidence = search.objective(mode) + constant - log_det
        density = log_det - constant - 0.5 * jnp.sum(white**2, axis=1)
        together = search.target.marginal.side_by_side
        weights = (
            jax.lax.map(search.objective, stop_gradient(points), batch_size=together) - density
        )
        quality = GaussianChecks(
            checks, values[0] / values[-1], definite, stop_gradient(weights), jnp.asarray(size)
        )
        return mixture_estimate(
            search.target.marginal,
            jax.vmap(lambda u: search.target.hyper(search.unravel(u)))(points[: self.num_samples]),
            "Laplace",
            num_maps=self.num_maps,
            evidence=evidence,
            diagnostics=quality,
            result=RESULT.where(checks.converged, RESULT.successful, RESULT.not_converged),
        )


def check_draws(method: Any) -> None:
    """Raise InputError for numbers of draws out of range."""
    if not (isinstance(method.num_samples, int) and method.num_samples >= 100):
        raise InputError(
            f"num_samples must be a whole number of at least 100 (k-hat needs a tail to look at), "
            f"got {method.num_samples!r}."
        )
    if not (isinstance(method.num_maps, int) and method.num_maps >= 1):
        raise InputError(f"num_maps must be a positive whole number, got {method.num_maps!r}.")
