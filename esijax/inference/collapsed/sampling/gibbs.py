r"""Gibbs sampling of sources and variances, for thousands of variances and data of few samples.

.. math:: X_s \sim p(X \mid Y, \gamma_s), \qquad \gamma_{s + 1} \sim p(\gamma \mid X_s)
"""

import dataclasses
from functools import partial
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from esijax.estimate import Estimate
from esijax.inference.collapsed.answers import earlier_hyper, linear_marginal, mixture_estimate
from esijax.inference.collapsed.checks import (
    check_prior,
    check_proper,
    check_start,
    check_variances,
)
from esijax.inference.collapsed.sampling._side_by_side import check_counts, in_threads, one_by_one
from esijax.inference.collapsed.sampling._sweep import SweepModel, sweep_model
from esijax.inference.collapsed.sampling._verdict import SweepDiagnostics
from esijax.inference.method import Method, Setup, State

SPREAD = 0.5  # of the chains' starts, in log variance


class GibbsChain(eqx.Module):
    """One chain: where it is, how many sweeps it has made, what is kept."""

    log: Float[Array, " n"]
    seed: Array
    i: Int[Array, ""]
    draws: Float[Array, "samples n"]
    density: Float[Array, " samples"]


class GibbsChains(eqx.Module):
    """The chains; `chunk` sweeps take about a second."""

    chains: tuple[GibbsChain, ...]
    chunk: Int[Array, ""]


class Gibbs(Method):
    r"""Sources given variances, variances given sources, in turns.

    .. math:: X_s \sim p(X \mid Y, \gamma_s), \qquad
              \gamma_{s + 1, k} \sim p(\gamma_k) \, \gamma_k^{-n_k / 2}
              e^{-\lVert X_{s,k} \rVert^2 / 2 \gamma_k}

    For priors whose variances are independent (`ARD`, `StudentT`, `GroupLaplace`, `Components` with
    a distribution, their `Sum`), with known noise or noise of unknown variances. An inverse gamma
    is drawn exactly, any other distribution by slice sampling. A sweep has no gradient, no step
    size and nothing to tune, and costs one factorisation and a map of random numbers.

    With 2,000 variances it gives 18 times as many effective draws per second as `NUTS` for one
    sample in time and 2.7 times as many for 20; variances of sources that are off move ever more
    slowly as the data grow longer (steps are of relative size :math:`\sqrt{2 / n_k}`), and from
    some hundred samples on, or for components of many locations, `NUTS` is the better one.

    Parameters
    ----------
    num_warmup, num_samples : int
        Sweeps of each chain that are thrown away, and those that are kept.
    num_chains : int
        Chains, started apart from each other.
    num_maps : int
        Draws, evenly spaced, whose maps make up the posterior of the sources.

    Raises
    ------
    InputError
        For numbers that are not positive, and in `solve` for priors whose variances are tied
        (`Horseshoe`, hierarchical, simplex), flat ones, noise that is not linear in its variances.

    References
    ----------
    Tipping 2001, https://jmlr.org/papers/v1/tipping01a.html (the model); Bhattacharya,
    Chakraborty and Mallick 2016, doi:10.1093/biomet/asw042 (the draw of the sources); Neal 2003,
    doi:10.1214/aos/1056562461.

    Examples
    --------
    >>> import jax, numpy as np, esijax as ej
    >>> gain = np.random.default_rng(0).standard_normal((8, 12))
    >>> problem = ej.from_arrays(gain, 3 * gain[:, :2], noise_cov=1.0)
    >>> method = ej.inference.Gibbs(200, 500)
    >>> estimate = ej.solve(problem, ej.models.StudentT(3.0), method, key=jax.random.key(0))
    >>> estimate.hyper["gamma"].shape
    (2000, 12)
    """

    needs_key: ClassVar[bool] = True
    learns_noise: ClassVar[bool] = True

    num_warmup: int = 1000
    num_samples: int = 1000
    num_chains: int = 4
    num_maps: int = dataclasses.field(default=200, kw_only=True)

    def __check_init__(self):
        check_counts(self, "num_warmup", "num_samples", "num_chains", "num_maps")

    def check(self, setup: Setup) -> None:
        """Take variances that are independent given the sources."""
        check_prior(setup, "Gibbs")
        check_proper(setup, "Gibbs")
        check_variances(setup, "Gibbs")
        check_start(setup)

    def init(self, setup: Setup) -> State:
        """Put the chains around the analytic answer, or around the earlier estimate."""
        target = linear_marginal(setup)
        log = jnp.log(target.start_variances(earlier_hyper(setup)))
        model = sweep_model(target)
        k_place, k_chain = jax.random.split(setup.key)
        places = log + SPREAD * jax.random.normal(k_place, (self.num_chains, len(log)))
        # keys as plain integers: a checkpoint stores them
        seeds = jax.random.bits(k_chain, (self.num_chains,))
        empty = jnp.zeros((self.num_samples, len(log)), log.dtype)
        chains = tuple(
            GibbsChain(model.inside(place), seed, jnp.zeros((), int), empty, empty[:, 0])
            for place, seed in zip(places, seeds, strict=True)
        )
        return State(setup, GibbsChains(chains, jnp.ones((), int)), (target, model))

    def step(self, state: State) -> State:
        """All sweeps, chain by chain: within jit there is no progress to show."""
        total = jnp.asarray(self.num_warmup + self.num_samples)
        run = partial(_sweeps, self.num_warmup, state.fixed[1])
        chains = one_by_one(lambda c: run(c, total), state.carry.chains)
        return State(state.setup, GibbsChains(chains, state.carry.chunk), state.fixed)

    def advance(self, state: State) -> State:
        """About a second's worth of sweeps, chains side by side in threads."""
        run = partial(_compiled_sweeps, self.num_warmup, state.fixed[1])
        chains, chunk = in_threads(run, state.carry.chains, state.carry.chunk)
        return State(state.setup, GibbsChains(chains, chunk), state.fixed)

    def done(self, state: State) -> Any:
        """Whether all chains have all their draws."""
        total = self.num_warmup + self.num_samples
        return jnp.min(jnp.stack([c.i for c in state.carry.chains])) >= total

    def truncate(self, state: State) -> State:
        """Leave only the draws there are; where there is none, the last of the warm-up."""
        n = min(int(c.i) for c in state.carry.chains) - self.num_warmup

        def cut(c: GibbsChain) -> GibbsChain:
            draws = c.draws if n > 0 else c.draws.at[0].set(c.log)
            return dataclasses.replace(c, draws=draws[: max(n, 1)], density=c.density[: max(n, 1)])

        chains = tuple(cut(c) for c in state.carry.chains)
        return State(state.setup, GibbsChains(chains, state.carry.chunk), state.fixed)

    def finish(self, state: State) -> Estimate:
        """Mixture over the draws of all chains."""
        target, chains = state.fixed[0], state.carry.chains
        theta = jnp.exp(jnp.stack([c.draws for c in chains]))
        hyper = jax.vmap(jax.vmap(target.unpack))(theta)
        warmed = jnp.min(jnp.stack([c.i for c in chains])) > self.num_warmup
        density = jnp.stack([c.density for c in chains])
        diagnostics = SweepDiagnostics(hyper, -density, warmed)
        flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), hyper)
        return mixture_estimate(
            target, flat, "Gibbs", num_maps=self.num_maps, diagnostics=diagnostics
        )


def _sweeps(
    num_warmup: int, model: SweepModel, chain: GibbsChain, length: Int[Array, ""]
) -> GibbsChain:
    """Make some sweeps, none beyond the last draw; the random numbers depend on the count alone."""
    total = num_warmup + len(chain.draws)
    key = jax.random.PRNGKey(chain.seed)

    def body(chain: GibbsChain) -> GibbsChain:
        log, density = model.sweep(jax.random.fold_in(key, chain.i), chain.log)
        at = jnp.maximum(chain.i - num_warmup, 0)
        return GibbsChain(
            log,
            chain.seed,
            chain.i + 1,
            chain.draws.at[at].set(log),
            chain.density.at[at].set(density),
        )

    end = jnp.minimum(chain.i + length, total)
    return jax.lax.while_loop(lambda c: c.i < end, body, chain)


_compiled_sweeps: Any = eqx.filter_jit(_sweeps)
