r"""A posterior of hyper-parameters, learned beforehand and checked on each data set.

.. math::
   \theta_s \sim q(\theta \mid Y), \qquad w_s = \frac{p(Y, \theta_s)}{q(\theta_s \mid Y)}, \qquad
   p(X \mid Y) \approx \sum_s \bar w_s\, p(X \mid Y, \theta_s)
"""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp

from esijax._ops.pareto import drawn_by_weight, pareto_smoothed
from esijax._ops.stop_gradient import stop_gradient
from esijax._types import InputError, Scalar, is_traced
from esijax.estimate import Diagnostics, Estimate
from esijax.inference._checkpoint import fingerprint
from esijax.inference.collapsed._weights import (
    LogWeights,
    n_weights,
    weight_doubts,
    weight_numbers,
)
from esijax.inference.collapsed.answers import marginal, mixture_estimate
from esijax.inference.collapsed.checks import ask, check_prior, check_proper, count_unknowns
from esijax.inference.collapsed.laplace import check_draws
from esijax.inference.collapsed.target import Target
from esijax.inference.learned._scoring import approximation, largest_pattern, unravel_of
from esijax.inference.method import Method, Setup, State
from esijax.models.marginals import PooledMarginal
from esijax.models.networks.amortised import AmortisedPosterior, in_precision

MOST = 50  # hyper-parameters: for more, importance weights are too uneven


class WeightChecks(Diagnostics):
    """Quality of an amortised posterior for these data.

    Parameters
    ----------
    log_weights : (draws,)
        Before they were smoothed.
    pattern, pattern_limit : ()
        Log power of the largest pattern over the sensors, relative to the model's; what half a
        percent of the simulations exceed.
    """

    log_weights: LogWeights
    pattern: Scalar
    pattern_limit: Scalar

    def verdict(self) -> dict[str, Any]:
        """What the weights say, and the largest pattern."""
        return {
            **weight_numbers(self.log_weights),
            "largest_pattern": float(jnp.exp(self.pattern)),
            "largest_pattern_limit": float(jnp.exp(self.pattern_limit)),
        }

    def doubts(self) -> tuple[str, ...]:
        """Whether the weights are too uneven, or the data unlike those of the model."""
        doubts = weight_doubts(self.log_weights)
        if not bool(self.pattern <= self.pattern_limit):
            doubts += (
                "a pattern over the sensors has more power than the model makes: an artefact, a "
                "bad channel, or a noise covariance or prior that is wrong",
            )
        return doubts


class Amortised(Method):
    r"""Draws of a learned posterior of the hyper-parameters, weighted by the exact evidence.

    .. math:: u = \hat u + s \odot L^{-\top} (a + e^{b_\pm} \odot t), \qquad t_k \sim t_8

    A small network says where to begin, two steps of Fisher scoring on the exact evidence end at
    :math:`\hat u` with the information :math:`L L^\top`, a second network moves and stretches the
    draws, each side by itself (a, b). Their importance weights are exact, smoothed by a Pareto
    tail; the draws of the estimate are taken by their weights, the sources given each in closed
    form.

    Parameters
    ----------
    posterior : AmortisedPosterior
        From `ej.learn.amortise`, for the same lead field, noise covariance, number of samples,
        prior and noise.
    num_samples : int
        Draws of the hyper-parameters.
    num_maps : int
        Draws, at most, whose maps are averaged.

    Raises
    ------
    InputError
        For numbers out of range, and (in `solve`) another problem, prior or noise than was trained
        for.

    Notes
    -----
    `estimate.log_evidence` is the log of the average weight. The verdict holds the k-hat of the
    weights, and how much power the largest pattern over the sensors has beside what the model
    expects of it. A wrong hyper-prior shows in neither with certainty.

    References
    ----------
    Vehtari et al. 2024, https://jmlr.org/papers/v25/19-556.html (weights); Cranmer, Brehmer and
    Louppe 2020, doi:10.1073/pnas.1912789117 (amortised inference).

    Examples
    --------
    >>> import numpy as np, esijax as ej, numpyro.distributions as dist
    >>> gain = np.random.default_rng(0).standard_normal((8, 12))
    >>> problem = ej.from_arrays(gain, 3 * gain[:, :9], noise_cov=1.0)
    >>> prior = ej.models.Components([np.arange(6), np.arange(6, 12)], dist.LogNormal(0.0, 1.0))
    >>> q = ej.learn.amortise(problem, prior, key=0, simulations=500, progress=False)
    >>> estimate = ej.solve(problem, prior, ej.inference.Amortised(q), key=0)
    >>> estimate.hyper["gamma"].shape
    (1000, 2)
    """

    posterior: Any
    num_samples: int = eqx.field(static=True, default=1000)
    num_maps: int = eqx.field(static=True, default=200)
    needs_key: ClassVar[bool] = True
    learns_noise: ClassVar[bool] = True

    def __check_init__(self):
        if not isinstance(self.posterior, AmortisedPosterior):
            raise InputError(
                "posterior must come from ej.learn.amortise(problem, prior, noise, key=0), got "
                f"{type(self.posterior).__name__}."
            )
        check_draws(self)

    def check(self, setup: Setup) -> None:
        """Take the problem, prior and noise that were trained for."""
        check_amortisable(setup)
        known, given = dict(self.posterior.trained_for), digests(setup)
        for name, digest in given.items():
            if digest is not None and digest != known[name]:
                raise InputError(
                    f"this amortised posterior was trained for another {name}: train one for "
                    "this problem, prior and noise by ej.learn.amortise, or use Laplace or NUTS."
                )

    def weigh(self, log_weights: LogWeights) -> LogWeights:
        """Logarithms of the weights by which draws are taken: those of the largest smoothed."""
        return pareto_smoothed(log_weights)

    def finish(self, state: State) -> Estimate:
        """Draws, weights, maps."""
        target = Target(marginal(state.setup))
        q = in_precision(self.posterior, target.marginal.problem.data.dtype)
        unravel = unravel_of(target)
        k_draw, k_take = jax.random.split(state.setup.key)
        n_draws = n_weights(target.marginal, self.num_samples)
        found = approximation(q, target, unravel)
        z, density = found.draws(k_draw, n_draws)
        pattern = largest_pattern(q, target, unravel, found.landing.place)
        points = q.centre[None] + q.spread[None] * z
        density = density - jnp.sum(jnp.log(q.spread))
        together = target.marginal.side_by_side
        log_joint = jax.lax.map(
            lambda u: target.log_posterior(unravel(u)), points, batch_size=together
        )
        log_weights = stop_gradient(log_joint - density)
        taken = drawn_by_weight(k_take, self.weigh(log_weights), self.num_samples)
        evidence = jax.scipy.special.logsumexp(log_weights) - jnp.log(n_draws)
        return mixture_estimate(
            target.marginal,
            jax.vmap(lambda u: target.hyper(unravel(u)))(points[taken]),
            "Amortised",
            num_maps=self.num_maps,
            evidence=evidence,
            diagnostics=stop_gradient(WeightChecks(log_weights, pattern, q.pattern_limit)),
        )


def check_amortisable(setup: Setup) -> None:
    """Refuse models that cannot be simulated from, or whose weights would be too uneven."""
    check_prior(setup, "Amortised")
    if not ask(setup, lambda m: isinstance(m, PooledMarginal)):
        raise InputError(
            f"Amortised reads the covariance of independent samples, and "
            f"{type(setup.model).__name__} has a marginal of its own: use Laplace, SVI or NUTS."
        )
    check_proper(setup, "Amortised")
    size = count_unknowns(setup, "Amortised")
    if size > MOST:
        raise InputError(
            f"Amortised weighs draws of all hyper-parameters at once: {size} are more than {MOST}. "
            "Use Laplace, SVI or NUTS, or components of many locations (patches, labels)."
        )


def digests(setup: Setup) -> dict[str, str | None]:
    """Digests of what an amortised posterior is trained for; None for what is traced."""
    problem = setup.problem
    n_samples = problem.data.size // problem.rank
    parts: dict[str, Any] = {
        "noise covariance or number of averages": problem.whitener.matrix,  # whitens the gain too
        "lead field": (problem.gain, problem.prior_scale, problem.orient_scale),
        "number of samples": n_samples,
        "prior": setup.model,
        "noise model": setup.noise,
    }
    return {
        name: None if is_traced(part) else fingerprint(part).hex() for name, part in parts.items()
    }
