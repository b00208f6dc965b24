"""What samples are worth that go together, where a model takes them as independent."""

import numpy as np

from esijax._ops.time.levinson import autocovariance
from esijax.estimate import Estimate
from esijax.inference.method import Setup
from esijax.models.priors.gaussian import GaussianPrior
from esijax.models.temporal import Kronecker, TemporalBasis

FEWEST = 20  # samples below which nothing is said
LEAST_SHARE = 0.5  # of the samples


def effective_samples(data: np.ndarray) -> float:
    r"""Independent samples that say as much of a variance, :math:`n / (1 + 2 \sum_k \rho_k^2)`.

    Parameters
    ----------
    data : (..., rank, times)
        Whitened; rho is the autocorrelation of all rows together.
    """
    n = data.shape[-1]
    c = autocovariance(data, n // 2)
    return n / (1.0 + 2.0 * float(np.sum((c[1:] / c[0]) ** 2)))


def oversampled(setup: Setup, estimate: Estimate) -> tuple[str, ...]:
    """A note where variances were learned as if such samples were independent."""
    problem = setup.problem
    other = isinstance(setup.model, Kronecker | TemporalBasis | GaussianPrior)
    known = problem.noise_time is not None or problem.basis is not None
    if other or known or not estimate.hyper:
        return ()
    n = problem.n_times
    data = np.asarray(problem.data)
    if n < FEWEST or not np.any(data):
        return ()
    worth = effective_samples(data)
    if worth >= LEAST_SHARE * n:
        return ()
    return (
        f"variances were learned from {n} samples as if they were independent, and they are worth "
        f"{worth:.0f}: see noise_time, models.Kronecker, problem.binned({round(n / worth)})",
    )
