"""The glossary of dimensions, the one number converter and the errors that users meet.

====================  ==========================================================================
``channels``          good sensors, in the order of the measurement
``rank``              dimensions that are left after whitening (projectors remove some)
``locations``         source positions
``orients``           1 (fixed) or 3 (surface frame, normal last)
``times``             samples
``trials``            leading axis of single-trial data, absent for an average
====================  ==========================================================================
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

Scalar = Float[Array, ""]
Gain = Float[Array, "rank locations orients"]
Sources = Float[Array, "*trials locations orients times"]
Data = Float[Array, "*trials rank times"]
Scale = Float[Array, "locations orients"]
Square = Float[Array, "rank rank"]
Blocks = Float[Array, "locations orients orients"]


class InputError(ValueError):
    """An input that cannot be used: the message names it, the value seen and the way out."""


class EsijaxWarning(UserWarning):
    """A doubtful input or choice that was used all the same."""


def is_traced(tree: Any) -> bool:
    """Tell whether any leaf is a tracer, i.e. whether values cannot be looked at."""
    return any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(tree))


def is_number(value: Any) -> bool:
    """Tell a number (or an array of no dimensions) from anything else."""
    if isinstance(value, bool | str) or value is None:
        return False
    return isinstance(value, int | float) or (hasattr(value, "dtype") and jnp.ndim(value) == 0)


def scalar(value: Any) -> Any:
    """Give numbers one strong float type, so that a new value never compiles anew.

    Anything that is not a number (a choice such as ``"evidence"``, a placeholder of a
    transformation) passes through.
    """
    return jnp.asarray(value, dtype=float) if is_number(value) else value


def check_positive(value: Any, name: str) -> None:
    """Raise InputError unless `value` is a positive finite number (tracers pass)."""
    if is_traced(value):
        return
    if not is_number(value):
        raise InputError(f"{name} must be a positive number, got {value!r}.")
    if not (math.isfinite(float(value)) and float(value) > 0):  # jnp would be traced under jit
        raise InputError(f"{name} must be positive and finite, got {float(value):g}.")


def prng_key(key: Any) -> Any:
    """Give one PRNG key, made from a whole number where that is given (tracers pass).

    Raises
    ------
    InputError
        For anything else, and for several keys.
    """
    if isinstance(key, int | np.integer) and not isinstance(key, bool):
        return jax.random.key(int(key))
    shape, typed = getattr(key, "shape", None), False
    if isinstance(key, jax.Array):
        typed = jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key)
    if shape != (() if typed else (2,)) or not (typed or key.dtype == "uint32"):
        what = f"an array of the shape {shape}" if shape is not None else repr(key)
        raise InputError(f"key must be one PRNG key such as jax.random.key(0), got {what}.")
    return key
