r"""Sensor noise, defined on channels and carried through the whitener.

.. math:: E \sim N(0,\, W N(\theta) W^\top), \qquad W C W^\top = I

with C the noise covariance of the problem, so that `White` is the identity. Variances are relative
to C: 1 says that C was right.
"""

import abc
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float, Int

from esijax._types import Square
from esijax.models.hyperpriors import HyperPrior, hyperprior
from esijax.problem import Problem, Whitener


def around_one() -> dist.Distribution:
    """Variance relative to the given covariance: median 0.6, 90 % between 0.2 and 2.8."""
    return dist.InverseGamma(2.0, 1.0)


def variance_prior(value: Any) -> HyperPrior:
    """Converter of the field `variance`."""
    return hyperprior(around_one() if isinstance(value, str) and value == "around one" else value)


def draw_variances(prior: HyperPrior, n: int) -> dict[str, Array]:
    """Draw n variances under names of their own; "noise_scale" holds their roots."""
    with numpyro.handlers.scope(prefix="noise"):
        own = prior.sample(n, {})
    own = {f"noise/{name}": value for name, value in own.items()}
    variance = own.pop("noise/gamma")
    return {**own, "noise_var": variance, "noise_scale": jnp.sqrt(variance)}


def start_variances(prior: HyperPrior, variance: Array) -> dict[str, Array]:
    """Sampled sites at which the variances are these."""
    return {f"noise/{name}": value for name, value in prior.start(variance).items()}


class Noise(eqx.Module):
    r"""A noise model.

    .. math:: \theta \sim p(\theta), \qquad E \mid \theta \sim N(0, W N(\theta) W^\top)

    A new one is a class with the two methods `hyper` and `covariance`; every inference that learns
    the noise and reads it as a covariance (`Evidence`, `Laplace`, `SVI`, `NUTS`) takes it.
    """

    def prepare(self, problem: Problem) -> "Noise":  # noqa: ARG002
        """Learn the sizes of a problem, once."""
        return self

    @abc.abstractmethod
    def hyper(self) -> dict[str, Array]:
        """Draw the parameters with `numpyro.sample`, sites and entries named ``noise...``."""

    @abc.abstractmethod
    def covariance(self, hyper: dict[str, Array], whitener: Whitener) -> Square:
        """Covariance of the whitened noise, (rank, rank).

        ``whitener.matrix`` (rank, channels) is W and ``whitener.colorer`` (channels, rank) its
        inverse, so that ``colorer @ colorer.T`` is the given noise covariance C.
        """

    @property
    def notes(self) -> tuple[str, ...]:
        """What the reader of a map should know of the noise that was assumed."""
        return ()

    @property
    def n_variances(self) -> int:
        """How many unknown variances there are."""
        return 0

    @property
    def proper(self) -> bool:
        """Whether the parameters have a distribution."""
        return True

    def start(self, variance: Float[Array, " variances"]) -> dict[str, Array]:  # noqa: ARG002
        """Sampled sites at which the variances are these."""
        return {}


class White(Noise):
    """The noise is as the noise covariance says.

    Examples
    --------
    >>> import esijax as ej
    >>> noise = ej.models.noise.White()
    """

    def hyper(self) -> dict[str, Array]:
        """Nothing to learn."""
        return {}

    def dimensions(self, whitener: Whitener) -> Int[Array, " rank"]:
        """Give all dimensions the same variance, 1."""
        return jnp.zeros(whitener.matrix.shape[0], dtype=int)

    def covariance(self, hyper: dict[str, Array], whitener: Whitener) -> Square:  # noqa: ARG002
        """Identity."""
        return jnp.eye(whitener.matrix.shape[0])


class LinearNoise(Noise):
    r"""Noise that is linear in unknown variances: :math:`W N W^\top = \sum_j v_j B_j B_j^\top`.

    Attributes
    ----------
    variance : numpyro distribution | HyperPrior | None
        Prior of the variances, relative to the given noise covariance; None is flat.
    """

    variance: eqx.AbstractVar[HyperPrior]

    @abc.abstractmethod
    def factor(
        self, whitener: Whitener
    ) -> tuple[Float[Array, "rank columns"], Int[Array, " columns"]]:
        """Factors B side by side, and the variance that each column belongs to."""

    def dimensions(self, whitener: Whitener) -> Int[Array, " rank"] | None:  # noqa: ARG002
        """Variance of each whitened dimension where the noise is diagonal there, else None."""
        return None

    def hyper(self) -> dict[str, Array]:
        """Draw the variances; "noise_scale" holds their roots."""
        return draw_variances(self.variance, self.n_variances)

    def start(self, variance: Float[Array, " variances"]) -> dict[str, Array]:
        """Sampled sites at which the variances are these."""
        return start_variances(self.variance, variance)

    def distributions(self) -> tuple[dist.Distribution, ...] | None:
        """NumPyro distribution of each block of variances; None where they are tied."""
        return self.variance.distributions(self.n_variances, {})

    @property
    def proper(self) -> bool:
        """Ask the prior of the variances."""
        return self.variance.proper

    def covariance(self, hyper: dict[str, Array], whitener: Whitener) -> Square:
        """Sum of the components."""
        factor, member = self.factor(whitener)
        return (factor * hyper["noise_var"][member][None]) @ factor.T
