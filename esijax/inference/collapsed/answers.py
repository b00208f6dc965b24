"""From hyper-parameters to an estimate: the one place where methods of this kind end."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from esijax.estimate import RESULT, Diagnostics, Estimate
from esijax.inference.method import Setup
from esijax.models.marginals import Marginal


def marginal(setup: Setup) -> Marginal:
    """The model of the hyper-parameters."""
    return setup.model.marginal(setup.problem, setup.noise)


def linear_marginal(setup: Setup) -> Any:
    """The model of the hyper-parameters where `check_variances` found it linear in variances.

    A `LinearMarginal`; for EM a `SeparableMarginal` where samples go together.
    """
    return setup.model.marginal(setup.problem, setup.noise)


def earlier_hyper(setup: Setup) -> dict[str, Array] | None:
    """Hyper-parameters of the estimate to start from."""
    return None if setup.start is None else setup.start.hyper


def point_estimate(
    target: Marginal,
    hyper: dict[str, Array],
    method: str,
    *,
    evidence: Any = None,
    diagnostics: Diagnostics | None = None,
    result: RESULT | None = None,
) -> Estimate:
    """Posterior at one value of the hyper-parameters."""
    return Estimate(
        target.problem,
        target.posterior(hyper),
        evidence=target.log_evidence(hyper) if evidence is None else evidence,
        hyper=hyper,
        diagnostics=diagnostics,
        result=RESULT.successful if result is None else result,
        model=target.name,
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
    thinned = jnp.linspace(0, n - 1, min(n, num_maps)).round().astype(int)
    return Estimate(
        target.problem,
        target.mixture(jax.tree.map(lambda x: x[thinned], hyper)),
        evidence=evidence,
        hyper=hyper,
        diagnostics=diagnostics,
        result=RESULT.successful if result is None else result,
        model=target.name,
        method=method,
    )
