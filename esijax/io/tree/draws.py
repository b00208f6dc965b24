"""Which draws a tree holds: all of the chains, some of each, or none where nothing was drawn."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from esijax._types import InputError
from esijax.estimate import Estimate
from esijax.inference.collapsed.sampling._verdict import ChainDiagnostics, SweepDiagnostics

USUAL = 100
MOST_BYTES = 200e6  # of a group, where the caller names no number


@dataclass(frozen=True)
class Draws:
    """Draws of the hyper-parameters, chain by chain.

    Parameters
    ----------
    hyper : dict of (chains, draws, ...)
    chain, draw : ndarray
        Their numbers, those of the sampler.
    """

    hyper: dict[str, np.ndarray]
    chain: np.ndarray
    draw: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """Chains and draws."""
        return len(self.chain), len(self.draw)

    @property
    def flat(self) -> dict[str, Array]:
        """One after the other, (chains x draws, ...)."""
        return {n: jnp.asarray(v.reshape(-1, *v.shape[2:])) for n, v in self.hyper.items()}

    def thinned(self, n: int | None) -> "Draws":
        """At most n draws, as many of each chain, evenly spaced; None: all."""
        chains, draws = self.shape
        if n is None or n >= chains * draws:
            return self
        kept = np.linspace(0, draws - 1, max(1, n // chains)).round().astype(int)
        hyper = {name: value[:, kept] for name, value in self.hyper.items()}
        return Draws(hyper, self.chain, self.draw[kept])

    def stacked(self, values: Any) -> np.ndarray:
        """Split what was found draw by draw into chains."""
        return np.asarray(values).reshape(*self.shape, *np.shape(values)[1:])


def drawn(estimate: Estimate, n: int) -> Draws:
    """Draws of the hyper-parameters; n without any where they are known."""
    if not estimate.is_mixture:
        return Draws({}, np.arange(1), np.arange(n))
    diagnostics, hyper = estimate.diagnostics, {}
    known = isinstance(diagnostics, ChainDiagnostics | SweepDiagnostics)
    chains = np.shape(diagnostics.potential)[0] if known else 1
    for name, value in estimate.hyper.items():
        value = np.asarray(value)
        if value.ndim and len(value) % chains == 0:
            hyper[name] = value.reshape(chains, -1, *value.shape[1:])
    length = next(iter(hyper.values())).shape[1]
    return Draws(hyper, np.arange(chains), np.arange(length))


def sample_stats(estimate: Estimate, kept: Draws) -> dict[str, np.ndarray]:
    """Of each transition, by the names that ArviZ knows; empty of a method without chains."""
    d = estimate.diagnostics
    if isinstance(d, SweepDiagnostics):
        found = {"lp": -np.asarray(d.potential)}
    elif isinstance(d, ChainDiagnostics):
        steps = np.asarray(d.steps)
        found = {
            "lp": -np.asarray(d.potential),
            "energy": np.asarray(d.energy),
            "acceptance_rate": np.asarray(d.accept),
            "diverging": np.asarray(d.diverging),
            "n_steps": steps,
            # a tree of depth j has up to 2^j - 1 steps
            "tree_depth": np.floor(np.log2(np.maximum(steps, 1))).astype(int) + 1,
            "reached_max_tree_depth": steps >= d.max_steps,
            "step_size": np.broadcast_to(np.asarray(d.step_size)[:, None], steps.shape),
        }
    else:
        return {}
    return {name: value[:, kept.draw] for name, value in found.items()}


def number(n: Any, size: int) -> int:
    """Draws to make: as asked for, or what fits in 200 MB of values of this size, at most 100.

    Raises
    ------
    InputError
        If n is no whole number from 1 on.
    """
    if n is None:
        return int(np.clip(MOST_BYTES // (8 * size), 4, USUAL))
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise InputError(f"n must be a whole number of draws from 1 on, or None, got {n!r}.")
    return int(n)


def keys_of(key: Any, n: int) -> Array:
    """A key for each draw."""
    return jax.random.split(key, n)
