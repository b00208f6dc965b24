"""Numbers that are stated or drawn: a value, or a range from which each draw takes its own."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from esijax._types import InputError, is_traced

Range = Float[Array, "2"]


def as_range(value: Any, name: str, *, least: float = 0.0, open_end: bool = False) -> Range:
    """Give a number or a pair (low, high) as one float array (low, high).

    Parameters
    ----------
    value : float | (float, float)
    name : str
        For the message.
    least : float
        Smallest value that makes sense.
    open_end : bool
        Whether the value must exceed `least`.

    Raises
    ------
    InputError
        If it is neither, not finite, out of order or too small.
    """
    if is_traced(value):
        return jnp.broadcast_to(jnp.asarray(value, dtype=float), (2,))
    try:
        pair = np.broadcast_to(np.asarray(value, dtype=float), (2,))
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} must be a number or (low, high), got {value!r}.") from error
    low, high = float(pair[0]), float(pair[1])
    fits = low > least if open_end else low >= least
    if not (np.isfinite(pair).all() and fits and low <= high):
        sign = ">" if open_end else ">="
        raise InputError(f"{name} must be finite, {sign} {least:g} and in order, got {value!r}.")
    return jnp.asarray(pair)


def draw_from(
    key: PRNGKeyArray, *spans: Range, shape: tuple[int, ...] = ()
) -> tuple[Float[Array, "..."], ...]:
    """Draw uniformly between the two ends of each range, an array of `shape` for each."""
    # one call for all: each call of a generator takes a fifth of a second to compile
    uniform = jax.random.uniform(key, (len(spans), *shape))
    return tuple(s[0] + (s[1] - s[0]) * u for s, u in zip(spans, uniform, strict=True))


def positive_count(value: Any, name: str) -> int:
    """Give a whole number >= 1, or raise InputError."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise InputError(f"{name} must be a whole number >= 1, got {value!r}.")
    return int(value)
