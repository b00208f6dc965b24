r"""The objective of expectation maximisation and one update of all variances.

.. math:: F(\theta) = \log p(Y \mid \theta) + \log p(\theta), \qquad \theta = (\gamma, v)

Variances of sources and of the noise are components alike: one covariance, one rule.
"""

import abc
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp

from esijax._types import Scalar
from esijax.inference.collapsed.em._hyperprior import VariancePrior
from esijax.inference.collapsed.em._sensor import Variances, floor
from esijax.inference.collapsed.em._update import bound_coefficients
from esijax.models.marginals.marginal import Hyper


class Evaluation(eqx.Module):
    """What is known at one value of the variances.

    Parameters
    ----------
    value : ()
        Objective.
    log : (n,)
        Logarithms of the variances.
    move : (n,)
        What the update adds to them.
    gradient : (n,)
        Derivative of the objective with respect to the logarithms.
    share : (n,)
        Part of each component's dimensions that the data determine, between 0 and 1.
    """

    value: Scalar
    log: Variances
    move: Variances
    gradient: Variances
    share: Variances


class DataFit(NamedTuple):
    """What the data say of the variances: log density, q and z of all components."""

    log_density: Scalar
    q: Variances
    z: Variances


class EMModel(eqx.Module):
    """The objective as variances see it; subclasses say what the data are.

    Parameters
    ----------
    prior : VariancePrior
        Log hyper-prior of all variances.
    n_columns : ()
        Samples of all trials.
    limit : (n,), optional
        z0, for the update "lowsnr".
    rank : int
        Dimensions of the data.
    n_sources : int
        Number of components of the sources; the others are the noise's.
    update : str
    """

    prior: VariancePrior
    n_columns: Scalar
    limit: Variances | None
    rank: int = eqx.field(static=True)
    n_sources: int = eqx.field(static=True)
    update: str = eqx.field(static=True)

    @property
    @abc.abstractmethod
    def size(self) -> Variances:
        """Dimensions of all components."""

    @property
    @abc.abstractmethod
    def operations(self) -> float:
        """Of one evaluation, about."""

    @property
    def learns_time(self) -> bool:
        """Whether covariances in time are learned beside the variances."""
        return False

    def at_times(self, now: Any) -> "EMModel":  # noqa: ARG002
        """With other covariances in time."""
        return self

    def time_hyper(self, now: Any) -> Hyper:  # noqa: ARG002
        """Hyper-parameters in time by name."""
        return {}

    def climb(self, point: Evaluation, now: Any) -> tuple[Evaluation, Any]:
        """One step of the hyper-parameters in time."""
        return point, now

    @abc.abstractmethod
    def fit(self, theta: Variances) -> DataFit:
        """What the data say at one value of the variances."""

    def at(self, log: Variances) -> Evaluation:
        """Evaluate the objective and its update."""
        low, high = self.prior.log_bounds(len(log))
        log = jnp.clip(log, low, high)
        theta = jnp.exp(log)
        log_density, q, z = self.fit(theta)
        bound = z if self.limit is None else self.limit
        size = self.size
        data = bound_coefficients(self.update, theta, q, bound, size, self.n_columns)
        new = self.prior.maximum(*data, theta)
        gradient = 0.5 * self.n_columns * theta * (q - bound) + self.prior.gradient(theta)
        # at an end of the support only the way back counts
        outwards = ((log <= low) & (gradient < 0)) | ((log >= high) & (gradient > 0))
        gradient = jnp.where(outwards, 0.0, gradient)
        move = jnp.maximum(jnp.log(new), floor(log)) - log
        share = jnp.clip(theta * z / size, 0.0, 1.0)
        return Evaluation(log_density + self.prior.value(theta), log, move, gradient, share)
