"""One NUTS chain as arrays: started, advanced by any number of transitions, its draws stored."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PRNGKeyArray
from numpyro.infer import init_to_median
from numpyro.infer.hmc import hmc
from numpyro.infer.util import constrain_fn, initialize_model

from esijax._types import InputError, Scalar
from esijax.inference.collapsed.target import Sites, Target
from esijax.models.marginals.marginal import only_known


class ChainSettings(NamedTuple):
    """Numbers of a run that shape the compiled program."""

    num_warmup: int
    num_samples: int
    max_tree_depth: int
    target_accept: float
    dense: bool
    adapt_mass: bool


class TransitionStats(eqx.Module):
    """What is kept of each transition after the warm-up.

    Parameters
    ----------
    potential, energy, accept : (samples,)
        Minus log posterior, the same plus kinetic energy, and mean acceptance probability.
    steps : (samples,)
        Leapfrog steps, each one gradient.
    diverging : (samples,)
    """

    potential: Float[Array, " samples"]
    energy: Float[Array, " samples"]
    accept: Float[Array, " samples"]
    steps: Int[Array, " samples"]
    diverging: Array


class Chain(eqx.Module):
    """A chain between two transitions.

    Parameters
    ----------
    state : numpyro.infer.hmc.HMCState
        Its `i` counts the transitions, those of the warm-up included.
    draws : (samples, dim)
        Unconstrained positions, side by side in the order of `ravel_pytree`.
    stats : Stats
    """

    state: Any
    draws: Float[Array, "samples dim"]
    stats: TransitionStats


def unflatten(target: Target) -> Any:
    """Function from a position to unconstrained sites."""
    shapes = jax.eval_shape(lambda: _model_start(target, jax.random.key(0)))
    return ravel_pytree(jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes))[1]


def _model_start(target: Target, key: PRNGKeyArray) -> Sites:
    """Unconstrained sites near the median of the prior."""
    found = initialize_model(key, target.marginal, init_strategy=init_to_median(num_samples=15))
    return found.param_info.z


class StartPositions(NamedTuple):
    """Where chains start, (chains, dim), and the inverse mass matrix of the first steps."""

    places: Float[Array, "chains dim"]
    inverse_mass: Array | None


def start_positions(
    target: Target, hyper: dict[str, Array] | None, key: PRNGKeyArray, num_chains: int, dense: Any
) -> StartPositions:
    """Chains spread around the analytic answer, or as far as the draws of an earlier estimate.

    Draws of the same sites (Laplace, SVI, NUTS) also give the mass matrix. Each chain takes the
    widest of four spreads at which the posterior is positive. `dense` tells from the number of
    unknowns whether the mass matrix is.
    """
    prior_median = _model_start(target, key)
    if not prior_median:
        raise InputError("NUTS samples hyper-parameters, and this prior and noise have none.")
    restore = ravel_pytree(prior_median)[1]
    earlier = _earlier_draws(target, prior_median, hyper)
    white = jax.random.normal(key, (num_chains, ravel_pytree(prior_median)[0].size))
    if earlier is None:
        known = target.marginal.analytic_sites(hyper)
        if known:  # the sites of a noise model of the user's own are not among them
            known = target.free(only_known(target.constrained(prior_median), known))
        centre, inverse_mass = ravel_pytree({**prior_median, **known})[0], None
        away = 0.5 * white
    else:
        centre = jnp.mean(earlier, axis=0)
        away = jnp.std(earlier, axis=0)[None] * white
        inverse_mass = _shrunk_covariance(earlier, dense=dense(len(centre)))
    spread = jnp.array([1.0, 0.4, 0.1, 0.0])

    def one(direction):
        tried = centre[None] + spread[:, None] * direction[None]
        value = jax.lax.map(lambda z: target.log_posterior(restore(z)), tried)
        return tried[jnp.argmax(jnp.isfinite(value))]

    return StartPositions(jax.lax.map(one, away), inverse_mass)


def _earlier_draws(target: Target, free: Sites, hyper: dict[str, Array] | None) -> Array | None:
    """Unconstrained draws, (draws, dim), where an estimate has some of all sites."""
    known = target.marginal.sites_of(hyper or {})
    shapes = jax.eval_shape(lambda z: constrain_fn(target.marginal, (), {}, z), free)
    fits = all(
        name in known and known[name].shape[1:] == shape.shape and known[name].ndim > 0
        for name, shape in shapes.items()
        if name in free
    )
    if not fits or len(known[next(iter(free))]) < 2 * len(ravel_pytree(free)[0]):
        return None
    sites = {name: known[name] for name in free}
    return jax.vmap(lambda s: ravel_pytree(target.free(s))[0])(sites)


def _shrunk_covariance(draws: Float[Array, "draws dim"], *, dense: bool) -> Array:
    """Covariance, drawn in to a small multiple of the identity as Stan does."""
    n = len(draws)
    share, floor = n / (n + 5.0), 1e-3 * 5.0 / (n + 5.0)
    if not dense:
        return share * jnp.var(draws, axis=0) + floor
    return share * jnp.cov(draws, rowvar=False) + floor * jnp.eye(draws.shape[1])


def _kernel(settings: ChainSettings, target: Target):
    """NumPyro's `init` and `sample`; the target is an argument of theirs, not a constant."""

    def potential(target):
        restore = unflatten(target)
        return lambda z: -target.log_posterior(restore(z))

    init, sample = hmc(potential_fn_gen=potential, algo="NUTS")

    def started(key, position, inverse_mass=None):
        return init(
            position,
            settings.num_warmup,
            inverse_mass_matrix=inverse_mass,
            adapt_mass_matrix=settings.adapt_mass,
            dense_mass=settings.dense,
            target_accept_prob=settings.target_accept,
            trajectory_length=None,
            max_tree_depth=settings.max_tree_depth,
            model_args=(target,),
            model_kwargs={},
            rng_key=key,
        )

    return started, sample


def start_chain(
    settings: ChainSettings, target: Target, key: Array, position, inverse_mass=None
) -> Chain:
    """Put a chain at its first position."""
    state = _kernel(settings, target)[0](key, position, inverse_mass)
    n, real = settings.num_samples, jnp.zeros(settings.num_samples, position.dtype)
    stats = TransitionStats(real, real, real, jnp.zeros(n, int), jnp.zeros(n, bool))
    return Chain(state, jnp.zeros((n, *position.shape), position.dtype), stats)


def advance_chain(
    settings: ChainSettings, target: Target, chain: Chain, n: Scalar | Int[Array, ""]
) -> Chain:
    """Move a chain on by n transitions, or to its end."""
    started, sample = _kernel(settings, target)
    # NumPyro's `sample` reads what `init` has set: called for that alone, nothing is computed
    jax.eval_shape(started, chain.state.rng_key, chain.state.z)

    def body(_, chain):
        state = sample(chain.state, (target,), {})
        at = jnp.where(chain.state.i < settings.num_warmup, settings.num_samples, 0)
        at = at + chain.state.i - settings.num_warmup * (at == 0)  # beyond the end: dropped
        s = chain.stats
        stats = TransitionStats(
            s.potential.at[at].set(state.potential_energy, mode="drop"),
            s.energy.at[at].set(state.energy, mode="drop"),
            s.accept.at[at].set(state.accept_prob, mode="drop"),
            s.steps.at[at].set(state.num_steps, mode="drop"),
            s.diverging.at[at].set(state.diverging, mode="drop"),
        )
        return Chain(state, chain.draws.at[at].set(state.z, mode="drop"), stats)

    left = settings.num_warmup + settings.num_samples - chain.state.i
    return jax.lax.fori_loop(0, jnp.minimum(n, left), body, chain)
