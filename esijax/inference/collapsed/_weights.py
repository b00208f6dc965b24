r"""Can draws of an approximation stand for draws of the posterior? Importance weights tell.

.. math::
   w_s = \frac{p(Y, u_s)}{q(u_s)}, \qquad u_s \sim q, \qquad
   \log p(Y) \approx \log \tfrac1S \sum_s w_s \;\geq\; \text{ELBO} = \tfrac1S \sum_s \log w_s

The shape of the weights' tail, k-hat, says whether the average exists for practical purposes:
trust ends above :math:`\min(1 - 1 / \log_{10} S,\; 0.7)` (Vehtari et al. 2024,
https://jmlr.org/papers/v25/19-556.html).
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from esijax._types import Scalar
from esijax.estimate import Diagnostics
from esijax.models.marginals import Marginal

LogWeights = Float[Array, " draws"]
MOST_WEIGHTS = 4000  # weights, of which k-hat has an error of about 0.05
WORK_OF_WEIGHTS = 8e10  # operations spent on them: about two seconds


def n_weights(model: Marginal, num_samples: int) -> int:
    """Weights to look at: as many as draws, or more where they are cheap."""
    affordable = int(WORK_OF_WEIGHTS / (0.5 * model.work))  # values alone, without gradients
    return max(num_samples, min(affordable, MOST_WEIGHTS))


def importance_evidence(log_weights: LogWeights) -> Scalar:
    """Log of the average weight."""
    return jax.scipy.special.logsumexp(log_weights) - jnp.log(len(log_weights))


def k_hat(log_weights: Any) -> float:
    """Shape of the tail of concrete weights; infinite where one is not finite or no tail fits."""
    from arviz_stats.base import array_stats  # heavy: on first use

    values = np.asarray(log_weights, dtype=float)
    if not np.isfinite(values).all():
        return float("inf")
    if np.ptp(values) < 1e-9:  # all equal: the approximation is the posterior
        return float("-inf")
    with np.errstate(all="ignore"):  # a few weights that outdo all others overflow its fit
        k = float(array_stats.psislw(-values)[1])  # it takes logarithms of the inverse
    return float("inf") if np.isnan(k) else k


def k_limit(n_draws: int) -> float:
    """Value of k-hat up to which an approximation is trusted."""
    return float(min(1.0 - 1.0 / np.log10(n_draws), 0.7))


def weight_numbers(log_weights: Any) -> dict[str, Any]:
    """What the weights say, by name."""
    n = len(log_weights)
    shifted = np.exp(np.asarray(log_weights) - np.max(log_weights))
    return {
        "k_hat": k_hat(log_weights),
        "k_hat_limit": k_limit(n),
        "elbo": float(jnp.mean(log_weights)),
        "importance_log_evidence": float(importance_evidence(log_weights)),
        "importance_draws": float(shifted.sum() ** 2 / (shifted**2).sum()),
    }


def weight_doubts(log_weights: Any) -> tuple[str, ...]:
    """Whether the tail of the weights is too heavy."""
    k, limit = k_hat(log_weights), k_limit(len(log_weights))
    if k <= limit:
        return ()
    return (
        f"k-hat {k:.2f} is above {limit:.2f}: the approximation misses part of the posterior, "
        "use NUTS or a richer family",
    )


class GaussianChecks(Diagnostics):
    """Quality of a Gaussian approximation at the mode.

    Parameters
    ----------
    search : Diagnostics
        How the mode was found.
    smallest : ()
        Smallest eigenvalue of minus the second derivatives, relative to the largest.
    definite : ()
        Whether they are positive definite.
    log_weights : (draws,)
        Of the draws, and of more where they are cheap: k-hat is a noisy number.
    n_unknowns : ()
    """

    search: Diagnostics
    smallest: Scalar
    definite: Bool[Array, ""]
    log_weights: LogWeights
    n_unknowns: Int[Array, ""]

    def verdict(self) -> dict[str, Any]:
        """Mode, curvature, weights."""
        return {
            **self.search.verdict(),
            "n_unknowns": int(self.n_unknowns),
            "smallest_curvature": float(self.smallest),
            **weight_numbers(self.log_weights),
        }

    def doubts(self) -> tuple[str, ...]:
        """What makes the approximation doubtful, the gravest first."""
        out = self.search.doubts()
        if not bool(self.definite):
            out += (
                "the density has no maximum here in some direction (second derivatives are not "
                "negative definite): the spread and the evidence do not hold, use SVI or NUTS",
            )
        return out + weight_doubts(self.log_weights)


class GuideChecks(Diagnostics):
    """Quality of a variational approximation.

    Parameters
    ----------
    log_weights : (draws,)
        Of the draws, and of more where they are cheap: k-hat is a noisy number.
    losses : (steps,)
        Minus the ELBO of each step; NaN where it was not reached.
    """

    log_weights: LogWeights
    losses: Float[Array, " steps"]

    def verdict(self) -> dict[str, Any]:
        """Weights, and how the loss still moved at the end."""
        losses = np.asarray(self.losses)
        losses = losses[~np.isnan(losses)]
        last = losses[-max(len(losses) // 10, 1) :]
        return {
            "n_steps": len(losses),
            "loss_at_end": float(last.mean()) if len(last) else float("nan"),
            **weight_numbers(self.log_weights),
        }

    def doubts(self) -> tuple[str, ...]:
        """Whether the weights are too uneven."""
        return weight_doubts(self.log_weights)
