"""Where optimisers of the hyper-parameters start, and whether there is anything to optimise."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from numpyro import handlers
from numpyro.infer.initialization import init_to_median

from esijax._ops.grams import few_and_large, grams
from esijax._ops.safe import divisor
from esijax._types import InputError
from esijax.inference.collapsed.answers import marginal, need_prior
from esijax.inference.collapsed.target import Sites, check_learnable, check_start, start_sites
from esijax.inference.method import Setup
from esijax.models.collapsed import Marginal
from esijax.models.noise import LinearNoise, White
from esijax.models.priors.linear import LinearPrior

N_WARM = 10
FLOOR = 1e-4


def frozen(tree: Any) -> Any:
    """Cut derivatives: iterations find a point, and only what is made of it is differentiated."""
    floats, rest = eqx.partition(tree, eqx.is_inexact_array)
    return eqx.combine(jax.lax.stop_gradient(floats), rest)


def medians(model: Marginal) -> Sites:
    """Sampled sites at the median of a few draws of the prior (improper ones near 1)."""
    seeded = handlers.seed(model.hyper, jax.random.key(0))
    middle = handlers.substitute(seeded, substitute_fn=init_to_median(num_samples=15))
    trace = handlers.trace(middle).get_trace()
    return {n: site["value"] for n, site in trace.items() if site["type"] == "sample"}


def first_sites(model: Marginal, hyper: dict[str, Any] | None, *, warm: bool) -> Sites:
    """Sites to start from: an earlier estimate's, those of minimum norm, or the prior's medians.

    With `warm`, and no earlier estimate, a few updates of the convex bound follow: a quasi-Newton
    method that starts far away switches components off that it never finds again.
    """
    sites = medians(model)
    known = start_sites(model, hyper)
    if known is None:
        own = sites | model.noise.start(jnp.ones(model.noise.n_variances))
        return own | _of_same_name(own, hyper or {})
    fresh = warm and hyper is None and isinstance(model.noise, White | LinearNoise)
    return {**sites, **known, **(_warmed(model, known) if fresh else {})}


def _of_same_name(sites: Sites, hyper: dict[str, Any]) -> Sites:
    """Values of an earlier estimate for the sites of a prior that does not say where to start."""
    return {
        name: jnp.mean(hyper[name].reshape(-1, *site.shape), axis=0)
        for name, site in sites.items()
        if name in hyper and hyper[name].shape[-site.ndim or hyper[name].ndim :] == site.shape
    }


def factors(model: Marginal) -> tuple[Float[Array, "rank columns"], Int[Array, " columns"], int]:
    """Sensor factors of components and of linear noise, the owner of each column, owners."""
    factor, group = model.factor, model.group
    assert factor is not None
    assert group is not None
    assert isinstance(model.prior, LinearPrior)
    n = model.prior.n_components(model.sizes)
    if not isinstance(model.noise, LinearNoise):
        return factor, group, n
    own, member = model.noise.factor(model.problem.whitener)
    both = jnp.concatenate([factor, own], axis=1), jnp.concatenate([group, member + n])
    return *both, n + model.noise.n_variances


def _warmed(model: Marginal, sites: Sites) -> Sites:
    r"""Updates :math:`v_k \leftarrow v_k \sqrt{q_k / (n m_k)}` of flat variances.

    with :math:`q_k = \operatorname{tr} B_k^\top \Sigma^{-1} S \Sigma^{-1} B_k` and
    :math:`m_k = \operatorname{tr} B_k^\top \Sigma^{-1} B_k`, each of which raises the evidence
    (Wipf and Nagarajan 2009, doi:10.1016/j.neuroimage.2008.02.059).
    """
    prior, noise = model.prior, model.noise
    assert isinstance(prior, LinearPrior)
    with handlers.substitute(data=sites), handlers.seed(rng_seed=0):
        hyper = model.hyper()
    factor, owner, n_owners = factors(model)
    gamma = prior.gamma(hyper)
    n, variance = len(gamma), gamma
    if isinstance(noise, LinearNoise):
        variance = jnp.concatenate([gamma, hyper["noise_var"]])
    still = jnp.zeros_like(model.noise_cov(hyper))
    fixed = still if isinstance(noise, LinearNoise) else model.noise_cov(hyper)

    large = few_and_large(*factor.shape, n_owners)
    matrices = grams(factor, owner, n_owners) if large else None

    def energies(variance):
        if matrices is not None:
            inverse = jnp.linalg.inv(jnp.tensordot(variance, matrices, 1) + fixed)
            seen = inverse @ model.data.power @ inverse
            return jnp.tensordot(matrices, inverse, 2), jnp.tensordot(matrices, seen, 2)
        solved = jnp.linalg.solve((factor * variance[owner]) @ factor.T + fixed, factor)
        bound = jnp.zeros(n_owners).at[owner].add(jnp.sum(factor * solved, axis=0))
        power = jnp.zeros(n_owners).at[owner].add(jnp.sum(solved * (model.data.power @ solved), 0))
        return bound, power

    def update(_, variance):
        bound, power = energies(variance)
        safe = divisor(bound)
        ratio = jnp.where(bound > 0, power / (model.data.n_columns * safe), 1.0)
        return variance * jnp.sqrt(ratio)

    variance = jax.lax.fori_loop(0, N_WARM, update, variance)
    gamma = jnp.maximum(variance[:n], FLOOR * jnp.max(variance[:n]))
    out = prior.start(gamma, model.sizes)
    if isinstance(noise, LinearNoise):
        out |= noise.start(jnp.maximum(variance[n:], FLOOR))
    return out


def check_sites(setup: Setup, method: str, *, proper: bool) -> int:
    """Refuse what has nothing to learn, or no posterior; give the number of unknowns."""
    need_prior(setup, method)
    model = marginal(setup)
    check_learnable(model, method, proper=proper)
    check_start(setup, model.sizes)
    shapes = eqx.filter_eval_shape(medians, model)
    size = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    if size == 0:
        raise InputError(
            f"{method} learns hyper-parameters, and {type(setup.model).__name__} without a noise "
            "model has none: use Linear for it, or noise=esijax.models.noise.Scalar()."
        )
    return size
