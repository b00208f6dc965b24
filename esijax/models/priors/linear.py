r"""Priors whose covariance is linear in the variances of components."""

import abc
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float

from esijax._types import InputError
from esijax.models._scope import under, within
from esijax.models.hyperpriors import HyperPrior, hyperprior
from esijax.models.marginals.linear import LinearMarginal
from esijax.models.noise import Noise
from esijax.models.parts import Part, total_cov
from esijax.models.posteriors.local_moments import LocalMoments, linear_moments
from esijax.models.priors.prior import Prior
from esijax.models.source_cov import SourceCov
from esijax.problem import Problem

COMMON = ("n_locations", "n_orients", "n_times")


def sparse_variances() -> dist.Distribution:
    """Heavy to the right (5 % above 1), bounded to the left, median 0.07."""
    return dist.InverseGamma(1.0, 0.05)


class LinearPrior(Prior):
    r"""Covariance components with unknown variances.

    .. math:: R(\gamma) = \sum_k \gamma_k C_k, \qquad \gamma \sim p(\gamma)

    A new one gives `parts`; `variance_prior` where the variances are to have another distribution
    than the default. Sensor factors, every inference on the hyper-parameters (`EM` and `Gibbs`
    too) and the fast evidence follow.
    """

    @abc.abstractmethod
    def parts(self, problem: Problem) -> tuple[Part, ...]:
        """Components for this problem, objects of `esijax.models.parts`.

        It is called under jit, so that only arrays may depend on arrays of the problem; what must
        run on the host belongs in `prepare`.
        """

    def variance_prior(self) -> Any:
        """Distribution of the variances: a NumPyro distribution, a HyperPrior, or None (flat).

        One for all, or with an entry for each component. By default InverseGamma(1, 0.05): most
        are weak, 5 % above 1.
        """
        return sparse_variances()

    def prepare(self, problem: Problem) -> "LinearPrior":  # noqa: ARG002
        """Do once, on the host, what depends on where the sources are."""
        return self

    def counts(self, problem: Problem) -> dict[str, int]:
        """Number of components, as the entry "n_components" of `sizes`."""
        return {"n_components": sum(part.n for part in self.parts(problem))}

    def n_components(self, sizes: dict[str, int]) -> int:
        """How many variances there are."""
        return sizes["n_components"]

    @property
    def _variances(self) -> HyperPrior:
        return hyperprior(self.variance_prior())

    def hyper(self, sizes: dict[str, int]) -> dict[str, Array]:
        """Draw the variances."""
        return self._variances.sample(self.n_components(sizes), sizes)

    def distributions(self, sizes: dict[str, int]) -> tuple[dist.Distribution, ...] | None:
        """NumPyro distribution of each block of independent variances; None where some are tied."""
        return self._variances.distributions(self.n_components(sizes), sizes)

    def gamma(self, hyper: dict[str, Array]) -> Float[Array, "*draws components"]:
        """Variances among the hyper-parameters."""
        return hyper["gamma"]

    def named(
        self,
        gamma: Float[Array, " components"],
        sizes: dict[str, int],  # noqa: ARG002
    ) -> dict[str, Array]:
        """Hyper-parameters with these variances, where the variances are independent."""
        return {"gamma": gamma}

    def start(
        self,
        gamma: Float[Array, " components"],
        sizes: dict[str, int],  # noqa: ARG002
    ) -> dict[str, Array]:
        """Sampled sites at which the variances are `gamma`, or near it within their support."""
        return self._variances.start(gamma)

    @property
    def proper(self) -> bool:
        """Whether the hyper-prior is a distribution."""
        return self._variances.proper

    def source_cov(self, hyper: dict[str, Array], problem: Problem) -> SourceCov:
        """Sum of the components."""
        return total_cov(self.parts(problem), self.gamma(hyper), problem.prior_scale)

    def marginal(self, problem: Problem, noise: Noise | None = None) -> LinearMarginal:
        """Integrate the sources out, with the sensor factors of all components."""
        return LinearMarginal(problem, self.prepare(problem), noise)

    def local_moments(self, problem: Problem) -> LocalMoments:
        """Prior moments of single locations, through the parts."""
        return linear_moments(self, problem)


class OneLevel(LinearPrior):
    """All variances from one hyper-prior, the field `local`."""

    local: eqx.AbstractVar[Any]

    def variance_prior(self) -> Any:
        """Give the field."""
        return self.local


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

    def counts(self, problem: Problem) -> dict[str, int]:
        """Sum of the numbers, and that of each under its own name."""
        each = [prior.counts(problem) for prior in self.priors]
        total = sum(own["n_components"] for own in each)
        return {"n_components": total} | _together(each)

    def n_components(self, sizes: dict[str, int]) -> int:
        """Sum of the numbers."""
        return sum(prior.n_components(own) for prior, own in self._each(sizes))

    def _each(self, sizes: dict[str, int]) -> list[tuple[LinearPrior, dict[str, int]]]:
        """Each prior with its own sizes."""
        common = {name: sizes[name] for name in COMMON if name in sizes}
        return [(prior, common | _own(sizes, i)) for i, prior in enumerate(self.priors)]

    def hyper(self, sizes: dict[str, int]) -> dict[str, Array]:
        """Draw each under its own name."""
        out = []
        for i, (prior, own) in enumerate(self._each(sizes)):
            with numpyro.handlers.scope(prefix=f"part{i}"):
                out.append(prior.hyper(own))
        return _together(out)

    def distributions(self, sizes: dict[str, int]) -> tuple[dist.Distribution, ...] | None:
        """Blocks of all; None where those of one are tied."""
        each = [prior.distributions(own) for prior, own in self._each(sizes)]
        if any(own is None for own in each):
            return None
        return tuple(one for own in each if own is not None for one in own)

    def gamma(self, hyper: dict[str, Array]) -> Float[Array, "*draws components"]:
        """All variances side by side."""
        own = [prior.gamma(_own(hyper, i)) for i, prior in enumerate(self.priors)]
        return jnp.concatenate(own, axis=-1)

    def named(self, gamma: Float[Array, " components"], sizes: dict[str, int]) -> dict[str, Array]:
        """Split the variances among the priors, each under its own names."""
        pieces = self._pieces(gamma, sizes)
        return _together([prior.named(piece, own) for prior, own, piece in pieces])

    def start(self, gamma: Float[Array, " components"], sizes: dict[str, int]) -> dict[str, Array]:
        """Start each prior at its share of the variances."""
        pieces = self._pieces(gamma, sizes)
        return _together([prior.start(piece, own) for prior, own, piece in pieces])

    def _pieces(self, gamma, sizes: dict[str, int]):
        """Each prior, its sizes and its share of all variances."""
        offset = 0
        for prior, own in self._each(sizes):
            n = prior.n_components(own)
            yield prior, own, gamma[offset : offset + n]
            offset += n

    @property
    def proper(self) -> bool:
        """Whether all are."""
        return all(prior.proper for prior in self.priors)


def _own(hyper: dict[str, Any], i: int) -> dict[str, Any]:
    """Entries of the i-th prior."""
    return within(f"part{i}", hyper)


def _together(each: list[dict[str, Any]]) -> dict[str, Any]:
    """Entries of all priors, under names of their own."""
    return {name: v for i, own in enumerate(each) for name, v in under(f"part{i}", own).items()}
