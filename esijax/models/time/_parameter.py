"""A parameter of a temporal covariance: a number, or a distribution that it is learned under."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from esijax._types import InputError, is_number, is_traced
from esijax.models._in_order import InOrder
from esijax.models.hyperpriors import in_order


def parameter(value: Any) -> Any:
    """Converter: numbers and rows of numbers become strong floats, distributions `InOrder`.

    What is neither passes through: `check` refuses it, where its name is known.
    """
    if isinstance(value, dist.Distribution):
        return in_order(value)
    if is_number(value):
        return jnp.asarray(value, dtype=float)
    row = isinstance(value, tuple | list) and value and all(is_number(v) for v in value)
    vector = hasattr(value, "dtype") and value.ndim == 1 and value.dtype.kind in "fiu"
    return jnp.asarray(value, dtype=float) if row or vector else value


def check(
    value: Any, what: str, low: float, high: float, remedy: str, shapes: tuple = ((),)
) -> None:
    """Refuse what is neither numbers within (low, high) nor a distribution on them.

    Raises
    ------
    InputError
        Naming the parameter (`what`), what was given and the way out (`remedy`).
    """
    law = value.law if isinstance(value, InOrder) else None
    shape = getattr(value, "shape", None) if law is None else law.batch_shape
    numbers = law is not None or is_traced(value) or isinstance(value, np.ndarray | jnp.ndarray)
    if not numbers or (not is_traced(value) and shape not in shapes):
        wanted = " or ".join(f"of shape {s}" if s else "one number" for s in shapes)
        raise InputError(
            f"{what} takes {wanted}, or a NumPyro distribution of as many, got {_said(value)}. "
            f"{remedy}"
        )
    if law is not None:
        _check_law(law, what, low, high, remedy)
    elif not is_traced(value):
        found = np.atleast_1d(np.asarray(value))
        wrong = found[~((found > low) & (found < high))]  # NaN is wrong too
        if wrong.size:
            raise InputError(
                f"{what} must lie between {low:g} and {high:g}, both excluded, "
                f"got {float(wrong[0]):g}. {remedy}"
            )


def _check_law(law: dist.Distribution, what: str, low: float, high: float, remedy: str) -> None:
    """Refuse distributions of something else than numbers within (low, high)."""
    support: Any = law.support
    ends = [getattr(support, name, None) for name in ("lower_bound", "upper_bound")]
    below = ends[0] is None or not _known_and(ends[0], lambda end: end >= low)
    above = np.isfinite(high) and (
        ends[1] is None or not _known_and(ends[1], lambda end: end <= high)
    )
    if below or above or support.is_discrete or law.event_shape:
        raise InputError(
            f"{what} lies between {low:g} and {high:g}, and {type(law).__name__} has the support "
            f"{support}. {remedy}"
        )


def _known_and(end: Any, holds: Any) -> bool:
    """Whether an end of a support satisfies a condition; ends that are traced do."""
    return is_traced(end) or bool(np.all(holds(np.asarray(end))))


def _said(value: Any) -> str:
    law = value.law if isinstance(value, InOrder) else value
    if isinstance(law, dist.Distribution):
        return f"{type(law).__name__} with entries of shape {law.batch_shape}"
    shape = getattr(law, "shape", None)
    return f"numbers of shape {shape}" if shape is not None else f"{law!r:.60}"
