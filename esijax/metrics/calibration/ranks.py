"""The engine of simulation-based calibration: draw a truth, draw data, fit, rank; many times."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from tqdm.auto import tqdm

from esijax._ops.safe import divisor
from esijax._types import InputError, prng_key
from esijax.metrics.calibration.result import Calibration


def ranks(
    simulate: Callable,
    fit: Callable,
    n: int = 1000,
    *,
    key: Any,
    thin: int = 1,
    batch_size: int | None = None,
    threads: int | None = None,
    progress: bool = True,
) -> Calibration:
    r"""Rank simulated truths among the posterior draws that a fit gives for their data.

    .. math::
       \theta \sim p(\theta), \quad y \sim p(y \mid \theta), \quad
       \theta_1, \dots, \theta_L \sim p(\theta \mid y), \qquad
       r = \#\{\theta_i < \theta\} + U\{0, \dots, \#\{\theta_i = \theta\}\}

    is uniform on 0, ..., L where the fit is exact and its draws are independent.

    Parameters
    ----------
    simulate : key -> (theta, data)
        Draws from the model; theta is a dict of arrays, data any pytree. A test quantity that
        depends on the data too, such as the log-likelihood, is one more entry of theta.
    fit : (key, data) -> draws
        A dict of (draws, ...) for those entries of theta that are to be ranked. Both functions
        run under jit; an `equinox.Module` with a ``__call__`` hands its arrays over as arguments.
    n : int
        Data sets. Each has a key of its own: the first of 2,000 are those of 1,000.
    key : PRNG key
        Of the random numbers.
    thin : int
        Keep every thin-th draw: autocorrelated draws are not uniform in rank even where the
        sampler is right.
    batch_size : int, optional
        Data sets side by side (vmap); worth it where the fit has no loop of its own.
    threads : int, optional
        Calls of the compiled program that run at once: by default one per core, one on a GPU.
    progress : bool
        Show a progress bar from the third second on.

    Returns
    -------
    calibration : Calibration

    Raises
    ------
    InputError
        If draws and truths do not fit each other, or draws are not finite.

    References
    ----------
    Talts et al. 2018, doi:10.48550/arXiv.1804.06788; Modrák et al. 2023, doi:10.1214/23-BA1404
    (test quantities that depend on the data, ties).

    Examples
    --------
    >>> import jax, esijax as ej
    >>> def simulate(key):
    ...     mu, noise = jax.random.normal(key, (2,))
    ...     return {"mu": mu}, mu + noise
    >>> def fit(key, y):  # mu given y is N(y / 2, 1 / 2)
    ...     return {"mu": y / 2 + 0.5**0.5 * jax.random.normal(key, (99,))}
    >>> result = ej.metrics.ranks(simulate, fit, 200, key=jax.random.key(0))
    >>> result.ranks.shape, result.passes()
    ((200, 1), True)
    """
    for name, value in (("n", n), ("thin", thin)):
        if value < 1:
            raise InputError(f"{name} must be at least 1, got {value}.")
    if threads is None:
        threads = (os.cpu_count() or 1) if jax.default_backend() == "cpu" else 1
    key = prng_key(key)
    names, n_draws = _ranked_names(simulate, fit, thin, key)
    # some 50 steps of the progress bar; the last call is filled up with data sets beyond n
    size = max(batch_size or 1, -(-n // 50))
    blocks = np.arange(-(-n // size) * size).reshape(-1, size)
    compiled = _compiled_ranks.lower(simulate, fit, thin, batch_size, key, blocks[0]).compile()

    def run(block):
        out = compiled(simulate, fit, thin, batch_size, key, block)
        return block, jax.tree.map(np.asarray, out)

    position = np.empty((blocks.size, len(names)))
    lag = np.empty_like(position)
    with (
        ThreadPoolExecutor(threads) as pool,
        tqdm(total=n, desc="calibration", unit="fit", disable=not progress, delay=2) as bar,
    ):
        futures = [pool.submit(run, block) for block in blocks]
        try:
            for future in as_completed(futures):
                block, (position[block], lag[block], finite) = future.result()
                _check_finite_ranks(finite, names)
                bar.update(min(size, n - bar.n))
        except BaseException:  # also Ctrl-C: leave without the calls that have not begun
            pool.shutdown(cancel_futures=True)
            raise
    return Calibration(names, n_draws, position[:n], lag[:n].mean(axis=0))


def _ranked_names(simulate, fit, thin: int, key) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Names of all numbers that are ranked and how many draws each has, without computing."""
    (theta, _), draws = eqx.filter_eval_shape(_simulate_and_fit, simulate, fit, key)
    names, counts = [], []
    for name, drawn in sorted(draws.items()):
        if name not in theta:
            raise InputError(f"fit gives draws of {name!r}, which simulate does not: {[*theta]}.")
        shape = jnp.shape(theta[name])
        if drawn.ndim == 0 or drawn.shape[1:] != shape:
            raise InputError(
                f"draws of {name!r} must be (draws, *{shape}) as its truth is, got {drawn.shape}."
            )
        count = len(range(0, drawn.shape[0], thin))
        if count < 2:
            raise InputError(f"{name!r} keeps {count} draws: draw more, or thin less.")
        where = [",".join(map(str, i)) for i in np.ndindex(shape)]
        names += [f"{name}[{i}]" if i else name for i in where]
        counts += [count] * len(where)
    if not names:
        raise InputError("the fit gives no draws: there is nothing to rank.")
    return tuple(names), tuple(counts)


def _simulate_and_fit(simulate, fit, key):
    k_truth, k_fit = jax.random.split(key)
    theta, data = simulate(k_truth)
    return (theta, data), fit(k_fit, data)


def _ranks_of_block(simulate, fit, thin: int, batch_size: int | None, key, index):
    """Several data sets, one after the other: positions, lag-1 autocorrelations, finiteness."""

    def one(i):
        k_model, k_ties = jax.random.split(jax.random.fold_in(key, i))
        (theta, _), draws = _simulate_and_fit(simulate, fit, k_model)
        order = sorted(draws)  # jax sorts dicts on their way through eval_shape: so must we
        kept = [draws[name][::thin] for name in order]
        columns = [d.reshape(len(d), -1) for d in kept]
        truths = [jnp.ravel(theta[name]) for name in order]
        keys = jax.random.split(k_ties, len(columns))
        position = [_position(*each) for each in zip(keys, truths, columns, strict=True)]
        finite = [
            jnp.isfinite(t) & jnp.isfinite(c).all(axis=0)
            for t, c in zip(truths, columns, strict=True)
        ]
        lag = [_lag1(c) for c in columns]
        return tuple(map(jnp.concatenate, (position, lag, finite)))

    return jax.lax.map(one, jnp.asarray(index), batch_size=batch_size)


_compiled_ranks: Any = eqx.filter_jit(_ranks_of_block)


def _position(key, truth, draws):
    """Rank plus a uniform number: ties are broken and the steps of the rank filled at random."""
    less = jnp.sum(draws < truth, axis=0)
    equal = jnp.sum(draws == truth, axis=0)
    return less + jax.random.uniform(key, truth.shape) * (equal + 1)


def _lag1(draws):
    """Autocorrelation of successive draws, 0 on average where they are independent."""
    draws = jnp.asarray(draws, dtype=float)
    left = draws - jnp.mean(draws, axis=0, keepdims=True)
    power = jnp.sum(left**2, axis=0)
    return jnp.sum(left[1:] * left[:-1], axis=0) / divisor(power) + jnp.where(
        power > 0, 1.0 / len(draws), 0.0
    )


def _check_finite_ranks(finite, names) -> None:
    if not finite.all():
        failed = [name for name, ok in zip(names, finite.all(axis=0), strict=True) if not ok]
        raise InputError(
            f"truth or draws of {', '.join(failed[:5])} are not finite in "
            f"{int((~finite).any(axis=1).sum())} of {len(finite)} data sets: no rank is right."
        )
