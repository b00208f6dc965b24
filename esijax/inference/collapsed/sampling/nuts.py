r"""Hamiltonian Monte Carlo on the hyper-parameters, the sources integrated out.

.. math:: \theta_s \sim p(\theta \mid Y) \propto p(Y \mid \theta)\, p(\theta), \qquad
          p(X \mid Y) \approx \frac1S \sum_s p(X \mid Y, \theta_s)
"""

import dataclasses
from functools import partial
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from esijax._types import InputError
from esijax.estimate import Estimate
from esijax.inference.collapsed.answers import earlier_hyper, marginal, mixture_estimate
from esijax.inference.collapsed.checks import (
    check_prior,
    check_proper,
    check_start,
    count_unknowns,
)
from esijax.inference.collapsed.sampling._chain import (
    Chain,
    ChainSettings,
    advance_chain,
    start_chain,
    start_positions,
    unflatten,
)
from esijax.inference.collapsed.sampling._side_by_side import check_counts, in_threads, one_by_one
from esijax.inference.collapsed.sampling._verdict import ChainDiagnostics
from esijax.inference.collapsed.target import Target
from esijax.inference.method import Method, Setup, State

WARMUP_PER_UNKNOWN = 8  # for a dense mass matrix that the warm-up estimates
DEEPEST = 20
DENSE_UP_TO = 1000  # for one from draws of an earlier estimate


class NUTSChains(eqx.Module):
    """What changes: the chains; `chunk` transitions take about a second.

    `settled` tells that an earlier estimate gave the mass matrix: its draws know the shape of the
    posterior better than a window of the warm-up does.
    """

    chains: tuple[Chain, ...]
    chunk: Array
    settled: bool = eqx.field(static=True)


class NUTS(Method):
    r"""The no-U-turn sampler on the collapsed posterior.

    .. math:: \theta_s \sim p(\theta \mid Y), \qquad
              p(X \mid Y) \approx \frac1S \sum_s N(X; m(\theta_s), C(\theta_s))

    The sources are integrated out in closed form, so that a step costs what the sensors cost and
    nothing grows with the number of samples in time. Chains run side by side, one per core.

    Parameters
    ----------
    num_warmup, num_samples : int
        Transitions of each chain that adapt, and those that are kept.
    num_chains : int
        Chains, started apart from each other.
    max_tree_depth : int
        Longest trajectory: 2 to this power leapfrog steps.
    target_accept : float
        Mean acceptance probability that the step size aims at. 0.7 took half the steps per
        effective sample that 0.8 did; after divergences 0.9 is the next to try.
    dense_mass : bool | None
        Whether the mass matrix has correlations; None: where an earlier estimate gave draws, or
        the warm-up has eight transitions or more for each hyper-parameter (of fewer the estimate
        does more harm than good).
    num_maps : int
        Draws, evenly spaced, whose maps make up the posterior of the sources.
    chunk : int | None
        Transitions between two looks at the clock; None adapts it to about a second. The draws do
        not depend on it.

    Raises
    ------
    InputError
        For numbers out of range, a flat hyper-prior, a model without hyper-parameters, a
        posterior that is not finite where the chains start.

    Notes
    -----
    Start from Laplace's approximation (``init=``) where it can be had: its draws give the mass
    matrix, the warm-up can be short (150), and trajectories become tens of times shorter.

    References
    ----------
    Hoffman and Gelman 2014, https://jmlr.org/papers/v15/hoffman14a.html; Vehtari et al. 2021,
    doi:10.1214/20-BA1221 (the checks).

    Examples
    --------
    >>> import jax, numpy as np, esijax as ej, numpyro.distributions as dist
    >>> gain = np.random.default_rng(0).standard_normal((8, 12))
    >>> problem = ej.from_arrays(gain, 3 * gain[:, :2], noise_cov=1.0)
    >>> prior = ej.models.ARD(dist.InverseGamma(1.0, 0.1))
    >>> estimate = ej.solve(problem, prior, ej.inference.NUTS(300, 500), key=jax.random.key(0))
    >>> estimate.hyper["gamma"].shape
    (2000, 12)
    """

    needs_key: ClassVar[bool] = True
    learns_noise: ClassVar[bool] = True
    takes_separable: ClassVar[bool] = True

    num_warmup: int = 500
    num_samples: int = 500
    num_chains: int = 4
    max_tree_depth: int = dataclasses.field(default=10, kw_only=True)
    # NumPyro compiles it in
    target_accept: float = eqx.field(static=True, default=0.7, kw_only=True)
    dense_mass: bool | None = dataclasses.field(default=None, kw_only=True)
    num_maps: int = dataclasses.field(default=200, kw_only=True)
    chunk: int | None = dataclasses.field(default=None, kw_only=True)

    def __check_init__(self):
        names = ("num_warmup", "num_samples", "num_chains", "max_tree_depth", "num_maps")
        check_counts(self, *names)
        if not (isinstance(self.target_accept, float) and 0 < self.target_accept < 1):
            raise InputError(f"target_accept must lie between 0 and 1, got {self.target_accept!r}.")
        if self.max_tree_depth > DEEPEST:
            raise InputError(
                f"max_tree_depth={self.max_tree_depth} allows 2^{self.max_tree_depth} steps in a "
                f"transition: at most {DEEPEST}."
            )
        if not (self.chunk is None or (isinstance(self.chunk, int) and self.chunk > 0)):
            raise InputError(f"chunk must be a positive integer or None, got {self.chunk!r}.")

    def check(self, setup: Setup) -> None:
        """Refuse what has no posterior to sample from."""
        check_prior(setup, "NUTS")
        check_proper(setup, "NUTS")
        check_start(setup)
        count_unknowns(setup, "NUTS")

    def init(self, setup: Setup) -> State:
        """Put the chains around the analytic answer, or around the earlier estimate."""
        target = Target(marginal(setup))
        k_place, k_chain = jax.random.split(setup.key)
        first = start_positions(
            target,
            earlier_hyper(setup),
            k_place,
            self.num_chains,
            dense=lambda dim: self._dense(dim, True),
        )
        settled = first.inverse_mass is not None
        settings = self._settings(first.places.shape[1], settled)
        # keys as plain integers: a checkpoint stores them
        seeds = jax.random.bits(k_chain, (self.num_chains,))
        chains = tuple(
            start_chain(settings, target, jax.random.PRNGKey(s), z, first.inverse_mass)
            for s, z in zip(seeds, first.places, strict=True)
        )
        return State(setup, NUTSChains(chains, jnp.asarray(self.chunk or 1), settled), target)

    def step(self, state: State) -> State:
        """All transitions, chain by chain: within jit there is no progress to show."""
        carry = state.carry
        settings = self._settings(carry.chains[0].draws.shape[1], carry.settled)
        total = jnp.asarray(self.num_warmup + self.num_samples)
        chains = one_by_one(lambda c: advance_chain(settings, state.fixed, c, total), carry.chains)
        return State(state.setup, NUTSChains(chains, carry.chunk, carry.settled), state.fixed)

    def advance(self, state: State) -> State:
        """About a second's worth of transitions, chains side by side in threads."""
        carry = state.carry
        _check_finite_start(carry.chains)
        settings = self._settings(carry.chains[0].draws.shape[1], carry.settled)
        some = partial(_compiled_advance, settings, state.fixed)
        chains, chunk = in_threads(some, carry.chains, carry.chunk)
        chunk = chunk if self.chunk is None else carry.chunk
        return State(state.setup, NUTSChains(chains, chunk, carry.settled), state.fixed)

    def done(self, state: State) -> Any:
        """Whether all chains have all their draws."""
        total = self.num_warmup + self.num_samples
        return jnp.min(jnp.stack([c.state.i for c in state.carry.chains])) >= total

    def truncate(self, state: State) -> State:
        """Leave only the draws there are; where there is none, the last of the warm-up."""
        n = min(int(c.state.i) for c in state.carry.chains) - self.num_warmup
        chains = state.carry.chains
        if n < 1:
            chains = tuple(_position_as_draw(c) for c in chains)
        cut = max(n, 1)
        chains = tuple(
            Chain(c.state, c.draws[:cut], jax.tree.map(lambda x: x[:cut], c.stats)) for c in chains
        )
        return State(
            state.setup, NUTSChains(chains, state.carry.chunk, state.carry.settled), state.fixed
        )

    def finish(self, state: State) -> Estimate:
        """Mixture over the draws of all chains."""
        target, chains = state.fixed, state.carry.chains
        draws = jnp.stack([c.draws for c in chains])
        restore = unflatten(target)
        hyper = jax.vmap(jax.vmap(lambda z: target.hyper(restore(z))))(draws)
        stats = jax.tree.map(lambda *x: jnp.stack(x), *[c.stats for c in chains])
        diagnostics = ChainDiagnostics(
            hyper,
            stats.potential,
            stats.energy,
            stats.accept,
            stats.steps,
            stats.diverging,
            jnp.stack([c.state.adapt_state.step_size for c in chains]),
            jnp.min(jnp.stack([c.state.i for c in chains])) > self.num_warmup,
            2**self.max_tree_depth - 1,
        )
        flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), hyper)
        return mixture_estimate(
            target.marginal, flat, "NUTS", num_maps=self.num_maps, diagnostics=diagnostics
        )

    def _settings(self, dim: int, settled: bool) -> ChainSettings:
        return ChainSettings(
            self.num_warmup,
            self.num_samples,
            self.max_tree_depth,
            self.target_accept,
            self._dense(dim, settled),
            not settled,
        )

    def _dense(self, dim: int, settled: bool) -> bool:
        if self.dense_mass is not None:
            return self.dense_mass
        return dim <= DENSE_UP_TO if settled else WARMUP_PER_UNKNOWN * dim <= self.num_warmup


_compiled_advance: Any = eqx.filter_jit(advance_chain)


def _check_finite_start(chains: tuple[Chain, ...]) -> None:
    for number, chain in enumerate(chains):
        if int(chain.state.i) == 0 and not bool(jnp.isfinite(chain.state.potential_energy)):
            raise InputError(
                f"the log posterior is {-float(chain.state.potential_energy)} where chain "
                f"{number} starts: check the hyper-priors and the noise, or give init= an "
                "earlier estimate."
            )


def _position_as_draw(chain: Chain) -> Chain:
    s, state = chain.stats, chain.state
    return Chain(
        state,
        chain.draws.at[0].set(state.z),
        dataclasses.replace(
            s,
            potential=s.potential.at[0].set(state.potential_energy),
            energy=s.energy.at[0].set(state.energy),
            accept=s.accept.at[0].set(state.accept_prob),
        ),
    )
