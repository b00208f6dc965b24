r"""The marginal of sources and noise with covariances in time, exact and separable.

.. math::
   \operatorname{vec} Y \sim N\left(0,\; G R(\gamma) G^\top \otimes T(\theta)
   + (\gamma_0 G R_0 G^\top + W N W^\top) \otimes T_n(\theta)\right)
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float, PRNGKeyArray
from numpyro import handlers

from esijax._ops.separable import (
    Modes,
    Separable,
    modes,
    pair_of,
    separable_log_density,
)
from esijax._types import Scalar, Square
from esijax.models._scope import drawn_under, under, within
from esijax.models.hyperpriors import HyperPrior
from esijax.models.marginals._few_columns import FewColumns, few_columns
from esijax.models.marginals._raised import raised_variances_in_time
from esijax.models.marginals.linear import LinearMarginal
from esijax.models.marginals.marginal import (
    Hyper,
    JointDraw,
    Marginal,
    Sites,
    only_known,
    seeded_hyper,
    sites_named_alike,
)
from esijax.models.marginals.pooled import PooledMarginal
from esijax.models.noise import Noise
from esijax.models.posteriors.drawn import DrawnPosterior, drawn_posterior
from esijax.models.posteriors.separable import SeparablePosterior
from esijax.models.source_cov import Diagonal
from esijax.models.time import Time
from esijax.problem import Problem


class SeparableMarginal(Marginal):
    """Sources integrated out where they, and the noise, have covariances in time.

    Parameters
    ----------
    spatial : PooledMarginal
        Of the prior in space and the noise of the sensors.
    time, noise_time : Time
        Of sources and noise.
    rest : HyperPrior | None
        Of the variance of the remainder; None: there is none.
    times : (times,)
        s.
    model, noise
        What it was made of.
    name : str
    problem : Problem, optional
        Where the one of `spatial` is in a temporal basis: that of the samples.
    """

    problem: Problem
    spatial: PooledMarginal
    time: Time
    noise_time: Time
    rest: HyperPrior | None
    times: Float[Array, " times"]
    model: Any  # the prior that makes this: it stands below in the reading order
    noise: Noise
    label: str = eqx.field(static=True)
    rest_sensor: Float[Array, "rank rank"] | None
    known_time: Modes | None
    few: FewColumns | None

    def __init__(
        self,
        spatial: PooledMarginal,
        time: Time,
        noise_time: Time,
        rest: HyperPrior | None,
        times: Float[Array, " times"],
        model: Any,
        noise: Noise,
        name: str,
        problem: Problem | None = None,
    ):
        self.problem = spatial.problem if problem is None else problem
        self.spatial, self.model, self.noise, self.label = spatial, model, noise, name
        self.time, self.noise_time, self.rest, self.times = time, noise_time, rest, times
        sensor = None if rest is None else self._rest_cov(1.0).sensor(self.problem.gain)
        self.rest_sensor = sensor
        self.known_time = None
        if not (time.learned or noise_time.learned):
            self.known_time = modes(*self.in_time({}))
        self.few = few_columns(spatial, self.problem) if rest is None else None

    @property
    def name(self) -> str:
        """As the model calls itself."""
        return self.label

    @property
    def proper(self) -> bool:
        """Whether prior and noise of the sensors are."""
        return self.spatial.proper

    @property
    def sizes(self) -> dict[str, int]:
        """Those of the prior in space."""
        return self.spatial.sizes

    @property
    def work(self) -> float:
        """Eigenvectors of space, and of time where it is learned."""
        return 40.0 * (self.problem.rank**3 + self.problem.n_times**3)

    @property
    def side_by_side(self) -> int:
        """As in space."""
        return self.spatial.side_by_side

    # ------------------------------------------------------------------ the model
    def hyper(self) -> Hyper:
        """Draw those of prior and noise in space, then those in time."""
        out = self.spatial.hyper() | drawn_under("time", self.time.hyper, self.sizes)
        out |= drawn_under("noise/time", self.noise_time.hyper, self.sizes)
        if self.rest is not None:
            out |= drawn_under("rest", self.rest.sample, 1, self.sizes)
        return out

    def in_time(self, hyper: Hyper) -> tuple[Square, Square]:
        """T and T_n, as columns of the data have them."""
        own = self.time.cov(within("time", hyper), self.times).dense()
        stated = self.problem.noise_time
        if stated is not None:  # columns are whitened in time: noise of one is independent
            return stated.inverse @ own @ stated.inverse, jnp.eye(len(own))
        return own, self.noise_time.cov(within("noise/time", hyper), self.times).dense()

    def _rest_cov(self, gamma: Any) -> Diagonal:
        """Independent locations, as depth and orientation have it."""
        return Diagonal(gamma * self.problem.prior_scale**2)

    def _noise(self, hyper: Hyper) -> Square:
        return self.spatial.noise_cov(hyper)

    def cov(self, hyper: Hyper) -> Separable:
        """Four covariances: signal and noise, in space and in time; the remainder is noise."""
        noise = self._noise(hyper)
        if self.rest_sensor is not None:
            noise = noise + hyper["rest/gamma"][0] * self.rest_sensor
        return Separable(self.spatial.signal_cov(hyper), noise, *self.in_time(hyper))

    def log_evidence(self, hyper: Hyper) -> Scalar:
        """Log density of the data in their own units, the sources integrated out."""
        jacobian = self.spatial.log_jacobian
        if self.few is not None:
            variance = self._noise(hyper)[0, 0]
            gamma = self.few.prior.gamma(hyper)
            times = self.in_time(hyper)
            return self.few.log_density(gamma, variance, *times, self.known_time) + jacobian
        p, cov = self.problem, self.cov(hyper)
        data = p.data.reshape(-1, p.rank, p.n_times)
        return separable_log_density(cov, self.known_time, data) + jacobian

    def posterior(self, hyper: Hyper) -> SeparablePosterior:
        """Gaussian posterior at one value of the hyper-parameters."""
        p, cov = self.problem, self.cov(hyper)
        return SeparablePosterior(
            p.gain,
            self.spatial.prior.source_cov(hyper, p),
            None if self.rest is None else self._rest_cov(hyper["rest/gamma"][0]),
            pair_of(cov, self.known_time),
            p.data,
            jnp.linalg.cholesky(self._noise(hyper)),
        )

    def mixture(self, draws: Hyper) -> DrawnPosterior:
        """Equal mixture over draws of the hyper-parameters."""
        return drawn_posterior(self.problem, self.model, self.noise, draws)

    def simulate(self, key: PRNGKeyArray) -> JointDraw:
        """Draw hyper-parameters, sources (the remainder among them) and data."""
        problem, keys = self.problem, jax.random.split(key, 4)
        hyper = seeded_hyper(self, keys[0])
        time, noise = self.in_time(hyper)
        n = problem.n_times
        roots = [_root(time), jnp.linalg.cholesky(noise)]
        sources = self.spatial.prior.source_cov(hyper, problem).draw(keys[1], n) @ roots[0].T
        if self.rest is not None:
            sources += self._rest_cov(hyper["rest/gamma"][0]).draw(keys[2], n) @ roots[1].T
        white = jax.random.normal(keys[3], (problem.rank, n))
        noise = jnp.linalg.cholesky(self._noise(hyper)) @ white @ roots[1].T
        return JointDraw(hyper, sources, jnp.tensordot(problem.gain, sources, axes=2) + noise)

    # ------------------------------------------------------------------ variances and their names
    def distributions(self) -> tuple[dist.Distribution, ...] | None:
        """NumPyro distribution of each block of variances in space; None where some are tied."""
        own = self.spatial.distributions() if isinstance(self.spatial, LinearMarginal) else None
        if own is None or self.rest is None:
            return own
        more = self.rest.distributions(1, self.sizes)
        return None if more is None else (*own, *more)

    def start_variances(self, earlier: Hyper | None) -> Array:
        """Those of components, noise and remainder where an optimiser starts."""
        assert isinstance(self.spatial, LinearMarginal)
        with handlers.substitute(data=self.start_sites(earlier, warm=False)):
            hyper = self.hyper()
        rest = [] if self.rest is None else [hyper["rest/gamma"]]
        return jnp.concatenate([self.spatial.pack(hyper), *rest])

    def unpack(self, variances: Array) -> Hyper:
        """Hyper-parameters in space with these variances, by name."""
        assert isinstance(self.spatial, LinearMarginal)
        if self.rest is None:
            return self.spatial.unpack(variances)
        return self.spatial.unpack(variances[:-1]) | {"rest/gamma": variances[-1:]}

    # ------------------------------------------------------------------ where to start
    def analytic_sites(self, earlier: Hyper | None) -> Sites:
        """Those in space."""
        return self.spatial.analytic_sites(earlier)

    def start_sites(self, earlier: Hyper | None, *, warm: bool) -> Sites:
        """Those in space as if samples were independent, the rest at medians of the prior.

        `warm`: a few updates of the convex bound follow, with T and T_n as they are there.
        """
        sites = only_known(self.medians(), self.spatial.analytic_sites(earlier))
        sites = sites | sites_named_alike(sites, earlier or {})
        own = self.spatial
        if not (warm and earlier is None and isinstance(own, LinearMarginal) and own.all_linear):
            return sites
        gamma, noise, rest = raised_variances_in_time(self, own, sites)
        raised = own.prior.start(gamma, self.sizes) | own.noise.start(noise)
        if self.rest is not None:
            raised |= under("rest", self.rest.start(rest))
        return only_known(sites, raised)

    def starts_from(self, earlier: Hyper) -> bool:
        """Whether the earlier estimate is of use in space."""
        return self.spatial.starts_from(earlier)

    def sites_of(self, hyper: Hyper) -> Sites:
        """As in space."""
        return self.spatial.sites_of(hyper)


def _root(cov: Square) -> Square:
    """Symmetric root of a covariance that may be of lower rank."""
    value, vectors = jnp.linalg.eigh(cov)
    return vectors * jnp.sqrt(jnp.maximum(value, 0.0))[None]
