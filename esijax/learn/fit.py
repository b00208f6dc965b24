"""Fit a small network to simulated pairs: Adam, the weights that do best on pairs held out."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float
from tqdm.auto import tqdm

CHUNK = 50  # steps of a compiled call
BATCH = 128
CLIP = 5.0
HELD_OUT = 0.1  # share of the pairs

Loss = Callable[[Any, Array, Array], Float[Array, ""]]


def fitted(
    network: Any,
    loss: Loss,
    inputs: Float[Array, "sets features"],
    targets: Float[Array, "sets out"],
    *,
    steps: int,
    rate: float,
    key: Any,
    what: str,
    progress: bool,
) -> tuple[Any, float, float]:
    """Network with the lowest loss on pairs held out, that loss, and the loss it began with.

    Parameters
    ----------
    network : equinox.Module
    loss : callable
        Of a network, one input and one target.
    inputs, targets : (sets, ...)
    steps : int
    rate : float
        Of learning, at first.
    key : PRNG key
    what : str
        Name of the progress bar.
    progress : bool
    """
    n_held = max(1, int(HELD_OUT * len(inputs)))
    held, used = (inputs[:n_held], targets[:n_held]), (inputs[n_held:], targets[n_held:])
    n_chunks = max(1, -(-steps // CHUNK))
    optimiser = optax.chain(
        optax.clip_by_global_norm(CLIP),
        optax.adam(optax.cosine_decay_schedule(rate, n_chunks * CHUNK, 0.02)),
    )
    arrays, static = eqx.partition(network, eqx.is_inexact_array)

    def mean_loss(arrays, pairs):
        whole = eqx.combine(arrays, static)
        return jnp.mean(jax.vmap(lambda x, y: loss(whole, x, y))(*pairs))

    @jax.jit
    def chunk(arrays, state, key, used, held):
        def step(carry, key):
            arrays, state = carry
            which = jax.random.randint(key, (min(BATCH, len(used[0])),), 0, len(used[0]))
            gradient = jax.grad(mean_loss)(arrays, tuple(x[which] for x in used))
            change, state = optimiser.update(gradient, state)
            return (optax.apply_updates(arrays, change), state), None

        (arrays, state), _ = jax.lax.scan(step, (arrays, state), jax.random.split(key, CHUNK))
        return arrays, state, mean_loss(arrays, held)

    first = best_loss = float(mean_loss(arrays, held))
    best, state = arrays, optimiser.init(arrays)
    with tqdm(total=steps, desc=what, unit="step", disable=not progress, delay=2) as bar:
        for one in jax.random.split(key, n_chunks):
            arrays, state, value = chunk(arrays, state, one, used, held)
            if float(value) < best_loss:
                best, best_loss = arrays, float(value)
            bar.update(min(CHUNK, steps - bar.n))
            bar.set_postfix(held_out=f"{best_loss:.3f}")
    return eqx.combine(best, static), best_loss, first
