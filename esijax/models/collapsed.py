r"""The sources integrated out: one NumPyro model that every sampler and optimiser reads.

.. math::
   \theta \sim p(\theta), \qquad
   Y \mid \theta \sim N\left(0,\, \Sigma(\theta)\right), \qquad
   \Sigma(\theta) = G R(\theta) G^\top + W N(\theta) W^\top

X and E are independent in time, so the data enter as :math:`Y Y^\top` and the number of columns:
no cost grows with time.
"""

from jaxtyping import Array

from esijax.models.noise import Noise
from esijax.models.priors.prior import Prior
from esijax.problem import Problem


def collapsed(problem: Problem, prior: Prior, noise: Noise | None = None) -> dict[str, Array]:
    r"""NumPyro model of the hyper-parameters, the sources integrated out.

    .. math:: \theta \sim p(\theta), \qquad Y \mid \theta \sim N(0, G R(\theta) G^\top + W N W^\top)

    It is a model like any other: hand it to NumPyro's own algorithms, with its three arguments.

    Parameters
    ----------
    problem : Problem
    prior : Prior
    noise : Noise | None
        None is `White`.

    Returns
    -------
    hyper : dict
        The hyper-parameters, as `prior.source_cov` and `noise.covariance` take them.

    Examples
    --------
    >>> import jax, numpy as np, esijax as ej, numpyro.distributions as dist
    >>> from numpyro.infer.util import log_density
    >>> gain = np.random.default_rng(0).standard_normal((8, 12))
    >>> problem = ej.from_arrays(gain, gain[:, :3], noise_cov=0.1)
    >>> prior = ej.models.ARD(dist.InverseGamma(1.0, 0.1))
    >>> at = {"gamma": np.ones(12)}
    >>> value, _ = log_density(ej.models.collapsed, (problem, prior), {}, at)
    """
    return prior.marginal(problem, noise)()
