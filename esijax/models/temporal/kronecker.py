"""Sources with one covariance in space and one in time."""

from typing import Any, Literal

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from esijax._ops.time.levinson import autocovariance, order_by_evidence
from esijax._types import InputError, is_traced
from esijax.models._scope import drawn_under
from esijax.models.hyperpriors import hyperprior
from esijax.models.marginals.pooled import PooledMarginal
from esijax.models.marginals.separable import SeparableMarginal
from esijax.models.noise import InTime, Noise, PerType, White
from esijax.models.noise.per_type import learned_level
from esijax.models.priors.linear import LinearPrior, sparse_variances
from esijax.models.priors.prior import Prior
from esijax.models.source_cov import SourceCov
from esijax.models.time import Autoregressive, Time
from esijax.models.time import White as Independent
from esijax.problem import Problem

USUAL_ORDER = 4  # of the noise, where no baseline tells
LARGEST_ORDER = 8
SHORTEST_BASELINE = 40  # samples


class Kronecker(Prior):
    r"""A prior in space times a covariance in time, and a remainder of the cortex.

    .. math::
       X \sim MN\left(0,\, R(\gamma),\, T(\theta)\right) + MN\left(0,\, \gamma_0 R_0,\, T_n\right),
       \qquad E \sim MN(0,\, N,\, T_n)

    Samples are not independent: what is smooth in time is heard from many of them at once. The
    remainder (`rest`) is activity everywhere that the prior in space has no component for; it has
    the noise's covariance in time, so that all stays exact (one pair of eigenvalue problems).
    Activity elsewhere that is as smooth as the sources belongs into the prior, as a component:
    ``Kronecker(Sum(patches, Components(["iid"])), time)``. Without it wrong patches are worse
    than under independent samples.

    Unless `noise` says otherwise the noise is learned too: a factor for each sensor type (one for
    all where types are unknown) and an autoregression in time, of the order that the evidence of
    the samples before time zero prefers (4 where there are fewer than 40 of them). The estimate's
    notes say which. ``noise=White()`` is the noise covariance as given, independent samples.

    Parameters
    ----------
    model : prior
        In space: `Components`, `ARD`, `MinimumNorm`, ...
    time : Time
        Of `ej.models.time`: `SquaredExponential` for evoked responses, `Autoregressive`,
        `Oscillator`.
    rest : "iid" | None
        Remainder with independent locations and a variance of its own, or none.
    rest_variance : numpyro distribution
        Prior of its variance; that of components by default.
    times : (times,), optional
        Set by `prepare`: when the samples are, s.

    Raises
    ------
    InputError
        For something else than a prior and a covariance in time; for a covariance that the times
        cannot have (an autoregression and uneven times).

    References
    ----------
    Bijma, de Munck and Heethaar 2005, doi:10.1016/j.neuroimage.2005.04.032; Stegle et al. 2011,
    https://papers.nips.cc/paper/2011/hash/a732804c8566fc8f498947ea59a841f8-Abstract.html.

    Examples
    --------
    >>> import numpy as np, esijax as ej, numpyro.distributions as dist
    >>> gain = np.random.default_rng(0).standard_normal((8, 12))
    >>> course = np.exp(-0.5 * ((np.arange(40) - 20) / 5) ** 2)
    >>> problem = ej.from_arrays(gain, 3 * gain[:, :1] * course, noise_cov=1.0, sfreq=200.0)
    >>> time = ej.models.time.SquaredExponential(dist.LogNormal(-4, 0.5))
    >>> model = ej.models.Kronecker(ej.models.ARD(dist.HalfCauchy(1.0)), time)
    >>> estimate = ej.solve(problem, model, ej.inference.Evidence())
    >>> estimate.mean.shape
    (12, 1, 40)
    """

    model: Prior
    time: Time
    rest: Literal["iid"] | None = eqx.field(static=True, default="iid")
    rest_variance: Any = None
    times: Float[Array, " times"] | None = None

    def __init__(
        self,
        model: Any,
        time: Any,
        rest: Any = "iid",
        rest_variance: Any = None,
        times: Any = None,
    ):
        if not isinstance(model, Prior) or isinstance(model, Kronecker):
            raise InputError(
                f"Kronecker takes a prior in space (Components, ARD, MinimumNorm, ...), got "
                f"{type(model).__name__}."
            )
        if not isinstance(time, Time):
            raise InputError(
                f"Kronecker takes a covariance of esijax.models.time, got {type(time).__name__}: "
                "e.g. time.SquaredExponential()."
            )
        if rest not in ("iid", None):
            raise InputError(f"rest must be 'iid' or None, got {rest!r}.")
        self.model, self.time, self.rest, self.times = model, time, rest, times
        self.rest_variance = hyperprior(
            sparse_variances() if rest_variance is None else rest_variance
        )

    def prepare(self, problem: Problem) -> "Kronecker":
        """Prepare the prior in space, and note the times."""
        if self.times is not None:
            return self
        self.time.check(problem.times)
        model, times = self.model.prepare(problem), jnp.asarray(problem.times, float)
        return Kronecker(model, self.time, self.rest, self.rest_variance, times)

    def default_noise(self, problem: Problem) -> InTime:
        """Noise that is learned where none was given; it says how its order was chosen."""
        return default_noise(problem)

    # ------------------------------------------------------------------ what methods ask
    def hyper(self, sizes: dict[str, int]) -> dict[str, Array]:
        """Those in space, then those in time and of the remainder."""
        own = {**self.model.hyper(sizes), **drawn_under("time", self.time.hyper, sizes)}
        if self.rest is None:
            return own
        return own | drawn_under("rest", self.rest_variance.sample, 1, sizes)

    def distributions(self, sizes: dict[str, int]) -> Any:
        """Of each block of variances in space, the remainder's last; None where some are tied."""
        return distributions_in_space(self.model, self.rest, self.rest_variance, sizes)

    def source_cov(self, hyper: dict[str, Array], problem: Problem) -> SourceCov:
        """R, the covariance in space of each sample."""
        return self.model.source_cov(hyper, problem)

    @property
    def proper(self) -> bool:
        """Ask the prior in space."""
        return self.model.proper

    def marginal(self, problem: Problem, noise: Noise | None = None) -> SeparableMarginal:
        """Integrate the sources out of signal, remainder and noise."""
        own, noise = self.prepare(problem), White() if noise is None else noise
        spatial, in_time = in_space_and_time(noise, problem)
        spatial = space_of(own.model, problem, spatial, "Kronecker")
        name = f"Kronecker({spatial.name}, {type(self.time).__name__})"
        rest, times = None if self.rest is None else self.rest_variance, jnp.asarray(own.times)
        return SeparableMarginal(spatial, own.time, in_time, rest, times, own, noise, name)


def distributions_in_space(model: Prior, rest: Any, rest_variance: Any, sizes: dict[str, int]):
    """NumPyro distribution of each block of variances; None where some are tied."""
    own = model.distributions(sizes) if isinstance(model, LinearPrior) else None
    if own is None or rest is None:
        return own
    more = rest_variance.distributions(1, sizes)
    return None if more is None else (*own, *more)


def in_space_and_time(noise: Noise | None, problem: Problem) -> tuple[Noise, Time]:
    """Noise of the sensors, and its covariance in time; InputError where that is stated too."""
    noise = White() if noise is None else noise
    in_time = noise.time if isinstance(noise, InTime) else Independent()
    if problem.noise_time is not None and not isinstance(in_time, Independent):
        raise InputError(
            "the noise has two covariances in time, noise_time and that of noise.InTime: take "
            "problem.with_noise_time(None) to learn it, or another noise to have it stated."
        )
    return (noise.noise if isinstance(noise, InTime) else noise), in_time


def space_of(model: Prior, problem: Problem, noise: Noise, who: str) -> PooledMarginal:
    """The marginal in space; InputError for a prior that is more than a covariance in space."""
    if isinstance(getattr(model, "lambda2", None), str):
        raise InputError(
            f"{who} learns variances from samples that go together, and a rule for lambda2 takes "
            "them as independent: give a number, or Components(['iid']), whose variance is learned."
        )
    found = model.marginal(problem, noise)
    if not isinstance(found, PooledMarginal):
        raise InputError(
            f"{who} takes a prior with a covariance in space, and {type(model).__name__} has "
            "another marginal."
        )
    return found


def default_noise(problem: Problem) -> InTime:
    """Noise that is learned where none was given; it says how its order was chosen."""
    level = learned_level(problem)
    time, why = _default_noise_time(problem)
    what = "a factor for each sensor type" if isinstance(level, PerType) else "one factor"
    return InTime(level, time, f"noise learned: {what}, {why}")


def _default_noise_time(problem: Problem) -> tuple[Time, str]:
    """Covariance in time of the noise, and how it was chosen."""
    if problem.noise_time is not None:
        return Independent(), "in time as noise_time states it"
    most = min(LARGEST_ORDER, problem.n_times - 1)
    if most < 1:
        return Independent(), "one sample"
    before = int(np.sum(problem.times < 0))
    if before < SHORTEST_BASELINE or is_traced(problem):
        order = min(USUAL_ORDER, most)
        return Autoregressive(order), f"an autoregression of order {order} in time"
    baseline = np.asarray(problem.data)[..., :before]
    order = order_by_evidence(autocovariance(baseline, most), baseline.size)
    why = f"order {order} by the evidence of {before} samples before time zero"
    if order == 0:
        return Independent(), f"independent samples ({why})"
    return Autoregressive(order), f"an autoregression in time ({why})"
