r"""Priors whose covariance is linear in the variances of components."""

import abc
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpyro
from jaxtyping import Array, Float

from esijax._types import InputError
from esijax.models.parts import Part, total_cov
from esijax.models.priors.prior import Prior
from esijax.models.source_cov import SourceCov
from esijax.problem import Problem


class LinearPrior(Prior):
    r"""Covariance components with unknown variances.

    .. math:: R(\gamma) = \sum_k \gamma_k C_k, \qquad \gamma \sim p(\gamma)

    Subclasses give `parts` and `n_components`; sensor factors, expectation maximisation and the
    fast evidence follow from them.
    """

    def prepare(self, problem: Problem) -> "LinearPrior":  # noqa: ARG002
        """Do once, on the host, what depends on where the sources are."""
        return self

    @abc.abstractmethod
    def parts(self, problem: Problem) -> tuple[Part, ...]:
        """Components for this problem; of arrays alone once the prior is prepared."""

    @abc.abstractmethod
    def n_components(self, sizes: dict[str, int]) -> int:
        """How many variances there are."""

    @abc.abstractmethod
    def gamma(self, hyper: dict[str, Array]) -> Float[Array, "*draws components"]:
        """Variances among the hyper-parameters."""

    @abc.abstractmethod
    def start(self, gamma: Float[Array, " components"], sizes: dict[str, int]) -> dict[str, Array]:
        """Sampled sites at which the variances are `gamma`."""

    @property
    @abc.abstractmethod
    def proper(self) -> bool:
        """Whether the hyper-prior is a distribution."""

    def source_cov(self, hyper: dict[str, Array], problem: Problem) -> SourceCov:
        """Sum of the components."""
        return total_cov(self.parts(problem), self.gamma(hyper), problem.prior_scale)


class OneLevel(LinearPrior):
    """All variances from one hyper-prior, `local`."""

    local: eqx.AbstractVar[Any]

    def hyper(self, sizes: dict[str, int]) -> dict[str, Array]:
        """Draw the variances."""
        return self.local.sample(self.n_components(sizes), sizes)

    def gamma(self, hyper: dict[str, Array]) -> Float[Array, "*draws components"]:
        """Entry "gamma"."""
        return hyper["gamma"]

    def start(
        self,
        gamma: Float[Array, " components"],
        sizes: dict[str, int],  # noqa: ARG002
    ) -> dict[str, Array]:
        """Ask the hyper-prior."""
        return self.local.start(gamma)

    @property
    def proper(self) -> bool:
        """Ask the hyper-prior."""
        return self.local.proper


class Sum(LinearPrior):
    r"""Sources of several kinds at once, :math:`R = R_1 + R_2 + \dots`.

    Parameters
    ----------
    *priors : LinearPrior
        Each keeps its own hyper-parameters, named ``part0/gamma``, ``part1/gamma``, ...

    Raises
    ------
    InputError
        For something else than priors of components.

    Examples
    --------
    >>> import esijax as ej, numpyro.distributions as dist
    >>> sparse, patches = ej.models.ARD(dist.HalfCauchy(0.1)), ej.models.Components(["iid"])
    >>> prior = ej.models.Sum(sparse, patches)
    """

    priors: tuple[LinearPrior, ...]

    def __init__(self, *priors: Any):
        for prior in priors:
            if not isinstance(prior, LinearPrior):
                raise InputError(f"Sum adds priors of components, got {type(prior).__name__}.")
        if not priors:
            raise InputError("Sum needs at least one prior.")
        self.priors = priors

    def prepare(self, problem: Problem) -> "Sum":
        """Prepare each."""
        return Sum(*(prior.prepare(problem) for prior in self.priors))

    def parts(self, problem: Problem) -> tuple[Part, ...]:
        """Parts of all."""
        return tuple(part for prior in self.priors for part in prior.parts(problem))

    def n_components(self, sizes: dict[str, int]) -> int:
        """Sum of the numbers."""
        return sum(prior.n_components(sizes) for prior in self.priors)

    def hyper(self, sizes: dict[str, int]) -> dict[str, Array]:
        """Draw each under its own name."""
        out = {}
        for i, prior in enumerate(self.priors):
            with numpyro.handlers.scope(prefix=f"part{i}"):
                own = prior.hyper(sizes)
            out |= {f"part{i}/{name}": value for name, value in own.items()}
        return out

    def gamma(self, hyper: dict[str, Array]) -> Float[Array, "*draws components"]:
        """All variances side by side."""
        own = [prior.gamma(_own(hyper, i)) for i, prior in enumerate(self.priors)]
        return jnp.concatenate(own, axis=-1)

    def start(self, gamma: Float[Array, " components"], sizes: dict[str, int]) -> dict[str, Array]:
        """Start each."""
        out, offset = {}, 0
        for i, prior in enumerate(self.priors):
            n = prior.n_components(sizes)
            own = prior.start(gamma[offset : offset + n], sizes)
            out |= {f"part{i}/{name}": value for name, value in own.items()}
            offset += n
        return out

    @property
    def proper(self) -> bool:
        """Whether all are."""
        return all(prior.proper for prior in self.priors)


def _own(hyper: dict[str, Array], i: int) -> dict[str, Array]:
    prefix = f"part{i}/"
    return {k.removeprefix(prefix): v for k, v in hyper.items() if k.startswith(prefix)}
