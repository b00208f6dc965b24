r"""The marginal of priors that are linear in variances, with sensor factors computed once.

.. math:: \Sigma(\gamma, v) = \sum_k \gamma_k A_k A_k^\top + W N(v) W^\top
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float, Int

from esijax._ops.trials import trials_as_columns
from esijax._types import Scalar, Square
from esijax.models.marginals._evidence import (
    AnyNoise,
    MatrixSpace,
    SensorEvidence,
    sensor_evidence,
)
from esijax.models.marginals._hessian import variance_derivatives
from esijax.models.marginals._start import (
    analytic_variances,
    earlier_gamma,
    earlier_noise,
    raised_variances,
)
from esijax.models.marginals.marginal import Hyper, Sites, only_known
from esijax.models.marginals.pooled import MOST_TOGETHER, PooledMarginal
from esijax.models.noise import LinearNoise, Noise, White
from esijax.models.parts import stacked
from esijax.problem import Problem

TOGETHER = 2e8  # bytes of the sensor factors that evaluations side by side may hold
PackedVariances = Float[Array, " variances"]
Factors = tuple[Float[Array, "rank columns"], Int[Array, " columns"], int]


class LinearMarginal(PooledMarginal):
    """A linear prior with its sources integrated out.

    Parameters
    ----------
    problem : Problem
        What was measured.
    prior : LinearPrior
        Prepared (`prior.prepare(problem)`).
    noise : Noise | None
        None is `White`.

    Attributes
    ----------
    factor, group
        Sensor factors A of all components side by side, and the component of each column.
    evidence : SensorEvidence
        The log-evidence in the space where it is cheapest.
    n_sources : int
        Number of components.
    """

    factor: Float[Array, "rank columns"]
    group: Int[Array, " columns"]
    evidence: SensorEvidence
    counts: tuple[tuple[str, int], ...] = eqx.field(static=True)

    def __init__(self, problem: Problem, prior: Any, noise: Noise | None = None):
        super().__init__(problem, prior, noise)
        parts = prior.parts(problem)
        self.factor, self.group = stacked(parts, problem.gain, problem.prior_scale)
        self.counts = tuple(prior.counts(problem).items())
        self.evidence = sensor_evidence(
            problem,
            self.noise,
            trials_as_columns(problem.data),
            self.factor,
            self.group,
            self.n_sources,
        )

    @property
    def n_sources(self) -> int:
        """Number of components of the sources."""
        return dict(self.counts)["n_components"]

    @property
    def n_noise(self) -> int:
        """Number of variances of linear noise."""
        return self.noise.n_variances if isinstance(self.noise, LinearNoise) else 0

    @property
    def all_linear(self) -> bool:
        """Whether the noise, too, is linear in variances or known."""
        return isinstance(self.noise, White | LinearNoise)

    @property
    def sizes(self) -> dict[str, int]:
        """Sizes that hyper-priors ask for, the number of components among them."""
        return {**super().sizes, **dict(self.counts)}

    @property
    def work(self) -> float:
        """Operations of products with the factors, or with few matrices."""
        rank = self.problem.rank
        few = isinstance(self.evidence, MatrixSpace)
        columns = len(self.evidence.matrices) if few else self.factor.shape[1]
        return 8.0 * rank**2 * (rank + columns)

    @property
    def side_by_side(self) -> int:
        """Each evaluation holds copies of the sensor factors."""
        return int(min(max(TOGETHER // (8 * self.factor.size), 1), MOST_TOGETHER))

    # ------------------------------------------------------------------ variances and their names
    def pack(self, hyper: Hyper) -> PackedVariances:
        """PackedVariances of the components, then those of linear noise."""
        gamma = self.prior.gamma(hyper)
        return jnp.concatenate([gamma, hyper["noise_var"]]) if self.n_noise else gamma

    def unpack(self, variances: PackedVariances) -> Hyper:
        """Hyper-parameters with these variances, by name."""
        hyper = self.prior.named(variances[: self.n_sources], self.sizes)
        if not self.n_noise:
            return hyper
        noise = variances[self.n_sources :]
        return hyper | {"noise_var": noise, "noise_scale": jnp.sqrt(noise)}

    def distributions(self) -> tuple[dist.Distribution, ...] | None:
        """NumPyro distribution of each block of these variances; None where some are tied."""
        own = self.prior.distributions(self.sizes)
        if own is None or not isinstance(self.noise, LinearNoise):
            return own
        more = self.noise.distributions()
        return None if more is None else (*own, *more)

    def columns(self) -> Factors:
        """Sensor factors of components and of linear noise, the owner of each column, owners."""
        if not isinstance(self.noise, LinearNoise):
            return self.factor, self.group, self.n_sources
        own, member = self.noise.factor(self.problem.whitener)
        factor = jnp.concatenate([self.factor, own], axis=1)
        owner = jnp.concatenate([self.group, member + self.n_sources])
        return factor, owner, self.n_sources + self.n_noise

    # ------------------------------------------------------------------ densities
    def signal_cov(self, hyper: Hyper) -> Square:
        """Covariance that the sources make at the sensors, through the factors."""
        gamma = self.prior.gamma(hyper)
        if isinstance(self.evidence, MatrixSpace):
            return self.evidence.signal(gamma)
        return (self.factor * gamma[self.group][None]) @ self.factor.T

    def log_evidence(self, hyper: Hyper) -> Scalar:
        """Log density of the data in their own units, the sources integrated out."""
        if isinstance(self.evidence, AnyNoise):
            noise = self.noise_cov(hyper)
        else:
            noise = hyper.get("noise_var", jnp.ones(1))  # White has none of its own
        seen = self.evidence(self.prior.gamma(hyper), noise)
        return seen + self.log_noise_alone(hyper) + self.log_jacobian

    def evidence_hessian(
        self, hyper_of: Callable[[Array], Hyper], at: Float[Array, " unknowns"]
    ) -> Float[Array, "unknowns unknowns"] | None:
        """Chain rule through the variances; None where the noise is not linear in any."""
        if not self.all_linear:
            return None

        def variances(u):
            return self.pack(hyper_of(u))

        gradient, inner = variance_derivatives(self, hyper_of(at))
        steep = jax.jacfwd(variances)(at)
        # the gradient is a constant of this derivative, yet follows data and gain in an outer one
        bent = jax.hessian(lambda u: jnp.sum(gradient * variances(u)))(at)
        return steep.T @ inner @ steep + bent

    # ------------------------------------------------------------------ where to start
    def starts_from(self, earlier: Hyper) -> bool:
        """Whether the earlier estimate has variances of these components."""
        return earlier_gamma(self, earlier) is not None

    def start_variances(self, earlier: Hyper | None) -> PackedVariances:
        """PackedVariances to start from: those of an earlier estimate, or those of minimum norm."""
        gamma = earlier_gamma(self, earlier)
        if gamma is None:
            gamma = analytic_variances(self)
        else:
            gamma = jnp.maximum(gamma, 1e-8 * jnp.max(gamma))
        if not self.n_noise:
            return gamma
        return jnp.concatenate([gamma, earlier_noise(self.noise, earlier)])

    def analytic_sites(self, earlier: Hyper | None) -> Sites:
        """Sites at which the variances are those of `start_variances`."""
        gamma = self.start_variances(earlier)[: self.n_sources]
        sites = self.prior.start(gamma, self.sizes)
        return sites | self.noise.start(earlier_noise(self.noise, earlier))

    def start_sites(self, earlier: Hyper | None, *, warm: bool) -> Sites:
        """Those of `analytic_sites`, the rest at the prior's medians.

        `warm`: a few updates of the convex bound follow. A quasi-Newton method that starts far
        away switches components off that it never finds again.
        """
        sites = only_known(self.medians(), self.analytic_sites(earlier))
        if not (warm and earlier is None and self.all_linear):
            return sites
        variances = raised_variances(self, sites)
        own = self.prior.start(variances[: self.n_sources], self.sizes)
        return only_known(sites, own | self.noise.start(variances[self.n_sources :]))
