"""From hyper-parameters to an estimate: the one place where methods of this kind end."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from esijax._types import InputError
from esijax.estimate import RESULT, Diagnostics, Estimate
from esijax.inference.method import Setup
from esijax.models.collapsed import Marginal
from esijax.models.posteriors.mixture import gaussian_posterior, mixture
from esijax.models.priors.prior import Prior


def marginal(setup: Setup) -> Marginal:
    """The model of the hyper-parameters."""
    return Marginal(setup.problem, setup.model, setup.noise)


def need_prior(setup: Setup, method: str) -> None:
    """Refuse anything that is no prior with a source covariance."""
    if not isinstance(setup.model, Prior):
        raise InputError(
            f"{method} integrates the sources out of a prior with a source covariance (ARD, "
            f"Components, MinimumNorm, ...): {type(setup.model).__name__} has none."
        )


def point_estimate(
    target: Marginal,
    hyper: dict[str, Array],
    method: str,
    *,
    evidence: Any = None,
    diagnostics: Diagnostics | None = None,
    result: RESULT | None = None,
) -> Estimate:
    """Gaussian posterior at one value of the hyper-parameters."""
    posterior = gaussian_posterior(target.problem, target.prior, target.noise, hyper)
    return Estimate(
        target.problem,
        posterior,
        evidence=target.log_evidence(hyper) if evidence is None else evidence,
        hyper=hyper,
        diagnostics=diagnostics,
        result=RESULT.successful if result is None else result,
        model=type(target.prior).__name__,
        method=method,
    )


def mixture_estimate(
    target: Marginal,
    hyper: dict[str, Array],
    method: str,
    *,
    num_maps: int = 200,
    evidence: Any = None,
    diagnostics: Diagnostics | None = None,
    result: RESULT | None = None,
) -> Estimate:
    """Mixture over draws of the hyper-parameters, (draws, ...), thinned to `num_maps` maps."""
    n = len(jax.tree.leaves(hyper)[0])
    kept = jnp.linspace(0, n - 1, min(n, num_maps)).round().astype(int)
    posterior = mixture(target, jax.tree.map(lambda x: x[kept], hyper))
    return Estimate(
        target.problem,
        posterior,
        evidence=evidence,
        hyper=hyper,
        diagnostics=diagnostics,
        result=RESULT.successful if result is None else result,
        model=type(target.prior).__name__,
        method=method,
    )
