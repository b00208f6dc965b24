"""Sources that are mixtures of a few courses."""

from typing import Any, Literal

import equinox as eqx
from jaxtyping import Array

from esijax._types import InputError
from esijax.models.hyperpriors import hyperprior
from esijax.models.marginals import Marginal
from esijax.models.noise import Noise
from esijax.models.priors.linear import sparse_variances
from esijax.models.priors.prior import Prior
from esijax.models.source_cov import SourceCov
from esijax.models.temporal.waves import Waves
from esijax.problem import Problem


class TemporalBasis(Prior):
    r"""A prior in space times a few courses: :math:`X = W \Phi`.

    Parameters
    ----------
    model : prior
        Of each column of W.
    basis : Waves
        Of the courses.
    rest : "iid" | None
        Remainder with independent locations and samples, its variance learned, or none.
    rest_variance : numpyro distribution
        Prior of that variance; that of components by default.

    Raises
    ------
    InputError
        For something else than a prior in space and a basis.

    Examples
    --------
    >>> import esijax as ej
    >>> waves = ej.models.Waves(2, ej.models.time.SquaredExponential(0.02))
    >>> model = ej.models.TemporalBasis(ej.models.ARD(), waves)
    """

    model: Any
    basis: Any
    rest: Literal["iid"] | None = eqx.field(static=True)
    rest_variance: Any

    def __init__(self, model: Any, basis: Any, rest: Any = "iid", rest_variance: Any = None):
        if not isinstance(basis, Waves):
            raise InputError(f"TemporalBasis takes Waves(k, time), got {type(basis).__name__}.")
        if rest not in ("iid", None):
            raise InputError(f"rest must be 'iid' or None, got {rest!r}.")
        self.model, self.basis, self.rest = model, basis, rest
        self.rest_variance = hyperprior(
            sparse_variances() if rest_variance is None else rest_variance
        )

    def prepare(self, problem: Problem) -> "TemporalBasis":
        """Prepare prior and basis."""
        model, basis = self.model.prepare(problem), self.basis.prepare(problem)
        return TemporalBasis(model, basis, self.rest, self.rest_variance)

    def default_noise(self, problem: Problem) -> Noise:
        """Ask the basis."""
        return self.basis.default_noise(problem)

    def hyper(self, sizes: dict[str, int]) -> dict[str, Array]:
        """Those of the prior in space."""
        return self.model.hyper(sizes)

    def source_cov(self, hyper: dict[str, Array], problem: Problem) -> SourceCov:
        """Covariance of each column of W."""
        return self.model.source_cov(hyper, problem)

    def marginal(self, problem: Problem, noise: Noise | None = None) -> Marginal:  # noqa: ARG002
        """Refuse: both factors are unknown."""
        raise InputError("waves that are learned take inference.VB: both factors are unknown.")
