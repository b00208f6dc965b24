r"""The density of the hyper-parameters without constraints, where optimisers and samplers walk.

.. math::
   \log p(u \mid Y) = \log p(Y \mid \theta(u)) + \log p(\theta(u))
                      + \log \left| \tfrac{d\theta}{du} \right| + \text{const}
"""

import warnings
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array
from numpyro import handlers
from numpyro.infer.util import constrain_fn, log_density, potential_energy, unconstrain_fn

from esijax._types import EsijaxWarning, InputError, Scalar
from esijax.inference.method import Setup
from esijax.models.collapsed import Marginal
from esijax.models.priors.linear import LinearPrior

Sites = dict[str, Array]


class Target(eqx.Module):
    """Log posterior of the hyper-parameters, as functions of unconstrained sites (a dict).

    Parameters
    ----------
    marginal : Marginal
    """

    marginal: Marginal

    def log_posterior(self, free: Sites) -> Scalar:
        """With the Jacobian: the density of the unconstrained sites."""
        return -potential_energy(self.marginal, (), {}, free)

    def log_joint(self, free: Sites) -> Scalar:
        """Without the Jacobian: the density of the hyper-parameters themselves."""
        sites = constrain_fn(self.marginal, (), {}, free)
        return log_density(self.marginal, (), {}, sites)[0]

    def hyper(self, free: Sites) -> dict[str, Array]:
        """Hyper-parameters as prior and noise take them."""
        sites = constrain_fn(self.marginal, (), {}, free)
        with handlers.substitute(data=sites):
            return self.marginal.hyper()

    def free(self, sites: Sites) -> Sites:
        """Unconstrained values of constrained sites."""
        return unconstrain_fn(self.marginal, (), {}, sites)


def check_learnable(marginal: Marginal, method: str, *, proper: bool) -> None:
    """Refuse a model without hyper-parameters, or an improper one where draws are asked for."""
    prior, noise = marginal.prior, marginal.noise
    flat_prior = isinstance(prior, LinearPrior) and not prior.proper
    if proper and (flat_prior or not noise.proper):
        raise InputError(
            f"{method} needs a posterior to sample from, and a flat hyper-prior gives none: use a "
            "distribution, e.g. ARD(numpyro.distributions.InverseGamma(1.0, 0.1))."
        )


def check_start(setup: Setup, sizes: dict[str, int]) -> None:
    """Say so where an earlier estimate cannot be started from."""
    prior, init = setup.model, setup.start
    if init is None or not isinstance(prior, LinearPrior):
        return
    n = prior.n_components(sizes)
    if _earlier(prior, init.hyper, n) is None:
        warnings.warn(
            f"init ({init.model}, {init.method}) holds no variances of these {n} components: the "
            "start is the analytic answer instead.",
            EsijaxWarning,
            stacklevel=6,
        )


def start_gamma(marginal: Marginal, hyper: dict[str, Any] | None = None) -> Array:
    r"""Variances to start from, by default those that the minimum norm solution implies.

    One step of expectation maximisation from equal variances,

    .. math:: \gamma_k = \frac{1}{n\,r_k} \sum_t \mathbb{E} \lVert z_{kt} \rVert^2

    their common level the best of a few by evidence. `hyper` of an earlier estimate is used where
    it holds variances of the same components, its draws averaged.
    """
    prior = marginal.prior
    assert isinstance(prior, LinearPrior)
    n = prior.n_components(marginal.sizes)
    found = _earlier(prior, hyper, n)
    if found is not None:
        return jnp.maximum(found, 1e-8 * jnp.max(found))
    power, columns = marginal.data.power, marginal.data.n_columns
    factor, group, eye = marginal.factor, marginal.group, jnp.eye(len(marginal.data.power))
    assert factor is not None
    spread, modes = jnp.linalg.eigh(factor @ factor.T)  # the same for all levels
    energy = jnp.einsum("ri,rs,si->i", modes, power, modes)
    levels = 10.0 ** jnp.arange(-4.0, 4.0)
    total = levels[:, None] * jnp.maximum(spread, 0.0) + 1.0
    fits = -0.5 * jnp.sum(columns * jnp.log(total) + energy / total, axis=1)
    level = levels[jnp.argmax(fits)]
    inverse = jnp.linalg.inv(level * factor @ factor.T + eye)
    slope = inverse @ power @ inverse / columns - inverse
    gain = jnp.zeros(n).at[group].add(jnp.sum(factor * (slope @ factor), axis=0))
    size = jnp.zeros(n).at[group].add(1.0)
    return jnp.maximum(level + level**2 * gain / size, 1e-3 * level)


def _earlier(prior: LinearPrior, hyper: dict[str, Any] | None, n: int) -> Array | None:
    """Variances of an earlier estimate of the same components."""
    named = {k: v for k, v in (hyper or {}).items() if k.endswith("gamma")}
    means = {k: jnp.mean(v.reshape(-1, v.shape[-1]), axis=0) for k, v in named.items()}
    try:
        gamma = prior.gamma(means)
    except (KeyError, ValueError):
        return None
    return gamma if gamma.shape == (n,) else None


def start_sites(marginal: Marginal, hyper: dict[str, Any] | None = None) -> Sites | None:
    """Sampled sites to start from; None where the prior does not say how."""
    prior, noise = marginal.prior, marginal.noise
    if not isinstance(prior, LinearPrior):
        return None
    sites = prior.start(start_gamma(marginal, hyper), marginal.sizes)
    n = noise.n_variances
    variance = (hyper or {}).get("noise_var", jnp.ones(n))
    if n == 0 or variance.shape[-1:] != (n,):  # of another noise model
        variance = jnp.ones(n)
    else:
        variance = jnp.mean(variance.reshape(-1, n), axis=0)
    return sites | noise.start(variance)
