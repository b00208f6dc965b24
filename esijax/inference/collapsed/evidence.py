r"""Type-II maximisation: the hyper-parameters that make the data most probable.

.. math::
   \hat\theta = \arg\max_\theta \; \log p(Y \mid \theta) + \log p(\theta), \qquad
   p(X \mid Y) \approx p(X \mid Y, \hat\theta)
"""

from typing import Any, ClassVar

import equinox as eqx

from esijax._types import InputError, check_positive, scalar
from esijax.estimate import RESULT, Estimate
from esijax.inference.collapsed._maximise import read_minimiser
from esijax.inference.collapsed._search import SearchMethod
from esijax.inference.collapsed.answers import point_estimate
from esijax.inference.collapsed.checks import check_search_model
from esijax.inference.method import Setup, State


class Evidence(SearchMethod):
    r"""Maximum of the evidence by quasi-Newton steps through automatic derivatives.

    .. math::
       \hat\theta = \arg\max_\theta \; -\tfrac12 \operatorname{tr}(\Sigma_\theta^{-1} Y Y^\top)
                    - \tfrac n2 \log\det \Sigma_\theta + \log p(\theta)

    The density is that of the hyper-parameters as they are declared (no Jacobian), so that `EM`
    has the same optimum. It takes any prior with hyper-parameters, also where no update in closed
    form exists. The spread of the map is that for known :math:`\hat\theta`: what is uncertain in
    the hyper-parameters is left out (`Laplace`, `SVI` and `NUTS` have it).

    Parameters
    ----------
    n_starts : int
        Searches. The first starts at `init` or, by default, at what the minimum norm solution
        implies, after a few updates of the convex bound; the others are scattered around it
        (by `key`). The best is taken; `estimate.verdict()` tells which won, and the spread.
    solver : "bfgs" | "lbfgs" | optax optimiser | optimistix minimiser
        BFGS keeps a matrix of unknowns x unknowns; take "lbfgs" for thousands.
    rtol, atol : float
        Changes of unknowns and objective at which a search ends.
    max_steps : int
        Evaluations of each search at most.

    Raises
    ------
    InputError
        For an unknown solver, numbers out of range, or (in `solve`) a model without
        hyper-parameters.

    Notes
    -----
    The answer is differentiable in data, lead field and the parameters of the hyper-priors, by the
    implicit function theorem at the optimum; the search itself is not differentiated.

    References
    ----------
    MacKay 1992, doi:10.1162/neco.1992.4.3.415; Wipf and Nagarajan 2009,
    doi:10.1016/j.neuroimage.2008.02.059.

    Examples
    --------
    >>> import numpy as np, esijax as ej, numpyro.distributions as dist
    >>> gain = np.random.default_rng(0).standard_normal((8, 12))
    >>> problem = ej.from_arrays(gain, 3 * gain[:, :2], noise_cov=1.0)
    >>> prior = ej.models.ARD(dist.HalfCauchy(1.0))
    >>> estimate = ej.solve(problem, prior, ej.inference.Evidence())
    >>> estimate.hyper["gamma"].shape
    (12,)
    """

    n_starts: int = eqx.field(static=True, default=1)
    solver: Any = "bfgs"
    rtol: Any = eqx.field(converter=scalar, default=1e-8)
    atol: Any = eqx.field(converter=scalar, default=1e-8)
    max_steps: int = eqx.field(static=True, default=2000)
    jacobian: ClassVar[bool] = False
    differentiable: ClassVar[bool] = True
    learns_noise: ClassVar[bool] = True

    def __check_init__(self):
        check_search(self)

    def check(self, setup: Setup) -> None:
        """Take priors with hyper-parameters."""
        check_search_model(setup, "Evidence", proper=False)

    def finish(self, state: State) -> Estimate:
        """Posterior of the sources at the optimum."""
        search = self.search(state.setup)
        point, checks = search.end(state.carry)
        hyper = search.target.hyper(search.unravel(point))
        result = RESULT.where(checks.converged, RESULT.successful, RESULT.not_converged)
        return point_estimate(
            search.target.marginal, hyper, "Evidence", diagnostics=checks, result=result
        )


def check_search(method: Any) -> None:
    """Raise InputError for settings of a search out of range."""
    read_minimiser(method.solver, method.rtol, method.atol)
    check_positive(method.rtol, "rtol")
    check_positive(method.atol, "atol")
    for name in ("n_starts", "max_steps"):
        value = getattr(method, name)
        if not (isinstance(value, int) and value >= 1):
            raise InputError(f"{name} must be a positive whole number, got {value!r}.")
