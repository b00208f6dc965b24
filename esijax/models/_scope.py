"""Hyper-parameters of a part of a model, under a name of its own."""

from collections.abc import Callable
from typing import Any

import numpyro


def drawn_under(prefix: str, draw: Callable[..., dict[str, Any]], *arguments) -> dict[str, Any]:
    """Sites and entries of `draw(*arguments)`, both with ``prefix/`` in front."""
    with numpyro.handlers.scope(prefix=prefix):
        own = draw(*arguments)
    return under(prefix, own)


def under(prefix: str, own: dict[str, Any]) -> dict[str, Any]:
    """Entries of a part, as the whole names them."""
    return {f"{prefix}/{name}": value for name, value in own.items()}


def within(prefix: str, hyper: dict[str, Any]) -> dict[str, Any]:
    """Entries of a part, as it names them itself."""
    start = f"{prefix}/"
    return {k.removeprefix(start): v for k, v in hyper.items() if k.startswith(start)}
