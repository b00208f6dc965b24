"""Chains side by side: what the samplers share."""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from esijax._types import InputError


def check_counts(method: Any, *names: str) -> None:
    """Raise InputError for fields of a method that are not positive integers."""
    for name in names:
        value = getattr(method, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InputError(f"{name} must be a positive integer, got {value!r}.")


def one_by_one(run: Callable, chains: tuple) -> tuple:
    """Run all chains in one compiled program."""
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *chains)
    ended = jax.lax.map(run, stacked)
    return tuple(jax.tree.map(lambda x, i=i: x[i], ended) for i in range(len(chains)))


def in_threads(run: Callable, chains: tuple, chunk: Array) -> tuple[tuple, Array]:
    """Run `chunk` transitions of each chain, one per core; and how many make about a second."""
    begin = time.perf_counter()
    with ThreadPoolExecutor(min(len(chains), _cores())) as pool:
        ended = tuple(pool.map(lambda chain: run(chain, chunk), chains))
    return ended, jnp.asarray(_paced(int(chunk), time.perf_counter() - begin))


def _cores() -> int:
    """Cores that this process may use; where the system does not tell, all there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _paced(chunk: int, took: float, wanted: float = 1.0) -> int:
    """Transitions for about a second, at most doubled at once: the first call compiles."""
    return max(1, min(2 * chunk, round(chunk * wanted / max(took, 1e-3))))
