"""Cutting derivatives of whole trees."""

from typing import Any

import equinox as eqx
import jax


def stop_gradient(tree: Any) -> Any:
    """Cut derivatives of all floats: what an iteration found is a constant for what follows."""
    floats, rest = eqx.partition(tree, eqx.is_inexact_array)
    return eqx.combine(jax.lax.stop_gradient(floats), rest)
